"""Who may do what in the admin: three roles, and the second factor that goes with each account."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from django.contrib.auth.models import Group, Permission, User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q
from django_otp.plugins.otp_totp.models import TOTPDevice

from entitlements import audit

APPS = ("entitlements", "payments", "telegram_bot")
# What moves money or says how much there is.
MONEY = (
    "payments.resolve_hold",
    "payments.request_refund",
    "payments.edit_subscription",
    "payments.reconcile",
    "payments.resolve_discrepancy",
    "payments.export",
    "payments.view_revenue",
    "payments.view_revenueday",
    "payments.view_revenueupto",
    "payments.view_subscriptionday",
    "payments.view_tally",
    "payments.view_tallyupto",
)


class Role(StrEnum):
    SUPPORT = "support"  # sees customers, payments and messages; moves no money
    FINANCE = "finance"  # and refunds, decides about held payments, sees revenue, exports
    ADMIN = "admin"  # and everything else: customers, keys, staff


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What a person needs to sign in for the first time; the password is None when he has one already."""

    user: User
    password: str | None
    address: str  # otpauth://…, as authenticator apps read it


@transaction.atomic
def enrol(*, name: str, role: Role) -> Enrolment:
    """Make an account with a role and a second factor, or give an account that exists this role and a new factor.

    The old factor ends with it, and so does whatever else the account was allowed. A new account gets a password of 24
    random characters.
    """
    user, created = User.objects.select_for_update().get_or_create(username=name, defaults={"is_staff": True})
    password = secrets.token_urlsafe(18) if created else None
    if password:
        user.set_password(password)
    user.is_staff = user.is_active = True
    user.is_superuser = False
    user.save()
    user.groups.set([group_of(role)])
    user.user_permissions.clear()
    TOTPDevice.objects.filter(user=user).delete()
    device = TOTPDevice.objects.create(user=user, name="authenticator", confirmed=True)
    return Enrolment(user, password, device.config_url)


def may_change(*, account: User, staff: User) -> bool:
    """Whether this account is among those that this person may change, if any: superusers are changed by their like."""
    return staff.is_superuser or not account.is_superuser


@transaction.atomic
def set_password(*, account: User, password: str, staff: User, reason: str) -> User:
    """Give somebody a new password, which ends his sessions; the second factor stays as it is.

    :raises PermissionDenied: this person may not
    :raises audit.ReasonMissing: no reason is given
    """
    reason = audit.authorised(staff=staff, permission="auth.change_user", reason=reason)
    account = User.objects.select_for_update(no_key=True).get(pk=account.pk)
    if not may_change(account=account, staff=staff):
        raise PermissionDenied
    return _renew_password(account, password, staff, reason)


@transaction.atomic
def set_own_password(*, staff: User, password: str) -> User:
    """Give oneself a new password, for which nobody needs to ask the reason."""
    return _renew_password(staff, password, staff, "Their own password.")


def _renew_password(account: User, password: str, staff: User, reason: str) -> User:
    account.set_password(password)
    account.save(update_fields=["password"])
    what = "changed the password of a staff account"
    audit.record(staff=staff, what=what, subject=account, reason=reason, after={"password": "changed"})
    return account


def group_of(role: Role) -> Group:
    """The role's group, its permissions as this version has them."""
    group, _ = Group.objects.get_or_create(name=role.value.capitalize())
    group.permissions.set(permissions_of(role))
    return group


def permissions_of(role: Role) -> Iterable[Permission]:
    ours = Permission.objects.filter(content_type__app_label__in=APPS)
    seen = Q(codename__startswith="view_") & ~Q(codename="view_apiclient")
    money = Q(codename__in=[each.partition(".")[2] for each in MONEY])
    match role:
        case Role.SUPPORT:
            return ours.filter(seen & ~money)
        case Role.FINANCE:
            return ours.filter(seen | money)
        case Role.ADMIN:
            return Permission.objects.filter(Q(content_type__app_label__in=(*APPS, "auth")))


def renew_roles() -> None:
    """Bring the roles in use up to date, as after an upgrade; the others are made when needed."""
    for role in Role:
        if Group.objects.filter(name=role.value.capitalize()).exists():
            group_of(role)
