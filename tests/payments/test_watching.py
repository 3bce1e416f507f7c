"""The invariants looked after while the shop runs: what goes wrong is known soon, and known no longer when mended."""

from datetime import timedelta

import pytest
from django.db import OperationalError, connection

from config.database import database_now
from entitlements.models import Customer
from payments import invariants, watching
from payments.doctor import LONGEST_TURN
from payments.invariants import Check
from payments.models import InvariantCheck, ReconciliationRun, RunOutcome
from payments.recording import record_payment
from payments.watching import look_after_the_books
from tests.config.reading import figures
from tests.factories import CustomerFactory, InvoiceFactory
from tests.payments.reports import payment_of
from tests.payments.test_invariants import superuser

pytestmark = pytest.mark.django_db

BROKEN = "UPDATE entitlements_entitlement SET active_until = active_until + interval '1 second'"
MENDED = "UPDATE entitlements_entitlement SET active_until = active_until - interval '1 second'"
LONG_AGO = (
    "UPDATE payments_paymentevent"
    " SET received_at = received_at - interval '1 day', occurred_at = occurred_at - interval '1 day'"
)


@pytest.fixture
def paid(gold):
    """Five customers, each of whom has bought gold."""
    for number in range(5):
        record_payment(payment_of(InvoiceFactory(plan=gold), charge_id=f"stx{number}"))


@pytest.fixture
def slices_of_two(monkeypatch):
    """A look at two customers, and then the time is over."""
    monkeypatch.setattr(watching, "SLICE", 2)
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0)


def by_hand(*statements):
    with superuser() as hand:
        for statement in statements:
            hand.execute(statement)


def said(logged) -> list[tuple[str, str]]:
    """What was logged of the books, with the name of the check."""
    return [(line["log_level"], line["check"]) for line in logged if line["event"].startswith("the books")]


def entitlements() -> InvariantCheck:
    return InvariantCheck.objects.get(check_name="entitlements")


class TestLooking:
    def test_that_was_never_done_is_told_of_each_check(self, client, settings):
        settings.DEBUG = True
        seen = figures(client)

        for check in invariants.checks():
            assert seen[f'starledger_invariant_checked_timestamp_seconds{{check="{check.what}"}}'] == 0
            assert seen[f'starledger_invariant_differences{{check="{check.what}"}}'] == 0

    def test_finds_nothing_in_sound_books_and_says_that_it_looked(self, paid, client):
        assert look_after_the_books() == 0

        assert set(InvariantCheck.objects.values_list("check_name", flat=True)) == {
            check.what for check in invariants.checks()
        }
        assert not InvariantCheck.objects.filter(passed_at=None).exists()

    def test_finds_what_was_planted_and_tells_the_metrics(self, paid, client, settings, logged):
        settings.DEBUG = True
        by_hand(BROKEN)

        assert look_after_the_books() == 5

        assert figures(client)['starledger_invariant_differences{check="entitlements"}'] == 5
        assert figures(client)['starledger_invariant_checked_timestamp_seconds{check="entitlements"}'] > 0
        assert "the grants say" in entitlements().detail
        assert said(logged) == [("error", "entitlements")]

    def test_says_so_once_and_again_when_there_is_more_or_all_is_mended(self, paid, logged):
        first = Customer.objects.order_by("pk").first()
        by_hand(f"{BROKEN} WHERE customer_id = {first.pk}")
        for _ in range(2):
            look_after_the_books()
        assert said(logged) == [("error", "entitlements")]

        by_hand(f"{BROKEN} WHERE customer_id <> {first.pk}")
        look_after_the_books()
        assert said(logged) == [("error", "entitlements")] * 2

        by_hand(MENDED)
        for _ in range(2):
            look_after_the_books()
        assert said(logged)[2:] == [("info", "entitlements")]

    def test_forgets_it_when_it_is_mended(self, paid):
        by_hand(BROKEN)
        look_after_the_books()
        by_hand(MENDED)

        assert look_after_the_books() == 0
        assert entitlements().detail == ""

    def test_counts_the_same_difference_once(self, paid):
        by_hand(BROKEN)

        assert [look_after_the_books(), look_after_the_books()] == [5, 5]


def test_a_reconciliation_that_is_behind_is_said_once_until_it_was_made(logged):
    now = database_now()
    last = ReconciliationRun.objects.create(
        asked_by="schedule",
        started_at=now - timedelta(minutes=61),
        lease_until=now,
        finished_at=now,
        outcome=RunOutcome.FAILED,
    )
    for _ in range(2):
        look_after_the_books()
        InvariantCheck.objects.update(seconds=0)  # so it is its turn again at once
    assert said(logged) == [("error", "reconciliation")]

    ReconciliationRun.objects.filter(pk=last.pk).update(started_at=now)
    look_after_the_books()

    assert said(logged)[1:] == [("info", "reconciliation")]


@pytest.mark.usefixtures("slices_of_two")
class TestTakingTurns:
    def test_sees_everybody_in_the_end(self, paid):
        by_hand(LONG_AGO, "DELETE FROM entitlements_grant")
        seen = []
        for _ in range(3):
            look_after_the_books()
            seen.append(entitlements().found or entitlements().differences)

        assert seen == [2, 4, 5]
        assert entitlements().position == 0

    def test_looks_at_the_last_payments_first(self, paid):
        last = Customer.objects.order_by("pk").last()
        by_hand(LONG_AGO, f"{BROKEN} WHERE customer_id = {last.pk}")
        look_after_the_books()
        assert entitlements().differences == 0

        by_hand(f"UPDATE payments_paymentevent SET received_at = now() WHERE customer_id = {last.pk}")
        look_after_the_books()
        assert entitlements().differences == 1

    def test_keeps_the_alarm_until_a_whole_pass_finds_nothing(self, paid):
        by_hand(BROKEN)
        for _ in range(3):
            look_after_the_books()
        assert entitlements().differences == 5

        by_hand(MENDED)
        alarms = []
        for _ in range(3):
            look_after_the_books()
            alarms.append(entitlements().differences)

        assert alarms == [5, 5, 0]

    def test_begins_a_new_pass_when_the_last_customers_fill_a_slice(self, paid):
        CustomerFactory()

        positions = []
        for _ in range(4):
            look_after_the_books()
            positions.append(entitlements().position)

        assert positions[3] == 0
        assert 0 not in positions[:3]


class TestACheckOfTheWholeBooks:
    def looks(self, monkeypatch, *, seconds):
        """How often it is made in two runs, when the first took so long."""
        made = []

        class Slow:
            what, by_customer = "slow", False

            def differences(self, progress, *, among="", milliseconds=0):
                made.append(milliseconds)
                return iter(())

        monkeypatch.setattr(invariants, "checks", lambda: [Slow()])
        look_after_the_books()
        InvariantCheck.objects.update(seconds=seconds)
        look_after_the_books()
        assert set(made) == {watching.LIMIT_SECONDS * 1000}
        return len(made)

    def test_is_made_each_time_when_it_is_quick(self, monkeypatch):
        assert self.looks(monkeypatch, seconds=0) == 2

    def test_is_made_seldom_when_it_is_slow(self, monkeypatch):
        assert self.looks(monkeypatch, seconds=30) == 1


@pytest.mark.django_db(transaction=True)
def test_a_check_that_takes_too_long_stops_no_other(monkeypatch, logged):
    endless = Check("endless", "SELECT pg_sleep(60)", "{}")
    sound = Check("sound", "SELECT 1 WHERE false", "{}")
    monkeypatch.setattr(invariants, "checks", lambda: [endless, sound])
    monkeypatch.setattr(watching, "LIMIT_SECONDS", 1)

    look_after_the_books()

    assert InvariantCheck.objects.get(check_name="endless").checked_at is None
    assert InvariantCheck.objects.get(check_name="sound").passed_at is not None
    look_after_the_books()  # and is not begun again at once
    assert [line["check"] for line in logged if line["event"] == "invariant not checked"] == ["endless"]


def test_a_check_that_takes_as_long_as_it_may_is_not_called_unfinished():
    assert timedelta(seconds=watching.SHARE * watching.LIMIT_SECONDS) < LONGEST_TURN - timedelta(minutes=15)


def test_a_query_is_ended_when_its_time_is_over():
    with pytest.raises(OperationalError), connection.cursor():
        list(Check("endless", "SELECT pg_sleep(60)", "{}").differences(lambda _: None, milliseconds=50))


def test_a_look_takes_one_core_and_sorts_no_sums_on_the_disk():
    settings = "SELECT current_setting('max_parallel_workers_per_gather'), current_setting('enable_sort')"

    assert list(Check("settings", settings, "{} {}").differences(lambda _: None)) == ["0 off"]
