"""The invariants looked after while the shop runs: a little every few minutes, everything in turns.

`recheck_ledger` reads all the books at once, which takes minutes when they are large. Here each check that can looks at
the customers of the last payments first, and then at further customers from where it stopped the last time, for
LOOK_SECONDS. So what goes wrong now is seen within minutes, and what went wrong long ago within a pass. A check that
needs the whole books is run as often as it takes less than a hundredth of the time, with LIMIT_SECONDS at most.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta

import structlog
from django.db import OperationalError

from config.database import database_now
from entitlements.models import Customer
from payments import invariants
from payments.invariants import Invariant, from_to, one_of
from payments.models import InvariantCheck, PaymentEvent

LOOK_SECONDS = 2.0
LIMIT_SECONDS = 60
SHARE = 100
SLICE = 1_000  # customers
RECENT, MOST_RECENT = timedelta(minutes=15), 1_000  # whose payments are looked at first

logger = structlog.get_logger(__name__)


def look_after_the_books() -> int:
    """Have every check look as far as its time goes, and say what has changed. Returns how many contradictions are
    known.
    """
    told = dict(InvariantCheck.objects.alarming().values_list("check_name", "differences"))
    for check in invariants.checks():
        kept, _ = InvariantCheck.objects.get_or_create(check_name=check.what)
        now = database_now()
        if not (check.by_customer or _is_its_turn(kept, now)):
            continue
        try:
            look = _look_at_some if check.by_customer else _look_at_everything
            look(check, kept, now)
        except OperationalError:
            InvariantCheck.objects.filter(pk=kept.pk).update(tried_at=now, seconds=LIMIT_SECONDS)
            logger.exception("invariant not checked", check=check.what, limit=LIMIT_SECONDS)
    InvariantCheck.objects.exclude(check_name__in=[check.what for check in invariants.checks()]).delete()
    known = 0
    for kept in InvariantCheck.objects.alarming():
        known += kept.differences
        if told.pop(kept.check_name, 0) != kept.differences:
            logger.error(
                "the books contradict themselves", check=kept.check_name, count=kept.differences, found=kept.detail
            )
    for check_name in told:
        logger.info("the books agree again", check=check_name)
    return known


def _is_its_turn(kept: InvariantCheck, now: datetime) -> bool:
    return kept.tried_at is None or now - kept.tried_at >= timedelta(seconds=SHARE * kept.seconds)


def _look_at_everything(check: Invariant, kept: InvariantCheck, now: datetime) -> None:
    started = time.monotonic()
    found = list(_found(check))
    kept.mark_looked(found=found, position=0, now=now, seconds=time.monotonic() - started)


def _look_at_some(check: Invariant, kept: InvariantCheck, now: datetime) -> None:
    started = time.monotonic()
    recent = PaymentEvent.objects.filter(received_at__gte=now - RECENT).order_by("-received_at")
    customers = set(recent.values_list("customer_id", flat=True)[:MOST_RECENT])
    found = list(_found(check, one_of(customers))) if customers else []
    position = kept.position
    while True:
        ids = list(Customer.objects.filter(pk__gt=position).order_by("pk").values_list("pk", flat=True)[:SLICE])
        if ids:
            found += [line for line in _found(check, from_to(ids[0], ids[-1])) if line not in found]
        position = ids[-1] if len(ids) == SLICE else 0
        if not position or time.monotonic() - started > LOOK_SECONDS:
            break
    kept.mark_looked(found=found, position=position, now=now, seconds=time.monotonic() - started)


def _found(check: Invariant, among: str = invariants.EVERYBODY) -> Iterator[str]:
    return check.differences(lambda _: None, among=among, milliseconds=LIMIT_SECONDS * 1000)
