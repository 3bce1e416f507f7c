"""Comparing the ledger with Telegram's own list, both ways, and recording what is missing: the disaster recovery.

A run costs what is new: it reads the list on from where the mirror ends, compares the rows that no run has compared
yet, and looks in the mirror for what was recorded since. Each run is a row that says how far it came.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from procrastinate.contrib.django import app

from config.database import database_now, settled_moment
from entitlements import audit
from payments import discrepancies, mirror, runs
from payments.channels import base as channel
from payments.channels import telegram
from payments.comparing import Compared, Known, Result, compare, unlisted
from payments.discrepancies import Difference
from payments.models import (
    Direction,
    Discrepancy,
    DiscrepancyKind,
    PaymentEvent,
    PaymentMethod,
    ReconciliationRun,
    RunOutcome,
)
from payments.money import stars_in_words
from payments.runs import ReconcilingError, TakenOver

if TYPE_CHECKING:
    from django.contrib.auth.models import User

PERMISSION = "payments.reconcile"
ASKED = "asked for a reconciliation"
BEHIND = timedelta(hours=1)  # I11
RENEWED_EVERY = 10  # seconds
LISTED_WITHIN = timedelta(minutes=5)  # for a charge to appear in the list of all of Telegram's servers
BATCH = 200
FIRST_PAUSE = 1.0  # seconds, and twice as long each time
READINGS = 3  # for one during which the balance stays as it is

Progress = Callable[[str], object]
Answer = TypeVar("Answer")


class NoBot(ReconcilingError):
    """Without a bot there is no list."""

    def __init__(self) -> None:
        super().__init__("There is no list to compare with: TELEGRAM_BOT_TOKEN is not set.")


def reconcile(
    *, asked_by: str, full: bool = False, patience: float = 0, progress: Progress = lambda words: None
) -> ReconciliationRun:
    """Compare, record what is missing, and keep what only a person can settle. No transaction may be open.

    Repeating it changes nothing. It may die anywhere: the next one goes on from there.

    :param asked_by: `schedule`, `command` or `staff:<id>`
    :param full: read the list from its beginning and compare everything anew
    :param patience: for how many seconds in all it may wait before asking a Telegram that fails again
    :raises ReconcilingError: a subclass for each reason
    :raises ChannelError: Telegram's list or balance could not be read; the run is kept with that
    """
    if not settings.TELEGRAM_BOT_TOKEN:
        raise NoBot
    run = runs.begin(asked_by=asked_by, full=full)
    try:
        Reconciliation(run, patience, progress).carry_out()
    except TakenOver:
        raise
    except Exception as error:
        runs.end(run, RunOutcome.FAILED, error=f"{type(error).__name__}: {error}")
        raise
    return run


@transaction.atomic
def ask_for_run(*, staff: User, reason: str, full: bool = False) -> None:
    """Have a worker do it as soon as it can.

    :raises PermissionDenied: staff may not
    :raises audit.ReasonMissing: no reason is given
    """
    reason = audit.authorised(staff=staff, permission=PERMISSION, reason=reason)
    audit.record(staff=staff, what=ASKED, subject=mirror.cursor(), reason=reason, after={"full": full})
    # By its name: the task knows this module.
    task = app.configure_task("payments.tasks.reconcile_as_asked", queue="upkeep")
    task.defer(asked_by=audit.name_of(staff), full=full)


def compared_at() -> datetime | None:
    """As of when the ledger was last compared with Telegram, or first began to be; None when nobody ever has."""
    begun = ReconciliationRun.objects.compared_with(PaymentMethod.TELEGRAM_STARS).order_by("-pk")
    last = begun.to_the_end().values_list("true_at", flat=True).first()
    return last or begun.values_list("started_at", flat=True).last()


def cursor_age() -> float | None:
    """For how many seconds nothing has been compared with Telegram (I11: at most an hour); infinite when nobody has
    ever begun to, None when there is no bot to have a list.
    """
    if not settings.TELEGRAM_BOT_TOKEN:
        return None
    since = compared_at()
    return math.inf if since is None else (database_now() - since).total_seconds()


class ComparedLately:
    """I11, as one of the invariants. Before the first run there is nothing to be behind."""

    what = "reconciliation"
    by_customer = False

    def differences(self, progress: object, **_: object) -> Iterator[str]:
        since = compared_at() if settings.TELEGRAM_BOT_TOKEN else None
        if since is not None and database_now() - since > BEHIND:
            yield f"The ledger was last compared with Telegram's list at {since:%Y-%m-%d %H:%M} UTC."


CHECKS = (ComparedLately(),)


class Reconciliation:
    """One run, from reading the list to its outcome."""

    def __init__(self, run: ReconciliationRun, patience: float, progress: Progress) -> None:
        self.run = run
        self.patience = patience
        self.say = progress
        self.counts: Counter[str] = Counter()
        self.renewed = time.monotonic()
        begun = ReconciliationRun.objects.compared_with(PaymentMethod.TELEGRAM_STARS).order_by("pk")
        self.ours_since = begun.values_list("started_at", flat=True)[0]

    def carry_out(self) -> None:
        began = database_now()
        settled = settled_moment() - LISTED_WITHIN
        unexplained = self.read()
        self.compare_list()
        self.compare_ledger(until=settled)
        self.look_again()
        if unexplained is not None:
            self.compare_balance(unexplained)
        needs_person = self.counts["held"] or _open().exists()
        outcome = RunOutcome.ATTENTION if needs_person else RunOutcome.CLEAN
        runs.end(self.run, outcome, true_at=began, **self.counts)

    def read(self) -> int | None:
        """Bring the mirror up to date, and return by how many billionths of a Star the balance differs from it.

        None where that is unknown, because Stars came and went at each reading.
        """
        for reading in range(READINGS):
            before = self.ask(telegram.balance)
            since = 0 if self.run.full and reading == 0 else None
            self.ask(partial(mirror.bring_up_to_date, since=since, progress=self.progress_of_reading))
            after, listed = self.ask(telegram.balance), mirror.balance()
            if min(before, after) <= listed <= max(before, after):
                return 0
            if before == after:
                return after - listed
        return None

    def progress_of_reading(self, rows: int) -> None:
        self.keep_lease()
        self.say(f"{rows:,} rows of Telegram's list read")

    def ask(self, call: Callable[[], Answer]) -> Answer:
        """Ask Telegram, and again after a pause as long as there is patience.

        :raises ChannelError: it did not answer
        """
        backoff = FIRST_PAUSE
        while True:
            self.keep_lease()
            try:
                return call()
            except channel.ChannelError as error:
                pause = error.retry_after if isinstance(error, channel.Unavailable) else backoff
                if isinstance(error, channel.Refused) or pause > self.patience:
                    raise
                self.say(f"Telegram: {error}. Asking again in {pause:g} s")
                runs.change(self.run, lease_until=database_now() + runs.LEASE + timedelta(seconds=pause))
                time.sleep(pause)
                self.patience -= pause
                backoff *= 2

    def compare_list(self) -> None:
        """The rows that no run has compared yet."""
        while rows := mirror.rows_after(self.run.compared_up_to, at_most=BATCH):
            known = Known.of(rows)
            for row in rows:
                self.note(compare(row, known, ours_since=self.ours_since))
            self.save(compared_up_to=rows[-1].pk)
            self.say(f"{self.counts.total():,} rows compared")

    def compare_ledger(self, *, until: datetime) -> None:
        """What was recorded since and, long before the list was read, must be in it."""
        after = self.run.ledger_up_to
        while events := _recorded_since(after, until):
            for missing in unlisted(events):
                self.report(missing)
            after = events[-1].received_at
            self.save(ledger_up_to=after)
        self.save(ledger_up_to=max(until, after or until))

    def look_again(self) -> None:
        """Whether what was found before is still so."""
        for discrepancy in _open().exclude(kind=DiscrepancyKind.BALANCE).order_by("pk"):
            self.keep_lease()
            row = mirror.row_of(discrepancy.transaction_id, Direction(discrepancy.direction))
            if row is None:
                continue
            compared = compare(row, Known.of([row]), ours_since=self.ours_since)
            if compared.difference is None or compared.difference.kind != discrepancy.kind:
                self.heal(discrepancy, "Telegram's list and our books agree on it now.")
            self.note(compared, again=True)

    def compare_balance(self, unexplained: int) -> None:
        """The whole list explains the balance: each row does, withdrawals and gifts as well. Chargebacks of Apple and
        Google are taken from it without one.
        """
        for discrepancy in _open().filter(kind=DiscrepancyKind.BALANCE):
            if discrepancy.difference != unexplained:
                self.heal(discrepancy, f"The difference is {stars_in_words(unexplained)} now.")
        if unexplained:
            listed = mirror.balance()
            self.report(
                Difference(
                    kind=DiscrepancyKind.BALANCE,
                    difference=unexplained,
                    telegram_says=f"A balance of {stars_in_words(listed + unexplained)}.",
                    we_have=f"All rows of Telegram's list amount to {stars_in_words(listed)}.",
                )
            )

    def note(self, compared: Compared, *, again: bool = False) -> None:
        self.keep_lease()
        if compared.difference is not None:
            self.report(compared.difference)
        elif compared.result is not None and not (again and compared.result == Result.MATCHED):
            self.counts[compared.result] += 1

    def report(self, difference: Difference) -> None:
        self.counts["found"] += discrepancies.report(difference, run=self.run)

    def heal(self, discrepancy: Discrepancy, why: str) -> None:
        self.counts["healed"] += discrepancies.heal(discrepancy, why=why)

    def save(self, **reached: Any) -> None:
        self.renewed = time.monotonic()
        runs.change(self.run, lease_until=database_now() + runs.LEASE, **reached, **self.counts)

    def keep_lease(self) -> None:
        if time.monotonic() - self.renewed > RENEWED_EVERY:
            self.save()


def _recorded_since(after: datetime | None, until: datetime) -> list[PaymentEvent]:
    """The next events in Stars by the time they were recorded, and all that were recorded at the moment of the last."""
    events = PaymentEvent.objects.filter(payment_method=PaymentMethod.TELEGRAM_STARS, received_at__lte=until)
    if after is not None:
        events = events.filter(received_at__gt=after)
    times = list(events.order_by("received_at").values_list("received_at", flat=True)[:BATCH])
    if not times:
        return []
    return list(events.filter(received_at__lte=times[-1]).order_by("received_at").select_related("customer"))


def _open() -> QuerySet[Discrepancy]:
    return Discrepancy.objects.unresolved().found_with(PaymentMethod.TELEGRAM_STARS)
