"""The report compares like with like: the rounds of one size with each other."""

import pytest

from benchmarks.report import Goal, Sample, Samples, report_of


@pytest.fixture
def samples() -> Samples:
    samples = Samples()
    for ours, theirs, ceiling in [(300, 100, 1000), (200, 50, 1000), (90, 30, 1000)]:
        samples.add(Sample("payments", "per_second", "starledger", 10, ours))
        samples.add(Sample("payments", "per_second", "fastapi", 10, theirs))
        samples.add(Sample("payments", "per_second", "pgbench", 10, ceiling))
        samples.add(Sample("payments", "per_second", "starledger", 20, ours / 2))
        samples.add(Sample("pre-checkout p99", "ms", "starledger", 10, 51))
    return samples


class TestGoals:
    def test_a_ratio_is_the_median_of_the_rounds_own(self, samples: Samples) -> None:
        goals = {goal.what: goal for goal in samples.goals()}

        assert goals["payments: starledger / fastapi at 10 customers"] == Goal(
            "payments: starledger / fastapi at 10 customers", 3.0, at_least=3.0
        )
        assert goals["cost of payments at 20 / 10 customers"].value == 2

    def test_each_says_whether_it_is_met(self, samples: Samples) -> None:
        met = {goal.what: goal.met for goal in samples.goals()}

        assert met == {
            "payments: starledger / fastapi at 10 customers": True,
            "payments: starledger / pgbench at 10 customers": False,
            "pre-checkout p99 in ms at 10 customers": False,
            "cost of payments at 20 / 10 customers": False,
        }


class TestTheJSON:
    def test_holds_every_round_with_its_median_and_spread(self, samples: Samples) -> None:
        report = report_of(samples, about={"rounds": 3}, memory={"web": [1024]}, calibration=[0.1])

        assert report["measures"][0] == {
            "measure": "payments",
            "unit": "per_second",
            "side": "starledger",
            "customers": 10,
            "median": 200,
            "spread": pytest.approx(210 / 200),
            "rounds": [300, 200, 90],
        }
        assert report["about"] == {"rounds": 3}
