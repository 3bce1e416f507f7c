"""A trial can fail: a figure that misses its limit, or a difference that was found, is in the last line."""

import json
import math

import pytest

from tests.chaos.verdict import Difference
from tests.trials.figures import Figure, Findings, Result, counted, percentile, verdict


def result(*figures, examples=()):
    return Result("T00", "nothing happens", {"payments": 3}, Findings(list(figures), list(examples)), 1.0, 0.5)


class TestAFigure:
    @pytest.mark.parametrize(
        "figure",
        [
            Figure("informs", 7),
            Figure("at the limit", 7, at_most=7),
            Figure("at the limit", 7, at_least=7),
            Figure("between", 7, at_most=8, at_least=6),
        ],
    )
    def test_meets_its_limits(self, figure):
        assert figure.met
        assert "MISSED" not in str(figure)

    @pytest.mark.parametrize(
        "figure",
        [
            Figure("above", 7.001, at_most=7),
            Figure("below", 6.999, at_least=7),
            Figure("of nothing", math.nan, at_most=7),
            Figure("of nothing", math.nan, at_least=0),
            Figure("never", math.inf, at_most=7),
        ],
    )
    def test_misses_a_limit_and_says_so(self, figure):
        assert not figure.met
        assert str(figure).endswith("MISSED")

    def test_has_its_limit_beside_it(self):
        assert str(Figure("lost", 1, at_most=0)).split() == ["lost", "1", "≤", "0", "MISSED"]


def test_a_percentile_is_what_so_many_do_not_exceed():
    values = [float(number) for number in range(100, 0, -1)]

    assert (percentile(values, 50), percentile(values, 99)) == (51.0, 100.0)
    assert math.isnan(percentile([], 99))


class TestTheLastLine:
    def test_says_that_all_passed(self):
        assert verdict([result(Figure("lost", 0, at_most=0))]) == "PASSED: T00"

    def test_names_each_limit_that_was_missed(self):
        missed = result(Figure("lost", 1, at_most=0), Figure("made", 1, at_least=2), Figure("told", 1, at_least=1))

        assert verdict([result(), missed]) == "FAILED: T00: lost; T00: made"


class TestDifferences:
    def test_are_counted_by_kind_and_none_may_be_there(self):
        lost = [Difference("payments lost", f"stx{number}") for number in range(9)]

        figures, examples = counted([*lost, Difference("surprises", "one")], of=["payments lost", "access wrong"])

        assert [(figure.what, figure.value, figure.met) for figure in figures] == [
            ("payments lost", 9, False),
            ("access wrong", 0, True),
            ("surprises", 1, False),
        ]
        assert [example.about for example in examples] == ["stx0", "stx1", "stx2", "stx3", "stx4", "one"]

    def test_are_told_in_the_table_and_in_the_file(self):
        told = result(Figure("payments lost", 1, at_most=0), examples=[Difference("payments lost", "stx1")])

        assert "payments lost: stx1" in told.table()
        assert json.loads(json.dumps(told.as_json()))["examples"] == ["payments lost: stx1"]
