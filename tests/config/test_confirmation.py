"""Money asks staff who they are once more, when they signed in a while ago."""

import pytest
from django.conf import settings as house
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.views.debug import SafeExceptionReporterFilter
from django_otp.plugins.otp_totp.models import TOTPDevice

from config.confirmation import LASTS, SIGNED_IN_AT
from config.sign_in import LIMIT_OF_NAME
from config.staff import Role, enrol
from payments.models import Refund
from payments.recording import record_payment
from tests.config.test_sign_in import WRONG, code_of
from tests.payments.reports import payment_of

pytestmark = pytest.mark.django_db

ASKED = {"do": "refund", "reason": "Bought by <mistake>."}


@pytest.fixture
def dana(settings):
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # quick; the hash is not the point
    return enrol(name="dana", role=Role.FINANCE)


@pytest.fixture
def staff(dana) -> Client:
    """Dana, who signed in eleven minutes ago with both factors."""
    client = Client()
    form = {"username": "dana", "password": dana.password, "otp_token": code_of(dana)}
    assert client.post("/admin/login/?next=/admin/", form).status_code == 302
    grow_old(client)
    TOTPDevice.objects.update(last_t=-1)  # the code of that time is not the code of now
    return client


@pytest.fixture
def page(invoice) -> str:
    return reverse("admin:payments_paymentevent_refund", args=[record_payment(payment_of(invoice)).event.pk])


def grow_old(client, minutes=11) -> None:
    session = client.session
    session[SIGNED_IN_AT] -= minutes * 60
    session.save()


def confirmation(dana, **changes) -> dict[str, str]:
    return {
        "confirming": "1", "reason": ASKED["reason"], "password": dana.password, "otp_token": code_of(dana), **changes
    }  # fmt: skip


def asks(answer) -> bool:
    return 'id="confirmation"' in answer.content.decode()


class TestARefundLongAfterTheSignIn:
    def test_asks_who_it_is_and_is_not_done(self, staff, page):
        answer = staff.post(page, ASKED)

        assert asks(answer)
        assert not Refund.objects.exists()

    def test_tells_neither_password_nor_code_in_a_report_of_an_error(self, staff, dana, page):
        request = staff.post(page, confirmation(dana)).wsgi_request

        told = SafeExceptionReporterFilter().get_post_parameters(request)

        assert told["reason"] == ASKED["reason"]
        assert {told["password"], told["otp_token"]} == {SafeExceptionReporterFilter.cleansed_substitute}

    def test_leads_back_to_the_page_with_what_was_entered(self, staff, dana, page):
        assert 'name="reason" value="Bought by &lt;mistake&gt;."' in staff.post(page, ASKED).content.decode()

        again = staff.post(page, confirmation(dana))

        assert not asks(again)
        assert "Bought by &lt;mistake&gt;.</textarea>" in again.content.decode()
        assert not Refund.objects.exists()
        assert staff.post(page, ASKED).status_code == 302
        assert Refund.objects.count() == 1

    @pytest.mark.parametrize("wrong", [{"password": "guessed"}, {"otp_token": "000000"}, {"otp_token": ""}])
    def test_is_not_done_for_whoever_does_not_know_both(self, staff, dana, page, wrong):
        answer = staff.post(page, confirmation(dana, do="refund", **wrong))

        assert asks(answer)
        assert WRONG in answer.content.decode()
        assert asks(staff.post(page, ASKED))
        assert not Refund.objects.exists()

    def test_says_that_the_password_was_left_empty(self, staff, dana, page):
        answer = staff.post(page, confirmation(dana, password=""))

        assert asks(answer)
        assert "This field is required." in answer.content.decode()

    def test_takes_the_password_of_whoever_is_signed_in_alone(self, staff, dana, page):
        finn = enrol(name="finn", role=Role.FINANCE)

        answer = staff.post(page, confirmation(dana, username="finn", password=finn.password, otp_token=code_of(finn)))

        assert asks(answer)

    def test_keeps_neither_password_nor_button(self, staff, dana, page):
        shown = staff.post(page, confirmation(dana, password="guessed", do="refund")).content.decode()

        assert "guessed" not in shown
        assert 'name="do"' not in shown

    def test_is_asked_of_sessions_that_do_not_know_when_they_began(self, staff, page):
        session = staff.session
        del session[SIGNED_IN_AT]
        session.save()

        assert asks(staff.post(page, ASKED))

    def test_may_be_looked_at(self, staff, page):
        assert not asks(staff.get(page))


class TestARefundSoonAfterTheSignIn:
    def test_is_done_at_once(self, staff, page):
        grow_old(staff, minutes=-2)

        assert staff.post(page, ASKED).status_code == 302
        assert LASTS.total_seconds() == 600


class TestWithoutAFactor:
    def test_the_password_is_enough_where_none_is_required(self, settings, page):
        settings.STAFF_SECOND_FACTOR = False
        settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
        client = Client()
        client.force_login(User.objects.create_superuser("rosa", password="hers"))
        grow_old(client)

        assert asks(client.post(page, {"confirming": "1", "password": "not hers"}))
        assert not asks(client.post(page, {"confirming": "1", "password": "hers"}))


@pytest.mark.django_db(transaction=True)
def test_guesses_are_counted_with_those_at_the_door(staff, dana, page):
    for number in range(LIMIT_OF_NAME):
        staff.post(page, confirmation(dana, username=f"not {number}", password="guessed"))

    assert "Too many attempts. Try again in" in staff.post(page, confirmation(dana)).content.decode()


def test_a_session_ends_with_the_day():
    assert house.SESSION_COOKIE_AGE == 12 * 60 * 60
