"""Lists as CSV: the rows of the list, harmless in a spreadsheet, read in pages, and kept in the audit."""

import csv
import io
import re
import tracemalloc
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from config import exports
from config.database import database_now
from config.exports import ExportedList, begin_export, cell
from config.staff import Role, enrol
from entitlements.audit import ReasonMissing
from entitlements.models import AuditEntry, Customer, Entitlement, Grant
from entitlements.services import grant
from payments.models import EventType, Hold, HoldReason, Invoice, PaymentEvent, Refund, Subscription
from payments.revenue import fold_revenue
from payments.revenue_pages import rows_address
from tests.admin_pages.conftest import staff_with
from tests.admin_pages.test_revenue import ASKED, NOVEMBER, at, rows_at
from tests.factories import CustomerFactory, InvoiceFactory
from tests.payments.test_revenue import CARD, STRIPE, cost, given_back, held, paid
from tests.staff import signed_in

pytestmark = pytest.mark.django_db

EXPORTED = [Customer, Entitlement, Grant, AuditEntry, PaymentEvent, Refund, Hold, Invoice, Subscription]
REVENUE = reverse("admin:payments_revenue_export")


def address(model, page: str = "export") -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}")


def asked(model, **filters: str) -> str:
    return f"{address(model)}?" + "&".join(f"{name}={value}" for name, value in filters.items())


def exported(staff, where: str, reason="For the accountant.") -> list[dict[str, str]]:
    answer = staff.post(where, {"reason": reason})
    assert answer.streaming, answer.content.decode()
    return list(csv.DictReader(io.StringIO(answer.getvalue().decode(), newline="")))


def subscribed(customer, plan) -> Subscription:
    now, charge = database_now(), f"stx-{customer.pk}"
    return Subscription.objects.create(
        customer=customer, plan=plan, payment_method="telegram_stars", amount=500, currency="XTR", reference=charge,
        first_charge_id=charge, state_changed_at=now, started_at=now, current_period_end=now, grace_ends_at=now,
    )  # fmt: skip


@pytest.fixture
def one_of_each(alice, gold, invoice):
    payment = held(paid(alice, gold, database_now(), status="held"))
    Refund.objects.create(payment=payment, reason="asked", requested_by="staff:1")
    grant(customer=alice, entitlement="gold", source="staff:1", granted_at=database_now(), duration=timedelta(days=30))
    Hold.objects.create(evidence=b"\xff", evidence_digest=b"d" * 32, reason=HoldReason.UNREADABLE)
    subscribed(alice, gold)


class TestEveryListOfTheBooks:
    def test_is_one_that_can_be_exported(self):
        pages = {model for model, page in admin.site._registry.items() if isinstance(page, ExportedList)}

        assert pages == set(EXPORTED)

    @pytest.mark.parametrize("model", EXPORTED, ids=lambda model: model.__name__)
    def test_is_exported_whole_with_every_column_filled_where_it_can_be(self, dana, one_of_each, model):
        rows = exported(dana, address(model))

        assert [row["id"] for row in rows] == [
            str(pk) for pk in model.objects.order_by("-pk").values_list("pk", flat=True)
        ]
        page = admin.site.get_model_admin(model)
        assert list(rows[0]) == [name.replace(".", "_") for name in page.exported]
        for name in page.exported:
            for part in name.split(".")[:-1]:
                model = model._meta.get_field(part).related_model
            assert hasattr(model, name.rpartition(".")[2]), name
            model = page.model

    @pytest.mark.parametrize("model", EXPORTED, ids=lambda model: model.__name__)
    def test_takes_no_query_for_each_row(self, dana, alice, gold, one_of_each, model):
        with CaptureQueriesContext(connection) as few:
            before = exported(dana, address(model))
        for number in range(5):
            payment = held(paid(CustomerFactory(), gold, database_now(), status="held"))
            InvoiceFactory(customer=payment.customer, plan=gold)
            subscribed(payment.customer, gold)
            Refund.objects.create(payment=payment, reason="asked", requested_by="staff:1")
            grant(customer=payment.customer, entitlement="gold", source=f"staff:1:{number}", granted_at=database_now())
        with CaptureQueriesContext(connection) as many:
            rows = exported(dana, address(model))

        assert len(rows) > len(before)
        assert len(many) == len(few)


class TestAnExport:
    def test_holds_the_rows_of_the_list_with_its_filters(self, dana, alice, bob, gold):
        wanted = [paid(alice, gold, at(NOVEMBER.first), currency="GBP", method=CARD) for _ in range(3)]
        paid(alice, gold, at(NOVEMBER.first))
        paid(bob, gold, at(NOVEMBER.first) - timedelta(days=1), currency="GBP", method=CARD)
        given_back(wanted[0], at(NOVEMBER.last))
        where = rows_address(NOVEMBER, currency="GBP", kind="payments")

        rows = exported(dana, where.replace("?", "export/?"))

        assert {row["id"] for row in rows} == {str(row.pk) for row in rows_at(dana, where)}
        assert {row["id"] for row in rows} == {str(row.pk) for row in wanted}

    def test_holds_what_a_search_finds(self, dana, alice, bob, gold):
        wanted = paid(alice, gold, database_now())
        paid(bob, gold, database_now())

        assert [row["event_id"] for row in exported(dana, asked(PaymentEvent, q=alice.user_id))] == [wanted.event_id]

    def test_says_what_programs_and_people_read(self, dana, alice, gold):
        moment = datetime(2025, 11, 1, 12, 30, 15, tzinfo=timezone(timedelta(hours=9)))
        paid(alice, gold, moment, amount=123456, currency="GBP", method=CARD)

        (row,) = exported(dana, address(PaymentEvent))

        assert (row["amount"], row["currency"], row["money"]) == ("123456", "GBP", "£1,234.56")
        assert row["occurred_at"] == "2025-11-01T03:30:15Z"
        assert row["invoice_id"] == ""

    @pytest.mark.parametrize("rows_at_once", [1, 2, 3, 7, 100])
    def test_goes_through_all_pages_newest_first_and_says_none_twice(
        self, dana, alice, gold, rows_at_once, monkeypatch
    ):
        monkeypatch.setattr(exports, "ROWS_AT_ONCE", rows_at_once)
        moments = [at(NOVEMBER.first, hour) for hour in (1, 2, 2, 2, 3, 3, 4)]  # rows of one moment meet a page's end
        made = [paid(alice, gold, moment) for moment in moments]

        rows = exported(dana, address(PaymentEvent))

        in_order = sorted(made, key=lambda row: (row.received_at, row.pk), reverse=True)
        assert [row["id"] for row in rows] == [str(row.pk) for row in in_order]

    def test_has_a_name_that_says_what_and_when(self, dana):
        answer = dana.post(address(PaymentEvent), {"reason": "so"})

        assert re.fullmatch(
            r'attachment; filename="payments-20\d\d-\d\d-\d\dT\d{6}Z.csv"', answer["Content-Disposition"]
        )
        assert answer["Content-Type"] == "text/csv; charset=utf-8"

    def test_of_ten_thousand_rows_is_read_in_pages_and_takes_the_memory_of_one(self, dana):
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO entitlements_customer"
                " (user_id, user_id_origin, telegram_user_id, display_name, username, language_code)"
                " SELECT n, 'ours', n, repeat('x', 1000), '', 'en' FROM generate_series(1, 10000) AS n"
            )
        answer = dana.post(address(Customer), {"reason": "so"})

        sizes, peaks = [], []
        with CaptureQueriesContext(connection) as queries:
            tracemalloc.start()
            for chunk in answer:
                sizes.append((len(chunk), chunk.count(b"\r\n")))
                peaks.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.reset_peak()
            tracemalloc.stop()

        assert [rows for _, rows in sizes] == [1, *[exports.ROWS_AT_ONCE] * 5]
        assert sum(size for size, _ in sizes) > 10_000_000
        assert peaks[-1] < 1.2 * peaks[2], peaks
        assert len([query for query in queries if "entitlements_customer" in query["sql"]]) == 6
        assert not [query for query in queries if "OFFSET" in query["sql"]]

    def test_finds_each_page_by_an_index(self, alice, gold):
        payment = paid(alice, gold, database_now())
        rows = PaymentEvent.objects.filter(exports._after(payment, "received_at")).order_by("-received_at", "-pk")
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")

        assert "Index Cond: (received_at <=" in rows[:10].explain()


class TestACell:
    @pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", '=HYPERLINK("x")'])
    def test_is_never_a_formula(self, text):
        assert cell(text).startswith("'")

    @pytest.mark.parametrize(
        ("text", "cell_of_it"),
        [("x;=1+1;y", "x;'=1+1;y"), ("x\t+1", "x\t'+1"), ('x; "-1', "x;' \"-1"), ("＝1", "'＝1")],
    )
    def test_is_none_either_where_a_spreadsheet_ends_a_cell_at_another_sign(self, text, cell_of_it):
        assert cell(text) == cell_of_it

    @pytest.mark.parametrize("text", ["Alice", "<script>alert(1)</script>", "\u202ecilA", "a=1", "", "'=1"])
    def test_is_otherwise_what_it_was(self, text):
        assert cell(text) == text

    def test_is_what_programs_read(self):
        assert [cell(value) for value in (None, True, 7, -7, date(2025, 11, 1), timedelta(days=30), {"a": "й"})] == [
            "", "true", 7, -7, "2025-11-01", "P30DT00H00M00S", '{"a": "й"}',
        ]  # fmt: skip

    def test_survives_quotes_commas_and_line_ends(self, dana):
        names = ['Alice "the Great", PhD', "two\r\nlines", "=cmd|' /C calc'!A0", "<b>Bob</b>\u202e", "Кира, 🎉"]
        for name in names:
            CustomerFactory(display_name=name)

        rows = exported(dana, address(Customer))

        assert {row["display_name"] for row in rows} == {*names[:2], f"'{names[2]}", *names[3:]}


class TestTheReason:
    def test_is_kept_with_who_took_what(self, dana, alice):
        exported(dana, asked(Customer, q=alice.user_id, blocked_at__isempty="1"), reason=" For the auditor. ")

        entry = AuditEntry.objects.get()
        assert (entry.name, entry.what, entry.reason) == ("dana", "exported customers", "For the auditor.")
        assert entry.after == {"filters": {"blocked_at__isempty": "1", "q": alice.user_id}}
        assert dana.get(address(AuditEntry, "changelist")).status_code == 200

    def test_is_asked_for_and_looking_at_the_page_takes_nothing(self, dana, alice):
        page = dana.get(asked(Customer, q=alice.user_id))

        assert page.status_code == 200
        assert not page.streaming
        assert alice.user_id in page.content.decode()
        assert not AuditEntry.objects.exists()

    def test_is_not_left_out(self, dana):
        for reason in ("", "  "):
            answer = dana.post(address(Customer), {"reason": reason})
            assert (answer.status_code, answer.streaming) == (200, False)
        assert not AuditEntry.objects.exists()
        with pytest.raises(ReasonMissing):
            begin_export(
                staff=User.objects.get(username="dana"), permission="entitlements.view_customer",
                what="customers", filters={}, reason=" ",
            )  # fmt: skip

    def test_is_sent_with_a_token_against_forgery(self, dana):
        dana.handler.enforce_csrf_checks = True

        assert dana.post(address(Customer), {"reason": "so"}).status_code == 403


class TestWhoMayExport:
    @pytest.mark.parametrize("where", [*map(address, EXPORTED), REVENUE])
    @pytest.mark.parametrize(("role", "may"), [(Role.SUPPORT, False), (Role.FINANCE, True), (Role.ADMIN, True)])
    def test_is_decided_by_the_role(self, where, role, may):
        staff = signed_in(enrol(name="sam", role=role).user)

        assert staff.get(where).status_code == (200 if may else 403)
        answer = staff.post(where, {"reason": "so"})
        assert (answer.status_code, answer.streaming) == ((200, True) if may else (403, False))

    @pytest.mark.parametrize("permissions", [["payments.export"], ["entitlements.view_customer"]])
    def test_needs_the_list_as_well_as_the_export(self, permissions):
        staff = staff_with("sam", *permissions)

        assert staff.get(address(Customer)).status_code == staff.post(address(Customer)).status_code == 403
        with pytest.raises(PermissionDenied):
            begin_export(
                staff=User.objects.get(username="sam"), permission="entitlements.view_customer",
                what="customers", filters={}, reason="so",
            )  # fmt: skip
        assert not AuditEntry.objects.exists()

    def test_is_offered_it_on_the_list_with_its_filters(self, dana, eve):
        where = address(PaymentEvent, "changelist") + "?currency=XTR&q=x"

        assert "export/?currency=XTR&amp;q=x" in dana.get(where).content.decode()
        assert "Export" not in eve.get(where).content.decode()

    def test_is_led_back_to_the_list_from_filters_that_make_no_sense(self, dana, alice, gold):
        paid(alice, gold, database_now())

        for answer in (dana.get(asked(PaymentEvent, period="x")), dana.post(asked(PaymentEvent, period="x"))):
            assert answer.status_code == 302


class TestTheRevenueTable:
    def test_is_told_by_day_plan_method_and_currency(self, dana, alice, gold):
        given_back(paid(alice, gold, at(date(2025, 10, 31))), at(NOVEMBER.last))
        sold = paid(alice, None, at(NOVEMBER.first), amount=2500, currency="GBP", method=STRIPE)
        cost(sold, EventType.STRIPE_FEE, 45, at(NOVEMBER.first))
        cost(sold, EventType.STRIPE_DISPUTED, 500, at(NOVEMBER.first))
        fold_revenue()

        rows = exported(dana, f"{REVENUE}?first=2025-10-01&last=2025-11-30")

        assert [tuple(row.values()) for row in rows] == [
            (
                "2025-11-30", "gold_1m", "telegram_stars", "XTR", "0", "500", "-500", "0", "1", "0 ⭐", "'-500 ⭐",
                "0", "0", "-500", "0", "'-500 ⭐",
            ),
            (
                "2025-11-01", "", "stripe", "GBP", "2500", "0", "2500", "1", "0", "£25.00", "£25.00",
                "500", "45", "1955", "0", "£19.55",
            ),
            (
                "2025-10-31", "gold_1m", "telegram_stars", "XTR", "500", "0", "500", "1", "0", "500 ⭐", "500 ⭐",
                "0", "0", "500", "0", "500 ⭐",
            ),
        ]  # fmt: skip
        assert AuditEntry.objects.get().after == {"filters": {"first": "2025-10-01", "last": "2025-11-30"}}

    def test_is_offered_on_the_page_for_its_days(self, dana):
        page = dana.get(reverse("admin:payments_revenue"), ASKED).content.decode()

        assert f"{REVENUE}?first=2025-11-01&amp;last=2025-11-30" in page
        assert (
            "Export"
            not in staff_with("rae", "payments.view_revenue").get(reverse("admin:payments_revenue")).content.decode()
        )

    def test_is_as_fresh_as_the_page(self, dana, alice, gold):
        fold_revenue()
        paid(alice, gold, database_now())

        (row,) = exported(dana, REVENUE)

        assert (row["day"], row["gross"]) == (database_now().astimezone(UTC).date().isoformat(), "500")
