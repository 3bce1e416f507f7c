from datetime import timedelta
from urllib.parse import parse_qs

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from config.database import database_now
from entitlements.models import AuditEntry, Customer
from payments import dashboard
from payments.models import EventStatus, EventType, Hold, HoldReason, Notice, NoticeKind, PaymentEvent
from tests.admin_pages.test_exports import exported
from tests.admin_pages.test_history import copies
from tests.factories import CustomerFactory, PlanFactory
from tests.payments.test_tallies import paid

LIST = reverse("admin:payments_paymentevent_changelist")
LOOKED_THROUGH = 3

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    """As if the books were many times as large."""
    monkeypatch.setattr("config.bounded.MOST_READ", LOOKED_THROUGH)


@pytest.fixture
def silver():
    return PlanFactory(code="silver_1m")


@pytest.fixture
def rare(alice, gold, silver) -> PaymentEvent:
    """A payment of a plan that hardly anybody buys, with many newer payments of another."""
    payment = paid(alice, silver, ago=timedelta(hours=20))
    for hours in range(10):
        paid(alice, gold, ago=timedelta(hours=hours))
    return payment


def listed(staff, address: str = LIST, **asked: str):
    answer = staff.get(address, asked)
    assert answer.status_code == 200, answer
    return answer.context["cl"]


def plan_of(rows) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_bitmapscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
    return str(rows.explain())


class TestAFilterThatNoIndexServes:
    def test_looks_through_the_newest_rows_and_goes_on_when_asked(self, dana, rare):
        page, steps = listed(dana, plan__code__exact="silver_1m"), 0

        while not page.result_list and page.further_back:
            page, steps = listed(dana, LIST + page.further_back), steps + 1

        assert list(page.result_list) == [rare]
        assert (steps, page.further_back) == (2, "")

    def test_goes_on_without_a_gap_or_a_repetition(self, dana, alice, gold):
        payments = [paid(alice, gold, ago=timedelta(hours=hours)) for hours in range(9)]
        payments += PaymentEvent.objects.bulk_create(copies(payments[1], 2 * LOOKED_THROUGH))

        page = listed(dana, origin__exact="webhook")
        seen = list(page.result_list)
        while page.further_back:
            page = listed(dana, LIST + page.further_back)
            seen += page.result_list

        assert len(seen) == len(payments)
        assert set(seen) == set(payments)

    def test_reads_no_row_behind_them(self, dana, rare):
        with CaptureQueriesContext(connection) as queries:
            listed(dana, plan__code__exact="silver_1m")

        reading = [query["sql"] for query in queries if 'FROM "payments_paymentevent"' in query["sql"]]
        looking = [sql for sql in reading if '"plan_id" = ' in sql]
        assert looking
        assert all('"received_at" >= ' in sql and "LIMIT" in sql for sql in looking)

    def test_says_how_far_it_looked_and_offers_to_look_further(self, dana, rare):
        page = dana.get(LIST, {"plan__code__exact": "silver_1m"}).content.decode()

        assert f"{LOOKED_THROUGH} payment events were looked through, back to" in page
        assert "Look further back" in page
        assert "Look further back" not in dana.get(LIST).content.decode()

    def test_begins_at_the_last_of_the_days_that_are_asked_for(self, dana, alice, gold, silver):
        long_ago = paid(alice, silver, ago=timedelta(days=40))
        for hours in range(2 * LOOKED_THROUGH):
            paid(alice, gold, ago=timedelta(hours=hours))

        page = listed(dana, received_at_to=f"{long_ago.received_at:%Y-%m-%d}", plan__code__exact="silver_1m")

        assert (list(page.result_list), page.further_back) == ([long_ago], "")

    def test_looks_through_more_where_an_index_has_the_plan_beside_the_day(self, dana, rare, monkeypatch):
        monkeypatch.setattr("config.bounded.MOST_READ_IN_INDEX", 3 * LOOKED_THROUGH)
        days = {"occurred_at_from": f"{rare.occurred_at:%Y-%m-%d}", "plan__code__exact": "gold_1m"}

        by_index = listed(dana, **days, currency="XTR")
        by_row = listed(dana, **days, origin__exact="webhook")

        assert (by_index.most_read, by_row.most_read) == (f"{3 * LOOKED_THROUGH}", f"{LOOKED_THROUGH}")
        assert len(by_index.result_list) > len(by_row.result_list)

    def test_begins_anew_with_another_filter_and_stays_where_it_is_on_another_page(self, dana, rare):
        first = listed(dana, plan__code__exact="silver_1m")
        page = listed(dana, LIST + first.further_back)

        assert "before" not in parse_qs(page.get_query_string({"currency": "XTR"}).removeprefix("?"))
        assert "before" in parse_qs(page.get_query_string({"p": 2}).removeprefix("?"))

    @pytest.mark.parametrize("before", ["", "soon", "2026-11-21", "2026-11-21T12:00:00", "2026-99-99T00:00:00+00:00"])
    def test_survives_whatever_stands_in_its_address(self, dana, rare, before):
        assert dana.get(LIST, {"before": before, "origin__exact": "api"}).status_code in {200, 302}

    def test_does_not_bound_an_export(self, dana, rare):
        export = reverse("admin:payments_paymentevent_export")

        rows = exported(dana, f"{export}?plan__code__exact=silver_1m")

        assert [row["id"] for row in rows] == [str(rare.pk)]


class TestAFilterWithAnIndex:
    def test_finds_a_held_payment_however_many_are_newer(self, dana, alice, gold):
        held = paid(alice, gold, ago=timedelta(hours=20), status=EventStatus.HELD)
        self.newer(alice, gold)

        assert list(listed(dana, status__exact="held").result_list) == [held]
        rows = PaymentEvent.objects.filter(status=EventStatus.HELD).order_by("-received_at")
        assert "held_event_by_receipt" in plan_of(rows)

    def test_finds_a_refund_however_many_payments_are_newer(self, dana, alice, gold):
        payment = paid(alice, gold, ago=timedelta(hours=30))
        refund = paid(alice, gold, ago=timedelta(hours=20), kind=EventType.STARS_REFUND, refund_of=payment)
        self.newer(alice, gold)

        page = listed(dana, kind="refunds")

        assert list(page.result_list) == [refund]
        assert "refund_event_by_day" in plan_of(page.whole.order_by("-occurred_at"))

    def test_finds_the_payments_of_a_customer_however_many_are_newer(self, dana, alice, bob, gold):
        his = paid(bob, gold, ago=timedelta(hours=20))
        self.newer(alice, gold)

        assert list(listed(dana, customer__id__exact=str(bob.pk)).result_list) == [his]

    def test_finds_a_blocked_customer_however_many_are_newer(self, dana):
        blocked = CustomerFactory(blocked_at=database_now())
        CustomerFactory.create_batch(2 * LOOKED_THROUGH)

        page = listed(dana, reverse("admin:entitlements_customer_changelist"), blocked_at__isempty="0")

        assert list(page.result_list) == [blocked]
        assert "customer_blocked" in plan_of(Customer.objects.filter(blocked_at__isnull=False).order_by("-pk"))

    def test_finds_the_messages_that_are_owed_and_those_given_up_however_many_were_sent_since(self, dana, alice, gold):
        now = database_now()
        owed = self.notice(alice, gold)
        given_up = self.notice(alice, gold, given_up_at=now)
        sent = {self.notice(alice, gold, sent_at=now) for _ in range(2 * LOOKED_THROUGH)}
        where = reverse("admin:payments_notice_changelist")

        assert list(listed(dana, where, state="owed").result_list) == [owed]
        assert list(listed(dana, where, state="given_up").result_list) == [given_up]
        assert set(listed(dana, where, state="sent").result_list) == sent
        rows = Notice.objects.filter(given_up_at__isnull=False).order_by("-pk")
        assert "notice_given_up" in plan_of(rows)

    def test_finds_a_hold_that_waits_however_many_were_resolved_since(self, dana, alice, gold):
        waiting = self.hold(alice, gold)
        for _ in range(2 * LOOKED_THROUGH):
            self.hold(alice, gold, resolution="granted", resolved_at=database_now(), resolved_by="staff:1")

        page = listed(dana, reverse("admin:payments_hold_changelist"), resolved_at__isempty="1")

        assert list(page.result_list) == [waiting]
        assert "hold_unresolved" in plan_of(page.whole.order_by("-held_at"))

    def test_finds_the_deeds_of_a_day(self, dana):
        rows = AuditEntry.objects.filter(at__gte=database_now()).order_by("-at")

        assert "audit_by_day" in plan_of(rows)

    @staticmethod
    def newer(customer, plan) -> None:
        for hours in range(2 * LOOKED_THROUGH):
            paid(customer, plan, ago=timedelta(hours=hours))

    @staticmethod
    def notice(customer, plan, **facts) -> Notice:
        payment = paid(customer, plan, ago=timedelta())
        return Notice.objects.create(event=payment, kind=NoticeKind.PAYMENT_CONFIRMED, **facts)

    @staticmethod
    def hold(customer, plan, **facts) -> Hold:
        payment = paid(customer, plan, ago=timedelta(), status=EventStatus.HELD)
        return Hold.objects.create(event=payment, reason=HoldReason.BOUGHT_TWICE, **facts)


class TestASearch:
    def test_finds_the_newest_of_those_who_share_a_name(self, dana, gold, monkeypatch):
        monkeypatch.setattr("entitlements.models.MOST_NAMED", 2)
        customers = [CustomerFactory(display_name="Kim") for _ in range(3)]
        payments = [paid(customer, gold, ago=timedelta()) for customer in customers]

        assert set(listed(dana, q="Kim").result_list) == set(payments[1:])
        people = listed(dana, reverse("admin:entitlements_customer_changelist"), q="Kim")
        assert list(people.result_list) == [customers[2], customers[1]]

    @pytest.mark.parametrize("name", ["payments_paymentevent", "entitlements_customer"])
    def test_says_that_it_does_not_look_for_all_of_them(self, dana, name):
        where, words = reverse(f"admin:{name}_changelist"), "the newest 1,000 are looked for"

        assert words in dana.get(where, {"q": "Kim"}).content.decode()
        assert words not in dana.get(where).content.decode()

    def test_looks_through_all_rows_whatever_else_is_asked_for(self, dana, rare):
        assert list(listed(dana, q=str(rare.pk), origin__exact="webhook").result_list) == [rare]


class TestCountingPayers:
    def test_reads_their_sample_in_its_index_alone(self):
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_bitmapscan = off")
            days = {"first": database_now(), "after": database_now()}
            cursor.execute(f"EXPLAIN {dashboard.PAYING.format(sampled=dashboard.SAMPLE_OF_PAYING)}", days)
            plan = "\n".join(line for (line,) in cursor.fetchall())

        assert "Index Only Scan using payer_sampled_by_day" in plan


class TestAnAddressThatIsUnclear:
    @pytest.mark.parametrize(
        "asked",
        ["currency=GBP&currency=", "q=nobody&q=", "kind=refund", "kind=refunds&kind=payments", "q=%00", "currency=%00"],
    )
    def test_is_sent_to_the_whole_list_and_exports_nothing(self, dana, asked):
        payments = reverse("admin:payments_paymentevent_changelist")
        export = reverse("admin:payments_paymentevent_export")

        assert dana.get(f"{payments}?{asked}").status_code == 302
        assert dana.post(f"{export}?{asked}", {"reason": "So."}).status_code == 302
        assert not AuditEntry.objects.exists()
