"""Stripe is set up whole or not at all."""

import pytest
from django.core.checks import run_checks

from payments.doctor import stripes_key
from tests.factories import PlanFactory
from tests.stripe.shop import by_stripe

KEY, SECRET = "sk_live_0123456789", "whsec_0123456789abcdef"


def faults() -> list[str]:
    found = run_checks(tags=["security"], include_deployment_checks=True)
    return [fault.id for fault in found if fault.id in {"starledger.E018", "starledger.E019", "starledger.E020"}]


def set_up(settings, key: str, *secrets: str) -> None:
    settings.STRIPE_SECRET_KEY, settings.STRIPE_WEBHOOK_SECRETS = key, list(secrets)


class TestHalfAConfiguration:
    @pytest.mark.parametrize(
        ("key", "secrets", "fault"),
        [
            (KEY, [], "starledger.E019"),
            ("", [SECRET], "starledger.E018"),
            ("pk_live_0123456789", [SECRET], "starledger.E018"),
            (KEY, ["secret"], "starledger.E019"),
            (KEY, [SECRET] * 3, "starledger.E019"),
        ],
        ids=["no secret", "no key", "a public key", "no secret of Stripe", "three secrets"],
    )
    def test_is_refused(self, settings, key, secrets, fault):
        set_up(settings, key, *secrets)

        assert faults() == [fault]

    def test_is_not_to_have_both_or_none(self, settings):
        assert faults() == []
        set_up(settings, KEY, SECRET, f"{SECRET}0")
        assert faults() == []
        set_up(settings, "rk_test_0123456789", SECRET)
        assert faults() == []


def test_the_key_is_not_sent_in_the_clear(settings):
    settings.STRIPE_API_BASE = "http://api.example.com"

    assert faults() == ["starledger.E020"]


@pytest.mark.django_db(transaction=True)
class TestTheDoctor:
    def test_says_that_stripe_takes_the_key(self, stripe):
        [finding] = stripes_key()

        assert finding.seen == "takes the key, of test mode; no event has come yet"

    def test_says_that_the_key_is_refused(self, stripe, settings):
        settings.STRIPE_SECRET_KEY = "sk_test_of_somebody_else"

        [finding] = stripes_key()

        assert finding.seen == "the key is refused"

    def test_says_what_is_not_sold_without_a_key(self):
        by_stripe(PlanFactory())

        [finding] = stripes_key()

        assert finding.seen == "no key, so these prices are not sold: gold_1m"
