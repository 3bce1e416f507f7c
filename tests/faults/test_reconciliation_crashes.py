"""T02: the process dies at every boundary of a reconciliation, another follows, and the books are right."""

import pytest

from config.database import database_now
from payments.models import Discrepancy, Notice, PaymentEvent, ReconciliationRun, RunOutcome
from payments.reconciling import reconcile
from tests.books import faults_in_the_books
from tests.factories import InvoiceFactory, PlanFactory
from tests.faults.crashing import boundaries, die_at

# The local Telegram lives in a thread of this process, and no lock of Python's is held by it for long.
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def short_overlap(monkeypatch):
    """Rows of the rounds before cost little; nothing else is replaced."""
    monkeypatch.setattr("payments.mirror.OVERLAP", 2)


def run() -> ReconciliationRun:
    return reconcile(asked_by="command")


def come_back() -> ReconciliationRun:
    """What a worker does some time after one has died."""
    ReconciliationRun.objects.filter(outcome=RunOutcome.RUNNING).update(lease_until=database_now())
    return run()


class Round:
    """A payment and a refund that nobody told us of, and two sides that disagree about the amount of a third."""

    def __init__(self, telegram) -> None:
        plan = PlanFactory()
        self.missing = telegram.charges(InvoiceFactory(plan=plan))
        self.refunded = telegram.sells(InvoiceFactory(plan=plan))
        telegram.refunds_by_itself(self.refunded)
        self.differing = telegram.sells(InvoiceFactory(plan=plan)).event_id
        telegram.is_listed_as(self.differing, amount=499)

    def faults(self) -> list[str]:
        """What is wrong after another run."""
        payment = PaymentEvent.objects.filter(event_id=self.missing)
        refund = PaymentEvent.objects.filter(refund_of=self.refunded)
        found = {
            "payments": payment.count(),
            "refunds": refund.count(),
            "told of the payment": Notice.objects.filter(event__in=payment).count(),
            "told of the refund": Notice.objects.filter(event__in=refund).count(),
            "discrepancies": Discrepancy.objects.unresolved().filter(transaction_id=self.differing).count(),
        }
        return [f"{count} {what}" for what, count in found.items() if count != 1]


def test_dying_at_any_boundary_is_made_good_by_the_next_run(telegram):
    first = Round(telegram)
    total = boundaries(run)
    assert first.faults() == []

    for boundary in range(total):
        books = Round(telegram)
        die_at(boundary, run)

        come_back()

        assert books.faults() == [], boundary
    assert faults_in_the_books() == []
