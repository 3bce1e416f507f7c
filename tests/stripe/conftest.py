import pytest

from payments.sandbox.server import LocalStripe
from tests.payments.conftest import telegram
from tests.stripe.shop import KEY, SECRET, Shop, set_up

__all__ = ["telegram"]


@pytest.fixture
def stripe(settings) -> Shop:
    """A shop that sells by a local Stripe."""
    with LocalStripe.running(secret_key=KEY) as local:
        yield set_up(settings, local)


@pytest.fixture
def set_up_without_stripe(settings):
    """Everything but a Stripe that answers."""
    settings.STRIPE_SECRET_KEY = KEY
    settings.STRIPE_WEBHOOK_SECRETS = [SECRET]
