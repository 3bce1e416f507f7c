"""Events that never arrived, found in Stripe's own list of them."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from django.db import transaction

from config.database import database_now
from payments.channels import stripe
from payments.models import StripeEvent, StripeReadUpTo
from payments.stripe.processing import LOOKS
from payments.stripe.receiving import store

OVERLAP = timedelta(hours=2)  # an event may be dated a little before it can be read
FIRST_TIME = timedelta(days=3)
LONGEST = timedelta(days=30)  # beyond that Stripe has forgotten them


def recover_events() -> int:
    """Store what Stripe lists and did not bring, as if it had just come. Returns how many. No transaction may be open.

    :raises ChannelError: see payments.channels.base
    """
    if not stripe.is_set_up():
        return 0
    now = database_now()
    known = StripeReadUpTo.objects.first()
    since = max(known.moment - OVERLAP, now - LONGEST) if known else now - FIRST_TIME
    listed = list(stripe.events_since(since, tuple(LOOKS)))
    arrived = set(
        StripeEvent.objects.filter(event_id__in=[each["id"] for each in listed]).values_list("event_id", flat=True)
    )
    missing = [each for each in reversed(listed) if each["id"] not in arrived]
    for event in missing:
        store(json.dumps(event, ensure_ascii=False).encode())
    _move_to(now)
    return len(missing)


@transaction.atomic
def _move_to(moment: datetime) -> None:
    up_to = StripeReadUpTo.locked()
    up_to.moment = max(up_to.moment, moment)
    up_to.save()
