"""Customers, what they may use and why, and the programs that ask."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django import forms
from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Field, QuerySet
from django.db.models.functions import Left, Now
from django.db.models.lookups import Exact
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from config import shown
from config.admin import Discreet, FactAdmin, FactInline, LargeTableAdmin, ModelAdmin, ReadOnly, Shown, staff_of
from config.audited import Audited, ReasonForm
from config.exports import ExportedList
from config.filters import DayRange
from config.timeline import told
from entitlements import selectors
from entitlements.by_hand import GRANT, REVOKE, grant_by_hand, revoke_by_hand
from entitlements.decisions import DecisionForm, GrantForm
from entitlements.models import (
    LONGEST_CODE,
    MOST_NAMED,
    AccessCount,
    ApiClient,
    AuditEntry,
    Customer,
    Entitlement,
    Grant,
    IdempotencyKey,
    RateLimit,
    Scope,
)


def decision_page(request: HttpRequest, form: DecisionForm, **words: str) -> HttpResponse:
    """Ask for a decision and its reason; nothing has happened yet."""
    context = {**admin.site.each_context(request), "form": form, **words}
    return TemplateResponse(request, "admin/entitlements/decision.html", context)


class EntitlementInline(FactInline):
    model = Entitlement
    fields = ("code", "active_until", "version")


class GrantInline(FactInline):
    model = Grant
    fields = ("entitlement", "plan_code", "source", "granted_at", "duration", "ends_at", "revoked_at", "revoked_reason")
    ordering = ["-granted_at"]


class BlockedFilter(admin.EmptyFieldListFilter):
    served_in_order_of = "pk"


@admin.register(Customer)
class CustomerAdmin(ExportedList, Audited, LargeTableAdmin):
    """A customer may be blocked and unblocked; the rest comes from Telegram and from the host."""

    exported = (
        "id", "user_id", "user_id_origin", "telegram_user_id", "display_name", "username", "language_code",
        "created_at", "blocked_at",
    )  # fmt: skip

    list_display = ("user_id", "telegram_user_id", "display_name", "username", "blocked_at", "created_at")
    list_filter = (("blocked_at", BlockedFilter), ("created_at", DayRange))
    search_fields = ("user_id", "telegram_user_id")
    fields = (
        "user_id",
        "user_id_origin",
        "telegram_user_id",
        "display_name",
        "username",
        "language_code",
        "created_at",
        "blocked_at",
    )
    readonly_fields = fields[:-1]
    inlines = (EntitlementInline, GrantInline)
    actions = None
    search_help_text = "User id, Telegram id or name: the whole of it."
    search_bound = f"Of customers who share a name, the newest {MOST_NAMED:,} are looked for."
    change_form_outer_before_template = "admin/entitlements/customer.html"

    has_add_permission = ReadOnly.has_add_permission
    has_delete_permission = ReadOnly.has_delete_permission

    def deed(self, row: Customer, changed: Iterable[str]) -> str:
        return "blocked the customer" if row.blocked_at else "unblocked the customer"

    def whose(self, row: Customer) -> Customer:
        return row

    def get_urls(self) -> list[URLPattern]:
        grant = self.admin_site.admin_view(self.grant_view)
        return [path("<int:customer_id>/grant/", grant, name="entitlements_customer_grant"), *super().get_urls()]

    def grant_view(self, request: HttpRequest, customer_id: int) -> HttpResponse:
        """Give a customer access by hand, or more of it."""
        if not request.user.has_perm(GRANT):
            raise PermissionDenied
        customer = get_object_or_404(Customer, pk=customer_id)
        form = GrantForm(request.POST or None, initial={"entitlement": request.GET.get("entitlement", "")})
        if request.method == "POST" and form.is_valid():
            grant_by_hand(
                customer=customer,
                entitlement=form.cleaned_data["entitlement"],
                duration=form.duration(),
                staff=staff_of(request),
                reason=form.cleaned_data["reason"],
                token=form.cleaned_data["token"],
            )
            return redirect(shown.page_of(customer))
        words = {"title": f"Give {customer} access", "what": "It begins now.", "button": "Give access"}
        return decision_page(request, form, back=shown.page_of(customer), **words)

    def found_by(self, request: HttpRequest, search_term: str) -> list[QuerySet[Any]]:
        return [*super().found_by(request, search_term), Customer.objects.newest_named(search_term)]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        customer = self.get_object(request, object_id)
        context = _known_of(customer) if customer else {}
        context["may_grant"] = request.user.has_perm(GRANT)
        return super().change_view(request, object_id, form_url, context | (extra_context or {}))


def _known_of(customer: Customer) -> dict[str, Any]:
    """What he has and why, and what he paid, for his page."""
    return {
        "access": selectors.explain_all(customer.user_id),
        "history": told(settings.CUSTOMER_HISTORY_SOURCES, customer),
        "all_payments": f"{reverse('admin:payments_paymentevent_changelist')}?customer__id__exact={customer.pk}",
    }


@admin.register(Grant)
class GrantAdmin(ExportedList, FactAdmin):
    exported = (
        "id", "customer.user_id", "customer.telegram_user_id", "customer.display_name",
        "entitlement", "plan_code", "source", "granted_at", "duration", "ends_at", "revoked_at", "revoked_reason",
    )  # fmt: skip
    list_display = ("entitlement", "customer", "plan_code", "source", "granted_at", "duration", "ends_at", "revoked_at")
    list_select_related = ("customer",)
    search_fields = ("source", "customer__user_id", "customer__telegram_user_id")
    change_form_outer_before_template = "admin/entitlements/grant.html"

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.revoke_view)
        return [path("<int:grant_id>/revoke/", view, name="entitlements_grant_revoke"), *super().get_urls()]

    def revoke_view(self, request: HttpRequest, grant_id: int) -> HttpResponse:
        """Take back what one grant gave."""
        if not request.user.has_perm(REVOKE):
            raise PermissionDenied
        given = get_object_or_404(Grant.objects.select_related("customer"), pk=grant_id)
        form = DecisionForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            revoke_by_hand(grant=given, staff=staff_of(request), reason=form.cleaned_data["reason"])
            return redirect(shown.page_of(given.customer))
        what = f"What {given} gave to {given.customer} is taken back; no money is given back."
        words = {"title": "Take access back", "what": what, "button": "Take access back"}
        return decision_page(request, form, back=shown.page_of(given), **words)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        given = self.get_object(request, object_id)
        may_revoke = given is not None and not given.revoked_at and request.user.has_perm(REVOKE)
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "may_revoke": may_revoke})


class ActiveFilter(admin.SimpleListFilter):
    title = parameter_name = "active"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "now")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Entitlement]) -> QuerySet[Entitlement]:
        return queryset.active_at(Now()) if self.value() else queryset  # type: ignore[attr-defined]


class CodeFilter(admin.SimpleListFilter):
    """Offers what somebody had when it was last counted, and takes whatever is asked for."""

    title = parameter_name = "code"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        counted = AccessCount.objects.values_list("entitlement", flat=True).distinct()
        return [(code, code) for code in sorted({*counted, *request.GET.getlist("code")})]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Entitlement]) -> QuerySet[Entitlement]:
        """As an expression: for a bare code the planner reads all of the index on customers and their codes."""
        return queryset.filter(Exact(Left("code", LONGEST_CODE), self.value())) if self.value() else queryset


class PlanFilter(admin.SimpleListFilter):
    """By the plan of the grant that reaches furthest."""

    title = parameter_name = "plan"
    NONE = "-"  # which no plan's code is

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        counted = {code or self.NONE for code in AccessCount.objects.values_list("plan_code", flat=True)}
        asked = {*counted, *request.GET.getlist("plan")}
        return [(code, "no plan" if code == self.NONE else code) for code in sorted(asked)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Entitlement]) -> QuerySet[Entitlement]:
        plan_code = "" if self.value() == self.NONE else self.value()
        return queryset if plan_code is None else queryset.with_plan().filter(plan_code=plan_code)  # type: ignore[attr-defined]


@admin.register(Entitlement)
class EntitlementAdmin(ExportedList, FactAdmin):
    exported = (
        "id", "code", "customer.user_id", "customer.telegram_user_id", "customer.display_name",
        "active_until", "version",
    )  # fmt: skip
    list_display = ("code", "customer", "active_until", "version")
    list_select_related = ("customer",)
    list_filter = (ActiveFilter, CodeFilter, PlanFilter)
    search_fields = ("customer__user_id", "customer__telegram_user_id")


@admin.register(AccessCount)
class AccessCountAdmin(FactAdmin):
    list_display = ("entitlement", "plan_code", "customers", "counted_at")
    ordering = ["entitlement", "plan_code"]


class ApiClientForm(ReasonForm):
    """A key may be given less here and never more: whoever gives more to a key can do what the key can."""

    def clean_scopes(self) -> list[str]:
        scopes: list[str] = self.cleaned_data["scopes"]
        if not set(scopes) <= set(self.initial["scopes"]):
            raise forms.ValidationError("A scope is not added here. Make a new key with manage.py create_api_key.")
        return scopes

    def clean_expires_at(self) -> datetime | None:
        return self._no_later("expires_at", "A key is not made to last longer. Make a new one.")

    def clean_revoked_at(self) -> datetime | None:
        return self._no_later("revoked_at", "A key that is revoked stays revoked. Make a new one.")

    def _no_later(self, name: str, words: str) -> datetime | None:
        moment: datetime | None = self.cleaned_data[name]
        before = self.initial[name]
        if before is not None and (moment is None or moment > before):
            raise forms.ValidationError(words)
        return moment


@admin.register(ApiClient)
class ApiClientAdmin(Audited, Discreet, Shown, ModelAdmin):
    """Keys are made by `manage.py create_api_key`, which alone ever sees them; here they are limited and revoked."""

    form = ApiClientForm
    list_display = ("name", "prefix", "scopes", "expires_at", "revoked_at", "last_used_at")
    search_fields = ("name", "prefix")
    fields = (
        "name",
        "prefix",
        "scopes",
        "requests_per_minute",
        "created_at",
        "last_used_at",
        "expires_at",
        "revoked_at",
    )
    readonly_fields = ("prefix", "created_at", "last_used_at")
    actions = None

    has_add_permission = ReadOnly.has_add_permission
    has_delete_permission = ReadOnly.has_delete_permission

    def deed(self, row: ApiClient, changed: Iterable[str]) -> str:
        return "revoked the API client" if "revoked_at" in changed and row.revoked_at else "changed the API client"

    def formfield_for_dbfield(self, db_field: Field[Any, Any], request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "scopes":
            return forms.MultipleChoiceField(choices=Scope.choices, widget=forms.CheckboxSelectMultiple)
        return super().formfield_for_dbfield(db_field, request, **kwargs)


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(FactAdmin):
    list_display = ("caller", "path", "key", "status", "created_at")
    search_fields = ("caller",)


@admin.register(RateLimit)
class RateLimitAdmin(FactAdmin):
    list_display = ("subject", "updated_at")
    ordering = ["-updated_at"]
    search_fields = ("subject",)


@admin.register(AuditEntry)
class AuditEntryAdmin(ExportedList, FactAdmin):
    """What staff did. Nobody can change or delete it, in the database neither."""

    exported = (
        "id", "at", "staff", "name", "what", "subject_type", "subject_id", "customer.user_id", "reason", "before",
        "after",
    )  # fmt: skip

    list_display = ("at", "name", "what", "about", "customer", "reason")
    list_select_related = ("customer",)
    list_filter = (("at", DayRange),)
    search_fields = ("name", "staff", "subject_id", "customer__user_id", "customer__telegram_user_id")
    fields = ("at", "name", "staff", "what", "about", "customer", "reason", "before", "after")

    def get_queryset(self, request: HttpRequest) -> QuerySet[AuditEntry]:
        """Who may not see a table does not see what was done to it either."""
        pages = self.admin_site._registry.items()  # noqa: SLF001 - Django has no other way to ask
        unseen = [model._meta.label_lower for model, page in pages if not page.has_view_permission(request)]  # noqa: SLF001
        return super().get_queryset(request).exclude(subject_type__in=unseen)

    @admin.display(description="about")
    def about(self, entry: AuditEntry) -> str:
        """The row, with a link while it is there and has a page."""
        model = apps.get_model(entry.subject_type)
        words = f"{model._meta.verbose_name} {entry.subject_id}"  # noqa: SLF001 - Django's API
        return format_html('<a class="link" href="{}">{}</a>', shown.page_at(model, entry.subject_id), words)
