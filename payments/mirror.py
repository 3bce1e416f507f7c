"""Telegram's list of Stars, mirrored: read on from where the last reading came to, never from the beginning."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog
from django.db import transaction
from django.db.models.functions import Greatest

from config.database import database_now, retried
from payments.channels import base as channel
from payments.channels import telegram
from payments.channels.base import ListedTransaction
from payments.models import Direction, MirrorCursor, StarTransaction

PAGE = 100  # the most that Telegram gives at once
OVERLAP = 100  # rows read again each time, for one that took its place in the list late

logger = structlog.get_logger(__name__)


def bring_up_to_date(
    *, as_of: datetime | None = None, since: int | None = None, progress: Callable[[int], object] = lambda rows: None
) -> datetime:
    """Read Telegram's list to its end, from a little before where it was left, or from `since` if that is earlier.
    Returns when the reading began: what was listed before that is mirrored.

    No transaction may be open. Several may do it at once, and it may die anywhere: a row is kept once, and the
    next reading begins where the rows that were kept end. A list that begins otherwise than what was read, because it
    is another bot's or its oldest rows are gone, is read from its beginning.

    :param as_of: a reading of somebody else that began then or later will do
    :param progress: told after each page how many rows of the list are mirrored now
    :raises ChannelError: and what was read up to then is kept
    """
    began = database_now()
    at = cursor()
    if as_of is not None and at.read_at is not None and at.read_at >= as_of:
        return at.read_at
    if at.not_before is not None and at.not_before > began:
        raise channel.Unavailable(retry_after=math.ceil((at.not_before - began).total_seconds()))
    offset = max(0, at.length - OVERLAP)
    if since is not None:
        offset = min(offset, since)
    rows = _read(offset)
    if offset < at.length and not _is_known(rows[: at.length - offset]):
        logger.warning("another list than was mirrored is read from its beginning", length=at.length)
        MirrorCursor.objects.update(length=0)
        offset, rows = 0, _read(0)
    # Pages may be short: only an empty one is the end.
    while rows:
        offset += len(rows)
        _keep(rows, up_to=offset)
        progress(offset)
        rows = _read(offset)
    MirrorCursor.objects.update(read_at=Greatest("read_at", began))
    return began


def _read(offset: int) -> Sequence[ListedTransaction]:
    try:
        return telegram.transactions(offset=offset, limit=PAGE)
    except channel.Unavailable as error:
        # Whoever reads next, in whatever process, waits as well.
        MirrorCursor.objects.update(not_before=database_now() + timedelta(seconds=error.retry_after))
        raise


def _is_known(rows: Sequence[ListedTransaction]) -> bool:
    """Whether any of them was read before."""
    return StarTransaction.objects.filter(transaction_id__in=[row.transaction_id for row in rows]).exists()


@retried
@transaction.atomic
def _keep(rows: Sequence[ListedTransaction], *, up_to: int) -> None:
    """Keep those that are new. Under one lock, so that the order of keys is the order of commits: whoever reads on
    from the greatest key he has seen misses none.
    """
    cursor = MirrorCursor.objects.select_for_update(no_key=True).get()
    read = {(row.transaction_id, row.incoming): row for row in rows}
    known = StarTransaction.objects.filter(transaction_id__in=[row.transaction_id for row in rows])
    for transaction_id, direction in known.values_list("transaction_id", "direction"):
        read.pop((transaction_id, direction == Direction.IN), None)
    kept = StarTransaction.objects.bulk_create([_mirrored(row) for row in read.values()])
    cursor.balance += sum(row.nanostars if row.direction == Direction.IN else -row.nanostars for row in kept)
    cursor.length = max(cursor.length, up_to)
    cursor.save(update_fields=["balance", "length"])


def _mirrored(row: ListedTransaction) -> StarTransaction:
    return StarTransaction(
        transaction_id=row.transaction_id,
        direction=Direction.IN if row.incoming else Direction.OUT,
        amount=row.amount,
        nanostar_amount=row.nanostar_amount,
        date=row.date,
        telegram_user_id=row.telegram_user_id,
        payload=row.payload.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode(),
        renews=row.renews,
        commission=row.commission,
        raw=row.raw,
    )


def cursor() -> MirrorCursor:
    """The one row that says how far the list is mirrored, made when it is first asked for."""
    MirrorCursor.objects.bulk_create([MirrorCursor()], ignore_conflicts=True)
    return MirrorCursor.objects.get()


def length() -> int:
    """How many rows of the list are mirrored."""
    return MirrorCursor.objects.values_list("length", flat=True).first() or 0


def balance() -> int:
    """What all mirrored rows amount to, in billionths of a Star."""
    return int(MirrorCursor.objects.values_list("balance", flat=True).first() or 0)


def rows_after(pk: int, *, at_most: int) -> list[StarTransaction]:
    """The rows that were mirrored after the one with this key, in the order in which they were."""
    return list(StarTransaction.objects.filter(pk__gt=pk).order_by("pk")[:at_most])


def row_of(charge_id: str, direction: Direction) -> StarTransaction | None:
    """The row of a charge, or that of its refund, as far as the list was read."""
    return StarTransaction.objects.filter(transaction_id=charge_id, direction=direction).first()


def refund_of(charge_id: str) -> StarTransaction | None:
    """The row that says a payment was given back, as far as the list was read."""
    return row_of(charge_id, Direction.OUT)
