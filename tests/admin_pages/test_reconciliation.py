"""Staff read what comparing with Telegram found, ask for it, and settle what is left."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from procrastinate.contrib.django.models import ProcrastinateJob

from config.database import database_now
from entitlements.models import AuditEntry
from payments import reconciling
from payments.models import Discrepancy, DiscrepancyKind, Origin, PaymentEvent, ReconciliationRun, RunOutcome
from payments.recording import record_payment
from tests.admin_pages.conftest import staff_with
from tests.payments.reports import payment_of

pytestmark = pytest.mark.django_db

SEES = ("payments.view_reconciliationrun", "payments.view_discrepancy", "payments.view_paymentevent")
RUNS = reverse("admin:payments_reconciliationrun_changelist")
ASK = reverse("admin:payments_reconciliationrun_ask")


@pytest.fixture
def finn(db) -> Client:
    """Staff who may have it compared, and settle what is found."""
    return staff_with("finn", *SEES, "payments.reconcile", "payments.resolve_discrepancy")


@pytest.fixture
def viewer(db) -> Client:
    return staff_with("vera", *SEES)


@pytest.fixture
def recorded(invoice) -> PaymentEvent:
    return record_payment(payment_of(invoice, origin=Origin.RECONCILIATION)).event


@pytest.fixture
def run(recorded) -> ReconciliationRun:
    """One that has recorded a payment of Alice's."""
    now = database_now()
    return ReconciliationRun.objects.create(
        asked_by="schedule", lease_until=now, started_at=recorded.received_at, finished_at=now, ledger_up_to=now,
        true_at=now, outcome=RunOutcome.ATTENTION, recorded=1, found=1,
    )  # fmt: skip


@pytest.fixture
def found(run, recorded) -> Discrepancy:
    return Discrepancy.objects.create(
        kind=DiscrepancyKind.AMOUNT_DIFFERS, transaction_id=recorded.event_id, direction="in", event=recorded, run=run,
        telegram_says="499 ⭐, user 7.", we_have="500 ⭐, user 7.",
    )  # fmt: skip


def page_of(row) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def settling(found: Discrepancy) -> str:
    return reverse("admin:payments_discrepancy_settle", args=[found.pk])


class TestTheRun:
    def test_tells_what_it_recorded_and_found_with_links(self, viewer, run, recorded, found):
        page = viewer.get(page_of(run)).content.decode()

        assert "Something needs a person" in page
        assert f'href="{page_of(recorded)}"' in page
        assert f'href="{page_of(found)}"' in page

    def test_is_told_in_a_line_of_the_list(self, viewer, run, found):
        page = viewer.get(RUNS).content.decode()

        assert "recorded: 1, discrepancies found: 1" in page

    def test_names_nothing_that_another_recorded(self, viewer, run, recorded):
        later = ReconciliationRun.objects.create(asked_by="schedule", lease_until=database_now())

        assert f'href="{page_of(recorded)}"' not in viewer.get(page_of(later)).content.decode()


class TestAskingForOne:
    def test_is_offered_to_whoever_may(self, finn, viewer):
        assert ASK in finn.get(RUNS).content.decode()
        assert ASK not in viewer.get(RUNS).content.decode()

    def test_is_refused_to_whoever_may_not(self, viewer):
        assert viewer.post(ASK, {"reason": "so"}).status_code == 403
        assert not ProcrastinateJob.objects.filter(task_name="payments.tasks.reconcile_as_asked").exists()

    def test_leaves_a_job_and_an_audit_entry(self, finn):
        assert finn.post(ASK, {"reason": "After the restore.", "full": "on"}).status_code == 302

        job = ProcrastinateJob.objects.get(task_name="payments.tasks.reconcile_as_asked")
        staff = User.objects.get(username="finn")
        assert job.args == {"asked_by": f"staff:{staff.pk}", "full": True}
        entry = AuditEntry.objects.get()
        assert (entry.what, entry.reason, entry.after) == (reconciling.ASKED, "After the restore.", {"full": True})

    def test_does_nothing_without_a_reason_or_when_it_is_only_looked_at(self, finn):
        finn.get(ASK)
        finn.post(ASK, {"reason": " "})

        assert not ProcrastinateJob.objects.filter(task_name="payments.tasks.reconcile_as_asked").exists()
        assert not AuditEntry.objects.exists()


class TestADiscrepancy:
    def test_shows_both_sides_and_the_payment(self, viewer, found, recorded):
        page = viewer.get(page_of(found)).content.decode()

        assert "499 ⭐, user 7." in page
        assert "500 ⭐, user 7." in page
        assert f'href="{page_of(recorded)}"' in page
        assert settling(found) not in page

    def test_is_settled_with_a_reason_that_is_kept_and_alone(self, finn, found, run):
        other = Discrepancy.objects.create(kind=DiscrepancyKind.BALANCE, telegram_says="1", we_have="2", run=run)
        assert settling(found) in finn.get(page_of(found)).content.decode()

        assert finn.post(settling(found), {"reason": "A test of ours."}).status_code == 302

        found.refresh_from_db()
        assert (found.resolved_why, bool(found.resolved_at)) == ("A test of ours.", True)
        assert list(Discrepancy.objects.unresolved()) == [other]
        entry = AuditEntry.objects.get()
        assert (entry.name, entry.what, entry.customer) == ("finn", "settled a discrepancy", found.event.customer)
        page = finn.get(page_of(found)).content.decode()
        assert "Settled by finn" in page
        assert settling(found) not in page

    def test_is_settled_once(self, finn, found):
        finn.post(settling(found), {"reason": "First."})

        answer = finn.post(settling(found), {"reason": "Second."})

        assert "Already settled: by finn" in answer.content.decode()
        assert AuditEntry.objects.count() == 1

    def test_is_settled_by_nobody_who_may_not_and_by_no_empty_reason(self, viewer, finn, found):
        assert viewer.post(settling(found), {"reason": "so"}).status_code == 403
        finn.post(settling(found), {"reason": " "})

        found.refresh_from_db()
        assert found.resolved_at is None


class TestTheListOfDiscrepancies:
    @pytest.mark.parametrize(
        ("resolved_by", "state"),
        [("", "waits for a person"), ("staff:1", "settled by staff"), ("reconciliation", "gone")],
    )
    def test_says_how_each_stands(self, viewer, found, resolved_by, state):
        if resolved_by:
            Discrepancy.objects.update(resolved_at=database_now(), resolved_by=resolved_by, resolved_why="So.")

        page = viewer.get(reverse("admin:payments_discrepancy_changelist")).content.decode()

        assert f">{state}</span>" in page


def test_what_a_field_means_is_text_and_no_tag(viewer, found):
    assert "staff:&lt;id&gt;, or reconciliation." in viewer.get(page_of(found)).content.decode()
