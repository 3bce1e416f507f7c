"""Staff read what contradicts itself in the books, and what to do about it."""

import pytest
from django.urls import reverse

from config.database import database_now
from payments.models import InvariantCheck

pytestmark = pytest.mark.django_db

LIST = reverse("admin:payments_invariantcheck_changelist")


def page_of(check):
    return reverse("admin:payments_invariantcheck_change", args=[check.pk])


@pytest.fixture
def alarming(db) -> InvariantCheck:
    return InvariantCheck.objects.create(
        check_name="entitlements", differences=2, detail="Customer 1 differs.\nCustomer 2 differs.",
        checked_at=database_now(),
    )  # fmt: skip


class TestTheList:
    def test_names_the_first_contradiction_of_each_check(self, dana, alarming):
        page = dana.get(LIST).content.decode()

        assert "Customer 1 differs." in page
        assert "Customer 2 differs." not in page

    def test_tells_those_that_have_not_looked_yet_from_those_that_found_nothing(self, dana):
        InvariantCheck.objects.create(check_name="revenue")
        assert "not looked yet" in dana.get(LIST).content.decode()

        InvariantCheck.objects.update(checked_at=database_now())

        page = dana.get(LIST).content.decode()
        assert "not looked yet" not in page
        assert ">none<" in page.replace("\n", "").replace(" ", "")


class TestThePage:
    def test_names_all_that_is_kept_and_what_to_do(self, dana, alarming):
        page = dana.get(page_of(alarming)).content.decode()

        assert "<li>Customer 1 differs.</li>" in page
        assert "<li>Customer 2 differs.</li>" in page
        assert "manage.py recheck_ledger" in page

    def test_says_that_nothing_was_found(self, dana):
        sound = InvariantCheck.objects.create(check_name="tallies", checked_at=database_now())

        assert "Nothing found" in dana.get(page_of(sound)).content.decode()
