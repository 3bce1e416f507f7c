"""The MAC of a payload, with which we know a quote of ours when its invoice is lost."""

from dataclasses import replace
from uuid import uuid4

import pytest

from payments import payloads
from payments.money import Money

PRICE = Money(500, "XTR")
OLD, NEW = b"o" * 32, b"n" * 32


@pytest.fixture
def quoted(settings):
    settings.PAYLOAD_KEYS = [OLD]
    return payloads.encode(invoice_id=uuid4(), plan_code="gold_1m", payer=7, price=PRICE)


class TestAPayload:
    def test_is_ours_for_its_payer_and_price_alone(self, quoted):
        assert payloads.is_ours(quoted, payer=7, price=PRICE)
        assert not payloads.is_ours(quoted, payer=8, price=PRICE)
        assert not payloads.is_ours(quoted, payer=7, price=replace(PRICE, amount=1))
        assert not payloads.is_ours(quoted.replace("gold_1m", "gold_1y"), payer=7, price=PRICE)

    def test_stays_ours_while_the_key_is_rotated_and_not_longer(self, quoted, settings):
        settings.PAYLOAD_KEYS = [NEW, OLD]
        assert payloads.is_ours(quoted, payer=7, price=PRICE)

        settings.PAYLOAD_KEYS = [NEW]
        assert not payloads.is_ours(quoted, payer=7, price=PRICE)

    def test_is_made_with_the_new_key(self, settings):
        settings.PAYLOAD_KEYS = [NEW, OLD]
        quoted = payloads.encode(invoice_id=uuid4(), plan_code="gold_1m", payer=7, price=PRICE)

        settings.PAYLOAD_KEYS = [NEW]
        assert payloads.is_ours(quoted, payer=7, price=PRICE)
