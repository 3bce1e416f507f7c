"""Three roles, and an account that begins with a second factor."""

import base64
import re

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.management import CommandError, call_command
from django_otp.oath import totp
from django_otp.plugins.otp_totp.models import TOTPDevice

from config.staff import MONEY, Role, enrol, permissions_of, renew_roles

pytestmark = pytest.mark.django_db


def may(role: Role, permission: str) -> bool:
    user = enrol(name=f"somebody who is {role}", role=role).user
    return User.objects.get(pk=user.pk).has_perm(permission)


class TestRoles:
    @pytest.mark.parametrize("role", Role)
    @pytest.mark.parametrize("permission", ["payments.view_paymentevent", "entitlements.view_customer"])
    def test_all_see_payments_and_customers(self, role, permission):
        assert may(role, permission)

    @pytest.mark.parametrize("permission", MONEY)
    def test_support_moves_no_money(self, permission):
        assert not may(Role.SUPPORT, permission)
        assert may(Role.FINANCE, permission)
        assert may(Role.ADMIN, permission)

    @pytest.mark.parametrize("permission", ["auth.change_user", "entitlements.add_apiclient"])
    def test_only_an_admin_gives_access_to_others(self, permission):
        assert [role for role in Role if may(role, permission)] == [Role.ADMIN]

    def test_everything_named_as_money_exists(self):
        assert set(MONEY) <= {f"{each.content_type.app_label}.{each.codename}" for each in Permission.objects.all()}

    def test_nobody_of_them_is_a_superuser(self):
        assert not any(enrol(name=role, role=role).user.is_superuser for role in Role)

    def test_are_renewed_when_the_tables_are(self):
        enrol(name="finn", role=Role.FINANCE)
        Group.objects.get(name="Finance").permissions.clear()

        renew_roles()

        assert set(Group.objects.get(name="Finance").permissions.all()) == set(permissions_of(Role.FINANCE))
        assert not Group.objects.filter(name="Support").exists()


class TestEnrolling:
    def test_gives_a_password_and_a_factor_that_work(self):
        dana = enrol(name="dana", role=Role.FINANCE)
        device = TOTPDevice.objects.get(user=dana.user)

        assert dana.user.check_password(dana.password)
        assert device.verify_token(totp(device.bin_key))

    def test_leaves_nothing_but_the_role(self):
        mighty = User.objects.create_superuser("dana")
        mighty.user_permissions.set(Permission.objects.filter(codename="request_refund"))

        enrol(name="dana", role=Role.SUPPORT)

        assert not User.objects.get(username="dana").has_perm("payments.request_refund")

    def test_again_changes_role_and_factor_and_keeps_the_password(self):
        first = enrol(name="dana", role=Role.FINANCE)

        second = enrol(name="dana", role=Role.SUPPORT)

        assert second.password is None
        assert second.user.check_password(first.password)
        assert [group.name for group in second.user.groups.all()] == ["Support"]
        assert TOTPDevice.objects.get(user=second.user).config_url == second.address != first.address


class TestTheCommand:
    def test_prints_once_what_the_person_needs(self, capsys):
        call_command("create_staff", "dana", "--role", "finance")

        printed = capsys.readouterr().out
        password = re.search(r"^Password: (\S{24})$", printed, re.MULTILINE)[1]
        assert User.objects.get(username="dana").check_password(password)
        assert TOTPDevice.objects.get().config_url in printed
        assert "▄" in printed or "█" in printed

    def test_prints_the_key_as_people_type_it(self, capsys):
        call_command("create_staff", "dana", "--role", "finance")

        typed = re.search(r"^Or type this key into it: ([A-Z2-7 ]+)$", capsys.readouterr().out, re.MULTILINE)[1]
        assert base64.b32decode(typed.replace(" ", "")) == TOTPDevice.objects.get().bin_key

    def test_says_where_to_sign_in(self, capsys, settings):
        settings.PUBLIC_URL = "https://shop.example"

        call_command("create_staff", "dana", "--role", "finance")

        assert "dana signs in at https://shop.example/admin/ with the role finance." in capsys.readouterr().out

    def test_says_when_the_password_stays(self, capsys):
        enrol(name="dana", role=Role.SUPPORT)

        call_command("create_staff", "dana", "--role", "admin")

        assert "The password stays as it was." in capsys.readouterr().out

    def test_knows_three_roles(self):
        with pytest.raises(CommandError, match="invalid choice: 'boss'"):
            call_command("create_staff", "dana", "--role", "boss")
