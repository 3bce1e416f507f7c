"""Revenue as programs see it."""

from datetime import UTC, datetime, timedelta

import pytest

from config.database import database_now
from entitlements.models import Scope
from payments.models import PaymentMethod
from tests.api.conftest import problem_of, program
from tests.payments.test_revenue import given_back, paid

pytestmark = pytest.mark.django_db

REVENUE = "/api/v1/revenue"


def no_costs(net: int) -> dict[str, int]:
    return {"disputed": 0, "fees": 0, "proceeds": net}


@pytest.fixture
def accountant():
    return program(Scope.REVENUE_READ)


@pytest.fixture
def november(alice, gold):
    payment = paid(alice, gold, datetime(2025, 11, 1, 9, tzinfo=UTC))
    given_back(payment, datetime(2025, 11, 30, 23, 59, tzinfo=UTC))
    paid(
        alice,
        None,
        datetime(2025, 11, 1, 10, tzinfo=UTC),
        amount=2500,
        currency="GBP",
        method=PaymentMethod.TELEGRAM_PROVIDER,
    )
    paid(alice, gold, datetime(2025, 12, 1, tzinfo=UTC))


def test_is_told_apart_by_what_was_asked_for_and_always_by_currency(accountant, november):
    answer = accountant.get(f"{REVENUE}?from=2025-11-01&to=2025-11-30&group_by=day,plan_code")

    assert answer.json() == {
        "results": [
            {
                "day": "2025-11-01", "plan_code": None, "currency": "GBP",
                "gross": 2500, "refunded": 0, "net": 2500, **no_costs(2500), "payments": 1, "refunds": 0,
            },
            {
                "day": "2025-11-01", "plan_code": "gold_1m", "currency": "XTR",
                "gross": 500, "refunded": 0, "net": 500, **no_costs(500), "payments": 1, "refunds": 0,
            },
            {
                "day": "2025-11-30", "plan_code": "gold_1m", "currency": "XTR",
                "gross": 0, "refunded": 500, "net": -500, **no_costs(-500), "payments": 0, "refunds": 1,
            },
        ]
    }  # fmt: skip


def test_can_be_asked_for_by_month_and_method(accountant, november):
    rows = accountant.get(f"{REVENUE}?from=2025-11-01&to=2025-12-01&group_by=month,payment_method").json()["results"]

    assert [(row["month"], row["payment_method"], row["net"]) for row in rows] == [
        ("2025-11", "telegram_provider", 2500),
        ("2025-11", "telegram_stars", 0),
        ("2025-12", "telegram_stars", 500),
    ]


@pytest.mark.parametrize("query", ["", "?", "?group_by="])
def test_is_that_of_the_last_thirty_days_when_nothing_is_asked(accountant, alice, gold, query):
    for days in (0, 29, 30):
        paid(alice, gold, database_now() - timedelta(days=days))

    assert accountant.get(REVENUE + query).json()["results"] == [
        {
            "currency": "XTR",
            "gross": 1000,
            "refunded": 0,
            "net": 1000,
            "disputed": 0,
            "fees": 0,
            "proceeds": 1000,
            "payments": 2,
            "refunds": 0,
        }
    ]


def test_without_a_first_day_begins_thirty_days_back_from_the_last(accountant, november):
    (row,) = accountant.get(f"{REVENUE}?to=2025-12-01&group_by=currency").json()["results"]

    assert (row["gross"], row["refunded"]) == (500, 500)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("from=", "from"),
        ("from=yesterday", "from"),
        ("from=2025-02-30", "from"),
        ("from=2025-1-1", "from"),
        ("from=20250101", "from"),
        ("from=2025-01-01T00:00:00Z", "from"),
        ("from=%00", "from"),
        ("to=2025-13-01", "to"),
        ("from=2025-11-02&to=2025-11-01", "from"),
        ("from=9999-12-31", "from"),
        ("from=0001-01-01", "from"),
        ("to=0001-01-01", "to"),
        ("group_by=week", "group_by"),
        ("group_by=day,", "group_by"),
        ("group_by=day%20,month", "group_by"),
        ("group_by=DAY", "group_by"),
    ],
)
def test_refuses_what_makes_no_sense_and_says_where(accountant, query, field):
    refused = accountant.get(f"{REVENUE}?{query}")

    assert problem_of(refused) == (422, "invalid")
    assert list(refused.json()["errors"]) == [field]


def test_is_told_for_ten_years_at_most(accountant):
    assert accountant.get(f"{REVENUE}?from=2015-11-25&to=2025-12-01").status_code == 200
    assert accountant.get(f"{REVENUE}?from=2015-11-24&to=2025-12-01").status_code == 422


def test_can_be_asked_for_by_every_method_there_is(accountant, alice, gold):
    for method in (PaymentMethod.TELEGRAM_STARS, PaymentMethod.TELEGRAM_PROVIDER):
        paid(alice, gold, database_now(), method=method)

    rows = accountant.get(f"{REVENUE}?group_by=payment_method").json()["results"]

    assert [row["payment_method"] for row in rows] == ["telegram_provider", "telegram_stars"]


def test_needs_the_scope(nobody, as_alice):
    others = program(*(scope for scope in Scope if scope != Scope.REVENUE_READ))

    assert problem_of(others.get(REVENUE)) == (403, "forbidden")
    assert problem_of(nobody.get(REVENUE)) == (401, "not_authenticated")
    assert problem_of(as_alice.get(REVENUE))[0] == 401
