"""`make mutants`: make the classic mistakes, one after the other, and fail if one goes unnoticed."""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

from config.env import BASE_DIR
from tests.mutants.mistakes import MUTANTS
from tests.mutants.runner import NotGreen, control, copied, fates

say = partial(print, flush=True)


def main() -> int:
    """0 when every mutant was killed."""
    known = [mutant.name for mutant in MUTANTS]
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="X6", help=f"only these of {', '.join(known)}")
    names = parser.parse_args().names
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(known)}")
    chosen = [mutant for mutant in MUTANTS if mutant.name in (names or known)]

    with tempfile.TemporaryDirectory(prefix="starledger-mutants-") as directory:
        root = copied(BASE_DIR, into=Path(directory))
        try:
            say(f"The tests are green without a mistake, after {control(root, chosen):.0f} s.")
        except NotGreen as error:
            say(f"{error}\nThe tests fail without any mistake.")
            return 1
        survivors = 0
        for fate in fates(root, chosen):
            say(fate)
            survivors += not fate.killed_by
    say(f"{len(chosen) - survivors} of {len(chosen)} mutants were killed.")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
