"""What production may not have between Stripe and us; see config/checks.py."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import Error, Tags, register

from config.checks import goes_in_the_clear

SECRET_KEY = re.compile(r"(sk|rk)_(live|test)_\w{8,}", re.ASCII)
WEBHOOK_SECRET = re.compile(r"whsec_\S{16,}", re.ASCII)


@register(Tags.security, deploy=True)
def stripe_is_set_up_whole_or_not_at_all(**_: Any) -> Iterator[Error]:
    key, secrets = settings.STRIPE_SECRET_KEY, settings.STRIPE_WEBHOOK_SECRETS
    if key and not SECRET_KEY.fullmatch(key):
        yield Error(
            "STRIPE_SECRET_KEY is no secret key of Stripe.",
            hint="Set STRIPE_SECRET_KEY to the key in your dashboard that begins with sk_live_ or rk_live_.",
            id="starledger.E018",
        )
    if key and not secrets:
        yield Error(
            "STRIPE_WEBHOOK_SECRET is not set, so nobody could tell Stripe from a stranger, and no payment arrives.",
            hint="Add the endpoint PUBLIC_URL/webhook/stripe at Stripe, and set STRIPE_WEBHOOK_SECRET to its secret.",
            id="starledger.E019",
        )
    elif len(secrets) > 2 or not all(map(WEBHOOK_SECRET.fullmatch, secrets)):
        yield Error(
            "STRIPE_WEBHOOK_SECRET is no secret of an endpoint.",
            hint="Set STRIPE_WEBHOOK_SECRET to what begins with whsec_; during a rotation two, with a comma.",
            id="starledger.E019",
        )
    if secrets and not key:
        yield Error(
            "STRIPE_WEBHOOK_SECRET is set and STRIPE_SECRET_KEY is not: events would be turned away.",
            hint="Set STRIPE_SECRET_KEY too, or take STRIPE_WEBHOOK_SECRET away.",
            id="starledger.E018",
        )


@register(Tags.security, deploy=True)
def stripes_key_goes_unread(**_: Any) -> Iterator[Error]:
    if goes_in_the_clear(settings.STRIPE_API_BASE):
        yield Error(
            "STRIPE_API_BASE is plain http: whoever is on the way reads the key to your money.",
            hint="Leave STRIPE_API_BASE out, which means https://api.stripe.com.",
            id="starledger.E020",
        )
