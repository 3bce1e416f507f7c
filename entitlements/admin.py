"""Customers, what they may use and why, and the programs that ask."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Field
from django.http import HttpRequest

from config.admin import FactAdmin, FactInline, LargeTableAdmin, ModelAdmin, ReadOnly
from entitlements.models import ApiClient, Customer, Entitlement, Grant, IdempotencyKey, RateLimit, Scope


class EntitlementInline(FactInline):
    model = Entitlement
    fields = ("code", "active_until", "version")


class GrantInline(FactInline):
    model = Grant
    fields = ("entitlement", "plan_code", "source", "granted_at", "duration", "ends_at", "revoked_at")
    ordering = ["-granted_at"]


@admin.register(Customer)
class CustomerAdmin(LargeTableAdmin):
    """A customer may be blocked and unblocked; the rest comes from Telegram and from the host."""

    list_display = ("user_id", "telegram_user_id", "display_name", "username", "blocked_at", "created_at")
    list_filter = (("blocked_at", admin.EmptyFieldListFilter),)
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

    has_add_permission = ReadOnly.has_add_permission
    has_delete_permission = ReadOnly.has_delete_permission


@admin.register(Grant)
class GrantAdmin(FactAdmin):
    list_display = ("entitlement", "customer", "plan_code", "source", "granted_at", "duration", "ends_at", "revoked_at")
    list_select_related = ("customer",)
    list_filter = ("entitlement",)
    search_fields = ("source", "customer__user_id", "customer__telegram_user_id")


@admin.register(Entitlement)
class EntitlementAdmin(FactAdmin):
    list_display = ("code", "customer", "active_until", "version")
    list_select_related = ("customer",)
    search_fields = ("customer__user_id", "customer__telegram_user_id")


@admin.register(ApiClient)
class ApiClientAdmin(ModelAdmin):
    """Keys are made by `manage.py create_api_key`, which alone ever sees them; here they are limited and revoked."""

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
