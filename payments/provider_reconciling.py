"""Comparing the ledger with a payment provider's report, both ways, by the provider's own ids of the charges.

A report cannot say who paid and what for, so what is missing here waits for a person; refunds alone are recorded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from django.db import transaction
from django.db.models import QuerySet

from config.database import database_now, retried
from entitlements.models import Customer
from payments import discrepancies, runs
from payments.comparing import Result
from payments.discrepancies import Difference
from payments.models import (
    Direction,
    Discrepancy,
    DiscrepancyKind,
    EventType,
    Origin,
    PaymentEvent,
    PaymentMethod,
    ReconciliationRun,
    RunOutcome,
)
from payments.models.ledger import PaymentEventQuerySet
from payments.money import Money, sum_in_words
from payments.provider_reports import Report, ReportedCharge
from payments.recording import ReceivedRefund, record_refund
from payments.runs import TakenOver

BY_PROVIDER = PaymentMethod.TELEGRAM_PROVIDER
OUTSIDE = "Given back at the provider, and not by us."
GONE = "The provider's report and our books agree on it now."
BATCH = 200


@dataclass(frozen=True, slots=True)
class Window:
    """The time that a report covers, both ends included: what was paid then must be in it."""

    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of a charge: both sides agree, or a refund of so much is missing here, or they disagree.

    `charge` is None for a payment that is not in the report.
    """

    charge: ReportedCharge | None
    payment: PaymentEvent | None
    missing_refund: int = 0
    difference: Difference | None = None

    @property
    def agrees(self) -> bool:
        return self.difference is None and not self.missing_refund

    @property
    def in_words(self) -> str:
        """For whoever is looking on, with the line of the report."""
        where = f"line {self.charge.line}: " if self.charge else ""
        if self.difference is not None:
            found = self.difference
            sides = f"There: {found.telegram_says} Here: {found.we_have}"
            return f"{where}{found.transaction_id} is {found.kind.label}. {sides}"
        assert self.charge is not None and self.payment is not None  # noqa: S101, PT018 - or else they disagree
        back = f"{Money(self.missing_refund, self.payment.currency)} of it was given back there, and not here"
        return f"{where}{self.charge.charge_id}: {back if self.missing_refund else 'the same here'}."


def window_of(report: Report) -> Window | None:
    """From the first charge of a report to its last, if it tells their times."""
    times = [charge.paid_at for charge in report.charges if charge.paid_at is not None]
    return Window(min(times), max(times)) if times else None


def compare(report: Report, *, window: Window | None) -> Iterator[Compared]:
    """Every charge of the report, and every payment of that time which is not in it. Nothing is written."""
    for start in range(0, len(report.charges), BATCH):
        charges = report.charges[start : start + BATCH]
        known = _known(charges)
        for charge in charges:
            payments = known.get(charge.charge_id, [])
            yield from (_beside(charge, payment) for payment in payments)
            if not payments:
                yield Compared(charge, None, difference=_difference(DiscrepancyKind.NOT_RECORDED, charge, None))
    if window is not None:
        yield from _missing_there(report, window)


def reconcile(report: Report, *, asked_by: str, window: Window | None) -> ReconciliationRun:
    """Compare, record the refunds that are missing here, and keep what only a person can settle.

    Repeating it changes nothing. It may die anywhere: what it has done is done, and the next does the rest.

    :param asked_by: `command` or `staff:<id>`
    :raises payments.runs.AlreadyRunning: somebody is at it
    """
    run = runs.begin(asked_by=asked_by, full=True, payment_method=BY_PROVIDER)
    try:
        _carry_out(run, report, window)
    except TakenOver:
        raise
    except Exception as error:
        runs.end(run, RunOutcome.FAILED, error=f"{type(error).__name__}: {error}")
        raise
    return run


def _carry_out(run: ReconciliationRun, report: Report, window: Window | None) -> None:
    began = database_now()
    counts = Counter({Result.OTHER.value: report.unpaid})
    found = set()
    for number, compared in enumerate(compare(report, window=window)):
        if number % BATCH == 0:
            runs.change(run, lease_until=database_now() + runs.LEASE, **counts)
        if compared.agrees:
            counts[Result.MATCHED] += 1
        elif compared.difference is None:
            counts[Result.REFUNDED] += _record_missing_refund(compared)
        else:
            found.add(_key(compared.difference))
            counts["found"] += discrepancies.report(compared.difference, run=run)
    for discrepancy in _looked_at_again(report, window):
        if _key(discrepancy) not in found:
            counts["healed"] += discrepancies.heal(discrepancy, why=GONE)
    outcome = RunOutcome.ATTENTION if _open().exists() else RunOutcome.CLEAN
    runs.end(run, outcome, true_at=began, ledger_up_to=window.last if window else began, **counts)


def _payments() -> PaymentEventQuerySet:
    payments = PaymentEvent.objects.filter(payment_method=BY_PROVIDER, event_type=EventType.PROVIDER_PAYMENT)
    return payments.select_related("customer").prefetch_related("refunds")


def _open() -> QuerySet[Discrepancy]:
    return Discrepancy.objects.unresolved().found_with(BY_PROVIDER)


def _known(charges: Sequence[ReportedCharge]) -> dict[str, list[PaymentEvent]]:
    """The payments by the provider's ids, as a rule one each."""
    payments = _payments().filter(provider_charge_id__in=[charge.charge_id for charge in charges])
    ordered = payments.order_by("provider_charge_id", "pk")
    return {charge_id: list(each) for charge_id, each in groupby(ordered, lambda payment: payment.provider_charge_id)}


def _beside(charge: ReportedCharge, payment: PaymentEvent) -> Compared:
    if charge.money != payment.money:
        difference = _difference(DiscrepancyKind.AMOUNT_DIFFERS, charge, payment)
        return Compared(charge, payment, difference=difference)
    given_back = sum(refund.amount for refund in payment.refunds.all())
    if given_back > charge.refunded:
        difference = _difference(DiscrepancyKind.MISSING_THERE, charge, payment, given_back=given_back)
        return Compared(charge, payment, difference=difference)
    return Compared(charge, payment, missing_refund=charge.refunded - given_back)


def _missing_there(report: Report, window: Window) -> Iterator[Compared]:
    reported = {charge.charge_id for charge in report.charges}
    within = _payments().filter(occurred_at__range=(window.first, window.last))
    for payment in within.order_by("occurred_at").iterator(BATCH):
        if payment.provider_charge_id not in reported:
            difference = Difference(
                kind=DiscrepancyKind.MISSING_THERE,
                transaction_id=payment.provider_charge_id or payment.event_id,
                direction=Direction.IN,
                event=payment,
                telegram_says="Nothing.",
                we_have=_of(payment),
            )
            yield Compared(None, payment, difference=difference)


@retried
@transaction.atomic
def _record_missing_refund(compared: Compared) -> bool:
    """Record what was given back there and not here; False when somebody was quicker. The name that makes it once is
    the payment's where it is the whole, else what the report counts up to: a report names no single refunds.
    """
    charge, payment = compared.charge, compared.payment
    assert charge is not None and payment is not None  # noqa: S101, PT018 - there is no missing refund without them
    Customer.objects.locked().get(pk=payment.customer_id)
    missing = charge.refunded - payment.refunds.given_back()  # as it is under the lock
    if missing <= 0:
        return False
    record_refund(
        ReceivedRefund(
            method=BY_PROVIDER,
            charge_id=payment.event_id,
            money=Money(missing, payment.currency),
            occurred_at=charge.refunded_at or database_now(),
            origin=Origin.RECONCILIATION,
            raw=charge.raw,
            payer=payment.customer,
            payload=payment.reference,
            reason=OUTSIDE,
            refund_id="" if missing == payment.amount else f"{charge.charge_id}#{charge.refunded}",
        )
    )
    return True


def _looked_at_again(report: Report, window: Window | None) -> Iterator[Discrepancy]:
    """Those found before on which this report has something to say."""
    reported = {charge.charge_id for charge in report.charges}
    for discrepancy in _open().select_related("event"):
        event = discrepancy.event
        is_within = event is not None and window is not None and window.first <= event.occurred_at <= window.last
        if discrepancy.transaction_id in reported or is_within:
            yield discrepancy


def _difference(
    kind: DiscrepancyKind, charge: ReportedCharge, payment: PaymentEvent | None, *, given_back: int | None = None
) -> Difference:
    """About the charge itself, or about what was given back of it."""
    currency = charge.money.currency
    about_refunds = given_back is not None
    here = (given_back or 0) if about_refunds else payment.amount if payment else 0
    there = charge.refunded if about_refunds else charge.money.amount
    on = f" on {charge.paid_at:%Y-%m-%d %H:%M} UTC" if charge.paid_at else ""
    back = f"{sum_in_words(charge.refunded, currency)} given back"
    return Difference(
        kind=kind,
        transaction_id=charge.charge_id,
        direction=Direction.OUT if about_refunds else Direction.IN,
        difference=there - here if payment is None or payment.currency == currency else 0,
        event=payment,
        telegram_says=f"{charge.money}{on}, {back}.",
        we_have=_of(payment) if payment else "Nothing.",
    )


def _of(payment: PaymentEvent) -> str:
    back = sum_in_words(sum(refund.amount for refund in payment.refunds.all()), payment.currency)
    who = payment.customer.telegram_user_id or payment.customer.user_id
    return f"{payment.money} on {payment.occurred_at:%Y-%m-%d %H:%M} UTC, user {who}, {back} given back."


def _key(found: Difference | Discrepancy) -> tuple[str, str, str, int]:
    return str(found.kind), found.transaction_id, str(found.direction), int(found.difference)
