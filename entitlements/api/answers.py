"""A customer's entitlements as an answer that clients may keep for a moment."""

from __future__ import annotations

import hashlib
from typing import Any

from django.http import HttpResponse
from django.utils.http import parse_etags
from rest_framework.request import Request

from config.api.formats import encode, rfc3339, rfc3339_or_null
from entitlements.selectors import Held, Holdings

LONGEST_AGE = 30  # seconds


def holdings_answer(request: Request, holdings: Holdings) -> HttpResponse:
    """The whole answer, or 304 when the client has it already."""
    body = encode(document(holdings))
    etag = f'W/"{hashlib.blake2b(body.encode(), digest_size=16).hexdigest()}"'
    if has_already(request, etag):
        response = HttpResponse(status=304)
        del response["Content-Type"]
    else:
        # The ETag covers all but the time, so that goes in last.
        response = HttpResponse(
            f'{{"server_time":"{rfc3339(holdings.now)}",{body[1:]}', content_type="application/json"
        )
    response["ETag"] = etag
    response["Cache-Control"] = cache_control(holdings)
    response["Vary"] = "Authorization"
    return response


def has_already(request: Request, etag: str) -> bool:
    """Whether If-None-Match names the ETag; weakly, for some proxies take its W/ away."""
    known = parse_etags(request.META.get("HTTP_IF_NONE_MATCH", ""))
    return "*" in known or etag.removeprefix("W/") in {each.removeprefix("W/") for each in known}


def document(holdings: Holdings) -> dict[str, Any]:
    """The answer without `server_time`."""
    return {
        "user_id": holdings.user_id,
        "version": holdings.version,
        "entitlements": [_entitlement(held, held.access.active_at(holdings.now)) for held in holdings.entitlements],
    }


def _entitlement(held: Held, active: bool) -> dict[str, Any]:
    leading = held.leading()
    return {
        "entitlement": held.code,
        "plan_code": leading.plan_code,
        "active": active,
        "granted_at": rfc3339(leading.granted_at),
        "expires_at": rfc3339_or_null(held.access.ends_at),
        "will_renew": held.will_renew,
        "features": leading.features,
        "sources": [
            {
                "source": step.grant.source,
                "plan_code": step.grant.plan_code,
                "granted_at": rfc3339(step.grant.granted_at),
                "ends_at": rfc3339_or_null(step.grant.revoked_at or step.access.ends_at),
                "revoked_at": rfc3339_or_null(step.grant.revoked_at),
            }
            for step in held.steps()
        ],
    }


def cache_control(holdings: Holdings) -> str:
    """For up to 30 s and never past the next expiry; not at all while nothing is active, so that a purchase shows."""
    active = [held.access.ends_at for held in holdings.entitlements if held.access.active_at(holdings.now)]
    if not active:
        return "no-cache"
    lives = [int((ends_at - holdings.now).total_seconds()) for ends_at in active if ends_at is not None]
    return f"private, max-age={min([LONGEST_AGE, *lives])}"
