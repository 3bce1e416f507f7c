from datetime import timedelta
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from config.database import database_now
from entitlements.models import AuditEntry, Entitlement, Grant
from entitlements.selectors import has_access
from entitlements.services import grant
from tests.admin_pages.conftest import staff_with

pytestmark = pytest.mark.django_db


def asked(**changed) -> dict[str, str]:
    return {"entitlement": "gold", "days": "30", "reason": "He waited a week.", "token": str(uuid4())} | changed


def granting(customer) -> str:
    return reverse("admin:entitlements_customer_grant", args=[customer.pk])


def revoking(given) -> str:
    return reverse("admin:entitlements_grant_revoke", args=[given.pk])


@pytest.fixture
def given(alice) -> Grant:
    return grant(customer=alice, entitlement="gold", source="staff:1", granted_at=database_now())


class TestGrantingByHand:
    def test_gives_access_and_keeps_who_did_it_and_why(self, dana, alice):
        assert dana.post(granting(alice), asked()).status_code == 302

        assert has_access(alice.user_id, "gold")
        entry = AuditEntry.objects.get()
        assert (entry.name, entry.what, entry.reason) == ("dana", "gave access", "He waited a week.")
        assert (entry.before, entry.customer) == ({"entitlement": "gold"}, alice)
        assert entry.after["active_until"] is not None

    def test_extends_what_the_customer_has(self, dana, alice):
        for _ in range(2):
            dana.post(granting(alice), asked())

        left = Entitlement.objects.get(customer=alice, code="gold").active_until - database_now()
        assert timedelta(days=59) < left <= timedelta(days=60)

    def test_is_done_once_though_the_form_is_sent_twice(self, dana, alice):
        form = asked()
        for _ in range(2):
            dana.post(granting(alice), form)

        assert Grant.objects.count() == AuditEntry.objects.count() == 1

    def test_without_days_is_for_life(self, dana, alice):
        dana.post(granting(alice), asked(days=""))

        assert Entitlement.objects.get().active_until is None

    @pytest.mark.parametrize(
        "wrong",
        [
            {"reason": " "},
            {"entitlement": "Gold!"},
            {"entitlement": ""},
            {"days": "0"},
            {"days": "99999"},
            {"token": "x"},
        ],
    )
    def test_needs_a_reason_a_code_and_a_sane_number_of_days(self, dana, alice, wrong):
        assert dana.post(granting(alice), asked(**wrong)).status_code == 200

        assert not Grant.objects.exists()


class TestTakingBack:
    def test_ends_the_access_and_keeps_who_did_it_and_why(self, dana, alice, given):
        assert dana.post(revoking(given), {"reason": "A mistake."}).status_code == 302

        given.refresh_from_db()
        assert given.revoked_reason == "A mistake."
        assert not has_access(alice.user_id, "gold")
        entry = AuditEntry.objects.get()
        assert (entry.name, entry.what, entry.reason) == ("dana", "took access back", "A mistake.")
        assert entry.after != entry.before

    def test_is_done_once(self, dana, given):
        for _ in range(2):
            dana.post(revoking(given), {"reason": "A mistake."})

        assert AuditEntry.objects.count() == 1

    def test_needs_a_reason(self, dana, alice, given):
        assert dana.post(revoking(given), {"reason": ""}).status_code == 200

        assert has_access(alice.user_id, "gold")


class TestADecision:
    def test_is_not_taken_by_looking_at_its_page(self, dana, alice, given):
        for address in (granting(alice), revoking(given)):
            assert dana.get(address, asked()).status_code == 200

        assert Grant.objects.filter(revoked_at=None).count() == 1

    def test_is_for_those_with_the_permission(self, alice, given):
        viewer = staff_with("eve", "entitlements.view_customer", "entitlements.view_grant")

        for address in (granting(alice), revoking(given)):
            assert viewer.get(address).status_code == viewer.post(address, asked()).status_code == 403
        assert Grant.objects.filter(revoked_at=None).count() == 1

    def test_is_offered_to_those_with_the_permission(self, dana, alice, given):
        viewer = staff_with("eve", "entitlements.view_customer", "entitlements.view_grant")
        offers = [(f"customer/{alice.pk}", granting(alice)), (f"grant/{given.pk}", revoking(given))]

        for page, offer in offers:
            address = f"/admin/entitlements/{page}/change/"
            assert offer in dana.get(address).content.decode()
            assert offer not in viewer.get(address).content.decode()

    def test_is_not_taken_for_another_site(self, dana, alice):
        strict = Client(enforce_csrf_checks=True)
        strict.cookies = dana.cookies

        assert strict.post(granting(alice), asked()).status_code == 403
        assert not Grant.objects.exists()
