"""`make fuzz`: spoilt bodies over HTTP to the real server, judged by the contract and by nothing of ours.

`bodies` makes them, `targets` says where they go and who sends them, `oracle` what may be answered, `shop` sells in
between, `run` does it all and `report` says what came of it. Body N of a seed is always the same: `--only N` sends it
again.
"""
