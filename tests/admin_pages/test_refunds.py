"""Staff give payments back: they read what will happen, give a reason, and see how it stands."""

import re

import pytest
from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from config.confirmation import SIGNED_IN_AT
from config.database import database_now
from entitlements.models import AuditEntry
from payments.models import Hold, PaymentEvent, PaymentMethod, Refund
from payments.money import Money
from payments.recording import record_payment, record_refund
from payments.refunding import request_refund
from tests.admin_pages.conftest import staff_with
from tests.factories import InvoiceFactory, PlanFactory
from tests.payments.reports import payment_of, refund_of
from tests.payments.test_tallies import NO_TIME, paid

pytestmark = pytest.mark.django_db

SEES = ("payments.view_paymentevent", "payments.view_refund", "payments.view_hold")


@pytest.fixture
def finn(db) -> Client:
    """Staff who may give payments back."""
    return staff_with("finn", *SEES, "payments.request_refund")


@pytest.fixture
def viewer(db) -> Client:
    return staff_with("vera", *SEES)


@pytest.fixture
def payment(invoice) -> PaymentEvent:
    return record_payment(payment_of(invoice)).event


@pytest.fixture
def held(invoice, bob) -> PaymentEvent:
    """Bob has paid Alice's invoice."""
    return record_payment(payment_of(invoice, payer=bob.telegram_user_id)).event


def refunding(payment) -> str:
    return reverse("admin:payments_paymentevent_refund", args=[payment.pk])


def page_of(row) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def asked(**changed) -> dict[str, str]:
    return {"do": "refund", "reason": "Bought by mistake."} | changed


class TestAPaymentsPage:
    def test_offers_a_refund_to_whoever_may_give_it_back(self, finn, viewer, payment):
        assert refunding(payment) in finn.get(page_of(payment)).content.decode()
        assert refunding(payment) not in viewer.get(page_of(payment)).content.decode()

    def test_says_why_it_cannot_be_given_back(self, finn, payment, invoice):
        record_refund(refund_of(invoice))

        page = finn.get(page_of(payment)).content.decode()

        assert refunding(payment) not in page
        assert "It was given back on" in page

    def test_of_a_refund_offers_none(self, finn, payment, invoice):
        refund = record_refund(refund_of(invoice)).event

        assert 'id="refund"' not in finn.get(page_of(refund)).content.decode()

    def test_tells_who_asked_for_a_refund(self, finn, payment):
        finn.post(refunding(payment), asked())

        told = {entry.what: entry.detail for entry in finn.get(page_of(payment)).context["story"]}

        assert told["Refund asked for"] == "By finn: Bought by mistake."


class TestAHoldsPage:
    def test_offers_a_refund_until_it_is_resolved(self, finn, viewer, held):
        hold = Hold.objects.get()
        assert refunding(held) in finn.get(page_of(hold)).content.decode()
        assert refunding(held) not in viewer.get(page_of(hold)).content.decode()

        record_refund(refund_of(held.invoice or hold.event.invoice, payer=held.customer.telegram_user_id))

        assert refunding(held) not in finn.get(page_of(hold)).content.decode()

    def test_for_its_decision_offers_it_too(self, dana, held):
        page = dana.get(reverse("admin:payments_hold_decide", args=[Hold.objects.get().pk])).content.decode()

        assert refunding(held) in page


class TestTheRefundPage:
    def test_says_who_paid_what_and_what_is_taken_back(self, finn, payment):
        page = finn.get(refunding(payment)).content.decode()

        for words in ("500 ⭐", str(payment.customer), payment.event_id, "Access to gold ends now."):
            assert words in page
        assert not Refund.objects.exists()

    def test_asks_for_the_refund_and_leads_to_how_it_stands(self, finn, payment):
        answer = finn.post(refunding(payment), asked())

        refund = Refund.objects.get()
        assert (answer.status_code, answer["Location"]) == (302, page_of(refund))
        assert refund.requested_by == f"staff:{User.objects.get(username='finn').pk}"
        assert AuditEntry.objects.get().reason == "Bought by mistake."
        page = finn.get(page_of(refund)).content.decode()
        assert "500 ⭐: asked for, not sent" in page
        assert "Asked for by finn" in page

    def test_says_how_a_refund_stands_that_nobody_confirmed(self, finn, payment):
        finn.post(refunding(payment), asked())
        for status in ("sending", "verify"):
            Refund.objects.update(status=status)

        assert "sent, not confirmed yet" in finn.get(page_of(Refund.objects.get())).content.decode()

    def test_needs_a_reason(self, finn, payment):
        answer = finn.post(refunding(payment), asked(reason=" "))

        assert (answer.status_code, answer.context["form"].errors.keys()) == (200, {"reason"})
        assert not Refund.objects.exists()

    def test_says_to_the_second_who_was_first(self, finn, dana, payment):
        finn.post(refunding(payment), asked())

        page = dana.post(refunding(payment), asked()).content.decode()

        assert page.count("finn asked for a refund on") == 1
        assert Refund.objects.count() == AuditEntry.objects.count() == 1

    def test_does_nothing_without_its_button(self, finn, payment):
        page = finn.post(refunding(payment), {"reason": "Entered before."})

        assert "Entered before." in page.content.decode()
        assert not Refund.objects.exists()

    def test_is_for_those_with_the_permission(self, viewer, payment):
        assert viewer.get(refunding(payment)).status_code == viewer.post(refunding(payment), asked()).status_code == 403
        assert not Refund.objects.exists()

    def test_is_no_page_of_a_refund_or_of_nothing(self, finn, payment, invoice):
        refund = record_refund(refund_of(invoice)).event

        assert finn.get(refunding(refund)).status_code == 404

    def test_does_nothing_for_another_site(self, finn, payment):
        strict = Client(enforce_csrf_checks=True)
        strict.cookies = finn.cookies

        assert strict.post(refunding(payment), asked()).status_code == 403
        assert not Refund.objects.exists()


class TestAPaymentOfASubscription:
    TICK = 'name="cancel_subscription"'

    @pytest.fixture
    def renewing(self, bob) -> PaymentEvent:
        """Bob pays for gold month by month."""
        plan = PlanFactory(code="gold_monthly", recurring=True, prices=[Money(500, "XTR")])
        return record_payment(payment_of(InvoiceFactory(customer=bob, plan=plan), charge_id="stxBobPays")).event

    @staticmethod
    def tick(page) -> bool:
        """Whether the box is there and ticked."""
        (box,) = re.findall(r"<input[^>]*name=.cancel_subscription.[^>]*>", page.content.decode())
        return re.search(r"\schecked[\s>]", box) is not None

    def test_is_offered_the_cancellation_ticked_with_what_it_does(self, finn, renewing, payment):
        page = finn.get(refunding(renewing))

        assert self.tick(page)
        for words in ("Cancel the subscription too: it renews no more", "Access that other payments have paid for"):
            assert words in page.content.decode()
        assert self.TICK not in finn.get(refunding(payment)).content.decode()

    def test_is_given_back_with_its_subscription_and_says_so(self, finn, renewing):
        answer = finn.post(refunding(renewing), asked(cancel_subscription="on"))

        assert Refund.objects.get().cancel_subscription
        assert "The subscription is to be cancelled too" in finn.get(answer["Location"]).content.decode()

    def test_is_given_back_alone_without_the_tick(self, finn, renewing):
        answer = finn.post(refunding(renewing), asked())

        assert not Refund.objects.get().cancel_subscription
        assert 'id="cancellation"' not in finn.get(answer["Location"]).content.decode()

    def test_keeps_the_tick_as_it_was_where_something_is_missing(self, finn, renewing):
        assert not self.tick(finn.post(refunding(renewing), asked(reason="")))
        assert self.tick(finn.post(refunding(renewing), asked(reason="", cancel_subscription="on")))

    @pytest.mark.parametrize("tick", [{}, {"cancel_subscription": "on"}])
    def test_keeps_the_tick_as_it_was_over_a_confirmation(self, finn, renewing, payment, tick):
        entered = {"reason": "Entered before."} | tick

        assert self.tick(finn.post(refunding(renewing), entered)) == bool(tick)
        assert self.tick(finn.post(SELECTED, {"payments": [str(renewing.pk)]} | entered)) == bool(tick)

    def test_is_not_cancelled_where_there_is_none(self, finn, payment):
        page = finn.post(refunding(payment), asked(cancel_subscription="on")).content.decode()

        assert "It belongs to no subscription" in page
        assert not Refund.objects.exists()

    def test_among_several_is_the_one_that_is_cancelled(self, finn, renewing, payment):
        page = finn.post(LIST, selected(renewing, payment))
        assert self.tick(page)
        assert page.content.decode().count("It paid for a period of a subscription.") == 1
        assert self.TICK not in finn.post(LIST, selected(payment)).content.decode()

        finn.post(SELECTED, several(renewing, payment, cancel_subscription="on"))

        assert {each.payment: each.cancel_subscription for each in Refund.objects.all()} == {
            renewing: True,
            payment: False,
        }

    def test_among_several_is_left_without_the_tick(self, finn, renewing):
        finn.post(SELECTED, several(renewing))

        assert not Refund.objects.get().cancel_subscription

    @pytest.mark.parametrize(
        ("became", "words"),
        [
            ({"cancel_detail": "Not cancelled yet: so."}, ["Not cancelled yet: so.", "Telegram is asked again"]),
            (
                {"cancel_next_attempt_at": None, "cancel_attempts": 1, "subscription_cancelled_at": Now()},
                ["The subscription was cancelled", "it renews no more"],
            ),
            (
                {
                    "cancel_next_attempt_at": None,
                    "cancel_attempts": 1,
                    "cancel_refused_at": Now(),
                    "cancel_refusal": "Charge_id_invalid",
                },
                ["Telegram refused to cancel the subscription", "Charge_id_invalid", "only the customer can stop it"],
            ),
        ],
    )
    def test_tells_what_became_of_it(self, finn, renewing, became, words):
        finn.post(refunding(renewing), asked(cancel_subscription="on"))
        Refund.objects.update(**became)

        page = finn.get(page_of(Refund.objects.get())).content.decode()

        assert [each for each in words if each not in page] == []

    def test_tells_the_second_person_what_is_approved(self, settings, finn, dana, renewing):
        settings.REFUND_APPROVAL_ABOVE = {"XTR": 100}
        finn.post(refunding(renewing), asked(cancel_subscription="on"))
        refund = Refund.objects.get()

        for address in (deciding(refund), page_of(refund)):
            assert "as soon as a second person has approved" in dana.get(address).content.decode()
        dana.post(deciding(refund), {"do": "decline", "reason": "so"})

        assert "is left as it is" in dana.get(page_of(refund)).content.decode()


def deciding(refund) -> str:
    return reverse("admin:payments_refund_decide", args=[refund.pk])


class TestApproving:
    @pytest.fixture
    def refund(self, settings, finn, payment) -> Refund:
        settings.REFUND_APPROVAL_ABOVE = {"XTR": 100}
        finn.post(refunding(payment), asked())
        return Refund.objects.get()

    @pytest.fixture
    def rosa(self, db) -> Client:
        return staff_with("rosa", *SEES, "payments.request_refund")

    def test_is_offered_on_the_refunds_page(self, rosa, viewer, refund):
        page = rosa.get(page_of(refund)).content.decode()

        assert "500 ⭐: waiting for a second person" in page
        assert deciding(refund) in page
        assert deciding(refund) not in viewer.get(page_of(refund)).content.decode()

    def test_is_linked_from_the_payment(self, rosa, refund):
        assert page_of(refund) in rosa.get(page_of(refund.payment)).content.decode()

    def test_says_what_is_taken_back_and_who_asked_why(self, rosa, refund):
        page = rosa.get(deciding(refund)).content.decode()

        for words in ("500 ⭐", "finn asked for it", "Bought by mistake.", "Access to gold ends now."):
            assert words in page

    @pytest.mark.parametrize(("do", "status"), [("approve", "requested"), ("decline", "declined")])
    def test_by_a_second_person_leads_to_how_it_stands(self, rosa, refund, do, status):
        answer = rosa.post(deciding(refund), {"do": do, "reason": "He wrote to us."})

        assert answer["Location"] == page_of(refund)
        refund.refresh_from_db()
        assert refund.status == status
        told = [entry.what for entry in rosa.get(page_of(refund.payment)).context["story"]]
        assert {"approve": "Refund approved", "decline": "Refund declined"}[do] in told

    def test_is_not_offered_to_whoever_asked(self, finn, refund):
        assert 'value="approve"' not in finn.get(deciding(refund)).content.decode()

        page = finn.post(deciding(refund), {"do": "approve", "reason": "so"}).content.decode()

        assert "a second person has to approve it" in page
        refund.refresh_from_db()
        assert refund.status == "proposed"

    @pytest.mark.parametrize("sent", [{}, {"reason": "so"}, {"do": "approve"}, {"do": "whatever", "reason": "so"}])
    def test_does_nothing_without_button_and_reason(self, rosa, refund, sent):
        assert rosa.post(deciding(refund), sent).status_code == rosa.get(deciding(refund), sent).status_code == 200

        refund.refresh_from_db()
        assert refund.status == "proposed"

    def test_is_for_those_with_the_permission(self, viewer, refund):
        assert viewer.get(deciding(refund)).status_code == 403
        assert viewer.post(deciding(refund), {"do": "approve", "reason": "so"}).status_code == 403

    def test_of_what_was_decided_offers_nothing(self, rosa, refund):
        rosa.post(deciding(refund), {"do": "decline", "reason": "so"})

        page = rosa.get(deciding(refund)).content.decode()

        assert "It waits for nobody: it is declined by staff." in page
        assert 'name="do"' not in page


LIST = reverse("admin:payments_paymentevent_changelist")
SELECTED = reverse("admin:payments_paymentevent_refund_selected")


def selected(*payments) -> dict[str, object]:
    """What the list sends when its action is chosen."""
    return {"action": "refund_selected", "index": "0", "_selected_action": [str(payment.pk) for payment in payments]}


def several(*payments, **changed) -> dict[str, object]:
    return {"payments": [str(payment.pk) for payment in payments]} | asked(**changed)


class TestSeveralAtOnce:
    @pytest.fixture
    def two(self, alice, gold) -> list[PaymentEvent]:
        """Alice has paid two months, one after the other."""
        return [
            record_payment(payment_of(InvoiceFactory(customer=alice, when_active="extend"), charge_id=name)).event
            for name in ("stx1", "stx2")
        ]

    def test_are_listed_with_what_is_taken_back_one_after_the_other(self, finn, two):
        page = finn.post(LIST, selected(*two))

        taken_back = [preview.taken_back for preview in page.context["possible"]]
        assert [sentences[0].split(" ends ")[1][:3] == "now" for sentences in taken_back] == [False, True]
        assert not Refund.objects.exists()

    def test_become_an_intent_each(self, finn, two):
        answer = finn.post(SELECTED, several(*two))

        assert {refund.payment for refund in Refund.objects.all()} == set(two)
        assert AuditEntry.objects.filter(reason="Bought by mistake.").count() == 2
        for refund in Refund.objects.all():
            assert page_of(refund) in answer.content.decode()

    def test_leave_out_what_cannot_be_and_say_why(self, finn, two):
        finn.post(refunding(two[0]), asked())

        page = finn.post(LIST, selected(*two))
        assert [preview.payment for preview in page.context["possible"]] == two[1:]
        assert "finn asked for a refund on" in page.content.decode()

        answer = finn.post(SELECTED, several(*two)).content.decode()
        assert "Not asked for: finn asked for a refund on" in answer
        assert Refund.objects.count() == 2

    def test_leave_out_refunds(self, finn, two, invoice):
        refund = record_refund(refund_of(two[0].invoice, charge_id="stx1")).event

        page = finn.post(LIST, selected(refund, two[0]))

        assert [preview.why_not[:9] for preview in page.context["impossible"]] == ["This is a", "It was gi"]
        assert 'name="do"' not in page.content.decode()

    def test_are_twenty_at_most(self, finn, alice, gold):
        many = [paid(alice, gold, ago=NO_TIME) for _ in range(21)]

        for answer in (finn.post(LIST, selected(*many), follow=True), finn.post(SELECTED, several(*many), follow=True)):
            assert "Choose at most 20 payments at once." in answer.content.decode()
        assert not Refund.objects.exists()

        finn.post(SELECTED, several(*many[1:]))
        assert Refund.objects.count() == 20

    def test_need_a_reason_and_the_button(self, finn, two):
        for sent in (several(*two, reason=" "), {"payments": [str(two[0].pk)], "reason": "so"}):
            assert 'id="decision"' in finn.post(SELECTED, sent).content.decode()

        assert not Refund.objects.exists()

    def test_are_not_asked_for_by_looking(self, finn, two):
        for address in (LIST, SELECTED):
            finn.get(address, {**selected(*two), **several(*two)})

        assert not Refund.objects.exists()

    @pytest.mark.parametrize("payments", [[], ["x"], ["00000000-0000-0000-0000-000000000000"]])
    def test_that_are_none_lead_back_to_the_list(self, finn, payments):
        answer = finn.post(SELECTED, {"payments": payments} | asked())

        assert answer["Location"] == LIST

    @pytest.mark.parametrize("key", ["x", "1", "\x00"])
    def test_that_can_be_none_lead_back_to_the_list(self, finn, payment, key):
        sent = selected() | {"_selected_action": [str(payment.pk), key]}

        assert "Choose rows of the list." in finn.post(LIST, sent, follow=True).content.decode()

    def test_are_offered_to_those_with_the_permission(self, finn, viewer, two):
        assert "refund_selected" in finn.get(LIST).content.decode()
        assert "refund_selected" not in viewer.get(LIST).content.decode()

        viewer.post(LIST, selected(*two))
        assert viewer.post(SELECTED, several(*two)).status_code == 403
        assert not Refund.objects.exists()


def recording(payment) -> str:
    return reverse("admin:payments_paymentevent_record_refund", args=[payment.pk])


class TestARefundMadeAtTheProvider:
    @pytest.fixture
    def card(self, alice) -> PaymentEvent:
        by_card = InvoiceFactory(
            customer=alice, payment_method=PaymentMethod.TELEGRAM_PROVIDER, amount=2500, currency="GBP"
        )
        return record_payment(payment_of(by_card)).event

    @staticmethod
    def told(**changed) -> dict[str, str]:
        today = f"{database_now():%Y-%m-%d}"
        return {"do": "record", "reference": "re_1", "refunded_on": today, "reason": "She asked."} | changed

    def test_is_offered_where_it_cannot_be_given_back_from_here(self, finn, card, payment):
        page = finn.get(page_of(card)).content.decode()

        assert "Only Stars" in page
        assert recording(card) in page
        assert recording(payment) not in finn.get(page_of(payment)).content.decode()

    def test_is_recorded_and_shown(self, finn, card):
        assert "Access to gold ends now." in finn.get(recording(card)).content.decode()

        answer = finn.post(recording(card), self.told())

        assert answer["Location"] == page_of(PaymentEvent.objects.refunds().get())
        assert AuditEntry.objects.get().reason == "She asked."

    def test_may_be_of_a_part_as_people_write_it(self, finn, card):
        page = finn.post(recording(card), self.told(amount="10.005")).content.decode()
        assert "This is no amount in GBP." in page
        assert card.left == 2500

        assert finn.post(recording(card), self.told(amount="10.00")).status_code == 302

        assert card.left == 1500
        assert "up to £15.00" in finn.get(recording(card)).content.decode()

    def test_is_recorded_once(self, finn, card):
        finn.post(recording(card), self.told())

        assert "It was given back on" in finn.post(recording(card), self.told()).content.decode()
        assert 'name="do"' not in finn.get(recording(card)).content.decode()

    @pytest.mark.parametrize(
        "wrong", [{"reference": ""}, {"refunded_on": "2020-01-01"}, {"refunded_on": "soon"}, {"reason": ""}]
    )
    def test_needs_reference_day_and_reason(self, finn, card, wrong):
        answer = finn.post(recording(card), self.told(**wrong))

        assert answer.context["form"].errors.keys() == wrong.keys()
        assert not PaymentEvent.objects.refunds().exists()

    def test_is_not_of_stars(self, finn, payment):
        assert "nothing to record" in finn.get(recording(payment)).content.decode()
        assert "the provider alone" in finn.post(recording(payment), self.told()).content.decode()

    def test_is_for_those_with_the_permission(self, viewer, card):
        assert viewer.get(recording(card)).status_code == viewer.post(recording(card), self.told()).status_code == 403


class TestLongAfterTheSignIn:
    def test_every_page_asks_who_it_is(self, finn, payment):
        refund = request_refund(payment_id=payment.pk, reason="so", requested_by="staff:1")
        session = finn.session
        session[SIGNED_IN_AT] -= 11 * 60
        session.save()

        for address in (refunding(payment), recording(payment), deciding(refund), SELECTED):
            assert 'id="confirmation"' in finn.post(address, several(payment)).content.decode()

    def test_the_payments_chosen_are_kept(self, dana, payment):
        session = dana.session
        session[SIGNED_IN_AT] -= 11 * 60
        session.save()

        page = dana.post(SELECTED, several(payment)).content.decode()

        assert f'name="payments" value="{payment.pk}"' in page
