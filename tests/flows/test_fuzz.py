"""A short run of `make fuzz`."""

import pytest

from tests.fuzz.run import Run

BODIES = 300


@pytest.mark.xdist_group("house")
def test_three_hundred_spoilt_bodies_are_answered_as_the_contract_says(house):
    report = Run(house, seed=20_261, numbers=range(BODIES), bodies=BODIES).to_the_end()

    assert report.findings == []
    assert report.sold == BODIES // 100 + 1
    assert sum(report.answers.values()) == BODIES
