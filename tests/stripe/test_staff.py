"""What staff see and decide of Stripe: events given up, disputes, refunds in parts."""

import re

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.urls import reverse

from entitlements.models import AuditEntry
from payments.dead_letters import NothingToDecide
from payments.models import PaymentEvent, Refund, StripeEvent
from payments.stripe import inbox
from tests.staff import signed_in
from tests.stripe.shop import quoted

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("set_up_without_stripe")]


@pytest.fixture
def dana(db) -> User:
    return User.objects.create_superuser("dana")


@pytest.fixture
def payment() -> PaymentEvent:
    """£25 that was paid by Stripe."""
    from payments.recording import record_payment
    from tests.payments.reports import payment_of

    return record_payment(payment_of(quoted(), charge_id="pi_1")).event


def event(status="dead", kind="invoice.paid") -> StripeEvent:
    return StripeEvent.objects.create(
        event_id=f"evt_{status}_{kind}", kind=kind, about="in_1", body=b"{}", status=status
    )


class TestAnEventGivenUp:
    def test_is_replayed_with_a_reason_and_one_audit_entry(self, dana):
        stored = event()

        answer = decide(dana, stored, do="replay", reason="The key is right now.")

        assert answer.status_code == 302
        stored.refresh_from_db()
        assert (stored.status, stored.attempts) == ("pending", 0)
        entry = AuditEntry.objects.get()
        assert (entry.what, entry.reason) == ("replayed an event of Stripe", "The key is right now.")

    def test_about_money_cannot_be_dismissed(self, dana):
        stored = event()

        answer = decide(dana, stored, do="dismiss", reason="I do not care.")

        assert "cannot be dismissed" in answer.content.decode()
        stored.refresh_from_db()
        assert stored.status == "dead"
        assert not AuditEntry.objects.exists()

    def test_that_cannot_be_understood_is_dismissed(self, dana):
        stored = event("quarantined", "unreadable")

        decide(dana, stored, do="dismiss", reason="A trial.")

        stored.refresh_from_db()
        assert stored.status == "dismissed"

    def test_is_decided_about_once(self, dana):
        stored = event()
        inbox.replay(event=stored, staff=dana, reason="Again.")

        with pytest.raises(NothingToDecide, match=r"dana replayed an event of Stripe at .* UTC: Again"):
            inbox.replay(event=stored, staff=dana, reason="Again.")

    def test_is_not_for_everybody_to_decide(self):
        with pytest.raises(PermissionDenied):
            inbox.replay(event=event(), staff=User.objects.create_user("eve", is_staff=True), reason="Why not.")

    def test_is_listed_with_as_much_of_its_error_as_a_row_has_room_for(self, dana):
        StripeEvent.objects.filter(pk=event().pk).update(error="Too long. " * 20)

        page = signed_in(dana).get(reverse("admin:payments_stripeevent_changelist")).content.decode()

        assert "Too long. Too" in page
        assert "Too long. " * 10 not in page

    def test_is_shown_with_the_way_to_decide(self, dana):
        page = signed_in(dana).get(reverse("admin:payments_stripeevent_change", args=[event().pk]))

        assert "Replay or dismiss…" in page.content.decode()


def decide(staff, stored, **entered):
    return signed_in(staff).post(reverse("admin:payments_stripeevent_decide", args=[stored.pk]), entered)


class TestTheFirstPage:
    def test_says_what_waits_of_stripe(self, dana):
        event()

        page = signed_in(dana).get(reverse("admin:index")).content.decode()

        assert {"Open disputes", "Events of Stripe given up", "Events of Stripe"} <= words_of(page)

    def test_has_nothing_of_stripe_without_its_key(self, dana, settings):
        settings.STRIPE_SECRET_KEY = ""

        page = signed_in(dana).get(reverse("admin:index")).content.decode()

        assert "Stripe" not in page
        assert "isputes" not in page


def words_of(page: str) -> set[str]:
    return {text.strip() for text in re.findall(r">([^<>]+)<", page)}


class TestARefundInParts:
    def ask(self, dana, payment, **entered):
        address = reverse("admin:payments_paymentevent_refund", args=[payment.pk])
        return signed_in(dana).post(address, {"do": "refund", "reason": "Half a month.", **entered})

    def test_is_asked_for_in_the_currency_as_people_write_it(self, dana, payment):
        self.ask(dana, payment, amount="12.50")

        assert Refund.objects.get().amount == 1250

    def test_is_all_that_is_left_where_no_amount_is_entered(self, dana, payment):
        self.ask(dana, payment)

        assert Refund.objects.get().amount == 2500

    @pytest.mark.parametrize("amount", ["0", "-1", "12.505", "25.01", "much"])
    def test_of_no_amount_or_too_much_is_refused(self, dana, payment, amount):
        answer = self.ask(dana, payment, amount=amount)

        assert answer.status_code == 200
        assert not Refund.objects.exists()

    def test_says_how_much_is_left(self, dana, payment):
        page = signed_in(dana).get(reverse("admin:payments_paymentevent_refund", args=[payment.pk]))

        assert "Up to £25.00 goes back" in page.content.decode()
