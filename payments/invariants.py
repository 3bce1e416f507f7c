"""What must hold in the books at every moment: each derived figure is what its facts amount to.

Each check is one statement, hence one view of the books: it can run while payments are recorded, and a difference
that it finds is one. `settings.INVARIANTS` names the checks of all apps by dotted path, so that this need not know
whoever stands above it.
"""

# ruff: noqa: S608 - every statement is made of constants

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple, Protocol

import pgtrigger
from django.apps import apps
from django.conf import settings
from django.db import connection
from django.db.models import UniqueConstraint
from django.utils.module_loading import import_string

from config.database import long_statements
from entitlements.by_hand import GAVE, TOOK_BACK
from entitlements.periods import fold
from payments import recurring, revenue, tallies
from payments.discrepancies import SETTLED
from payments.models import Order
from payments.models.ledger import COST_KINDS
from payments.staff_refunds import APPROVED, ASKED, DECLINED, RECORDED
from payments.subscription_orders import DEEDS

Progress = Callable[[int], None]
AT_ONCE = 10_000
AMONG = ":among"  # stands in a statement behind a customer's id: which customers are looked at
EVERYBODY = "IS NOT NULL"
# One core at most; and sums of all the books need no sorting on the disk, which the planner, who takes them for a small
# part, would prefer.
BESIDE_THE_SHOP = """
    SET LOCAL idle_in_transaction_session_timeout = 0;
    SET LOCAL max_parallel_workers_per_gather = 0;
    SET LOCAL jit = off;
    SET LOCAL enable_sort = off
"""
WHOLE_TIME = 3_600_000  # milliseconds that a statement may take


def from_to(first: int, last: int) -> str:
    """The customers with these ids and those between, as a condition."""
    return f"BETWEEN {first:d} AND {last:d}"


def one_of(customers: Collection[int]) -> str:
    """These customers, as a condition."""
    return f"= ANY('{{{','.join(f'{pk:d}' for pk in customers)}}}'::bigint[])"


class Invariant(Protocol):
    """What must hold, in a few words and as a check."""

    @property
    def what(self) -> str: ...

    @property
    def by_customer(self) -> bool:
        """Whether it can look at some customers only."""

    def differences(
        self, progress: Progress, *, among: str = EVERYBODY, milliseconds: int = WHOLE_TIME
    ) -> Iterator[str]:
        """Each contradiction in a sentence.

        :param among: a condition on the ids of customers, where it is `by_customer`
        :raises OperationalError: it took longer than it was given
        """


@dataclass(frozen=True, slots=True)
class Check:
    """Rows of `sql` are contradictions, and `sentence` has a place for each of their columns."""

    what: str
    sql: str
    sentence: str

    @property
    def by_customer(self) -> bool:
        return AMONG in self.sql

    def differences(
        self, progress: Progress, *, among: str = EVERYBODY, milliseconds: int = WHOLE_TIME
    ) -> Iterator[str]:
        for found, row in enumerate(rows(self.sql.replace(AMONG, among), milliseconds=milliseconds), 1):
            progress(found)
            yield self.sentence.format(*row)


class Folded(NamedTuple):
    """A grant beside the entitlement it belongs to; either may be missing."""

    customer_id: int
    code: str
    kept: bool
    active_until: datetime | None
    granted_at: datetime
    duration: timedelta | None
    ends_at: datetime | None
    revoked_at: datetime | None


class EntitlementsAreTheFoldOfTheirGrants:
    """I3, by the same fold that gives access."""

    what = "entitlements"
    by_customer = True
    sql = f"""
        SELECT coalesce(given.customer_id, kept.customer_id), coalesce(given.entitlement, kept.code),
               kept.id IS NOT NULL, kept.active_until, given.granted_at, given.duration, given.ends_at, given.revoked_at
        FROM (SELECT * FROM entitlements_grant WHERE customer_id {AMONG}) AS given
        FULL JOIN (SELECT * FROM entitlements_entitlement WHERE customer_id {AMONG}) AS kept
             ON kept.customer_id = given.customer_id AND kept.code = given.entitlement
        ORDER BY 1, 2, given.granted_at, given.id
    """

    def differences(
        self, progress: Progress, *, among: str = EVERYBODY, milliseconds: int = WHOLE_TIME
    ) -> Iterator[str]:
        every = (Folded(*row) for row in rows(self.sql.replace(AMONG, among), milliseconds=milliseconds))
        seen = 0
        for (customer, code), group in groupby(every, key=lambda row: row[:2]):
            grants = list(group)
            progress(seen := seen + len(grants))
            kept = grants[0]
            if not kept.kept or kept.granted_at is None:
                yield f"Customer {customer} has grants or an entitlement of {code}, not both."
            elif kept.active_until != (expected := fold(grants)[-1].access.ends_at):
                until = words(kept.active_until)
                yield f"Customer {customer} has {code} until {until}, the grants say {words(expected)}."


class GuardsStand:
    """I10, I1: what keeps facts from being changed or doubled is there and switched on, as the models have it."""

    what = "guards"
    by_customer = False
    triggers = "SELECT tgname, tgenabled::text FROM pg_trigger WHERE NOT tgisinternal"
    keys = """
        SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE indisunique AND indisvalid AND pg_table_is_visible(indrelid)
    """

    def differences(
        self, progress: Progress, *, among: str = EVERYBODY, milliseconds: int = WHOLE_TIME
    ) -> Iterator[str]:
        states = dict(rows(self.triggers, milliseconds=milliseconds))
        for model, trigger in pgtrigger.registered():
            state = states.get(trigger.get_pgid(model), "missing")
            if state not in {"O", "A"}:  # switched on: as always, or for replication as well
                how = "missing" if state == "missing" else "switched off"
                yield f"The trigger {trigger.name} of {model._meta.db_table} is {how}."  # noqa: SLF001 - Django's API
        present = {name for (name,) in rows(self.keys, milliseconds=milliseconds)}
        for each in apps.get_models():
            for constraint in each._meta.constraints:  # noqa: SLF001 - Django's API
                if isinstance(constraint, UniqueConstraint) and constraint.name not in present:
                    yield f"The unique key {constraint.name} of {each._meta.db_table} is missing."  # noqa: SLF001


def words(end: datetime | None) -> str:
    return "the end of time" if end is None else end.isoformat()


PAYMENT = "split_part(event.event_type, '.', 2) = 'successful_payment'"
REFUND = "split_part(event.event_type, '.', 2) = 'refunded_payment'"
FAILED_REFUND = "split_part(event.event_type, '.', 2) = 'failed_refund'"
FEE = "split_part(event.event_type, '.', 2) IN ('charged_fee', 'returned_fee')"
TAKEN_BY_BANK = "split_part(event.event_type, '.', 2) = 'disputed_payment'"
# What a row of the ledger adds to what was given back.
GIVEN_BACK = f"CASE WHEN {REFUND} THEN event.amount WHEN {FAILED_REFUND} THEN -event.amount ELSE 0 END"
SOURCE = "event.payment_method || ':' || event.event_id"  # of the grant of a payment, and the parts of it:
METHOD, CHARGE = "split_part(given.source, ':', 1)", "substr(given.source, strpos(given.source, ':') + 1)"
FIGURES = ("gross", "payments", "renewals", "refunded", "refunds", "disputed", "fees")  # in the sentence's order
KEPT = [f"coalesce(kept.{figure}, 0)" for figure in FIGURES]
TOLD = [f"coalesce(told.{figure}, 0)" for figure in FIGURES]
# Of what staff have done, each thing that not exactly one audit entry tells of.
AUDITED = """
    SELECT done.subject_type, done.subject_id, count(entry.id), done.what
    FROM done LEFT JOIN entitlements_auditentry AS entry
         ON entry.subject_type = done.subject_type AND entry.subject_id = done.subject_id
         AND entry.what LIKE done.what
    GROUP BY done.subject_type, done.subject_id, done.what
    HAVING count(entry.id) <> 1
"""
UNAUDITED = "Staff acted on {} {}, and {} audit entries say “{}”."

CHECKS: tuple[Invariant, ...] = (
    GuardsStand(),
    EntitlementsAreTheFoldOfTheirGrants(),
    Check(
        "sums of customers",  # I2
        f"""
        SELECT customer_id, payment_method, currency,
               sum({GIVEN_BACK}), coalesce(sum(amount) FILTER (WHERE {PAYMENT}), 0)
        FROM payments_paymentevent AS event WHERE customer_id {AMONG}
        GROUP BY customer_id, payment_method, currency
        HAVING sum({GIVEN_BACK}) > coalesce(sum(amount) FILTER (WHERE {PAYMENT}), 0)
        """,
        "Customer {} was given back by {} in {} {} of the {} that he paid.",
    ),
    Check(
        "what payments gave",  # I1, I5
        f"""
        WITH given AS (
            SELECT source, count(*) AS grants FROM entitlements_grant WHERE customer_id {AMONG} GROUP BY source
        )
        SELECT event.id, event.status, coalesce(grants, 0), (hold.id IS NOT NULL)::int
        FROM payments_paymentevent AS event
        LEFT JOIN payments_hold AS hold ON hold.event_id = event.id
        LEFT JOIN given ON given.source = {SOURCE}
        WHERE {PAYMENT} AND event.customer_id {AMONG}
          AND ((hold.id IS NULL) <> (status = 'processed')
               OR coalesce(grants, 0) <> (status = 'processed' OR coalesce(resolution, '') = 'granted')::int)
        """,
        "Payment {} is {} with {} grants and {} holds.",
    ),
    Check(
        "payments behind grants",  # I5
        f"""
        SELECT source FROM entitlements_grant AS given
        WHERE customer_id {AMONG} AND {METHOD} IN ('telegram_stars', 'telegram_provider', 'stripe')
          AND NOT EXISTS (
              SELECT FROM payments_paymentevent AS event
              WHERE event.event_id = {CHARGE} AND event.event_type = {METHOD} || '.successful_payment')
        """,
        "A grant comes from {}, which is no payment.",
    ),
    Check(
        "messages owed",  # I8
        f"""
        SELECT event.id, kind FROM payments_paymentevent AS event, LATERAL (
            SELECT CASE WHEN {REFUND} THEN 'refunded'
                        WHEN {FAILED_REFUND} THEN 'refund_failed'
                        WHEN status = 'held' THEN 'payment_held'
                        ELSE 'payment_confirmed' END AS kind) AS owed
        WHERE event.customer_id {AMONG} AND event.cost_of_id IS NULL
          AND NOT EXISTS (SELECT FROM payments_notice AS notice
                          WHERE notice.event_id = event.id AND notice.kind = owed.kind)
        """,
        "Event {} has no notice {}.",
    ),
    Check(
        "messages that are true",  # I8
        f"""
        SELECT notice.id, notice.kind, event.id, event.status
        FROM payments_paymentevent AS event
        JOIN payments_notice AS notice ON notice.event_id = event.id
        LEFT JOIN payments_hold AS hold ON hold.event_id = event.id
        WHERE event.customer_id {AMONG} AND NOT CASE notice.kind
            WHEN 'refunded' THEN {REFUND}
            WHEN 'refund_failed' THEN {FAILED_REFUND}
            WHEN 'payment_held' THEN {PAYMENT} AND event.status = 'held'
            WHEN 'payment_confirmed'
                THEN {PAYMENT} AND (event.status = 'processed' OR coalesce(hold.resolution, '') = 'granted')
            ELSE true END
        """,
        "Message {} says {} of event {}, which is {}.",
    ),
    Check(
        "answers of the providers",
        f"""
        SELECT id FROM payments_paymentevent AS event
        WHERE customer_id {AMONG}
          AND NOT EXISTS (SELECT FROM payments_providerrecord AS record WHERE record.event_id = event.id)
        """,
        "Event {} has lost the provider's answer.",
    ),
    Check(
        "paid invoices",
        f"""
        SELECT event.id, invoice.status
        FROM payments_paymentevent AS event JOIN payments_invoice AS invoice ON invoice.id = event.invoice_id
        WHERE event.customer_id {AMONG} AND {PAYMENT} AND event.status = 'processed' AND invoice.status <> 'paid'
        """,
        "Payment {} is processed and its invoice {}.",
    ),
    Check(
        "subscriptions",
        f"""
        SELECT kept.id, kept.current_period_end, max(paid.period_ends_at), kept.renewals + 1, count(paid.event_id)
        FROM payments_subscription AS kept
        LEFT JOIN payments_subscriptionpayment AS paid ON paid.subscription_id = kept.id
        WHERE kept.customer_id {AMONG}
        GROUP BY kept.id
        HAVING kept.current_period_end IS DISTINCT FROM max(paid.period_ends_at)
            OR kept.renewals + 1 <> count(paid.event_id)
        """,
        "Subscription {} is paid until {}, its payments say {}; it counts {} of them, and there are {}.",
    ),
    Check(
        "subscriptions by day",
        f"""
        SELECT day, plan_code, currency, payment_method, coalesce(kept.begun, 0), coalesce(kept.ended, 0),
               coalesce(told.begun, 0), coalesce(told.ended, 0)
        FROM (
            SELECT day, plan_code, currency, payment_method, sum(begun) AS begun, sum(ended) AS ended,
                   sum(monthly_begun) AS monthly_begun, sum(monthly_ended) AS monthly_ended
            FROM payments_subscriptionday GROUP BY day, plan_code, currency, payment_method) AS kept
        FULL JOIN ({recurring.COUNTED}) AS told USING (day, plan_code, currency, payment_method)
        WHERE (coalesce(kept.begun, 0), coalesce(kept.ended, 0), coalesce(kept.monthly_begun, 0),
               coalesce(kept.monthly_ended, 0))
              IS DISTINCT FROM (coalesce(told.begun, 0), coalesce(told.ended, 0), coalesce(told.monthly_begun, 0),
                                coalesce(told.monthly_ended, 0))
        """,
        "On {} by {} in {} by {}, {} subscriptions are said to have begun and {} to have ended; it was {} and {}.",
    ),
    Check(
        "payments of subscriptions",
        f"""
        SELECT event.id FROM payments_paymentevent AS event
        JOIN payments_invoice AS invoice ON invoice.id = event.invoice_id
        WHERE event.customer_id {AMONG} AND {PAYMENT} AND invoice.recurring
          AND event.payment_method <> 'telegram_provider'
          AND NOT EXISTS (SELECT FROM payments_subscriptionpayment AS paid WHERE paid.event_id = event.id)
        """,
        "Payment {} renews by itself and belongs to no subscription.",
    ),
    Check(
        "how subscriptions stand",
        f"""
        SELECT kept.id, kept.state, coalesce(last.state, 'nothing')
        FROM payments_subscription AS kept LEFT JOIN LATERAL (
            SELECT state FROM payments_subscriptionchange AS change WHERE change.subscription_id = kept.id
            ORDER BY id DESC LIMIT 1) AS last ON true
        WHERE kept.customer_id {AMONG} AND kept.state IS DISTINCT FROM last.state
        """,
        "Subscription {} is {}, and the last that was told of it is {}.",
    ),
    Check(
        "what is renewed",
        f"""
        SELECT held.customer_id, held.code, held.renews, count(renewing.id)
        FROM entitlements_entitlement AS held LEFT JOIN payments_subscription AS renewing
             ON renewing.customer_id = held.customer_id AND renewing.entitlement = held.code
             AND renewing.state = 'active'
        WHERE held.customer_id {AMONG}
        GROUP BY held.id
        HAVING held.renews AND count(renewing.id) = 0
            OR NOT held.renews AND bool_or(EXISTS (  -- one of which nothing was given is nobody's entitlement
                SELECT FROM payments_subscriptionpayment AS paid
                JOIN payments_paymentevent AS event ON event.id = paid.event_id
                WHERE paid.subscription_id = renewing.id AND event.status = 'processed'))
        """,
        "Customer {} has {}, which is said to be renewed: {}, with {} subscriptions that renew.",
    ),
    Check(
        "refunds",  # I4; those by Stripe have ids of their own and may be parts, as have parts by a provider
        f"""
        SELECT event.id FROM payments_paymentevent AS event
        LEFT JOIN payments_paymentevent AS payment ON payment.id = event.refund_of_id
        WHERE event.customer_id {AMONG} AND ({REFUND} OR {FAILED_REFUND})
          AND ((payment.payment_method, payment.customer_id, payment.currency)
               IS DISTINCT FROM (event.payment_method, event.customer_id, event.currency)
               OR event.payment_method = 'telegram_stars'
                  AND (payment.event_id, payment.amount) IS DISTINCT FROM (event.event_id, event.amount)
               OR event.payment_method = 'telegram_provider'
                  AND (payment.event_id = event.event_id) IS DISTINCT FROM (payment.amount = event.amount)
               OR {FAILED_REFUND} AND NOT EXISTS (
                  SELECT FROM payments_paymentevent AS refund
                  WHERE refund.event_id = event.event_id AND refund.event_type = 'stripe.refunded_payment'
                    AND (refund.amount, refund.refund_of_id) = (event.amount, event.refund_of_id)))
        """,
        "Refund {} does not match its payment.",
    ),
    Check(
        "parts given back",  # I4
        f"""
        SELECT payment.id, sum({GIVEN_BACK}), payment.amount
        FROM payments_paymentevent AS event JOIN payments_paymentevent AS payment ON payment.id = event.refund_of_id
        WHERE event.customer_id {AMONG}
        GROUP BY payment.id HAVING sum({GIVEN_BACK}) NOT BETWEEN 0 AND payment.amount
        """,
        "Of payment {} {} is given back, and {} was paid.",
    ),
    Check(
        "fees and disputes",  # I4
        f"""
        SELECT event.id FROM payments_paymentevent AS event
        LEFT JOIN payments_paymentevent AS payment ON payment.id = event.cost_of_id
        WHERE event.customer_id {AMONG} AND split_part(event.event_type, '.', 2) = ANY('{{{",".join(COST_KINDS)}}}')
          AND ((payment.payment_method, payment.customer_id)
               IS DISTINCT FROM (event.payment_method, event.customer_id)
               OR payment.event_type <> 'stripe.successful_payment'
               OR NOT {FEE} AND payment.currency <> event.currency)
        """,
        "The fee or dispute {} does not match its payment.",
    ),
    Check(
        "what banks brought back",  # I4
        f"""
        SELECT cost_of_id, sum(amount) FILTER (WHERE NOT {TAKEN_BY_BANK}), sum(amount) FILTER (WHERE {TAKEN_BY_BANK})
        FROM payments_paymentevent AS event
        WHERE event.customer_id {AMONG} AND cost_of_id IS NOT NULL AND NOT {FEE}
        GROUP BY cost_of_id
        HAVING sum(CASE WHEN {TAKEN_BY_BANK} THEN amount ELSE -amount END) < 0
        """,
        "Of payment {} banks brought back {}, and took {}.",
    ),
    Check(
        "access after refunds",  # I4, I5; what is given back in part leaves it
        f"""
        SELECT payment.id
        FROM payments_paymentevent AS event JOIN payments_paymentevent AS payment ON payment.id = event.refund_of_id
        JOIN entitlements_grant AS given
             ON given.source = payment.payment_method || ':' || payment.event_id AND given.revoked_at IS NULL
        WHERE event.customer_id {AMONG}
        GROUP BY payment.id, given.id HAVING sum({GIVEN_BACK}) >= payment.amount
        """,
        "The refund of payment {} left its access.",
    ),
    Check(
        "intents to refund",  # I4, I7
        f"""
        SELECT intent.id, intent.status, count(event.id)
        FROM payments_refund AS intent
        LEFT JOIN payments_paymentevent AS event ON event.refund_of_id = intent.payment_id AND {REFUND}
        GROUP BY intent.id
        HAVING (count(event.id) = 0) <> (intent.status <> 'confirmed')
           AND NOT (intent.status IN ('refused', 'declined') AND count(event.id) > 0)
           -- Of a part it is open while another part was given back before.
           AND NOT (intent.amount IS NOT NULL AND intent.status <> 'confirmed' AND count(event.id) > 0)
        """,
        "The intent to refund {} is {} with {} refunds of its payment.",
    ),
    Check(
        "refunds under way",  # I7: each is looked at again soon after its time; a tally tells how old the oldest is
        """
        SELECT id, status, next_attempt_at FROM payments_refund
        WHERE status IN ('requested', 'sending', 'verify')
          AND coalesce(decided_at, created_at) < statement_timestamp() - interval '15 minutes'
          AND next_attempt_at < statement_timestamp() - interval '15 minutes'
        """,
        "The refund {} is {}, and nobody has looked at it since {}.",
    ),
    Check(
        "what staff did",  # I9; of what they took back and recorded, see the next
        f"""
        WITH done (subject_type, subject_id, what) AS (
            SELECT 'payments.hold', id::text, 'resolved%' FROM payments_hold WHERE resolved_by LIKE 'staff:%'
            UNION ALL
            SELECT 'entitlements.grant', id::text, '{GAVE}' FROM entitlements_grant WHERE source LIKE 'staff:%'
            UNION ALL
            SELECT 'payments.refund', id::text, '{ASKED}' FROM payments_refund WHERE requested_by LIKE 'staff:%'
            UNION ALL
            SELECT 'payments.refund', id::text, '{APPROVED}' FROM payments_refund WHERE approved_by <> ''
            UNION ALL
            SELECT 'payments.refund', id::text, '{DECLINED}' FROM payments_refund WHERE declined_by <> ''
            UNION ALL
            SELECT 'payments.discrepancy', id::text, '{SETTLED}' FROM payments_discrepancy
            WHERE resolved_by LIKE 'staff:%'
            UNION ALL
            SELECT 'payments.subscriptionorder', id::text,
                   CASE what WHEN 'cancel' THEN '{DEEDS[Order.CANCEL]}' ELSE '{DEEDS[Order.ALLOW]}' END
            FROM payments_subscriptionorder
        )
        {AUDITED}
        """,
        UNAUDITED,
    ),
    Check(
        "what staff took back",  # I9; what no refund did, and no call of ours, they did
        f"""
        WITH done (subject_type, subject_id, what) AS (
            SELECT 'entitlements.grant', id::text, '{TOOK_BACK}' FROM entitlements_grant AS given
            WHERE customer_id {AMONG} AND revoked_at IS NOT NULL
              AND NOT EXISTS (
                  SELECT FROM payments_paymentevent AS payment
                  JOIN payments_paymentevent AS event ON event.refund_of_id = payment.id AND {REFUND}
                  WHERE payment.event_id = {CHARGE} AND payment.event_type = {METHOD} || '.successful_payment')
            UNION ALL
            SELECT 'payments.paymentevent', id::text, '{RECORDED}' FROM payments_paymentevent AS refund
            WHERE customer_id {AMONG} AND origin = 'staff'
              AND NOT EXISTS (SELECT FROM payments_refund AS intent WHERE intent.payment_id = refund.refund_of_id)
        )
        {AUDITED}
        """,
        UNAUDITED,
    ),
    Check(
        "early refunds",
        """
        SELECT early.id FROM payments_earlyrefund AS early
        WHERE applied_at IS NULL
          AND EXISTS (SELECT FROM payments_paymentevent AS event
                      WHERE event.event_id = early.event_id
                        AND split_part(event.event_type, '.', 2) = 'successful_payment')
        """,
        "Early refund {} waits for a payment that is recorded.",
    ),
    Check(
        "tallies",
        f"""
        SELECT result, plan_code, currency, coalesce(kept.count, 0), coalesce(kept.amount, 0),
               coalesce(told.count, 0), coalesce(told.amount, 0)
        FROM (SELECT * FROM payments_tally WHERE result IN ('sent', 'success', 'held')) AS kept
        FULL JOIN (
            SELECT result, plan_code, currency, sum(count) AS count, sum(amount) AS amount
            FROM ({tallies.BOOKS.format(after="'-infinity'", until=tallies.UP_TO)}) AS books
            GROUP BY result, plan_code, currency) AS told USING (result, plan_code, currency)
        WHERE (coalesce(kept.count, 0), coalesce(kept.amount, 0))
              IS DISTINCT FROM (coalesce(told.count, 0), coalesce(told.amount, 0))
        """,
        "The tally {} {} {} has {} of {} in all, the books say {} of {}.",
    ),
    Check(
        "revenue",
        f"""
        SELECT day, plan_code, currency, payment_method, {", ".join([*KEPT, *TOLD])}
        FROM payments_revenueday AS kept
        FULL JOIN (
            SELECT day, plan_code, currency, payment_method, {revenue.SUMMED}
            FROM ({revenue.ledger(after="'-infinity'", until=revenue.UP_TO)}) AS ledger
            GROUP BY day, plan_code, currency, payment_method
        ) AS told USING (day, plan_code, currency, payment_method)
        WHERE ({", ".join(KEPT)}) IS DISTINCT FROM ({", ".join(TOLD)})
        """,
        "The revenue of {} {} {} {} has {} by {} payments ({} renewals) less {} by {} refunds, {} disputed and {} of"
        " fees, the ledger says {} by {} ({}) less {} by {}, {} and {}.",
    ),
)


def checks() -> list[Invariant]:
    """Those of all apps."""
    return [check for path in settings.INVARIANTS for check in import_string(path)]


def differences() -> Iterator[str]:
    """Every contradiction in the books, in a sentence; nothing when they are sound."""
    for check in checks():
        yield from check.differences(lambda _: None)


def rows(sql: str, *, milliseconds: int) -> Iterator[tuple[Any, ...]]:
    """The rows of a query that may take long, fetched as they are needed."""
    with long_statements(up_to=timedelta(milliseconds=milliseconds)), connection.cursor() as limits:
        limits.execute(BESIDE_THE_SHOP)
        with connection.chunked_cursor() as cursor:
            cursor.execute(sql)
            while some := cursor.fetchmany(AT_ONCE):
                yield from some
