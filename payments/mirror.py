"""Telegram's list of Stars, mirrored: read on from where the last reading came to, never from the beginning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta

from django.db import transaction
from django.db.models.functions import Greatest

from config.database import database_now, retried
from payments.channels import base as channel
from payments.channels import telegram
from payments.channels.base import ListedTransaction
from payments.models import Direction, MirrorCursor, StarTransaction

PAGE = 100  # the most that Telegram gives at once
OVERLAP = 100  # rows read again each time, for one that took its place in the list late


def bring_up_to_date(*, since: int | None = None) -> None:
    """Read Telegram's list to its end, from a little before where it was left, or from `since` if that is earlier.

    No transaction may be open. Several may do it at once, and it may die anywhere: a row is kept once, and the
    next reading begins where the rows that were kept end.

    :raises ChannelError: and what was read up to then is kept
    """
    began = database_now()
    cursor = _cursor()
    if cursor.not_before is not None and cursor.not_before > began:
        raise channel.Unavailable(retry_after=math.ceil((cursor.not_before - began).total_seconds()))
    offset = max(0, cursor.length - OVERLAP)
    if since is not None:
        offset = min(offset, since)
    # Pages may be short: only an empty one is the end.
    while rows := _read(offset):
        offset += len(rows)
        _keep(rows, up_to=offset)
    MirrorCursor.objects.update(read_at=Greatest("read_at", began))


def _read(offset: int) -> Sequence[ListedTransaction]:
    try:
        return telegram.transactions(offset=offset, limit=PAGE)
    except channel.Unavailable as error:
        # Whoever reads next, in whatever process, waits as well.
        MirrorCursor.objects.update(not_before=database_now() + timedelta(seconds=error.retry_after))
        raise


@retried
@transaction.atomic
def _keep(rows: Sequence[ListedTransaction], *, up_to: int) -> None:
    StarTransaction.objects.bulk_create(
        [
            StarTransaction(
                transaction_id=row.transaction_id,
                direction=Direction.IN if row.incoming else Direction.OUT,
                amount=row.amount,
                nanostar_amount=row.nanostar_amount,
                date=row.date,
                telegram_user_id=row.telegram_user_id,
                payload=row.payload.replace("\x00", "\N{REPLACEMENT CHARACTER}"),
                raw=row.raw,
            )
            for row in rows
        ],
        ignore_conflicts=True,
    )
    MirrorCursor.objects.update(length=Greatest("length", up_to))


def _cursor() -> MirrorCursor:
    MirrorCursor.objects.bulk_create([MirrorCursor()], ignore_conflicts=True)
    return MirrorCursor.objects.get()


def length() -> int:
    """How many rows of the list are mirrored."""
    return MirrorCursor.objects.values_list("length", flat=True).first() or 0


def refund_of(charge_id: str) -> StarTransaction | None:
    """The row that says a payment was given back, as far as the list was read."""
    return StarTransaction.objects.filter(transaction_id=charge_id, direction=Direction.OUT).first()
