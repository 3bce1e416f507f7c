"""The revenue page, and its summary on the admin's first page; each number links to its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.widgets import UnfoldAdminDateWidget

from config import charts
from config.admin import FactAdmin, staff_of
from config.database import database_now, release_connection
from config.exports import PERMISSION as EXPORT
from config.exports import export_view
from entitlements.models import AccessCount
from payments import dashboard
from payments.dashboard import Counted, Days, InCurrency, Range
from payments.models import Plan
from payments.money import STARS, sum_in_words
from payments.recurring import Recurring
from payments.revenue import Group, Revenue, revenue

BEGINNING = date(2000, 1, 1)
# The values of the list's filter.
PAYMENTS, RENEWALS, REFUNDS, SALES, DISPUTES, FEES = "payments", "renewals", "refunds", "sales", "disputes", "fees"
SUMS = ("gross", "refunded", "net", "payments", "refunds")
COSTS = ("disputed", "fees", "proceeds", "renewals")


class DaysForm(forms.Form):
    """Any two days up to today."""

    first = forms.DateField(label="From", widget=UnfoldAdminDateWidget)
    last = forms.DateField(label="To", widget=UnfoldAdminDateWidget)

    def __init__(self, *args: Any, today: date, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.today = today
        for name in ("first", "last"):
            self.fields[name].widget.input_type = "date"
            self.fields[name].widget.format = "%Y-%m-%d"
            self.fields[name].widget.attrs |= {"min": BEGINNING.isoformat(), "max": today.isoformat()}

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        first, last = cleaned.get("first"), cleaned.get("last")
        if first and last:
            if last > self.today:
                raise forms.ValidationError("Choose days up to today: nothing has been paid after it.")
            if first > last:
                raise forms.ValidationError("The first day comes after the last. Swap them.")
            if first < BEGINNING or (last - first).days >= dashboard.MOST_DAYS:
                raise forms.ValidationError("Choose ten years at most, after 1999.")
        return cleaned


@dataclass(frozen=True, slots=True)
class Tile:
    """A number, its rows, and the same of the days before with what has changed since."""

    what: str
    value: str
    address: str
    before: str
    address_before: str
    change: str
    meaning: str = ""


class RevenuePages(FactAdmin):
    def get_urls(self) -> list[URLPattern]:
        page = path("page/", self.admin_site.admin_view(self.revenue_view), name="payments_revenue")
        export = path("page/export/", self.admin_site.admin_view(self.export_view), name="payments_revenue_export")
        return [page, export, *super().get_urls()]

    def revenue_view(self, request: HttpRequest) -> HttpResponse:
        staff, today = staff_of(request), database_now().astimezone(UTC).date()
        chosen, days, form = _asked_for(request, today)
        in_currencies = dashboard.money(staff=staff, days=days)
        context = {
            **self.admin_site.each_context(request),
            "title": "Revenue",
            "days": days,
            "before": days.before(),
            "export_address": _export_address(request),
            "ranges": [(each, each == chosen) for each in Range],
            "form": form,
            "money": [_section(days, each) for each in in_currencies],
            "subscriptions": [
                (_name(currency), _subscription_tiles(days, now, before))
                for currency, now, before in dashboard.subscriptions(staff=staff, days=days)
            ],
            "customers": _customers(days, staff_of(request)),
            "access": [
                (row, f"{row.customers:,}", access_address(row)) for row in dashboard.access_by_plan(staff=staff)
            ],
        }
        return TemplateResponse(request, "admin/payments/revenue.html", context)

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        """Revenue by day, plan, currency and method for the days that the page's address asks for."""
        _, days, _ = _asked_for(request, database_now().astimezone(UTC).date())
        return export_view(
            request,
            what="revenue",
            permission=dashboard.PERMISSION,
            filters={"first": days.first.isoformat(), "last": days.last.isoformat()},
            pages=lambda: _pages(days),
            back=f"{reverse('admin:payments_revenue')}?{request.GET.urlencode()}",
        )


def _pages(days: Days) -> Iterator[list[tuple[object, ...]]]:
    """A page for each month, newest first."""
    words = ("gross_in_words", "net_in_words")
    yield [("day", "plan_code", "payment_method", "currency", *SUMS, *words, *COSTS, "proceeds_in_words")]
    groups = (Group.DAY, Group.PLAN_CODE, Group.PAYMENT_METHOD, Group.CURRENCY)
    for month in reversed(days.months()):
        rows = revenue(first_day=month.first, last_day=month.last, group_by=groups)
        release_connection()
        rows.sort(key=lambda row: row.by[Group.DAY], reverse=True)
        yield [
            (
                *(row.by[group] for group in groups),
                *(getattr(row, name) for name in SUMS),
                *(sum_in_words(amount, str(row.by[Group.CURRENCY])) for amount in (row.gross, row.net)),
                *(getattr(row, name) for name in COSTS),
                sum_in_words(row.proceeds, str(row.by[Group.CURRENCY])),
            )
            for row in rows
        ]


def summary(request: HttpRequest) -> str:
    """The last thirty days, for the first page of those who may see revenue; nothing for the others."""
    if not request.user.has_perm(dashboard.PERMISSION):
        return ""
    days = Range.LAST_30_DAYS.days(database_now().astimezone(UTC).date())
    rows = dashboard.summary(staff=staff_of(request), days=days)
    sections = [(_name(currency), _tiles(days, currency, now, before)) for currency, now, before in rows]
    return render_to_string("admin/payments/revenue_summary.html", {"days": days, "money": sections})


def rows_address(days: Days, *, currency: str = "", kind: str = "", plan_code: str | None = None) -> str:
    """The list of the payments and refunds that count in these days; of one plan, or of none where it is empty."""
    asked = {"occurred_at_from": days.first.isoformat(), "occurred_at_to": days.last.isoformat()}
    plan = {} if plan_code is None else {"plan__code__exact": plan_code} if plan_code else {"plan__isnull": "True"}
    asked |= {name: value for name, value in (("kind", kind), ("currency", currency)) if value} | plan
    return f"{reverse('admin:payments_paymentevent_changelist')}?{urlencode(asked)}"


def access_address(row: AccessCount) -> str:
    asked = urlencode({"active": "yes", "code": row.entitlement, "plan": row.plan_code or "-"})
    return f"{reverse('admin:entitlements_entitlement_changelist')}?{asked}"


def _asked_for(request: HttpRequest, today: date) -> tuple[Range | None, Days, DaysForm]:
    """The named range, the two days, or the last thirty where what was asked for makes no sense (the form says why)."""
    if "first" in request.GET or "last" in request.GET:
        form = DaysForm(request.GET, today=today)
        if form.is_valid():
            return None, Days(form.cleaned_data["first"], form.cleaned_data["last"]), form
        return Range.LAST_30_DAYS, Range.LAST_30_DAYS.days(today), form
    asked = request.GET.get("range")
    chosen = Range(asked) if asked in set(Range) else Range.LAST_30_DAYS
    days = chosen.days(today)
    return chosen, days, DaysForm(initial={"first": days.first, "last": days.last}, today=today)


def _export_address(request: HttpRequest) -> str:
    if not request.user.has_perm(EXPORT):
        return ""
    return f"{reverse('admin:payments_revenue_export')}?{request.GET.urlencode()}"


def _section(days: Days, in_currency: InCurrency) -> dict[str, Any]:
    """One currency for the template."""
    currency = in_currency.currency
    over_time = [_row(each, currency, row) for each, row in in_currency.over_time]
    titles = dict(Plan.objects.values_list("code", "title"))
    most = max((row.gross for row in in_currency.by_plan), default=0)
    by_plan = []
    for row in in_currency.by_plan:
        code = str(row.by[Group.PLAN_CODE])
        told = _row(days, currency, row, plan_code=code) | {"plan": titles.get(code, code) or "no plan"}
        by_plan.append(told | {"share": charts.share(row.gross, most, f"{told['plan']}: {told['gross']}")})
    columns = [
        charts.Column(
            row.gross,
            row.refunded,
            f"{told['label']}: {told['gross']} gross, {told['refunded']} refunded",
            told["rows"],
        )
        for told, (_, row) in zip(over_time, in_currency.over_time, strict=True)
    ]
    step = "day" if in_currency.over_time[0][0].length == 1 else "month"
    return {
        "currency": currency,
        "name": _name(currency),
        "tiles": _tiles(days, currency, in_currency.now, in_currency.before),
        "chart": charts.columns(f"Gross and refunded {currency} by {step}", columns),
        "costs": _costs(in_currency.now, in_currency.before),
        "step": step,
        "highest": sum_in_words(max(row.gross for _, row in in_currency.over_time), currency),
        "over_time": over_time,
        "by_plan": by_plan,
    }


def _name(currency: str) -> str:
    return "Telegram Stars" if currency == STARS else currency


def _row(days: Days, currency: str, row: Revenue, plan_code: str | None = None) -> dict[str, Any]:
    """A row of a table: its figures in words, and where their rows are."""
    return {
        "label": f"{days.first:%-d %b %Y}" if days.length == 1 else f"{days.first:%b %Y}",
        "gross": sum_in_words(row.gross, currency),
        "refunded": sum_in_words(row.refunded, currency),
        "net": sum_in_words(row.net, currency),
        "disputed": sum_in_words(row.disputed, currency),
        "fees": sum_in_words(row.fees, currency),
        "proceeds": sum_in_words(row.proceeds, currency),
        "payments": f"{row.payments:,}",
        "rows": rows_address(days, currency=currency, plan_code=plan_code),
        "sold_rows": rows_address(days, currency=currency, kind=SALES, plan_code=plan_code),
        "disputed_rows": rows_address(days, currency=currency, kind=DISPUTES, plan_code=plan_code),
        "fee_rows": rows_address(days, currency=currency, kind=FEES, plan_code=plan_code),
        "paid_rows": rows_address(days, currency=currency, kind=PAYMENTS, plan_code=plan_code),
        "refunded_rows": rows_address(days, currency=currency, kind=REFUNDS, plan_code=plan_code),
    }


def _tiles(days: Days, currency: str, now: Revenue, before: Revenue) -> list[Tile]:
    def tile(what: str, name: str, kind: str, meaning: str = "") -> Tile:
        value, earlier = getattr(now, name), getattr(before, name)
        is_count = name == "payments"
        return Tile(
            what,
            f"{value:,}" if is_count else sum_in_words(value, currency),
            rows_address(days, currency=currency, kind=kind),
            f"{earlier:,}" if is_count else sum_in_words(earlier, currency),
            rows_address(days.before(), currency=currency, kind=kind),
            change(value, earlier),
            meaning,
        )

    costs = [
        tile("Disputed", "disputed", DISPUTES, "Taken back by banks, less what they brought back"),
        tile("Fees", "fees", FEES),
        tile("Proceeds", "proceeds", "", "Net less disputed and fees"),
    ]
    has_costs = _costs(now, before)
    return [
        tile("Gross", "gross", PAYMENTS),
        tile("Refunded", "refunded", REFUNDS),
        tile("Net", "net", SALES if has_costs else ""),
        *(costs if has_costs else []),
        tile("Payments", "payments", PAYMENTS),
        Tile(
            "Refund rate",
            rate(now),
            rows_address(days, currency=currency, kind=REFUNDS),
            rate(before),
            rows_address(days.before(), currency=currency, kind=REFUNDS),
            points(_refund_rate(now), _refund_rate(before)),
            f"{now.refunds:,} refunds for {now.payments:,} payments of these days",
        ),
    ]


def _costs(*figures: Revenue) -> bool:
    """Whether there is anything to tell of fees and disputes; who sells for Stars alone has none."""
    return any(each.disputed or each.fees for each in figures)


def subscriptions_address(currency: str, **asked: str) -> str:
    return f"{reverse('admin:payments_subscription_changelist')}?{urlencode({'currency': currency, **asked})}"


def _subscription_tiles(days: Days, now: Recurring, before: Recurring) -> list[Tile]:
    def tile(what: str, value: str, earlier: str, changed: str, meaning: str, rows: Callable[[Days], str]) -> Tile:
        return Tile(what, value, rows(days), earlier, rows(days.before()), changed, meaning)

    def active(days: Days) -> str:
        return subscriptions_address(now.currency, active_on=days.last.isoformat())

    def begun(days: Days) -> str:
        in_days = {"started_at_from": days.first.isoformat(), "started_at_to": days.last.isoformat()}
        return subscriptions_address(now.currency, **in_days)

    def ended(days: Days) -> str:
        in_days = {"state_changed_at_from": days.first.isoformat(), "state_changed_at_to": days.last.isoformat()}
        return subscriptions_address(now.currency, standing="ended", **in_days)

    def renewed(days: Days) -> str:
        return rows_address(days, currency=now.currency, kind=RENEWALS)

    def count(what: str, name: str, meaning: str, rows: Callable[[Days], str]) -> Tile:
        value, earlier = getattr(now, name), getattr(before, name)
        return tile(what, f"{value:,}", f"{earlier:,}", change(value, earlier), meaning, rows)

    monthly, monthly_before = (sum_in_words(each.monthly, now.currency) for each in (now, before))
    growth = change(now.monthly, before.monthly)
    return [
        tile("MRR", monthly, monthly_before, growth, "What the active ones bring in 30 days", active),
        count("Active subscriptions", "active", "At the end of these days", active),
        count("New", "begun", "First paid in these days", begun),
        count("Ended", "ended", "Run out, cancelled or not paid on", ended),
        tile(
            "Churn rate",
            percent(now.churn),
            percent(before.churn),
            points(now.churn, before.churn),
            f"{now.ended:,} ended for {now.active_before:,} active before these days",
            ended,
        ),
        tile(
            "Renewal rate",
            percent(now.renewal_rate),
            percent(before.renewal_rate),
            points(now.renewal_rate, before.renewal_rate),
            f"{now.renewals:,} renewed, {now.ended:,} ended",
            renewed,
        ),
    ]


def _customers(days: Days, staff: Any) -> list[Tile]:
    now, before = dashboard.customers(staff=staff, days=days), dashboard.customers(staff=staff, days=days.before())

    def change_of(now: Counted, before: Counted) -> str:
        return change(now.number, before.number)

    def met(days: Days) -> str:
        asked = urlencode({"created_at_from": days.first.isoformat(), "created_at_to": days.last.isoformat()})
        return f"{reverse('admin:entitlements_customer_changelist')}?{asked}"

    return [
        Tile(
            "New customers",
            str(now.new),
            met(days),
            str(before.new),
            met(days.before()),
            change_of(now.new, before.new),
            "First met in these days",
        ),
        Tile(
            "Active customers",
            str(now.paying),
            rows_address(days, kind=PAYMENTS),
            str(before.paying),
            rows_address(days.before(), kind=PAYMENTS),
            change_of(now.paying, before.paying),
            "Paid at least once in these days, in any currency",
        ),
    ]


def change(now: int, before: int) -> str:
    """In whole percent of what was before: `+12 %`, `−3 %`, `±0 %`; nothing where there was nothing to compare with."""
    if before <= 0:
        return ""
    return f"{_signed(round(100 * (now - before) / before), '±0')} %"


def rate(of: Revenue) -> str:
    """Refunds of these days in percent of the payments of these days."""
    return percent(_refund_rate(of))


def _refund_rate(of: Revenue) -> float | None:
    return of.refunds / of.payments if of.payments else None


def percent(part: float | None) -> str:
    """Of a whole of 1; a dash where there is no whole."""
    return "–" if part is None else f"{100 * part:.1f} %"


def points(now: float | None, before: float | None) -> str:
    """The change of a rate, in points of percent; nothing where one of the two is none."""
    if now is None or before is None:
        return ""
    tenths = round(1000 * now) - round(1000 * before)
    return f"{'+' if tenths > 0 else '−' if tenths else '±'}{abs(tenths) / 10:.1f} points"


def _signed(number: int, zero: str) -> str:
    return f"{number:+,}".replace("-", "−") if number else zero
