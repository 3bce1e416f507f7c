import re
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from config.bounded import MOST_LISTED
from config.database import database_now
from entitlements.models import Customer
from entitlements.services import grant, revoke
from payments.models import (
    CheckoutDecision,
    EventStatus,
    EventType,
    Hold,
    HoldReason,
    Notice,
    NoticeKind,
    PaymentEvent,
    Resolution,
)
from telegram_bot.models import IncomingUpdate, UpdateStatus
from tests.factories import CustomerFactory, PlanFactory
from tests.payments.test_revenue import given_back
from tests.payments.test_tallies import NO_TIME, paid

LIST = reverse("admin:payments_paymentevent_changelist")
STATUSES = (EventStatus.PROCESSED, EventStatus.PROCESSED, EventStatus.HELD, EventStatus.HELD)
MARKUP = "<img src=x onerror=alert(1)>‮"

pytestmark = pytest.mark.django_db


def listed(staff, **asked) -> list[PaymentEvent]:
    answer = staff.get(LIST, asked)
    assert answer.status_code == 200, answer
    return list(answer.context["cl"].result_list)


def page_of(row) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def queries_of(staff, address: str) -> int:
    with CaptureQueriesContext(connection) as queries:
        assert staff.get(address).status_code == 200
    return len(queries)


class TestTheListOfPayments:
    @pytest.mark.parametrize("typed", ["Alice Liddell", "alice LIDDELL", "@wonder", "WONDER", " wonder "])
    def test_finds_a_payment_by_the_telegram_name_of_its_buyer(self, dana, bob, gold, typed):
        wanted = paid(CustomerFactory(display_name="Alice Liddell", username="Wonder"), gold, ago=NO_TIME)
        paid(bob, gold, ago=NO_TIME)

        assert listed(dana, q=typed) == [wanted]

    def test_does_not_find_it_by_a_part_of_the_name(self, dana, gold):
        paid(CustomerFactory(display_name="Alice Liddell", username="wonder"), gold, ago=NO_TIME)

        assert listed(dana, q="Alice") == listed(dana, q="won") == listed(dana, q="%") == []

    def test_finds_a_payment_by_its_invoice(self, dana, alice, bob, gold, invoice):
        wanted, _ = paid(alice, gold, ago=NO_TIME, invoice=invoice), paid(bob, gold, ago=NO_TIME)

        assert listed(dana, q=str(invoice.pk)) == [wanted]

    def test_finds_names_by_an_index(self, alice):
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")

        assert "Seq Scan" not in Customer.objects.named("alice").explain()

    def test_is_filtered_by_each_quality_of_a_payment(self, dana, alice, gold):
        silver = PlanFactory(code="silver_1m")
        wanted = paid(
            alice, silver, ago=NO_TIME, amount=900, currency="GBP", kind=EventType.PROVIDER_PAYMENT,
            status=EventStatus.HELD, origin="api",
        )  # fmt: skip
        paid(alice, gold, ago=NO_TIME)

        for quality in (
            {"plan__code__exact": "silver_1m"},
            {"currency": "GBP"},
            {"payment_method__exact": "telegram_provider"},
            {"status__exact": "held"},
            {"origin__exact": "api"},
            {"event_type__exact": EventType.PROVIDER_PAYMENT.value},
        ):
            assert listed(dana, **quality) == [wanted], quality

    def test_is_filtered_by_days_both_included(self, dana, alice, gold):
        days = [at(2026, 3, 1), at(2026, 3, 2, 23, 59, 59), at(2026, 3, 3)]
        first, second, third = (paid(alice, gold, ago=database_now() - day) for day in days)

        assert listed(dana, received_at_from="2026-03-01", received_at_to="2026-03-02") == [second, first]
        assert listed(dana, received_at_from="2026-03-03") == [third]

    @pytest.mark.parametrize(
        ("period", "found"), [("2025", 1), ("2026", 3), ("2026-03", 2), ("2026-03-02", 1), ("2024", 0)]
    )
    def test_is_drilled_down_by_year_month_and_day(self, dana, alice, gold, period, found):
        for day in (at(2025, 12, 31, 23, 59, 59), at(2026, 3, 1), at(2026, 3, 2), at(2026, 4, 1)):
            paid(alice, gold, ago=database_now() - day)

        assert len(listed(dana, period=period)) == found

    def test_offers_the_days_between_the_first_payment_and_the_last(self, dana, alice, gold):
        for day in (at(2025, 12, 30), at(2026, 2, 2)):
            paid(alice, gold, ago=database_now() - day)

        assert offered(dana) == ["All", "2025", "2026"]
        assert offered(dana, period="2026") == ["All", "2026", "2026-01", "2026-02"]
        assert offered(dana, period="2025-12") == ["All", "2025", "2025-12", "2025-12-30", "2025-12-31"]

    @pytest.mark.parametrize(
        "asked",
        [
            {"period": "2026-13"},
            {"period": "yesterday"},
            {"period": "1"},
            {"period": "9999"},
            {"received_at_from": "soon"},
            {"received_at_to": "9999-12-31"},
            {"p": "0"},
            {"p": "99999999"},
        ],
    )
    def test_survives_whatever_stands_in_its_address(self, dana, alice, gold, asked):
        paid(alice, gold, ago=NO_TIME)

        assert dana.get(LIST, asked).status_code in {200, 302}

    def test_costs_the_same_for_a_hundred_payments_as_for_ten(self, dana, gold):
        self.buyers(gold, 10)
        ten = queries_of(dana, LIST)
        self.buyers(gold, 90)

        assert queries_of(dana, LIST + "?all=") == queries_of(dana, LIST) == ten

    def test_counts_no_further_than_it_lists(self, dana, alice, gold):
        payment = paid(alice, gold, ago=NO_TIME)
        PaymentEvent.objects.bulk_create(copies(payment, MOST_LISTED))

        with CaptureQueriesContext(connection) as queries:
            answer = dana.get(LIST)

        assert answer.context["cl"].result_count == MOST_LISTED
        assert f"The newest {MOST_LISTED:,} are listed." in answer.content.decode()
        reading = [query["sql"] for query in queries if 'FROM "payments_paymentevent"' in query["sql"]]
        assert all("LIMIT" in sql or 'id" IN (' in sql for sql in reading)

    def test_shows_money_as_people_write_it_and_names_as_text(self, dana, gold):
        mallory = CustomerFactory(display_name=MARKUP)
        paid(mallory, gold, ago=NO_TIME)
        paid(mallory, gold, ago=NO_TIME, amount=2500, currency="GBP", kind=EventType.PROVIDER_PAYMENT)

        page = dana.get(LIST).content.decode()

        assert "500 ⭐" in page
        assert "£25.00" in page
        assert "<img src=x" not in page
        assert "&lt;img src=x" in page

    @staticmethod
    def buyers(gold, count: int) -> None:
        for _ in range(count):
            paid(CustomerFactory(), gold, ago=NO_TIME)

    def test_says_what_became_of_each_payment(self, dana, alice, gold):
        stays, goes, waits, dismissed = (paid(alice, gold, ago=NO_TIME, status=status) for status in STATUSES)
        gone = given_back(goes, database_now())
        Hold.objects.create(event=waits, reason=HoldReason.AMOUNT_MISMATCH)
        Hold.objects.create(
            event=dismissed,
            reason=HoldReason.AMOUNT_MISMATCH,
            resolution="dismissed",
            resolved_at=database_now(),
            resolved_by="staff:1",
            resolved_why="so",
        )
        result = dana.get(LIST).context["cl"]

        shown = {event: re.sub("<.*?>", "", result.model_admin.standing(event)) for event in result.result_list}

        assert shown == {
            stays: "processed",
            goes: "refunded",
            gone: "given back",
            waits: "held",
            dismissed: "dismissed",
        }


class TestThePageOfAPayment:
    def test_tells_its_story_in_order(self, dana, alice, gold, invoice):
        CheckoutDecision.objects.create(query_id="q", invoice=invoice, payer_telegram_id=7, ok=False, reason="expired")
        payment = paid(alice, gold, ago=NO_TIME, invoice=invoice, status=EventStatus.HELD)
        Hold.objects.create(
            event=payment, reason=HoldReason.BOUGHT_TWICE, detail="He had it.", resolution=Resolution.GRANTED,
            resolved_at=database_now(), resolved_by="bot", resolved_why="He insists.",
        )  # fmt: skip
        given = grant(customer=alice, entitlement="gold", source=payment.source, granted_at=database_now())
        revoke(grant=given, reason="He changed his mind.", now=database_now())
        refund = paid(alice, gold, ago=NO_TIME, kind=EventType.STARS_REFUND, refund_of=payment)
        Notice.objects.create(event=payment, kind=NoticeKind.PAYMENT_HELD, given_up_at=database_now(), error="blocked")
        Notice.objects.create(event=refund, kind=NoticeKind.REFUNDED, sent_at=database_now())

        for event in (payment, refund):
            story = dana.get(page_of(event)).context["story"]

            assert [entry.at for entry in story] == sorted(entry.at for entry in story)
            told = " / ".join(f"{entry.what} {entry.detail}" for entry in story)
            for words in (
                "Invoice written",
                "Checkout refused expired",
                "500 ⭐ received and held",
                "Held: the customer had it already He had it.",
                "Hold resolved: access granted By bot. He insists.",
                "Access to gold given for life",
                "Access to gold taken back He changed his mind.",
                "500 ⭐ given back",
                "given up blocked",
                "“payment given back” sent",
            ):
                assert words in told

    @pytest.mark.parametrize("held_up_for", [NO_TIME, timedelta(hours=5)])
    def test_finds_the_update_that_brought_it_and_no_other(self, dana, alice, gold, held_up_for):
        sent_at = database_now() - timedelta(hours=6)
        payment = paid(alice, gold, ago=timedelta(hours=6) - held_up_for, occurred_at=sent_at)
        brought = update(1, payment.event_id, sent_at)
        for number, charge_id, received_at in (
            (2, "another charge", sent_at),
            (3, payment.event_id, sent_at - timedelta(hours=1)),
        ):
            update(number, charge_id, received_at)

        story = dana.get(page_of(payment)).context["story"]

        assert [entry.row for entry in story if isinstance(entry.row, IncomingUpdate)] == [brought]

    def test_shows_what_it_is_told_as_text(self, dana, gold):
        payment = paid(CustomerFactory(display_name=MARKUP), gold, ago=NO_TIME, reference=MARKUP)
        Hold.objects.create(event=payment, reason=HoldReason.UNKNOWN_PAYLOAD, detail=MARKUP)

        page = dana.get(page_of(payment)).content.decode()

        assert "<img src=x" not in page
        assert page.count("&lt;img src=x") >= 3

    def test_costs_the_same_whatever_happened(self, dana, alice, gold, invoice):
        payment = paid(alice, gold, ago=NO_TIME, invoice=invoice)
        before = queries_of(dana, page_of(payment))
        for number in range(10):
            CheckoutDecision.objects.create(query_id=str(number), invoice=invoice, payer_telegram_id=7, ok=True)
            update(number, payment.event_id, payment.received_at)

        assert queries_of(dana, page_of(payment)) == before


class TestThePageOfACustomer:
    def test_says_what_he_has_why_and_what_he_paid(self, dana, alice, gold):
        payment = paid(alice, gold, ago=NO_TIME)
        grant(customer=alice, entitlement="gold", source=payment.source, granted_at=payment.occurred_at)

        page = dana.get(page_of(alice))

        assert page.context["access"]["gold"].active
        assert f"granted by {payment.source}: for life" in page.content.decode()
        assert [entry.row for entry in page.context["history"]] == [payment]
        assert dana.get(page.context["all_payments"]).context["cl"].result_list[0] == payment

    def test_shows_his_name_as_text(self, dana):
        page = dana.get(page_of(CustomerFactory(display_name=MARKUP, username=MARKUP))).content.decode()

        assert "<img src=x" not in page


def at(*moment: int) -> datetime:
    return datetime(*moment, tzinfo=UTC)


def offered(staff, **asked) -> list[str]:
    changelist = staff.get(LIST, asked).context["cl"]
    drill_down = next(each for each in changelist.filter_specs if each.title == "period")
    return [choice["display"] for choice in drill_down.choices(changelist)]


def update(number: int, charge_id: str, received_at: datetime) -> IncomingUpdate:
    body = b'{"charge": "%s"}' % charge_id.encode()
    return IncomingUpdate.objects.create(
        bot_id=1, update_id=number, digest=number.to_bytes(32, "big"), kind="message", body=body,
        status=UpdateStatus.DONE, received_at=received_at,
    )  # fmt: skip


def copies(payment: PaymentEvent, count: int) -> list[PaymentEvent]:
    facts = {name: getattr(payment, name) for name in (
        "event_type", "payment_method", "customer", "plan", "amount", "currency", "status", "origin", "occurred_at",
        "received_at",
    )}  # fmt: skip
    return [PaymentEvent(event_id=f"copy {number}", **facts) for number in range(count)]
