"""Whatever staff change in the admin leaves an entry: who, when, why, before and after."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, connection
from django.urls import reverse

from config.staff import Role, group_of, set_password
from config.timeline import told
from entitlements.models import ApiClient, AuditEntry, Scope
from payments.holds import dismiss_hold
from payments.models import Hold
from payments.money import Money
from payments.recording import record_payment
from tests.payments.reports import payment_of
from tests.staff import signed_in

BLOCKED = {"blocked_at_0": "2026-11-01", "blocked_at_1": "12:00:00"}
WHY = {"reason": " He asked for it. "}
PASSWORD = {"new_password1": "correct horse 7", "new_password2": "correct horse 7"}

pytestmark = pytest.mark.django_db


def page_of(row) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def saves(staff, row, form: dict[str, object]):
    """Open the page of a row, fill it in, and send it."""
    page = staff.get(page_of(row)).context.get("adminform")
    return staff.post(page_of(row), ({"seen": page.form.initial["seen"]} if page else {}) | form)


def without_inlines(*prefixes: str) -> dict[str, str]:
    return {f"{prefix}-{name}_FORMS": "0" for prefix in prefixes for name in ("TOTAL", "INITIAL")}


def of_customer(**given) -> dict[str, str]:
    return without_inlines("entitlements", "grants") | given


def of_account(account: User, **given) -> dict[str, object]:
    kept = {"username": account.username, "is_active": "on", "is_staff": "on"}
    return {name: value for name, value in (kept | given).items() if value}


@pytest.fixture
def shop() -> ApiClient:
    return ApiClient.objects.create(
        name="shop", prefix="abcd1234", secret_hash=b"\xca" * 32, scopes=[Scope.PAYMENTS_READ]
    )


@pytest.fixture
def finn() -> User:
    finn = User.objects.create_user("finn", password="old", is_staff=True)
    finn.groups.add(group_of(Role.SUPPORT))
    return finn


@pytest.fixture
def ada():
    """She has the role Admin, and is no superuser."""
    ada = User.objects.create_user("ada", is_staff=True)
    ada.groups.add(group_of(Role.ADMIN))
    return signed_in(ada)


class TestBlockingACustomer:
    def test_is_kept_with_who_why_and_what_was_before(self, ada, alice):
        saves(ada, alice, of_customer(**BLOCKED, **WHY))
        saves(ada, alice, of_customer(reason="He paid his debt."))

        blocked, unblocked = AuditEntry.objects.order_by("pk")
        assert (blocked.name, blocked.what, blocked.reason) == ("ada", "blocked the customer", "He asked for it.")
        assert (blocked.before, blocked.after) == ({"blocked_at": None}, {"blocked_at": "2026-11-01T12:00:00Z"})
        assert (unblocked.what, unblocked.customer) == ("unblocked the customer", alice)

    @pytest.mark.parametrize("reason", [{}, {"reason": " \t"}])
    def test_needs_a_reason(self, ada, alice, reason):
        answer = saves(ada, alice, of_customer(**BLOCKED, **reason))

        assert answer.context["adminform"].errors.keys() == {"reason"}
        alice.refresh_from_db()
        assert alice.blocked_at is None

    def test_leaves_alone_what_came_in_meanwhile(self, ada, alice, monkeypatch):
        """Between reading the row and writing it, Telegram tells another name."""
        monkeypatch.setattr(
            "entitlements.admin.CustomerAdmin.deed", lambda self, row, changed: f"blocked {row.display_name}"
        )
        save_form = "entitlements.admin.CustomerAdmin.save_form"
        monkeypatch.setattr(save_form, lambda self, request, form, change: renamed(form.save(commit=False)))

        saves(ada, alice, of_customer(**BLOCKED, **WHY))

        alice.refresh_from_db()
        assert alice.display_name == "Alicia"
        assert AuditEntry.objects.get().what == "blocked Alicia"

    def test_is_undone_when_it_cannot_be_kept(self, ada, alice, monkeypatch):
        monkeypatch.setattr("entitlements.admin.CustomerAdmin.deed", lambda self, row, changed: None)

        with pytest.raises(IntegrityError):
            saves(ada, alice, of_customer(**BLOCKED, **WHY))

    def test_changes_nothing_and_keeps_nothing_when_nothing_was_changed(self, ada, alice):
        saves(ada, alice, of_customer(**WHY))

        assert not AuditEntry.objects.exists()

    def test_is_told_on_his_page(self, ada, alice):
        saves(ada, alice, of_customer(**BLOCKED, **WHY))

        page = ada.get(page_of(alice)).content.decode()

        assert "ada blocked the customer" in page
        assert "He asked for it. · blocked_at: none → 2026-11-01T12:00:00Z" in page


class TestAPageThatIsNoLongerTrue:
    def test_undoes_nothing_that_was_done_meanwhile(self, ada, finn):
        seen = ada.get(page_of(finn)).context["adminform"].form.initial["seen"]
        User.objects.filter(pk=finn.pk).update(is_active=False)
        finn.groups.clear()

        answer = ada.post(page_of(finn), of_account(finn, email="finn@example.org", seen=seen, **WHY))

        assert "Somebody changed this meanwhile" in answer.content.decode()
        finn.refresh_from_db()
        assert (finn.is_active, finn.groups.count(), finn.email) == (False, 0, "")


class TestAnApiClient:
    @pytest.mark.parametrize(
        "more",
        [
            {"scopes": ["payments:read", "refunds:write"]},
            {"expires_at_0": "", "expires_at_1": ""},
            {"expires_at_0": "2099-01-01"},
            {"revoked_at_0": "", "revoked_at_1": ""},
            {"revoked_at_0": "2099-01-01"},
        ],
    )
    def test_is_never_given_more(self, ada, shop, more):
        ApiClient.objects.update(expires_at="2026-12-01T12:00:00Z", revoked_at="2026-11-01T12:00:00Z")
        stands = {
            "name": "shop",
            "scopes": ["payments:read"],
            "expires_at_0": "2026-12-01",
            "expires_at_1": "12:00:00",
            "revoked_at_0": "2026-11-01",
            "revoked_at_1": "12:00:00",
        }

        answer = saves(ada, shop, stands | more | WHY)

        assert answer.status_code == 200
        assert answer.context["adminform"].errors
        shop.refresh_from_db()
        assert (shop.scopes, shop.expires_at.year, shop.revoked_at.year) == (["payments:read"], 2026, 2026)

    def test_is_changed_and_revoked_with_an_entry_and_no_word_of_its_secret(self, ada, shop):
        ApiClient.objects.update(scopes=["payments:read", "refunds:write"])
        asked = {"name": "shop", "scopes": ["payments:read"], **WHY}
        saves(ada, shop, asked)
        saves(ada, shop, asked | {"revoked_at_0": "2026-11-01", "revoked_at_1": "12:00:00"})

        changed, revoked = AuditEntry.objects.order_by("pk")
        assert changed.what == "changed the API client"
        assert changed.before == {"scopes": ["payments:read", "refunds:write"]}
        assert changed.after == {"scopes": ["payments:read"]}
        assert revoked.what == "revoked the API client"
        assert "secret" not in str([changed.after, revoked.after])


class TestAStaffAccount:
    def test_is_changed_with_an_entry(self, ada, finn):
        finance = group_of(Role.FINANCE)

        saves(ada, finn, of_account(finn, groups=[str(finance.pk)], **WHY))

        entry = AuditEntry.objects.get()
        assert (entry.subject_type, entry.subject_id) == ("auth.user", str(finn.pk))
        assert (entry.before, entry.after) == ({"groups": ["Support"]}, {"groups": ["Finance"]})

    def test_ends_by_not_being_active(self, ada, finn):
        saves(ada, finn, of_account(finn, is_active="", groups=[str(finn.groups.get().pk)], **WHY))

        assert AuditEntry.objects.get().after == {"is_active": False}

    def test_gets_a_new_password_with_an_entry_that_does_not_hold_it(self, ada, finn):
        answer = ada.post(reverse("admin:auth_user_password_change", args=[finn.pk]), PASSWORD | WHY)

        assert answer.status_code == 302
        finn.refresh_from_db()
        assert finn.check_password("correct horse 7")
        entry = AuditEntry.objects.get()
        assert (entry.name, entry.before, entry.after) == ("ada", {}, {"password": "changed"})

    @pytest.mark.parametrize("wrong", [{"reason": ""}, {"new_password2": "another 77 horse"}, {"new_password1": "7"}])
    def test_gets_no_password_without_a_reason_nor_a_bad_one(self, ada, finn, wrong):
        address = reverse("admin:auth_user_password_change", args=[finn.pk])

        assert ada.post(address, PASSWORD | WHY | wrong).status_code == 200

        assert not AuditEntry.objects.exists()

    @pytest.mark.parametrize("number", ["0", "dana"])
    def test_that_is_not_there_gets_no_password(self, ada, number):
        assert ada.post(reverse("admin:auth_user_password_change", args=[number]), PASSWORD | WHY).status_code == 404

    def test_is_given_no_password_by_its_owner_who_does_not_say_the_old_one(self, ada):
        owner = User.objects.get(username="ada")

        answer = ada.post(reverse("admin:auth_user_password_change", args=[owner.pk]), PASSWORD | WHY)

        assert answer["Location"] == reverse("admin:password_change")
        assert not AuditEntry.objects.exists()

    def test_is_given_a_new_password_by_its_owner(self, ada):
        answer = ada.get(reverse("admin:password_change"))
        assert answer.status_code == 200
        user = User.objects.get(username="ada")
        user.set_password("the old one 7")
        user.save()
        ada.force_login(user)
        ada.cookies = signed_in(user).cookies

        answer = ada.post(reverse("admin:password_change"), PASSWORD | {"old_password": "the old one 7"})

        assert answer.status_code == 302
        assert AuditEntry.objects.get().after == {"password": "changed"}
        assert ada.get(reverse("admin:index")).status_code == 200

    def test_of_a_superuser_is_changed_by_superusers_alone(self, ada, dana, finn):
        owner = User.objects.get(username="dana")

        assert saves(ada, owner, of_account(owner, **WHY)).status_code == 403
        assert ada.post(reverse("admin:auth_user_password_change", args=[owner.pk]), PASSWORD | WHY).status_code == 403
        saves(ada, finn, of_account(finn, is_superuser="on", **WHY))
        finn.refresh_from_db()
        assert not finn.is_superuser

        saves(dana, finn, of_account(finn, is_superuser="on", **WHY))
        finn.refresh_from_db()
        assert finn.is_superuser

    def test_of_a_superuser_keeps_its_password_in_the_service_too(self, ada, dana):
        with pytest.raises(PermissionDenied):
            set_password(
                account=User.objects.get(username="dana"), password="x", staff=User.objects.get(username="ada"),
                reason="So.",
            )  # fmt: skip

    def test_is_neither_added_nor_deleted(self, dana, finn):
        assert dana.post(reverse("admin:auth_user_add"), {}).status_code == 403
        assert dana.post(reverse("admin:auth_user_delete", args=[finn.pk]), {"post": "yes"}).status_code == 403

    def test_is_shown_without_a_form_to_those_who_only_see_it(self, ada, finn):
        finn.user_permissions.add(Permission.objects.get(codename="view_user"))

        seen = signed_in(finn).get(page_of(finn)).content.decode()
        changed = ada.get(page_of(finn)).content.decode()

        offers = ["<textarea", reverse("admin:auth_user_password_change", args=[finn.pk])]
        assert [offer in changed for offer in offers] == [True, True]
        assert [offer in seen for offer in offers] == [False, False]

    def test_never_shows_a_hash(self, ada, dana, finn):
        for browser in (ada, dana):
            for account in User.objects.all():
                page = browser.get(page_of(account))
                assert page.status_code == 200
                assert account.password not in page.content.decode()


class TestAPayment:
    def test_tells_what_staff_did_to_it(self, dana, invoice, settings):
        record_payment(payment_of(invoice, money=Money(501, "XTR")))
        hold = Hold.objects.get()
        dismiss_hold(hold=hold, staff=User.objects.get(username="dana"), why="A test of ours.")

        story = [(entry.what, entry.detail) for entry in told(settings.TIMELINE_SOURCES, hold.event)]

        assert ("Hold resolved: dismissed", "") in story
        said = "A test of ours. · resolution: dismissed"
        assert ("dana resolved a held payment: dismissed", said) in story


class TestTheAudit:
    def test_is_seen_as_far_as_the_rows_that_it_is_about(self, ada, finn, alice, shop):
        saves(ada, alice, of_customer(**BLOCKED, **WHY))
        saves(ada, shop, {"name": "the shop", "scopes": ["payments:read"], **WHY})
        customers, keys = AuditEntry.objects.order_by("pk")
        entries = reverse("admin:entitlements_auditentry_changelist")

        assert set(signed_in(finn).get(entries).context["cl"].result_list) == {customers}
        assert signed_in(finn).get(page_of(keys)).status_code == 302
        assert set(ada.get(entries).context["cl"].result_list) == {customers, keys}

    def test_is_append_only_in_the_database_whoever_asks(self):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT tgenabled, tgtype & 24 FROM pg_trigger"
                " WHERE tgrelid = 'entitlements_auditentry'::regclass AND tgname LIKE 'pgtrigger_audit_is_append_only%'"
            )
            before_update_and_delete = ("O", 24)
            assert cursor.fetchall() == [before_update_and_delete]

    @pytest.mark.parametrize("role", Role)
    def test_is_changed_by_no_role(self, role):
        held = group_of(role).permissions.filter(content_type__model__in=["auditentry", "logentry"])

        assert [permission.codename for permission in held] == ["view_auditentry"]

    def test_has_no_page_for_djangos_own_log_nor_for_devices(self, dana):
        from django.contrib import admin

        pages = {model._meta.label for model in admin.site._registry}
        assert not pages & {LogEntry._meta.label, "otp_totp.TOTPDevice"}

    def test_is_not_cleared_of_a_role(self, dana):
        group = group_of(Role.SUPPORT)

        assert dana.post(page_of(group), {"name": "Support"}).status_code == 403
        assert Group.objects.get().permissions.exists()


def renamed(customer):
    type(customer).objects.filter(pk=customer.pk).update(display_name="Alicia")
    return customer
