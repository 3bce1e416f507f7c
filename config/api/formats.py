"""How values look in answers."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.http import HttpResponse

encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


def rfc3339(moment: datetime) -> str:
    """`2026-11-21T09:30:00Z`, with microseconds where there are any."""
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"


def rfc3339_or_null(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)


def json_response(document: Mapping[str, Any], *, status: int = 200) -> HttpResponse:
    return HttpResponse(encode(document), status=status, content_type="application/json")
