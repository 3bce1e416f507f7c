"""The revenue page: its numbers are the ledger's, and each leads to the rows that it is made of."""

import random
import re
from datetime import UTC, date, datetime, time, timedelta
from html import unescape

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from config import charts
from config.database import database_now
from config.staff import Role, enrol
from entitlements.counting import count_access
from entitlements.models import AccessCount, Customer, Entitlement
from entitlements.selectors import entitlements_of
from entitlements.services import grant, revoke
from payments import dashboard
from payments.dashboard import Days, Range
from payments.models import EventType, PaymentEvent, Price, ProviderRecord, Resolution
from payments.models.ledger import DISPUTES
from payments.money import sum_in_words
from payments.revenue import Group, Revenue, fold_revenue
from payments.revenue_pages import change, rate, rows_address
from tests.admin_pages.conftest import staff_with
from tests.factories import CustomerFactory, PlanFactory
from tests.payments.test_recurring import subscribed
from tests.payments.test_revenue import CARD, STARS, STRIPE, by_hand, cost, given_back, held, paid, renews
from tests.staff import signed_in

pytestmark = pytest.mark.django_db

PAGE, FIRST_PAGE = reverse("admin:payments_revenue"), reverse("admin:index")
NOVEMBER = Days(date(2025, 11, 1), date(2025, 11, 30))
ASKED = {"first": "2025-11-01", "last": "2025-11-30"}


def at(day: date, hour: int = 12) -> datetime:
    return datetime.combine(day, time(hour), UTC)


def told(staff, **asked):
    answer = staff.get(PAGE, asked)
    assert answer.status_code == 200
    return answer.context


def tiles_of(context, currency: str) -> dict[str, tuple[str, str, str]]:
    (part,) = [part for part in context["money"] if part["currency"] == currency]
    return {tile.what: (tile.value, tile.before, tile.change) for tile in part["tiles"]}


def rows_at(staff, address: str) -> list[PaymentEvent]:
    """All pages of the list at this address."""
    rows: list[PaymentEvent] = []
    for number in range(1, 100):
        changes = staff.get(f"{address}&p={number}").context["cl"]
        rows += changes.result_list
        if number >= changes.paginator.num_pages:
            return rows
    raise AssertionError(address)


def summed(rows) -> tuple[int, int, int, int]:
    """Gross, refunded, payments, refunds."""
    payments = [row.amount for row in rows if row.refund_of_id is None and row.cost_of_id is None]
    refunds = [row.amount for row in rows if row.refund_of_id is not None]
    return sum(payments), sum(refunds), len(payments), len(refunds)


@pytest.fixture
def history(alice, bob, gold):
    """Two months of everything that can happen, some of it folded, with the same seed each time."""
    dice = random.Random(7)
    plans = [gold, PlanFactory(code="silver", entitlement="silver"), None]
    for _ in range(120):
        day = NOVEMBER.before().first + timedelta(days=dice.randrange(62))
        method, currency = dice.choice([(STARS, "XTR"), (CARD, "GBP"), (CARD, "JPY")])
        facts = {"amount": dice.randrange(1, 10_000), "currency": currency, "method": method}
        moment = at(day, dice.randrange(24))
        customer, plan = dice.choice([alice, bob]), dice.choice(plans)
        if dice.random() < 0.3:
            resolution = dice.choice(["", *Resolution.values])
            payment = held(paid(customer, plan, moment, status="held", **facts), resolution, moment + timedelta(days=1))
        else:
            payment = paid(customer, plan, moment, **facts)
        if dice.random() < 0.3:
            given_back(payment, moment + timedelta(days=dice.randrange(1, 20)))
    fold_revenue()
    paid(alice, gold, at(NOVEMBER.last), received_at=database_now())  # in the tail


class TestTheDays:
    @pytest.mark.parametrize(
        ("range_", "today", "days", "before"),
        [
            (Range.LAST_7_DAYS, "2026-03-03", ("2026-02-25", "2026-03-03"), ("2026-02-18", "2026-02-24")),
            (Range.LAST_30_DAYS, "2026-03-31", ("2026-03-02", "2026-03-31"), ("2026-01-31", "2026-03-01")),
            (Range.LAST_90_DAYS, "2024-03-31", ("2024-01-02", "2024-03-31"), ("2023-10-04", "2024-01-01")),
            (Range.THIS_MONTH, "2026-03-31", ("2026-03-01", "2026-03-31"), ("2026-01-29", "2026-02-28")),
            (Range.THIS_MONTH, "2026-03-01", ("2026-03-01", "2026-03-01"), ("2026-02-28", "2026-02-28")),
            (Range.LAST_MONTH, "2024-03-31", ("2024-02-01", "2024-02-29"), ("2024-01-03", "2024-01-31")),
            (Range.LAST_MONTH, "2026-01-01", ("2025-12-01", "2025-12-31"), ("2025-10-31", "2025-11-30")),
            (Range.THIS_YEAR, "2024-12-31", ("2024-01-01", "2024-12-31"), ("2022-12-31", "2023-12-31")),
        ],
    )
    def test_are_compared_with_as_many_before_them(self, range_, today, days, before):
        chosen = range_.days(date.fromisoformat(today))

        assert (chosen.first.isoformat(), chosen.last.isoformat()) == days
        assert (chosen.before().first.isoformat(), chosen.before().last.isoformat()) == before
        assert chosen.before().length == chosen.length

    def test_of_a_long_time_are_told_by_month_and_each_is_in_one(self):
        months = Days(date(2025, 1, 31), date(2026, 2, 1)).months()

        assert [month.first.isoformat() for month in months[:3]] == ["2025-01-31", "2025-02-01", "2025-03-01"]
        assert sum(month.length for month in months) == 367
        assert (months[-1].first, months[-1].last) == (date(2026, 2, 1), date(2026, 2, 1))

    def test_are_the_last_thirty_where_none_are_asked_for(self, dana):
        today = database_now().date()

        for asked in ({}, {"range": "yesterday"}):
            assert told(dana, **asked)["days"] == Days(today - timedelta(days=29), today)

    @pytest.mark.parametrize(
        ("first", "last", "says"),
        [
            ("2025-11-02", "2025-11-01", "Swap them"),
            ("2025-11-01", "9999-12-31", "up to today"),
            ("1999-12-31", "2000-01-01", "after 1999"),
            ("2010-01-01", "2025-01-01", "ten years"),
            ("nonsense", "2025-01-01", "valid date"),
            ("2025-01-01", "", "required"),
            ("2025-02-30", "2025-03-01", "valid date"),
        ],
    )
    def test_that_make_no_sense_are_refused_in_words(self, dana, first, last, says):
        answer = dana.get(PAGE, {"first": first, "last": last})

        assert answer.status_code == 200
        assert says in unescape(answer.content.decode())


class TestTheNumbers:
    def test_are_those_of_the_ledger_for_each_currency(self, dana, history):
        context = told(dana, **ASKED)

        for days, place in ((NOVEMBER, 0), (NOVEMBER.before(), 1)):
            for row in by_hand(first_day=days.first, last_day=days.last):
                currency = row.by[Group.CURRENCY]
                shown = tiles_of(context, currency)
                assert shown["Gross"][place] == sum_in_words(row.gross, currency)
                assert shown["Refunded"][place] == sum_in_words(row.refunded, currency)
                assert shown["Net"][place] == sum_in_words(row.net, currency)
                assert shown["Payments"][place] == str(row.payments)
                assert shown["Refund rate"][place] == rate(row)
        assert {part["currency"] for part in context["money"]} == {"XTR", "GBP", "JPY"}

    def test_never_add_two_currencies(self, dana, alice, gold):
        paid(alice, gold, at(NOVEMBER.first), amount=500)
        paid(alice, gold, at(NOVEMBER.first), amount=2500, currency="GBP", method=CARD)

        context = told(dana, **ASKED)

        assert [tiles_of(context, currency)["Gross"][0] for currency in ("XTR", "GBP")] == ["500 ⭐", "£25.00"]
        assert "3,000" not in dana.get(PAGE, ASKED).content.decode()

    def test_of_days_and_of_plans_add_up_to_those_of_the_whole(self, history):
        for part in dashboard.money(staff=User.objects.create_superuser("rae"), days=NOVEMBER):
            for name in ("gross", "refunded", "payments", "refunds"):
                whole = getattr(part.now, name)
                assert sum(getattr(row, name) for row in part.by_plan) == whole
                assert sum(getattr(row, name) for _, row in part.over_time) == whole
            assert len(part.over_time) == 30

    def test_of_months_add_up_as_well(self, history):
        staff = User.objects.create_superuser("rae")
        for part in dashboard.money(staff=staff, days=Days(date(2025, 10, 15), date(2026, 5, 3))):
            assert len(part.over_time) == 8
            assert sum(row.gross for _, row in part.over_time) == part.now.gross > 0

    def test_change_in_percent_of_what_was_before(self):
        assert [change(now, 200) for now in (300, 200, 150, 0)] == ["+50 %", "±0 %", "−25 %", "−100 %"]
        assert change(5, 0) == change(5, -5) == ""

    def test_say_that_nothing_was_paid(self, dana):
        assert "Nothing was paid" in dana.get(PAGE, ASKED).content.decode()

    def test_take_as_many_queries_for_a_thousand_payments_as_for_ten(self, dana, alice, gold):
        def queries() -> int:
            with CaptureQueriesContext(connection) as captured:
                dana.get(PAGE, ASKED)
            return len(captured)

        for _ in range(10):
            paid(alice, gold, at(NOVEMBER.first))
        few = queries()
        for number in range(990):
            paid(alice, gold, at(NOVEMBER.first + timedelta(days=number % 30)))
        fold_revenue()

        assert queries() == few


class TestALink:
    def test_leads_to_rows_that_add_up_to_its_number(self, dana, history):
        context = told(dana, **ASKED)
        rows = {(row.by[Group.CURRENCY]): row for row in by_hand(first_day=NOVEMBER.first, last_day=NOVEMBER.last)}

        for part in context["money"]:
            row, addresses = rows[part["currency"]], {tile.what: tile.address for tile in part["tiles"]}
            figures = (row.gross, row.refunded, row.payments, row.refunds)
            assert summed(rows_at(dana, addresses["Net"])) == figures
            assert summed(rows_at(dana, addresses["Gross"])) == (row.gross, 0, row.payments, 0)
            assert summed(rows_at(dana, addresses["Refunded"])) == (0, row.refunded, 0, row.refunds)

    def test_of_the_days_before_leads_to_theirs(self, dana, history):
        before = NOVEMBER.before()
        rows = {row.by[Group.CURRENCY]: row for row in by_hand(first_day=before.first, last_day=before.last)}

        for part in told(dana, **ASKED)["money"]:
            row, (net,) = rows[part["currency"]], [tile for tile in part["tiles"] if tile.what == "Net"]
            assert summed(rows_at(dana, net.address_before))[:2] == (row.gross, row.refunded)

    def test_of_a_day_and_of_a_plan_leads_to_theirs(self, dana, history):
        staff = User.objects.get(username="dana")
        for part in dashboard.money(staff=staff, days=NOVEMBER):
            for day, row in part.over_time[-3:]:
                rows = rows_at(dana, rows_address(day, currency=part.currency))
                assert summed(rows) == (row.gross, row.refunded, row.payments, row.refunds)
            for row in part.by_plan:
                address = rows_address(NOVEMBER, currency=part.currency, plan_code=row.by[Group.PLAN_CODE])
                assert summed(rows_at(dana, address)) == (row.gross, row.refunded, row.payments, row.refunds)

    def test_works_for_a_currency_that_the_catalogue_has_no_more(self, dana, alice, gold):
        wanted = paid(alice, gold, at(NOVEMBER.first), currency="CHF", method=CARD)
        paid(alice, gold, at(NOVEMBER.first))
        Price.objects.all().delete()

        assert rows_at(dana, rows_address(NOVEMBER, currency="CHF")) == [wanted]

    @pytest.mark.parametrize("kind", ["", "payments", "refunds"])
    def test_is_followed_by_an_index_and_reads_no_table_whole(self, rf, history, kind):
        page = admin.site.get_model_admin(PaymentEvent)
        request = rf.get(rows_address(NOVEMBER, currency="XTR", kind=kind, plan_code="gold_1m"))
        request.user = User.objects.create_superuser("rae")
        rows = page.get_changelist_instance(request).queryset[:50]
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_bitmapscan = off")

        plan = rows.explain()
        assert re.search("Index Scan( Backward)? using (payment|refund)_event_by_day", plan), plan
        assert "Seq Scan on payments_paymentevent" not in plan
        assert "payment_event_once" not in plan
        assert "hashed" not in plan


class TestFeesAndDisputes:
    @pytest.fixture
    def sale(self, alice, gold) -> PaymentEvent:
        """£25 by Stripe, of which a bank took £10 and brought £4 back."""
        payment = paid(alice, gold, at(NOVEMBER.first), amount=2500, currency="GBP", method=STRIPE)
        ProviderRecord.objects.create(event=payment, body=b"{}")
        cost(payment, EventType.STRIPE_FEE, 103, at(NOVEMBER.first))
        cost(payment, EventType.STRIPE_DISPUTED, 1000, at(NOVEMBER.last))
        cost(payment, EventType.STRIPE_REINSTATED, 400, at(NOVEMBER.last))
        return payment

    def test_are_told_with_what_is_left(self, dana, sale):
        told_ = tiles_of(told(dana, **ASKED), "GBP")

        assert {what: told_[what][0] for what in ("Net", "Disputed", "Fees", "Proceeds")} == {
            "Net": "£25.00",
            "Disputed": "£6.00",
            "Fees": "£1.03",
            "Proceeds": "£17.97",
        }

    def test_are_told_nothing_of_where_there_are_none(self, dana, alice, gold):
        paid(alice, gold, at(NOVEMBER.first))

        assert "Proceeds" not in dana.get(PAGE, ASKED).content.decode()

    @pytest.mark.parametrize(
        ("tile", "kinds"),
        [
            ("Net", {EventType.STRIPE_PAYMENT}),
            ("Disputed", {EventType.STRIPE_DISPUTED, EventType.STRIPE_REINSTATED}),
            ("Fees", {EventType.STRIPE_FEE}),
            ("Proceeds", {EventType.STRIPE_PAYMENT, EventType.STRIPE_FEE, *DISPUTES}),
        ],
    )
    def test_lead_to_their_rows(self, dana, sale, tile, kinds):
        [part] = told(dana, **ASKED)["money"]
        [address] = [each.address for each in part["tiles"] if each.what == tile]

        assert {row.event_type for row in rows_at(dana, address)} == kinds

    def test_have_pages_that_tell_of_their_payment_and_offer_no_refund(self, dana, sale):
        fee = sale.costs.get(event_type=EventType.STRIPE_FEE)
        page = dana.get(reverse("admin:payments_paymentevent_change", args=[fee.pk])).content.decode()

        assert "taken back by the bank" in page
        assert "Refund…" not in page

    @pytest.mark.parametrize("kind", ["fees", "disputes"])
    def test_are_found_by_their_own_index(self, rf, sale, kind):
        page = admin.site.get_model_admin(PaymentEvent)
        request = rf.get(rows_address(NOVEMBER, currency="GBP", kind=kind))
        request.user = User.objects.create_superuser("rae")
        rows = page.get_changelist_instance(request).queryset[:50]
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_bitmapscan = off")

        assert "cost_event_by_day" in rows.explain()


class TestSubscriptions:
    @pytest.fixture
    def members(self) -> None:
        """In November one was there and stayed, one went, two came, and one of them renewed."""
        before = NOVEMBER.before().first
        subscribed(at(before))
        subscribed(at(before), ended=at(NOVEMBER.last))
        subscribed(at(NOVEMBER.first), amount=700)
        subscribed(at(NOVEMBER.last))
        subscribed(at(NOVEMBER.last), amount=900, currency="GBP")
        subscribed(at(NOVEMBER.last + timedelta(days=1)))

    def test_are_told_by_currency_and_compared_with_the_days_before(self, dana, members):
        sections = dict(told(dana, **ASKED)["subscriptions"])

        assert list(sections) == ["Telegram Stars", "GBP"]
        assert {tile.what: (tile.value, tile.before, tile.change) for tile in sections["Telegram Stars"]} == {
            "MRR": ("1,700 ⭐", "1,000 ⭐", "+70 %"),
            "Active subscriptions": ("3", "2", "+50 %"),
            "New": ("2", "2", "±0 %"),
            "Ended": ("1", "0", ""),
            "Churn rate": ("50.0 %", "–", ""),
            "Renewal rate": ("0.0 %", "–", ""),
        }

    @pytest.mark.parametrize(("what", "rows"), [("MRR", 3), ("Active subscriptions", 3), ("New", 2), ("Ended", 1)])
    def test_lead_to_their_rows(self, dana, members, what, rows):
        tiles = {tile.what: tile for tile in dict(told(dana, **ASKED)["subscriptions"])["Telegram Stars"]}

        listed = rows_at(dana, tiles[what].address)

        assert len(listed) == rows
        assert {each.currency for each in listed} == {"XTR"}
        if what == "MRR":
            assert sum(each.amount for each in listed) == 1700

    def test_lead_to_the_renewals(self, dana, alice, gold):
        payment = paid(alice, gold, at(NOVEMBER.first), period_ends_at=at(NOVEMBER.last))
        renews(payment)
        paid(alice, gold, at(NOVEMBER.first))

        tiles = {tile.what: tile for tile in dict(told(dana, **ASKED)["subscriptions"])["Telegram Stars"]}

        assert tiles["Renewal rate"].value == "100.0 %"
        assert rows_at(dana, tiles["Renewal rate"].address) == [payment]

    def test_are_not_told_of_where_there_are_none(self, dana):
        assert 'id="subscriptions"' not in dana.get(PAGE, ASKED).content.decode()

    def test_take_as_many_queries_for_a_hundred_as_for_one(self, dana, alice):
        def queries() -> int:
            with CaptureQueriesContext(connection) as captured:
                dana.get(PAGE, ASKED)
            return len(captured)

        subscribed(at(NOVEMBER.first), customer=alice)
        few = queries()
        for _ in range(99):
            subscribed(at(NOVEMBER.first), customer=alice)

        assert queries() == few


class TestCustomers:
    def test_are_new_on_the_day_they_are_first_met_and_active_when_they_pay(self, dana, alice, bob, gold):
        Customer.objects.filter(pk=alice.pk).update(created_at=at(NOVEMBER.last, 23))
        Customer.objects.filter(pk=bob.pk).update(created_at=at(NOVEMBER.first) - timedelta(days=1))
        for _ in range(3):
            paid(bob, gold, at(NOVEMBER.first))
        held(paid(alice, gold, at(NOVEMBER.first), status="held"))

        shown = {tile.what: tile for tile in told(dana, **ASKED)["customers"]}

        assert {what: (tile.value, tile.before) for what, tile in shown.items()} == {
            "New customers": ("1", "1"),
            "Active customers": ("1", "0"),
        }
        assert list(dana.get(shown["New customers"].address).context["cl"].result_list) == [alice]
        assert {row.customer for row in rows_at(dana, shown["Active customers"].address)} == {bob}

    def test_are_estimated_where_there_are_too_many_to_count(self, dana, gold, monkeypatch):
        monkeypatch.setattr(dashboard, "MOST_COUNTED", 150)
        customers = Customer.objects.bulk_create(
            Customer(user_id=str(number), telegram_user_id=number, created_at=at(NOVEMBER.first))
            for number in range(1, 401)
        )
        for customer in customers:
            paid(customer, gold, at(NOVEMBER.first))

        shown = {tile.what: tile.value for tile in told(dana, **ASKED)["customers"]}

        assert shown == {"New customers": "≈ 400", "Active customers": "≈ 400"}

    @pytest.mark.parametrize(
        ("question", "sample", "index"),
        [
            (dashboard.NEW, "", "customer_by_day"),
            (dashboard.NEW, dashboard.SAMPLE_OF_NEW, "customer_sampled_by_day"),
            (dashboard.PAYING, "", "payment_event_by_day"),
            (dashboard.PAYING, dashboard.SAMPLE_OF_PAYING, "payer_sampled_by_day"),
        ],
    )
    def test_are_counted_by_an_index(self, question, sample, index):
        first, after = NOVEMBER.moments()
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute(f"EXPLAIN {question.format(sampled=sample, most=10)}", {"first": first, "after": after})
            plan = "\n".join(line for (line,) in cursor.fetchall())

        assert index in plan


class TestActiveAccess:
    def test_is_counted_by_the_plan_that_reaches_furthest(self, dana):
        dice = random.Random(3)
        now = database_now()
        for _ in range(60):
            customer = CustomerFactory()
            for number in range(dice.randrange(1, 5)):
                end = dice.choice(
                    [{"duration": timedelta(days=dice.randrange(1, 60))}] * 3
                    + [{"ends_at": now + timedelta(days=dice.randrange(-20, 90))}, {}]
                )
                given = grant(
                    customer=customer,
                    entitlement="gold",
                    source=f"staff:{customer.pk}:{number}",
                    granted_at=now - timedelta(days=dice.randrange(60)),
                    plan_code=dice.choice(["gold_1m", "gold_1y", ""]),
                    **end,
                )
                if dice.random() < 0.3:
                    revoke(grant=given, reason="so", now=now)

        count_access()

        expected: dict[str, int] = {}
        for customer in Customer.objects.all():
            for had in entitlements_of(customer):
                if had.access.active_at(database_now()):
                    plan_code = had.leading().plan_code
                    expected[plan_code] = expected.get(plan_code, 0) + 1
        assert dict(AccessCount.objects.values_list("plan_code", "customers")) == expected
        for row, _, address in told(dana)["access"]:
            assert dana.get(address).context["cl"].paginator.count == row.customers

    def test_is_counted_anew_each_time(self, alice):
        for _ in range(2):
            grant(customer=alice, entitlement="gold", source="staff:1", granted_at=database_now())
            count_access()

        assert AccessCount.objects.get().customers == Entitlement.objects.count() == 1


class TestTheChart:
    def test_has_words_and_a_table_for_those_who_cannot_see_it(self, dana, alice, gold):
        given_back(paid(alice, gold, at(NOVEMBER.first)), at(NOVEMBER.last))
        page = dana.get(PAGE, ASKED).content.decode()

        assert 'role="img" aria-label="Gross and refunded XTR by day"' in page
        assert "<title>1 Nov 2025: 500 ⭐ gross, 0 ⭐ refunded</title>" in page
        assert "<title>30 Nov 2025: 0 ⭐ gross, 500 ⭐ refunded</title>" in page
        assert page.count('<th scope="row">30 Nov 2025</th>') == 1

    def test_draws_each_to_one_scale_and_nothing_outside(self):
        drawing = charts.columns("t", [charts.Column(300, 0, "a", "#"), charts.Column(0, 100, "b", "#")])

        rects = re.findall(r'class="(up|down)" x="\d+" y="(\d+)" width="\d+" height="(\d+)"', drawing)
        assert rects == [("up", "0", "750"), ("down", "750", "0"), ("up", "750", "0"), ("down", "750", "250")]

    def test_of_nothing_is_a_line(self):
        assert 'height="4"' in charts.columns("t", [charts.Column(0, 0, "a", "#")])

    def test_takes_the_name_of_a_plan_for_words(self, dana, alice):
        plan = PlanFactory(code="odd", title="<script>alert(1)</script>", entitlement="odd")
        paid(alice, plan, at(NOVEMBER.first))

        assert "<script>alert" not in dana.get(PAGE, ASKED).content.decode()


class TestWhoMaySeeIt:
    @pytest.mark.parametrize(("role", "status"), [(Role.SUPPORT, 403), (Role.FINANCE, 200), (Role.ADMIN, 200)])
    def test_is_decided_by_the_role(self, role, status):
        staff = signed_in(enrol(name="sam", role=role).user)

        assert staff.get(PAGE).status_code == status
        assert ("Revenue" in staff.get(FIRST_PAGE).content.decode()) == (status == 200)

    def test_is_decided_by_the_service_as_well(self):
        nobody = User.objects.create_user("sam", is_staff=True)

        for ask in (dashboard.money, dashboard.summary, dashboard.subscriptions, dashboard.customers):
            with pytest.raises(PermissionDenied):
                ask(staff=nobody, days=NOVEMBER)
        with pytest.raises(PermissionDenied):
            dashboard.access_by_plan(staff=nobody)

    def test_needs_the_permission_for_revenue_and_not_that_for_payments(self):
        assert staff_with("sam", "payments.view_paymentevent").get(PAGE).status_code == 403
        assert staff_with("rae", "payments.view_revenue").get(PAGE).status_code == 200


class TestTheFirstPage:
    def test_sums_up_the_last_thirty_days(self, dana, alice, gold):
        now = database_now()
        paid(alice, gold, now)
        paid(alice, gold, now - timedelta(days=30))

        page = dana.get(FIRST_PAGE).content.decode()

        assert "Revenue</a> of the last 30 days" in page
        assert "500 ⭐" in page
        assert "±0 %" in page

    def test_reads_a_negative_net_as_such(self):
        assert sum_in_words(Revenue({}, 0, 2500, 0, 1).net, "GBP") == "-£25.00"
        assert sum_in_words(-1_250_000, "XTR") == "-1,250,000 ⭐"
