"""Buttons: what they carry, and what is made of what comes back."""

import pytest

from payments.models import PaymentMethod
from telegram_bot.keyboards import BuyPlan, Remind, SeePlan, SeePlans, wish_of

LONGEST_CODE = "a_9" * 16 + "zz"
WISHES = [
    SeePlans(),
    SeePlans(9999),
    SeePlan(LONGEST_CODE),
    Remind(wanted=True),
    Remind(wanted=False),
    *(BuyPlan(LONGEST_CODE, method, "GBP") for method in PaymentMethod),
]


@pytest.mark.parametrize("wish", WISHES)
class TestCallbackData:
    def test_comes_back_as_it_was_sent(self, wish):
        assert wish_of(wish.data) == wish

    def test_fits_into_64_bytes(self, wish):
        assert len(wish.data.encode()) <= 64


@pytest.mark.parametrize(
    "data",
    [
        "",
        "plans",
        "plans:-1",
        "plans:99999",
        "plans:٣",
        "plan:",
        "plan:GOLD",
        "plan:gold\n",
        "plan:" + "a" * 51,
        "reminders:maybe",
        "buy:gold",
        "buy:gold:sXT",
        "buy:gold:xXTR",
        "buy:gold:sXTR:1",
        "buy:gold'--:sXTR",
        "buy:gold:sxtr",
        '{"method": "refundStarPayment"}',
    ],
)
def test_data_somebody_made_up_asks_for_nothing(data):
    assert wish_of(data) is None
