import pytest
from django.contrib.auth.models import Permission, User
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, ProgrammingError, transaction

from entitlements import audit
from entitlements.by_hand import grant_by_hand, revoke_by_hand
from entitlements.models import AuditEntry, Grant

pytestmark = pytest.mark.django_db


@pytest.fixture
def dana() -> User:
    return User.objects.create_superuser("dana")


@pytest.fixture
def eve() -> User:
    """Staff who may look and nothing else."""
    eve = User.objects.create_user("eve", is_staff=True)
    eve.user_permissions.add(Permission.objects.get(codename="view_grant"))
    return eve


@pytest.fixture
def entry(dana, alice) -> AuditEntry:
    return audit.record(staff=dana, what="blocked", subject=alice, reason="Fraud.", customer=alice)


def given(alice, staff, reason="A gift.") -> Grant:
    token = "0b0c2d6c-5f33-4cf8-8ef0-6e4a4c8f4f3e"
    return grant_by_hand(customer=alice, entitlement="gold", duration=None, staff=staff, reason=reason, token=token)


class TestAnAuditEntry:
    def test_can_neither_be_changed_nor_deleted(self, entry):
        with pytest.raises(ProgrammingError), transaction.atomic():
            AuditEntry.objects.update(reason="Nothing happened.")
        with pytest.raises(ProgrammingError), transaction.atomic():
            entry.delete()

    def test_has_a_reason(self, dana, alice):
        with pytest.raises(IntegrityError, match="audit_says_why"), transaction.atomic():
            audit.record(staff=dana, what="blocked", subject=alice, reason=" \n")

    def test_keeps_the_name_the_account_had(self, entry, dana):
        dana.username = "dana.b"
        dana.save()

        entry.refresh_from_db()
        assert (entry.staff, entry.name) == (f"staff:{dana.pk}", "dana")


@pytest.mark.django_db(transaction=True)
def test_an_action_outside_the_transaction_that_does_it_is_not_recorded(dana, alice):
    with pytest.raises(RuntimeError):
        audit.record(staff=dana, what="blocked", subject=alice, reason="Fraud.")


class TestByHand:
    def test_access_is_given_and_taken_by_those_who_may(self, dana, eve, alice):
        with pytest.raises(PermissionDenied):
            given(alice, eve)
        grant = given(alice, dana)
        with pytest.raises(PermissionDenied):
            revoke_by_hand(grant=grant, staff=eve, reason="So.")

        assert list(AuditEntry.objects.values_list("what", flat=True)) == ["gave access"]

    def test_access_is_given_and_taken_for_a_reason(self, dana, alice):
        with pytest.raises(audit.ReasonMissing):
            given(alice, dana, reason=" ")
        grant = given(alice, dana)
        with pytest.raises(audit.ReasonMissing):
            revoke_by_hand(grant=grant, staff=dana, reason="\t")

        grant.refresh_from_db()
        assert grant.revoked_at is None
