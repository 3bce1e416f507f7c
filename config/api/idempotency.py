"""The Idempotency-Key header: a request repeated after a lost answer is answered alike and does nothing twice."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any

from django.db import connection
from django.db.models.functions import Now
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from config.api.formats import json_response
from config.api.problems import Code, Problem
from config.database import retried
from entitlements.models import IdempotencyKey

KEPT_FOR = timedelta(hours=24)
HEADER = "Idempotency-Key"
KEY = re.compile(r"[\x21-\x7e]{1,255}")
PARAMETER = OpenApiParameter(
    HEADER,
    {"type": "string", "pattern": r"^[\x21-\x7e]{1,255}$"},
    OpenApiParameter.HEADER,
    description="The same key with the same body within 24 hours is answered alike, and done once.",
)


class Once:
    """One request that is done at most once per caller, path and key. Without the header it is simply done.

    ::

        once = Once(request, caller=f"customer:{customer.pk}")
        if answer := once.kept_answer():
            return answer
        with once:
            return once.keep(do())

    Only answers that are kept come back; after an exception the key is free again.
    """

    def __init__(self, request: Request, *, caller: str) -> None:
        self.key: str | None = request.META.get("HTTP_IDEMPOTENCY_KEY")
        self.caller = caller
        self.path = request.path
        self.digest = hashlib.sha256(request.body).digest()
        self.claim: tuple[int, datetime] | None = None

    def kept_answer(self) -> HttpResponse | None:
        """The answer to the same request, if it was given before."""
        if self.key is None:
            return None
        kept = _kept(self.caller, self.path, self.key)
        return _replay(kept) if kept and kept.status and bytes(kept.body_digest) == self.digest else None

    def __enter__(self) -> None:
        """:raises Problem: `idempotency_conflict`, `idempotency_in_progress`, or `invalid` for what cannot be a key"""
        if self.key is None:
            return
        if not KEY.fullmatch(self.key):
            raise Problem(Code.INVALID, errors={HEADER: ["Must be 1 to 255 visible characters of ASCII."]})
        self.claim = _claim(self.caller, self.path, self.key, self.digest)
        if self.claim is None:
            kept = _kept(self.caller, self.path, self.key)
            other_body = kept is not None and bytes(kept.body_digest) != self.digest
            raise Problem(Code.IDEMPOTENCY_CONFLICT if other_body else Code.IDEMPOTENCY_IN_PROGRESS)

    def keep(self, answer: dict[str, Any], *, status: int = 200) -> HttpResponse:
        """Answer with a status of 2xx, and answer so again."""
        if self.claim is not None:
            _claimed(self.claim).update(status=status, answer=answer)
        return json_response(answer, status=status)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self.claim is not None:
            _claimed(self.claim).delete()


# Takes the key for this request when nobody has it, when what is kept is older than a day, or when the request that
# took it ended without a word: none lives for a minute. Of several at once exactly one gets a row.
CLAIM = """
    INSERT INTO entitlements_idempotencykey AS kept (caller, path, key, body_digest, created_at)
    VALUES (%s, %s, %s, %s, statement_timestamp())
    ON CONFLICT (caller, path, key) DO UPDATE
        SET body_digest = excluded.body_digest, status = NULL, answer = NULL, created_at = excluded.created_at
        WHERE kept.created_at < excluded.created_at - interval '24 hours'
            OR (kept.status IS NULL AND kept.created_at < excluded.created_at - interval '1 minute')
    RETURNING id, created_at
"""


def _claim(caller: str, path: str, key: str, digest: bytes) -> tuple[int, datetime] | None:
    with connection.cursor() as cursor:
        cursor.execute(CLAIM, [caller, path, key, digest])
        row: tuple[int, datetime] | None = cursor.fetchone()
    return row


def _claimed(claim: tuple[int, datetime]) -> Any:
    """The row, while it is still ours."""
    pk, created_at = claim
    return IdempotencyKey.objects.filter(pk=pk, created_at=created_at)


@retried
def _kept(caller: str, path: str, key: str) -> IdempotencyKey | None:
    return IdempotencyKey.objects.filter(caller=caller, path=path, key=key, created_at__gte=Now() - KEPT_FOR).first()


def _replay(kept: IdempotencyKey) -> HttpResponse:
    response = json_response(kept.answer or {}, status=kept.status or 200)
    response["Idempotency-Replayed"] = "true"
    return response


def forget_old_keys() -> int:
    """Delete the answers that no longer come back; returns how many."""
    deleted, _ = IdempotencyKey.objects.filter(created_at__lt=Now() - KEPT_FOR).delete()
    return deleted
