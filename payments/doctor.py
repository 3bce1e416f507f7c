"""The doctor on the books and the catalogue."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings
from django.db.models import Max, QuerySet

from config.attention import how_long
from config.checkup import Finding, bad, good, skipped
from config.database import database_now
from payments import currencies, reconciling
from payments.channels import base as channel
from payments.channels import stripe
from payments.invariants import GuardsStand
from payments.models import Discrepancy, InvariantCheck, Notice, PaymentMethod, Price, ReconciliationRun, StripeEvent

LATEST_NOTICE = timedelta(minutes=5)
LATEST_CHECK = timedelta(minutes=30)
LONGEST_TURN = timedelta(hours=2)  # a check that takes as long as it may comes again after a hundred minutes


def guards() -> Iterator[Finding]:
    """The triggers and keys that keep the ledger what it is."""
    missing = list(GuardsStand().differences(lambda _: None))
    if missing:
        yield bad(
            "triggers and keys",
            " ".join(missing),
            "`manage.py pgtrigger enable` and `manage.py pgtrigger install` bring triggers back. Then run "
            "`manage.py recheck_ledger`, and ask who switched them off.",
        )
    else:
        yield good("triggers and keys", "all there and switched on")


def books() -> Iterator[Finding]:
    """What the checks of the last hours found."""
    wrong = [f"{check.check_name} ({check.differences})" for check in InvariantCheck.objects.alarming()]
    latest = InvariantCheck.objects.aggregate(latest=Max("checked_at"))["latest"]
    now = database_now()
    ago = now - latest if latest else timedelta()
    unfinished = InvariantCheck.objects.unfinished_since(now - LONGEST_TURN).order_by("check_name")
    if wrong:
        yield bad(
            "books", f"contradictions: {', '.join(wrong)}", "`manage.py recheck_ledger` tells each in a sentence."
        )
    elif latest is None and not unfinished:
        yield skipped("books", "not looked at yet: a worker does so every five minutes")
    elif ago > LATEST_CHECK:
        yield bad("books", f"last looked at {how_long(ago.total_seconds())} ago", "Is `manage.py worker` running?")
    elif unfinished:
        names = ", ".join(check.check_name for check in unfinished)
        yield bad(
            "books",
            f"these checks do not come to an end: {names}",
            "`manage.py recheck_ledger` has the time; the lines `invariant not checked` of the log say why.",
        )
    else:
        yield good("books", f"without contradictions, looked at {how_long(ago.total_seconds())} ago")


def reconciliation() -> Iterator[Finding]:
    """Whether the ledger was compared with Telegram's list lately, and what that left to a person."""
    age, found = reconciling.cursor_age(), Discrepancy.objects.unresolved().count()
    if age is None:
        yield skipped("reconciliation", "without a bot there is no list to compare with")
    elif math.isinf(age):
        yield skipped("reconciliation", "not done yet: a worker begins with it when it starts")
    elif age > reconciling.BEHIND.total_seconds():
        last = ReconciliationRun.objects.compared_with(PaymentMethod.TELEGRAM_STARS).latest("pk")
        why = f", and the last try failed: {last.error}" if last.error else ""
        yield bad(
            "reconciliation",
            f"last done {how_long(age)} ago{why}",
            "Is `manage.py worker` running? `manage.py reconcile` does it now.",
        )
    elif found:
        yield bad(
            "reconciliation",
            f"{found} disagreements wait for a person",
            "Settle them in the admin under Operations, Discrepancies.",
        )
    else:
        yield good("reconciliation", f"done {how_long(age)} ago, and nothing is open")


def provider_token() -> Iterator[Finding]:
    sold = _sold_by(PaymentMethod.TELEGRAM_PROVIDER)
    if not sold:
        yield skipped("provider token", "no plan is sold by a Telegram provider")
    elif settings.TELEGRAM_PAYMENT_PROVIDER_TOKEN:
        yield good("provider token", f"set, for {', '.join(sold)}")
    else:
        yield bad(
            "provider token",
            f"not set, so these prices are not sold: {', '.join(sold)}",
            "Set TELEGRAM_PAYMENT_PROVIDER_TOKEN to the one that @BotFather gave you under Payments.",
        )


def providers_limits() -> Iterator[Finding]:
    """Whether Telegram's providers take what the catalogue asks for."""
    prices = _prices_by(PaymentMethod.TELEGRAM_PROVIDER).order_by("plan_id", "position")
    if not prices:
        return
    table = currencies.in_force()
    refused = [f"{price}" for price in prices if table.refusal(price.money)]
    if refused:
        yield bad(
            "limits of Telegram's providers",
            f"these prices are not sold, by Telegram's table of {table.as_of}: {', '.join(refused)}",
            f"{currencies.REFRESH}. Change the prices that are named even then, and load the catalogue.",
        )
    else:
        yield good("limits of Telegram's providers", f"every price is within its table of {table.as_of}")


def stripes_key() -> Iterator[Finding]:
    """Whether Stripe takes the key, and anything has come from there."""
    sold = _sold_by(PaymentMethod.STRIPE)
    if not stripe.is_set_up():
        if sold:
            seen = f"no key, so these prices are not sold: {', '.join(sold)}"
            yield bad("Stripe", seen, "Set STRIPE_SECRET_KEY and STRIPE_WEBHOOK_SECRET, or take those prices away.")
        else:
            yield skipped("Stripe", "nothing is sold by it")
        return
    try:
        stripe.probe()
    except channel.ChannelError as error:
        why = "the key is refused" if isinstance(error, stripe.KeyRefused) else str(error)
        yield bad("Stripe", why, "Is STRIPE_SECRET_KEY right, and may this machine call api.stripe.com?")
        return
    latest = StripeEvent.objects.aggregate(latest=Max("received_at"))["latest"]
    came = f"the latest event came {how_long((database_now() - latest).total_seconds())} ago" if latest else ""
    mode = "live" if stripe.is_live() else "test"
    yield good("Stripe", f"takes the key, of {mode} mode; {came or 'no event has come yet'}")


def telegrams_rule() -> Iterator[Finding]:
    """Nobody but the owner knows what kind of goods he sells, so this tells the rule and never fails."""
    for_money = sorted({*_sold_by(PaymentMethod.TELEGRAM_PROVIDER), *_sold_by(PaymentMethod.STRIPE)})
    if for_money:
        yield good(
            "Telegram's rule",
            f"{', '.join(for_money)} can be paid with money: inside Telegram that is for physical goods and services, "
            "digital goods are sold for Stars only",
        )
    else:
        yield good("Telegram's rule", "everything is sold for Stars, as it must be for digital goods")


def messages() -> Iterator[Finding]:
    oldest = Notice.objects.oldest_owed()
    waited = database_now() - oldest if oldest else timedelta()
    seen = f"the oldest unsent one has waited {how_long(waited.total_seconds())}" if oldest else "none waits"
    if waited > LATEST_NOTICE:
        yield bad("messages", seen, "Is a worker running, and does it reach Telegram? The list of messages says why.")
    else:
        yield good("messages", seen)


def _sold_by(method: PaymentMethod) -> list[str]:
    return sorted(set(_prices_by(method).values_list("plan_id", flat=True)))


def _prices_by(method: PaymentMethod) -> QuerySet[Price]:
    return Price.objects.filter(payment_method=method, plan__withdrawn_at__isnull=True)
