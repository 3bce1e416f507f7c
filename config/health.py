"""Is it alive, is it fit to work, and what it counts."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from hmac import compare_digest

import structlog
from django.conf import settings
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from config import metrics
from config.api.problems import Code, Problem
from config.patience import within

LONGEST_WAIT = 180.0  # seconds that something may wait for a worker before we call for help
LONGEST_ASKING = 3.0  # seconds for the database to answer; who asks us waits for five

log = structlog.get_logger(__name__)

# What waits for a worker: its name, and for how many seconds the oldest of it has been due.
BACKLOGS: dict[str, Callable[[], float]] = {}


def watch_backlog(name: str, oldest_seconds: Callable[[], float]) -> None:
    """Have `/readyz` watch a queue; called from an app's `ready()`."""
    BACKLOGS[name] = oldest_seconds


# These change nothing, so whoever posts needs no token of a form to be told that there is nothing to post to.
@csrf_exempt
@require_safe
@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    """The process is alive; nothing else is asked."""
    return HttpResponse("ok\n", content_type="text/plain")


@csrf_exempt
@require_safe
@never_cache
def readyz(request: HttpRequest) -> HttpResponse:
    """200, or 503 with the reasons why requests should not be sent here."""
    reasons = reasons_not_to_be_ready()
    if not reasons:
        return JsonResponse({"status": "ready"})
    log.warning("not ready", reasons=reasons)
    errors = {name: [reason] for name, reason in reasons.items()}
    return Problem(Code.UNAVAILABLE, " ".join(reasons.values()), errors=errors).response()


@csrf_exempt
@require_safe
@never_cache
def show_metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus' text, for those who hold METRICS_TOKEN; without one set, for everybody in development alone."""
    if settings.METRICS_TOKEN:
        expected = f"Bearer {settings.METRICS_TOKEN}".encode()
        if not compare_digest(request.META.get("HTTP_AUTHORIZATION", "").encode(errors="replace"), expected):
            return HttpResponse(status=401, headers={"WWW-Authenticate": "Bearer"})
    elif not settings.DEBUG:
        return HttpResponse(status=404)
    try:
        return HttpResponse(metrics.exposition(), content_type=metrics.CONTENT_TYPE)
    except Error:
        log.exception("the books cannot be read")
        return Problem(Code.UNAVAILABLE).response()


def reasons_not_to_be_ready() -> dict[str, str]:
    """What is wrong, by the name of the part; empty when all is well."""
    try:
        with within(LONGEST_ASKING):
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            require_current_schema()
            waits = {name: oldest_seconds() for name, oldest_seconds in BACKLOGS.items()}
    except SchemaBehind as error:
        log.warning("the database lacks migrations", missing=str(error))  # strangers need not know which
        return {"migrations": "The database lacks migrations of this version: run `manage.py migrate`."}
    except Error:
        log.exception("the database does not answer")
        return {"database": "The database does not answer."}
    return {
        name: f"The oldest of the {name} has waited {wait:.0f} s: is a worker running?"
        for name, wait in waits.items()
        if wait > LONGEST_WAIT
    }


class SchemaBehind(Exception):
    """The database lacks migrations that this code has."""


@cache
def require_current_schema() -> None:
    """Compare the migrations of this code with the database's; found current once, it is not asked again.

    :raises SchemaBehind: naming what is missing and the command that mends it
    """
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        names = ", ".join(f"{migration.app_label}.{migration.name}" for migration, _ in plan[:3])
        more = f" and {len(plan) - 3} more" if len(plan) > 3 else ""
        message = f"The database lacks the migrations {names}{more}: run `manage.py migrate`."
        raise SchemaBehind(message)
