"""What is for sale, for anybody."""

from datetime import UTC, datetime

import pytest

from payments.models import PaymentMethod
from payments.money import Money
from tests.factories import PlanFactory

pytestmark = pytest.mark.django_db


def test_the_catalogue_lists_what_is_on_sale_with_its_prices(nobody, django_assert_num_queries):
    PlanFactory(position=2)
    PlanFactory(
        code="life", title="For life", entitlement="all", duration_days=None, position=1, prices=[Money(9900, "EUR")]
    )
    PlanFactory(code="old", withdrawn_at=datetime.now(UTC))

    with django_assert_num_queries(4):  # one counts the caller, one asks what providers take
        answer = nobody.get("/api/v1/catalog")

    life, gold = answer.json()["plans"]
    assert life["plan_code"] == "life"
    assert life["duration_days"] is None
    assert life["prices"] == [{"amount": 9900, "currency": "EUR", "payment_method": "telegram_provider"}]
    assert gold == {
        "plan_code": "gold_1m",
        "title": "Gold, 1 month",
        "description": "Signals and three devices.",
        "entitlement": "gold",
        "features": {"signals_enabled": True, "max_devices": 3},
        "duration_days": 30,
        "recurring": False,
        "prices": [
            {"amount": 500, "currency": "XTR", "payment_method": "telegram_stars"},
            {"amount": 2500, "currency": "GBP", "payment_method": "telegram_provider"},
        ],
    }


def test_a_price_nobody_can_pay_here_is_not_listed(nobody):
    plan = PlanFactory()
    plan.prices.create(payment_method=PaymentMethod.STRIPE, currency="GBP", amount=2500)

    (gold,) = nobody.get("/api/v1/catalog").json()["plans"]

    assert {price["payment_method"] for price in gold["prices"]} == {"telegram_stars", "telegram_provider"}
