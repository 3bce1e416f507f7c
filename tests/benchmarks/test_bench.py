"""The whole rig in small: a cluster, our servers, every measure of ours, and a report."""

import json
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent.parent


def test_a_quick_run_measures_everything_of_ours(tmp_path: Path) -> None:
    results = tmp_path / "results.json"

    run = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--only", "size", "--results", results],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    measured = {row["measure"]: row["median"] for row in json.loads(results.read_text())["measures"]}
    assert set(measured) == {
        "payments",
        "pre-checkout p50",
        "pre-checkout p99",
        "me/entitlements",
        "entitlements/check",
    }
    assert all(value > 0 for value in measured.values())
