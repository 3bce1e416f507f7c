"""Whom access belongs to, the facts that gave it, and what they amount to."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Self

import pgtrigger
from django.contrib.postgres.fields import ArrayField
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, OuterRef, Q, Subquery, Value
from django.db.models.functions import Cast, Coalesce, Left, Mod, Now, Upper
from django.db.models.lookups import Exact

from entitlements.periods import Access

LONGEST_CODE = 50  # characters
ENTITLEMENT_CODE = re.compile(rf"^[a-z0-9_]{{1,{LONGEST_CODE}}}$")


class UserIdOrigin(models.TextChoices):
    """Who gave a customer the `user_id`: we, from the Telegram id, or the host whose token named him."""

    OURS = "ours", "assigned by us"
    HOST = "host", "assigned by the host"


MOST_NAMED = 1_000  # customers that are found by one name
SAMPLED = 100  # one customer in so many stands for all where there are too many to count
LONGEST_NAME_KEY = 64  # characters; an index has no room for a name of any length


def _as_key(name: str | models.Value) -> Upper:
    """A name as it is compared with others."""
    return Upper(Left(name, LONGEST_NAME_KEY))


class CustomerQuerySet(models.QuerySet["Customer"]):
    def locked(self) -> Self:
        """Lock the customers, which is the first lock of every operation on them: customer → payment → entitlement."""
        return self.order_by("pk").select_for_update(no_key=True)

    def named(self, name: str) -> Self:
        """Those with this Telegram name or @username, capitals or not; found by the two indexes on them."""
        wanted = _as_key(models.Value(name.strip().removeprefix("@"), models.TextField()))
        keys = self.alias(name_key=_as_key("display_name"), username_key=_as_key("username"))
        return keys.filter(Q(name_key=wanted) | Q(username_key=wanted))

    def newest_named(self, name: str) -> Self:
        """The newest of them, if they are more than MOST_NAMED."""
        return self.named(name).order_by("-pk")[:MOST_NAMED]


class Customer(models.Model):
    """A buyer, known by a `user_id`, by a Telegram account, or by both. Never deleted while money refers to him."""

    user_id = models.CharField(max_length=255, unique=True)
    user_id_origin = models.CharField(max_length=4, choices=UserIdOrigin, default=UserIdOrigin.OURS)
    telegram_user_id = models.BigIntegerField(null=True, blank=True, unique=True)
    display_name = models.TextField(blank=True, default="")
    username = models.TextField(blank=True, default="")
    language_code = models.CharField(max_length=16, blank=True, default="")
    blocked_at = models.DateTimeField(null=True, blank=True, help_text="Set: may neither buy nor sign in.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = CustomerQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(name="customer_user_id_not_empty", condition=~Q(user_id="")),
            models.CheckConstraint(name="customer_telegram_user_id_positive", condition=Q(telegram_user_id__gt=0)),
            models.CheckConstraint(
                name="customer_user_id_of_ours_is_the_telegram_id",
                condition=Q(user_id_origin=UserIdOrigin.HOST)
                | Q(
                    user_id=Cast(F("telegram_user_id"), models.CharField(max_length=255)),
                    telegram_user_id__isnull=False,
                ),
            ),
        ]
        indexes = [
            models.Index(_as_key("display_name"), name="customer_by_display_name"),
            models.Index(_as_key("username"), name="customer_by_username"),
            models.Index(name="customer_blocked", fields=["id"], condition=Q(blocked_at__isnull=False)),
            models.Index(name="customer_by_day", fields=["created_at"]),
            models.Index(
                name="customer_sampled_by_day", fields=["created_at"], condition=Q(Exact(Mod("id", SAMPLED), 0))
            ),
        ]

    def __str__(self) -> str:
        return self.display_name or self.user_id


class GrantQuerySet(models.QuerySet["Grant"]):
    def in_order(self) -> Self:
        """In the order of the fold: by the time of the purchase, then as they were recorded."""
        return self.order_by("granted_at", "pk")


class Grant(models.Model):
    """A fact: this customer was given this entitlement, by this source, from this moment, for this long.

    `duration` set: a period stacked on what he has; `ends_at` set: a fixed end; neither: for life. Both: a period of a
    subscription, stacked, with access at the least to the end of its grace.
    """

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="grants", db_index=False)
    entitlement = models.CharField(max_length=50)
    plan_code = models.CharField(max_length=50, blank=True, default="")
    features = models.JSONField(default=dict, blank=True)
    source = models.TextField(help_text="Like telegram_stars:<charge id> or staff:<id>.")
    granted_at = models.DateTimeField()
    duration = models.DurationField(null=True, blank=True)
    ends_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_reason = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = GrantQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(name="grant_once_per_source", fields=["source", "entitlement"]),
            models.CheckConstraint(
                name="grant_duration_positive",
                condition=Q(duration__isnull=True) | Q(duration__gt=models.Value("0 s", models.DurationField())),
            ),
            models.CheckConstraint(
                name="grant_revoked_with_reason", condition=Q(revoked_at__isnull=True) | ~Q(revoked_reason="")
            ),
        ]
        indexes = [models.Index(name="grant_by_customer", fields=["customer", "entitlement"])]
        triggers = [
            pgtrigger.ReadOnly(name="grant_facts_stay", exclude=["revoked_at", "revoked_reason"]),
            pgtrigger.Protect(
                name="grant_revoked_once",
                operation=pgtrigger.Update,
                condition=pgtrigger.Condition(
                    "OLD.revoked_at IS NOT NULL AND (OLD.revoked_at, OLD.revoked_reason)"
                    " IS DISTINCT FROM (NEW.revoked_at, NEW.revoked_reason)"
                ),
            ),
            pgtrigger.Protect(name="grant_never_deleted", operation=pgtrigger.Delete),
        ]

    def __str__(self) -> str:
        return f"{self.entitlement} by {self.source}"


class EntitlementQuerySet(models.QuerySet["Entitlement"]):
    def active_at(self, now: datetime | Now) -> Self:
        return self.filter(Q(active_until__isnull=True) | Q(active_until__gt=now))

    def with_plan(self) -> Self:
        """Each with `plan_code`, that of the surviving grant that reaches furthest (entitlements.periods.furthest).

        That is the first one for life, or else the last one that moved the end: the one that has it as its own, by a
        fixed end or by its grace, or the last period.
        """
        grants = Grant.objects.filter(customer=OuterRef("customer"), entitlement=OuterRef("code"), revoked_at=None)
        for_life = grants.filter(duration=None, ends_at=None).order_by("granted_at", "pk")
        for_a_time = grants.filter(Q(duration__isnull=False) | Q(ends_at=OuterRef("active_until")))
        ends_there = Coalesce(Exact(F("ends_at"), OuterRef("active_until")), Value(False))
        in_turn = for_a_time.alias(ends_there=ends_there).order_by("-ends_there", "-granted_at", "-pk")
        return self.annotate(
            plan_code=Coalesce(
                Subquery(for_life.values("plan_code")[:1]),
                Subquery(in_turn.values("plan_code")[:1]),
                Value(""),
            )
        )


class Entitlement(models.Model):
    """What a customer's grants of one code amount to: a cache of their fold, moved in the same transaction."""

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="entitlements", db_index=False)
    code = models.CharField(max_length=50)
    active_until = models.DateTimeField(null=True, blank=True, help_text="Empty: for life.")
    latest_grant_at = models.DateTimeField(
        help_text="A grant not older than this is appended; an older one, or one within a grace, is folded in."
    )
    version = models.BigIntegerField(default=1, help_text="Grows with each grant and revocation.")
    renews = models.BooleanField(default=False, db_default=False, help_text="Whether it is paid on by itself.")

    objects = EntitlementQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(name="entitlement_once_per_customer", fields=["customer", "code"]),
        ]

    def __str__(self) -> str:
        return f"{self.code} of {self.customer_id}"

    @property
    def access(self) -> Access:
        return Access(ends_at=self.active_until)


class AccessCount(models.Model):
    """How many customers had one entitlement by one plan when they were last counted (entitlements.counting)."""

    entitlement = models.CharField(max_length=50)
    plan_code = models.CharField(max_length=50, blank=True, default="", help_text="Empty: given without a plan.")
    customers = models.BigIntegerField()
    counted_at = models.DateTimeField()

    objects: models.Manager[AccessCount] = models.Manager()

    class Meta:
        constraints = [models.UniqueConstraint(name="access_counted_once", fields=["entitlement", "plan_code"])]

    def __str__(self) -> str:
        return f"{self.entitlement} by {self.plan_code or 'hand'}"


class Scope(models.TextChoices):
    """What a program with an API key may do."""

    ENTITLEMENTS_READ = "entitlements:read"
    PAYMENTS_READ = "payments:read"
    PAYMENTS_INGEST = "payments:ingest"
    PAYMENTS_VALIDATE = "payments:validate"
    REFUNDS_WRITE = "refunds:write"
    REVENUE_READ = "revenue:read"


class ApiClient(models.Model):
    """A program that holds an API key `<prefix>.<secret>`; of the secret only a hash is stored."""

    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=8, unique=True, editable=False)
    secret_hash = models.BinaryField(max_length=32, editable=False, help_text="SHA-256 of a secret of 256 random bits.")
    scopes = ArrayField(models.CharField(max_length=30, choices=Scope))
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True, help_text="Empty: no limit.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(name="api_client_prefix", condition=Q(prefix__regex=r"^[a-z0-9]{8}$")),
            models.CheckConstraint(
                name="api_client_scopes_known", condition=Q(scopes__contained_by=list(Scope.values), scopes__len__gt=0)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix})"


class IdempotencyKey(models.Model):
    """An answered request, so that its repetition is answered alike: per caller and path, kept for 24 hours."""

    caller = models.CharField(max_length=300)
    path = models.CharField(max_length=300)
    key = models.CharField(max_length=255)
    body_digest = models.BinaryField(max_length=32)
    status = models.PositiveSmallIntegerField(null=True, help_text="Empty while the first request is still at work.")
    answer = models.JSONField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(name="idempotency_key_once", fields=["caller", "path", "key"]),
        ]
        indexes = [models.Index(name="idempotency_key_by_age", fields=["created_at"])]

    def __str__(self) -> str:
        return f"{self.path} {self.key}"


class RateLimit(models.Model):
    """When one subject tried, within the last window; moved by the one statement of config.api.ratelimit."""

    subject = models.CharField(max_length=300, primary_key=True)
    attempts = ArrayField(models.DateTimeField(), default=list)
    updated_at = models.DateTimeField(db_default=Now(), db_index=True)

    def __str__(self) -> str:
        return self.subject


class AuditEntry(models.Model):
    """One decision of one person: who, when, what, about which row, why, and what was different afterwards."""

    at = models.DateTimeField(db_default=Now(), editable=False)
    staff = models.CharField(max_length=50, help_text="Like staff:<id>.")
    name = models.CharField(max_length=150, help_text="The account's name at the time.")
    what = models.CharField(max_length=100)
    subject_type = models.CharField(max_length=100, help_text="Like payments.hold.")
    subject_id = models.CharField(max_length=100)
    customer = models.ForeignKey(
        Customer, on_delete=models.PROTECT, null=True, blank=True, related_name="+", db_index=False
    )
    reason = models.TextField()
    before = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    after = models.JSONField(default=dict, encoder=DjangoJSONEncoder)

    objects: models.Manager[AuditEntry] = models.Manager()

    class Meta:
        verbose_name_plural = "audit entries"
        default_permissions = ("view",)  # there is no permission to do what the trigger refuses
        constraints = [
            models.CheckConstraint(name="audit_says_why", condition=~Q(reason__regex=r"^\s*$")),
            models.CheckConstraint(name="audit_says_who", condition=Q(staff__startswith="staff:")),
        ]
        indexes = [
            models.Index(name="audit_by_subject", fields=["subject_type", "subject_id"]),
            models.Index(name="audit_by_customer", fields=["customer", "at"], condition=Q(customer__isnull=False)),
            models.Index(name="audit_by_day", fields=["at"]),
            models.Index(name="audit_by_staff", fields=["staff", "at"]),
            models.Index(name="audit_by_name", fields=["name"]),
        ]
        triggers = [pgtrigger.Protect(name="audit_is_append_only", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"{self.name} {self.what}"
