"""Who a customer is: the rules of the contract's Credentials, one by one."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from entitlements.identities import (
    IdentityDisagrees,
    customer_by_name,
    customer_by_user_id,
    customer_for_token,
    customer_from_telegram,
)
from entitlements.models import Customer, UserIdOrigin
from tests.factories import CustomerFactory

pytestmark = pytest.mark.django_db


def host_customer(user_id="alice", telegram_user_id=None):
    return CustomerFactory(user_id=user_id, telegram_user_id=telegram_user_id, user_id_origin=UserIdOrigin.HOST)


def met_in_telegram(telegram_user_id=7):
    return customer_from_telegram(telegram_user_id=telegram_user_id, display_name="Alice")


class TestACustomerMetInTelegram:
    def test_has_the_decimal_telegram_id_as_a_user_id_of_ours(self):
        customer = customer_from_telegram(
            telegram_user_id=7, display_name="Alice", username="alice", language_code="ru"
        )

        customer.refresh_from_db()
        assert (customer.user_id, customer.user_id_origin) == ("7", UserIdOrigin.OURS)
        assert (customer.display_name, customer.username, customer.language_code) == ("Alice", "alice", "ru")

    def test_is_one_customer_however_often_he_is_met(self):
        assert met_in_telegram() == met_in_telegram()
        assert Customer.objects.count() == 1

    def test_gets_the_names_telegram_gives_him_now(self):
        customer_from_telegram(telegram_user_id=7, display_name="Alice", username="alice", language_code="ru")

        customer_from_telegram(telegram_user_id=7, display_name="Alicia", language_code="en")

        customer = Customer.objects.get()
        assert (customer.display_name, customer.username, customer.language_code) == ("Alicia", "", "en")

    def test_keeps_his_names_when_nothing_is_known_of_them(self):
        met_in_telegram()

        assert customer_from_telegram(telegram_user_id=7).display_name == "Alice"
        assert Customer.objects.get().display_name == "Alice"

    def test_may_have_any_name(self):
        customer = customer_from_telegram(
            telegram_user_id=7, display_name="A\x00b\ud800<script>", language_code="x" * 99
        )

        customer.refresh_from_db()
        assert customer.display_name.startswith("A\ufffdb\ufffd")
        assert customer.display_name.endswith("<script>")
        assert len(customer.language_code) == 16

    def test_does_not_become_the_hosts_user_who_has_his_number(self):
        host_customer(user_id="7")

        customer = met_in_telegram(7)

        assert (customer.user_id, customer.telegram_user_id) == ("telegram:7", 7)
        assert met_in_telegram(7) == customer

    @pytest.mark.django_db(transaction=True)
    def test_is_one_customer_when_met_many_times_at_once(self):
        def meet(_):
            try:
                return met_in_telegram().pk
            finally:
                connection.close()

        with ThreadPoolExecutor(8) as threads:
            assert len(set(threads.map(meet, range(16)))) == 1


class TestAToken:
    def test_with_an_unknown_sub_makes_a_customer(self):
        customer = customer_for_token(sub="alice", telegram_user_id=None)

        assert (customer.user_id, customer.user_id_origin) == ("alice", UserIdOrigin.HOST)
        assert customer_for_token(sub="alice", telegram_user_id=None) == customer

    def test_with_an_unknown_sub_and_account_makes_a_customer_with_both(self):
        customer = customer_for_token(sub="alice", telegram_user_id=7)

        assert (customer.user_id, customer.telegram_user_id) == ("alice", 7)
        assert customer_for_token(sub="alice", telegram_user_id=7) == customer

    def test_names_a_host_customer_without_his_account_too(self):
        customer = host_customer(telegram_user_id=7)

        assert customer_for_token(sub="alice", telegram_user_id=None) == customer

    def test_with_another_account_than_the_customers_is_refused(self):
        host_customer(telegram_user_id=7)

        with pytest.raises(IdentityDisagrees):
            customer_for_token(sub="alice", telegram_user_id=8)

    def test_tells_the_account_of_a_host_customer_who_had_none(self):
        customer = host_customer()

        assert customer_for_token(sub="alice", telegram_user_id=7) == customer
        assert customer_by_user_id("alice").telegram_user_id == 7

    def test_does_not_take_the_account_of_another_customer(self):
        host_customer()
        met_in_telegram(7)

        with pytest.raises(IdentityDisagrees):
            customer_for_token(sub="alice", telegram_user_id=7)

    def test_gives_a_customer_met_in_telegram_its_sub_as_user_id(self):
        met = met_in_telegram(7)

        customer = customer_for_token(sub="alice", telegram_user_id=7)

        assert customer == met
        assert (customer.user_id, customer.user_id_origin) == ("alice", UserIdOrigin.HOST)
        assert met_in_telegram(7).user_id == "alice"

    def test_gives_him_a_user_id_once_only(self):
        met_in_telegram(7)
        customer_for_token(sub="alice", telegram_user_id=7)

        for other in ("bob", "7"):
            with pytest.raises(IdentityDisagrees):
                customer_for_token(sub=other, telegram_user_id=7)

    def test_whose_sub_is_an_id_of_ours_counts_with_the_same_account_beside_it(self):
        met = met_in_telegram(7)

        assert customer_for_token(sub="7", telegram_user_id=7) == met
        assert Customer.objects.get().user_id_origin == UserIdOrigin.OURS

    @pytest.mark.parametrize("telegram_user_id", [None, 8])
    def test_whose_sub_is_an_id_of_ours_counts_with_nothing_else(self, telegram_user_id):
        met_in_telegram(7)

        with pytest.raises(IdentityDisagrees):
            customer_for_token(sub="7", telegram_user_id=telegram_user_id)

    def test_with_the_account_of_a_host_customer_and_another_sub_is_refused(self):
        host_customer(telegram_user_id=7)

        with pytest.raises(IdentityDisagrees):
            customer_for_token(sub="bob", telegram_user_id=7)

    @pytest.mark.django_db(transaction=True)
    def test_makes_one_customer_when_used_many_times_at_once(self):
        def use(_):
            try:
                return customer_for_token(sub="alice", telegram_user_id=7).pk
            finally:
                connection.close()

        with ThreadPoolExecutor(8) as threads:
            assert len(set(threads.map(use, range(16)))) == 1

    @pytest.mark.django_db(transaction=True)
    def test_of_two_that_name_one_account_at_once_only_one_wins(self):
        met_in_telegram(7)

        def claim(sub):
            try:
                return customer_for_token(sub=sub, telegram_user_id=7).user_id
            except IdentityDisagrees:
                return None
            finally:
                connection.close()

        with ThreadPoolExecutor(8) as threads:
            won = {user_id for user_id in threads.map(claim, [f"host-{n}" for n in range(8)]) if user_id}
        assert won == {Customer.objects.get().user_id}


class TestAProgramsName:
    def test_finds_the_customer_or_makes_one(self):
        met = met_in_telegram(7)

        assert customer_by_name("7") == met
        assert customer_by_name("carol").user_id_origin == UserIdOrigin.HOST
        assert customer_by_name("carol") == customer_by_user_id("carol")

    def test_that_no_database_holds_is_nobodys(self):
        assert customer_by_user_id("al\x00ice") is None
        assert customer_by_user_id("nobody") is None
