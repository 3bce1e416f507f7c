"""An event of Stripe arrives: it is stored with the job that acts upon it, in one transaction."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import structlog
from django.db import transaction
from django.db.utils import Error
from procrastinate.contrib.django import app
from structlog.contextvars import bind_contextvars

from config.database import database_now, retried
from payments.channels import stripe
from payments.models import StripeEvent, StripeEventStatus
from payments.stripe.metrics import count_event

logger = structlog.get_logger(__name__)

LONGEST_ID = 255


class NotStored(Exception):
    """The database took nothing; Stripe must bring the event again."""


class Unreadable(Exception):
    """It is signed by Stripe, and no event that we understand."""


def receive(body: bytes, *, signature: str) -> None:
    """Store a signed event once, however often it is brought, and have a worker act upon it.

    :raises payments.channels.stripe.BadSignature: nothing is stored for strangers, nor for who repeats what is old
    :raises NotStored: and then nothing happened at all
    """
    signed_at = stripe.verify(body, signature=signature)
    try:
        if not stripe.is_timely(signed_at, now=database_now()):
            raise stripe.BadSignature("too old or too new")
        store(body)
    except Error as error:
        logger.exception("event not stored")
        raise NotStored from error


def store(body: bytes) -> StripeEvent:
    """Keep an event that Stripe itself told us, with the job that acts upon it; once for each id."""
    try:
        facts = _facts(body)
    except Unreadable as error:
        facts = {
            "event_id": f"unreadable:{hashlib.sha256(body).hexdigest()}",
            "kind": "unreadable",
            "status": StripeEventStatus.QUARANTINED,
            "error": str(error),
        }
    stored, created = _keep(facts, body)
    outcome = stored.status if created else "duplicate"
    if created and stored.status != StripeEventStatus.PENDING:
        logger.error("event not taken", stripe_event=stored.event_id, why=stored.error)
    bind_contextvars(stripe_event=stored.event_id, event_kind=stored.kind, outcome=outcome)
    count_event(kind=stored.kind, outcome=outcome)
    return stored


@retried
@transaction.atomic
def _keep(facts: dict[str, Any], body: bytes) -> tuple[StripeEvent, bool]:
    defaults = {**facts, "body": body}
    stored, created = StripeEvent.objects.get_or_create(event_id=defaults.pop("event_id"), defaults=defaults)
    if created and stored.status == StripeEventStatus.PENDING:
        defer(stored)
    return stored, created


def defer(stored: StripeEvent) -> None:
    """Have a worker act upon it as soon as the open transaction commits: one at a time of those about one thing."""
    # By its name: the task knows what is done about events, which knows how they are stored.
    task = app.configure_task("payments.tasks.process_stripe_event", queue="updates", lock=f"stripe:{stored.about}")
    task.defer(event_pk=stored.pk)


def _facts(body: bytes) -> dict[str, Any]:
    """The columns of the event.

    :raises Unreadable:
    """
    try:
        told = json.loads(body)
        event_id, kind, about = (
            _text(part) for part in (told["id"], told["type"], told["data"]["object"].get("id", ""))
        )
        live, account = told["livemode"], told.get("account")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise Unreadable(f"no event: {type(error).__name__}: {error}"[:200]) from error
    if not event_id:
        raise Unreadable("no event: its id is empty")
    facts = {"event_id": event_id, "kind": kind[:100], "about": about, "status": StripeEventStatus.PENDING}
    if foreign := _foreign(live=live, account=account):
        facts |= {"status": StripeEventStatus.FOREIGN, "error": foreign}
    return facts


def _text(value: object) -> str:
    """
    :raises ValueError: no column can hold it
    """
    if not isinstance(value, str) or len(value) > LONGEST_ID or "\0" in value:
        message = "an id or type is no text, too long, or holds a NUL"
        raise ValueError(message)
    value.encode()  # a lone surrogate cannot be
    return value


def _foreign(*, live: object, account: object) -> str:
    """Why it is not for us, in words; empty when it is."""
    if account:
        return "It is about a connected account, and we have none."
    if live is not stripe.is_live():
        return f"It is of {'live' if live else 'test'} mode, and STRIPE_SECRET_KEY is of the other."
    return ""
