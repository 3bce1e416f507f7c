"""What is planned depends on the seed alone."""

from collections import Counter
from dataclasses import replace

from tests.chaos.plan import DATABASE, WEB, Options, Refunder, Repeat, deals, strikes

OPTIONS = Options(payments=2_000, kills=40, crashes=12, seed=7)


def test_the_same_seed_plans_the_same_and_another_something_else():
    other = replace(OPTIONS, seed=8)

    assert (strikes(OPTIONS), deals(OPTIONS)) == (strikes(OPTIONS), deals(OPTIONS))
    assert strikes(OPTIONS) != strikes(other)
    assert deals(OPTIONS) != deals(other)


def test_the_database_and_every_process_are_struck_as_often_as_asked_all_over_the_run():
    planned = strikes(OPTIONS)
    victims = Counter(strike.victim for strike in planned)

    assert victims[DATABASE] == 12
    assert victims.total() - victims[DATABASE] == 40
    assert victims.keys() == {DATABASE, WEB, "worker 1", "worker 2", "worker 3", "worker 4"}
    assert {strike.after * 4 // OPTIONS.payments for strike in planned} == {0, 1, 2, 3}


def test_nobody_buys_the_same_twice():
    bought = Counter((deal.buyer, deal.bought.code) for deal in deals(OPTIONS))

    assert len(bought) == OPTIONS.payments


def test_every_kind_of_fault_is_planned():
    planned = deals(OPTIONS)

    assert {deal.refunder for deal in planned} == set(Refunder)
    assert {deal.repeat for deal in planned} == set(Repeat)
    assert any(deal.answer_is_cut for deal in planned)
    assert {deal.call_fails[0] for deal in planned if deal.call_fails} == {"sendMessage", "refundStarPayment"}
