"""The whole rig in small: a cluster, our servers, every measure of ours, and a report."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parent.parent.parent


def quick_run(tmp_path: Path, only: str) -> dict[str, Any]:
    """What a quick run of these measures reports."""
    results = tmp_path / "results.json"
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--only", only, "--results", results],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(results.read_text())


def test_a_quick_run_measures_everything_of_ours(tmp_path: Path) -> None:
    measured = {row["measure"]: row["median"] for row in quick_run(tmp_path, "size")["measures"]}

    assert set(measured) == {
        "payments",
        "pre-checkout p50",
        "pre-checkout p99",
        "me/entitlements",
        "entitlements/check",
    }
    assert all(value > 0 for value in measured.values())


def test_a_quick_run_opens_the_pages_of_the_admin(tmp_path: Path) -> None:
    pages = quick_run(tmp_path, "pages")["pages"]

    assert {"overview", "list of payments.paymentevent", "a payment", "payments by name"} <= {p["page"] for p in pages}
    # A row has a hold or a refund, or none; a page that asks for each of its rows would ask for dozens.
    assert [page for page in pages if page["queries_with_few"] + 5 < page["queries_with_many"]] == []
