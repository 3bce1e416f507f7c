"""Nobody is in the admin without both factors, and nobody may guess."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.test import Client, RequestFactory
from django_otp.oath import totp
from django_otp.plugins.otp_totp.models import TOTPDevice

from config.sign_in import LIMIT_OF_ADDRESS, LIMIT_OF_NAME, SignInForm
from config.staff import Role, enrol
from entitlements.models import RateLimit
from tests.config.reading import figures

pytestmark = pytest.mark.django_db

WRONG = "Name, password and code do not go together."


@pytest.fixture
def dana(settings):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # quick; the hash is not the point
    return enrol(name="dana", role=Role.FINANCE)


def code_of(enrolment, *, ago: int = 0) -> str:
    """What the app shows, or showed so many periods of half a minute ago."""
    device = TOTPDevice.objects.get(user=enrolment.user)
    return f"{totp(device.bin_key, t0=device.t0, drift=-ago):06}"


def signs_in(enrolment, *, address="127.0.0.1", forwarded="", **changes) -> str:
    """Where it leads: the page, or the form again with its errors."""
    data = {"username": "dana", "password": enrolment.password, "otp_token": "", **changes}
    browser = Client(REMOTE_ADDR=address, HTTP_X_FORWARDED_FOR=forwarded)
    return browser.post("/admin/login/?next=/admin/", data, follow=True).content.decode()


def is_in(page: str) -> bool:
    return "login-form" not in page


class TestStaff:
    def test_come_in_with_name_password_and_code(self, dana):
        assert is_in(signs_in(dana, otp_token=code_of(dana)))

    @pytest.mark.parametrize(
        "changes", [{"username": "eve"}, {"password": "guessed"}, {"otp_token": "000000"}, {"otp_token": ""}]
    )
    def test_learn_nothing_about_which_of_them_is_wrong(self, dana, changes):
        page = signs_in(dana, **{"otp_token": code_of(dana), **changes})

        assert not is_in(page)
        assert WRONG in page

    @pytest.mark.parametrize("empty", ["username", "password"])
    def test_are_told_what_they_left_empty(self, dana, empty):
        page = signs_in(dana, **{"otp_token": code_of(dana), empty: ""})

        assert not is_in(page)
        assert "This field is required." in page

    def test_cannot_use_a_code_twice(self, dana):
        code = code_of(dana)
        assert is_in(signs_in(dana, otp_token=code))

        assert WRONG in signs_in(dana, otp_token=code)

    def test_cannot_use_an_old_code(self, dana):
        assert WRONG in signs_in(dana, otp_token=code_of(dana, ago=4))

    def test_without_a_factor_are_told_how_to_get_one(self, dana):
        TOTPDevice.objects.all().delete()

        assert "manage.py create_staff" in signs_in(dana)

    def test_without_a_factor_come_in_where_none_is_required(self, dana, settings):
        settings.STAFF_SECOND_FACTOR = False
        TOTPDevice.objects.all().delete()

        assert is_in(signs_in(dana))

    def test_with_a_factor_need_it_everywhere(self, dana, settings):
        settings.STAFF_SECOND_FACTOR = False

        assert WRONG in signs_in(dana)


class TestARefusal:
    def tells(self, lines) -> list[tuple]:
        return [
            (line["level"], line["address"], line["reason"], line["account"], line["knows_password"])
            for line in lines()
            if line["event"] == "sign-in refused"
        ]

    @pytest.mark.parametrize(
        ("changes", "knows_password"),
        [({"password": "guessed"}, False), ({"otp_token": "000000"}, True), ({"otp_token": ""}, True)],
    )
    def test_is_told_with_the_address_and_the_account_and_whether_the_password_is_known(
        self, dana, lines, changes, knows_password
    ):
        signs_in(dana, address="203.0.113.9", **changes)

        assert self.tells(lines) == [("warning", "203.0.113.9", "invalid_login", dana.user.pk, knows_password)]

    def test_does_not_tell_what_was_entered(self, dana, lines):
        signs_in(dana, username="somebodys-password-in-the-wrong-field", password="guessed")

        [line] = [line for line in lines() if line["event"] == "sign-in refused"]
        assert line["account"] is None
        assert "somebodys-password" not in str(line)

    def test_is_told_and_counted_also_of_attempts_too_many(self, dana, lines, settings):
        settings.DEBUG = True
        before = figures(Client())["starledger_sign_ins_refused_total"]
        for _ in range(LIMIT_OF_NAME + 1):
            signs_in(dana, password="guessed")

        assert [reason for _, _, reason, _, _ in self.tells(lines)] == ["invalid_login"] * LIMIT_OF_NAME + ["too_many"]
        assert figures(Client())["starledger_sign_ins_refused_total"] - before == LIMIT_OF_NAME + 1

    def test_is_none_when_somebody_comes_in(self, dana, lines):
        signs_in(dana, otp_token=code_of(dana))

        assert self.tells(lines) == []


def test_a_session_of_one_factor_opens_nothing(dana):
    client = Client()
    client.force_login(dana.user)

    assert client.get("/admin/").status_code == 302
    assert client.get("/admin/payments/hold/").status_code == 302


def is_compared(username: str, *, forwarded: str = "") -> bool:
    """Whether a guess is looked at, or one too many."""
    request = RequestFactory().post("/admin/login/", headers={"X-Forwarded-For": forwarded})
    form = SignInForm(request, data={"username": username, "password": "guessed", "otp_token": "000000"})
    return "Too many attempts" not in str(form.errors)


@pytest.mark.django_db(transaction=True)
class TestGuessing:
    def test_ends_after_a_few_attempts_even_with_the_right_answer(self, dana):
        for _ in range(LIMIT_OF_NAME):
            signs_in(dana, password="guessed")

        assert "Too many attempts. Try again in" in signs_in(dana, otp_token=code_of(dana))

    def test_elsewhere_does_not_keep_her_out(self, dana):
        for _ in range(LIMIT_OF_NAME + 1):
            signs_in(dana, password="guessed", address="203.0.113.9")

        assert is_in(signs_in(dana, otp_token=code_of(dana)))

    def test_elsewhere_behind_the_proxy_does_not_keep_her_out_either(self, dana, settings):
        settings.TRUSTED_PROXIES = ["127.0.0.1"]
        for _ in range(LIMIT_OF_NAME + 1):
            signs_in(dana, password="guessed", forwarded="203.0.113.9")

        assert is_in(signs_in(dana, otp_token=code_of(dana), forwarded="198.51.100.7"))

    def test_ends_whatever_the_guesser_says_about_his_address(self, dana, settings):
        settings.TRUSTED_PROXIES = ["127.0.0.1"]
        for number in range(LIMIT_OF_NAME):
            signs_in(dana, password="guessed", forwarded=f"192.0.2.{number}, 203.0.113.9")

        page = signs_in(dana, otp_token=code_of(dana), forwarded="198.51.100.7, 203.0.113.9")

        assert "Too many attempts" in page

    @pytest.mark.parametrize("spelled", [" {}", "{} ", "\t{}", "ｄａｎａ", "{}\x00"])
    def test_ends_however_the_name_is_spelled(self, dana, spelled):
        for _ in range(LIMIT_OF_NAME):
            assert is_compared(spelled.format("dana"))

        assert not is_compared("dana")

    def test_two_hundred_at_once_are_no_more_than_one_after_the_other(self, dana):
        def guess(number: int) -> bool:
            try:
                return is_compared("dana", forwarded=f"192.0.2.{number}")
            finally:
                connection.close()

        with ThreadPoolExecutor(50) as threads:
            assert sum(threads.map(guess, range(200))) == LIMIT_OF_NAME

    def test_of_many_names_ends_too(self, dana):
        for number in range(LIMIT_OF_ADDRESS):
            signs_in(dana, username=f"guess{number}")

        assert "Too many attempts" in signs_in(dana, otp_token=code_of(dana))

    def test_of_many_names_writes_nothing_when_it_has_ended(self, dana):
        for number in range(LIMIT_OF_ADDRESS + 5):
            is_compared(f"guess{number}")

        assert RateLimit.objects.count() == LIMIT_OF_ADDRESS + 1  # the names, and the address
