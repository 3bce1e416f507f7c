"""Staff decide about held payments: once, with a reason, and only those who may."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.core.exceptions import PermissionDenied
from django.db import close_old_connections
from django.test import Client
from django.urls import reverse

from config.database import database_now
from entitlements import audit
from entitlements.models import AuditEntry, Entitlement, Grant
from payments.holds import AlreadyResolved, BeingRefunded, NothingToGrant, dismiss_hold, grant_held
from payments.models import EventStatus, Hold, HoldReason, Notice, NoticeKind, PaymentEvent, PaymentMethod
from payments.money import Money
from payments.recording import hold_unreadable, record_payment, record_refund
from tests.factories import InvoiceFactory, PlanFactory
from tests.payments.reports import payment_of, refund_of
from tests.staff import signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def dana():
    """Staff who may decide about held payments, and nothing else."""
    staff = User.objects.create_user("dana", password="dana", is_staff=True)
    staff.user_permissions.add(*Permission.objects.filter(codename__in=["resolve_hold", "view_hold"]))
    return staff


@pytest.fixture
def eve():
    """An auditor: she sees, and decides nothing."""
    staff = User.objects.create_user("eve", is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="view_hold"))
    return staff


@pytest.fixture
def held(invoice) -> Hold:
    """Alice paid one Star too many."""
    record_payment(payment_of(invoice, money=Money(501, "XTR")))
    return Hold.objects.get()


@pytest.fixture
def card(invoice):
    """The same, quoted for a card."""
    return InvoiceFactory(
        customer=invoice.customer,
        plan=invoice.plan,
        payment_method=PaymentMethod.TELEGRAM_PROVIDER,
        amount=2500,
        currency="GBP",
    )


@pytest.fixture
def nameless(invoice) -> Hold:
    """Alice paid for something, but nobody knows for what."""
    record_payment(payment_of(invoice, payload="never ours"))
    return Hold.objects.get()


class TestGranting:
    def test_gives_what_the_invoice_quoted_from_now_on(self, held, invoice, dana):
        before = database_now()

        grant_held(hold=held, staff=dana, why="one Star too many is fine")

        given = Grant.objects.get()
        assert (given.customer, given.entitlement, given.plan_code) == (invoice.customer, "gold", "gold_1m")
        assert before <= given.granted_at <= database_now()
        assert Entitlement.objects.get().active_until == given.granted_at + timedelta(days=30)

    def test_keeps_who_decided_when_and_why(self, held, dana):
        grant_held(hold=held, staff=dana, why="  one Star too many is fine ")

        held.refresh_from_db()
        assert (held.resolution, held.resolved_by) == ("granted", f"staff:{dana.pk}")
        assert held.resolved_why == "one Star too many is fine"
        assert held.resolved_at <= database_now()

    def test_tells_the_buyer_and_withdraws_what_was_not_said_yet(self, held, dana):
        grant_held(hold=held, staff=dana, why="fine")

        assert [notice.kind for notice in Notice.objects.owed()] == [NoticeKind.PAYMENT_CONFIRMED]

    def test_leaves_the_ledger_as_it_was(self, held, dana):
        grant_held(hold=held, staff=dana, why="fine")

        assert PaymentEvent.objects.get().status == EventStatus.HELD

    def test_of_a_second_purchase_by_card_extends_the_first(self, invoice, card, dana):
        record_payment(payment_of(invoice))
        record_payment(payment_of(card, charge_id="cardAgain"))
        first_end = Entitlement.objects.get().active_until

        grant_held(hold=Hold.objects.get(reason=HoldReason.BOUGHT_TWICE), staff=dana, why="she wants two months")

        assert Entitlement.objects.get().active_until == first_end + timedelta(days=30)

    def test_of_a_payment_that_names_no_plan_takes_the_one_staff_name(self, nameless, dana):
        with pytest.raises(NothingToGrant, match="Choose the plan"):
            grant_held(hold=nameless, staff=dana, why="it was silver")

        grant_held(hold=nameless, plan=PlanFactory(code="silver_3m", entitlement="silver"), staff=dana, why="silver")

        assert Grant.objects.get().entitlement == "silver"

    def test_is_taken_back_by_a_refund_like_any_other_grant(self, held, invoice, dana):
        grant_held(hold=held, staff=dana, why="fine")

        record_refund(refund_of(invoice, money=Money(501, "XTR")))

        assert Grant.objects.get().revoked_at is not None

    def test_is_refused_for_what_is_no_payment(self, dana):
        unreadable = hold_unreadable(evidence=b"{", detail="no JSON")

        with pytest.raises(NothingToGrant):
            grant_held(hold=unreadable, staff=dana, why="why not")


def test_dismissing_gives_nothing_and_is_remembered(held, dana):
    dismiss_hold(hold=held, staff=dana, why="a test of ours")

    held.refresh_from_db()
    assert (held.resolution, held.resolved_why) == ("dismissed", "a test of ours")
    assert not Grant.objects.exists()


@pytest.mark.parametrize("decide", [grant_held, dismiss_hold])
class TestADecision:
    def test_is_made_once_and_the_second_learns_who_was_first(self, held, dana, decide):
        dismiss_hold(hold=held, staff=dana, why="a test of ours")

        with pytest.raises(AlreadyResolved, match=rf"dismissed by staff:{dana.pk} .*: a test of ours"):
            decide(hold=held, staff=dana, why="no, wait")

        assert not Grant.objects.exists()

    def test_after_a_refund_comes_too_late(self, held, invoice, dana, decide):
        record_refund(refund_of(invoice, money=Money(501, "XTR")))

        with pytest.raises(AlreadyResolved, match="refunded"):
            decide(hold=held, staff=dana, why="fine")

    def test_waits_for_a_refund_that_is_under_way(self, invoice, dana, decide):
        record_payment(payment_of(invoice))
        record_payment(payment_of(invoice, charge_id="stxAgain"))

        with pytest.raises(BeingRefunded):
            decide(hold=Hold.objects.get(reason=HoldReason.BOUGHT_TWICE), staff=dana, why="she wants two months")

    def test_is_kept_with_who_why_and_what_came_of_it(self, held, dana, decide):
        decide(hold=held, staff=dana, why=" fine ")

        entry = AuditEntry.objects.get()
        held.refresh_from_db()
        assert (entry.staff, entry.name, entry.reason) == (f"staff:{dana.pk}", "dana", "fine")
        assert (entry.subject_type, entry.subject_id) == ("payments.hold", str(held.pk))
        assert entry.after == {"resolution": held.resolution}
        assert entry.customer == held.event.customer

    def test_needs_a_reason(self, held, dana, decide):
        with pytest.raises(audit.ReasonMissing):
            decide(hold=held, staff=dana, why=" \n")

    def test_needs_the_permission(self, held, eve, decide):
        with pytest.raises(PermissionDenied):
            decide(hold=held, staff=eve, why="fine")


@pytest.mark.django_db(transaction=True)
def test_of_many_who_decide_at_once_one_is_first(held, dana):
    def decide(number):
        try:
            (grant_held if number % 2 else dismiss_hold)(hold=Hold.objects.get(), staff=dana, why=str(number))
        except AlreadyResolved:
            return False
        finally:
            close_old_connections()
        return True

    with ThreadPoolExecutor(10) as threads:
        won = list(threads.map(decide, range(10)))

    assert sum(won) == 1
    held.refresh_from_db()
    assert held.resolved_why == str(won.index(True))
    assert Grant.objects.count() == (held.resolution == "granted")


class TestThePage:
    @pytest.fixture
    def browser(self, dana) -> Client:
        return signed_in(dana)

    @pytest.fixture
    def address(self, held) -> str:
        return reverse("admin:payments_hold_decide", args=[held.pk])

    def test_shows_what_was_quoted_beside_what_came(self, browser, address):
        page = browser.get(address).content.decode()

        assert "500 ⭐" in page
        assert "501 ⭐" in page
        assert "the amount is not the invoice&#x27;s" in page

    def test_changes_nothing_when_it_is_only_looked_at(self, browser, address, held):
        browser.get(address, {"decision": "grant", "why": "by a link"})

        held.refresh_from_db()
        assert held.resolution == ""

    def test_grants_and_says_so(self, browser, address):
        page = browser.post(address, {"decision": "grant", "why": "fine"}, follow=True)

        assert "Decided: access granted." in page.content.decode()
        assert Grant.objects.count() == 1

    def test_says_what_is_missing(self, browser, address, held):
        page = browser.post(address, {"decision": "grant", "why": " "})

        assert "This field is required." in page.content.decode()
        held.refresh_from_db()
        assert held.resolution == ""

    def test_says_who_was_first(self, browser, address, held, dana):
        dismiss_hold(hold=held, staff=dana, why="a test of ours")

        page = browser.post(address, {"decision": "grant", "why": "fine"}).content.decode()

        assert f"dismissed by staff:{dana.pk}" in page
        assert "<textarea" not in page

    def test_asks_for_the_plan_when_the_payment_names_none(self, browser, nameless):
        address = reverse("admin:payments_hold_decide", args=[nameless.pk])
        plan = PlanFactory(code="silver_3m", entitlement="silver")

        assert "Choose the plan" in browser.post(address, {"decision": "grant", "why": "?"}).content.decode()
        browser.post(address, {"decision": "grant", "why": "it was silver", "plan": plan.pk})

        assert Grant.objects.get().entitlement == "silver"

    def test_shows_what_could_not_be_recorded(self, browser):
        unreadable = Hold.objects.create(
            reason=HoldReason.UNREADABLE, evidence=b'{"total_amount": "<b>"}', evidence_digest=b"d" * 32
        )

        page = browser.get(reverse("admin:payments_hold_decide", args=[unreadable.pk])).content.decode()

        assert "<code>{&quot;total_amount&quot;: &quot;&lt;b&gt;&quot;}</code>" in page

    def test_is_closed_to_those_who_only_look(self, address, eve):
        browser = signed_in(eve)

        assert browser.get(address).status_code == 403
        assert browser.post(address, {"decision": "grant", "why": "fine"}).status_code == 403

    def test_takes_no_form_from_elsewhere(self, dana, address):
        browser = signed_in(dana, enforce_csrf_checks=True)

        assert browser.post(address, {"decision": "grant", "why": "fine"}).status_code == 403

    def test_is_offered_until_it_is_decided(self, browser, held, address, dana):
        change = reverse("admin:payments_hold_change", args=[held.pk])

        page = browser.get(change).content.decode()
        assert "It waits for a person's decision." in page
        assert address in page
        dismiss_hold(hold=held, staff=dana, why="a test of ours")
        assert address not in browser.get(change).content.decode()
