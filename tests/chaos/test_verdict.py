"""The verdict can fail: each way in which books can differ from what Telegram knows is named."""

from collections import Counter
from dataclasses import replace

import pytest

from tests.chaos.plan import Options
from tests.chaos.report import Report, Settled
from tests.chaos.verdict import DAY, PAID, RETURNED, Books, Difference, Entry, Message, Sale, access_until, compare

NOON = 1_800_000_000
ALICE, BOB = 7_000_000_001, 7_000_000_002


def sale(charge_id: str, buyer: int = ALICE, *, plan: str = "a", days: int = 1, after: int = 0, refunded: bool = False):
    return Sale(charge_id, buyer, f"pass_{plan}", f"Pass {plan}", 10, days, NOON + after, refunded)


SALES = [sale("one"), sale("two", plan="b", days=2, after=60), sale("back", BOB, refunded=True)]


def entry(charge_id: str, buyer: int = ALICE, *, plan: str = "a", is_refund: bool = False):
    return Entry(charge_id, is_refund, buyer, f"pass_{plan}", 10, "processed")


LEDGER = [entry("one"), entry("two", plan="b"), entry("back", BOB), entry("back", BOB, is_refund=True)]
ACCESS = {ALICE: NOON + 3 * DAY, BOB: NOON}
TOLD = {Message(ALICE, "Pass a", PAID): 1, Message(ALICE, "Pass b", PAID): 1, Message(BOB, "Pass a", RETURNED): 1}


def found(*, ledger=LEDGER, access=ACCESS, told=TOLD) -> list[str]:
    return sorted(difference.what for difference in compare(SALES, Books(ledger, access), told))


def without(entries, *unwanted):
    return [one for one in entries if one not in unwanted]


def test_sound_books_have_no_difference():
    assert found() == []


@pytest.mark.parametrize(
    ("ledger", "named"),
    [
        (without(LEDGER, LEDGER[0]), "payments lost"),
        ([*LEDGER, LEDGER[0]], "payments doubled"),
        ([*LEDGER, entry("strange")], "payments of nobody"),
        ([replace(LEDGER[0], amount=11), *LEDGER[1:]], "payments recorded wrongly"),
        ([replace(LEDGER[0], buyer=BOB), *LEDGER[1:]], "payments recorded wrongly"),
        ([replace(LEDGER[0], plan="pass_b"), *LEDGER[1:]], "payments recorded wrongly"),
        ([replace(LEDGER[0], status="held"), *LEDGER[1:]], "payments recorded wrongly"),
        (without(LEDGER, LEDGER[3]), "refunds lost"),
        ([*LEDGER, LEDGER[3]], "refunds doubled"),
        ([*LEDGER, entry("one", is_refund=True)], "refunds of nobody"),
    ],
)
def test_a_ledger_that_differs_is_found_out(ledger, named):
    assert found(ledger=ledger) == [named]


@pytest.mark.parametrize(
    "access",
    [
        {**ACCESS, ALICE: NOON + 2 * DAY},  # a pass was lost
        {**ACCESS, ALICE: NOON + 5 * DAY},  # a pass counted twice
        {**ACCESS, BOB: NOON + DAY},  # what was given back was left
        {BOB: NOON},
        {**ACCESS, 7_000_000_003: NOON + DAY},
    ],
)
def test_access_that_was_not_bought_or_not_given_is_found_out(access):
    assert found(access=access) == ["access wrong"]


def test_a_buyer_who_was_not_told_is_found_out():
    assert found(told={message: 1 for message in TOLD if message.title != "Pass b"}) == ["buyers not told"]


def test_a_refund_that_nobody_was_told_of_is_found_out():
    assert found(told={message: 1 for message in TOLD if message.kind != RETURNED}) == ["buyers not told"]


def test_a_message_about_nothing_is_found_out():
    assert found(told={**TOLD, Message(ALICE, "Pass a", RETURNED): 1}) == ["buyers told of nothing"]


def test_what_was_given_back_may_have_been_confirmed_before():
    assert found(told={**TOLD, Message(BOB, "Pass a", PAID): 1}) == []


def test_passes_go_on_where_the_one_before_ends_and_those_given_back_never_were():
    bought = [sale("1", days=1), sale("2", days=2, after=60, refunded=True), sale("3", days=3, after=90)]

    assert access_until(bought) == NOON + 4 * DAY


class TestTheVerdict:
    def report(self, **changes):
        sound = Report(
            options=Options(payments=10, kills=5, crashes=0, seed=7),
            planned={"kills": 5},
            injected=Counter(kills=4),
            settled=[Settled("inbox", 119.0, limit=120)],
            checked=("payments lost",),
            differences=[],
        )
        return replace(sound, **changes)

    def test_passes_when_nothing_differs_and_four_of_five_faults_came(self):
        assert self.report().verdict == "PASSED"

    def test_fails_by_one_difference_and_names_it(self):
        failed = self.report(differences=[Difference("payments lost", "stx1")])

        assert failed.verdict == "FAILED"
        assert "payments lost: 1" in failed.last_line()
        assert "stx1" in failed.table()
        assert failed.as_json()["found"] == {"payments lost": 1}

    def test_is_invalid_when_fewer_faults_came(self):
        assert self.report(injected=Counter(kills=3)).verdict == "INVALID"

    @pytest.mark.parametrize("settled", [Settled("inbox", 121.0, limit=120), Settled("inbox", 1.0, 120, ["update 7"])])
    def test_fails_when_something_settles_late_or_never(self, settled):
        assert self.report(settled=[settled]).verdict == "FAILED"
