"""Books in which there is one of everything."""

from django.contrib.auth.models import User

from config.database import database_now
from entitlements import audit
from entitlements.models import AccessCount, ApiClient, Customer, Entitlement, Grant, IdempotencyKey, RateLimit, Scope
from payments import revenue, tallies
from payments.expiry import expire_invoices
from payments.models import (
    CheckoutDecision,
    Discrepancy,
    DiscrepancyKind,
    Dispute,
    EarlyRefund,
    EventStatus,
    Hold,
    HoldReason,
    InvariantCheck,
    Invoice,
    MirrorCursor,
    Notice,
    NoticeKind,
    OrderInfo,
    Plan,
    ProviderRecord,
    ReconciliationRun,
    Refund,
    RefundTally,
    RevenueDay,
    StarTransaction,
    StripeCustomer,
    StripeEvent,
    StripeReadUpTo,
    Subscription,
    SubscriptionChange,
    SubscriptionOrder,
    SubscriptionPayment,
    TallyResult,
    TelegramCurrency,
    WithoutReminders,
)
from telegram_bot.models import IncomingUpdate, UpdateStatus, WebhookState
from tests.payments.test_tallies import NO_TIME, paid


def write_one_of_everything(alice: Customer, gold: Plan, invoice: Invoice) -> None:
    """A row in each of our tables, some of them with markup where a stranger may write."""
    now = database_now()
    event = paid(alice, gold, ago=NO_TIME, status=EventStatus.HELD, invoice=invoice)
    ProviderRecord.objects.create(event=event, body=b'{"name": "<script>alert(1)</script>\xff"}')
    OrderInfo.objects.create(event=event, name="<script>alert(1)</script>", email="<script>")
    Hold.objects.create(event=event, reason=HoldReason.BOUGHT_TWICE)
    Notice.objects.create(event=event, kind=NoticeKind.PAYMENT_HELD)
    CheckoutDecision.objects.create(query_id="q", invoice=invoice, payer_telegram_id=1, ok=True)
    EarlyRefund.objects.create(
        event_id="early", event_type="telegram_stars.refunded_payment", customer=alice, occurred_at=now, body=b"{}",
        origin="webhook",
    )  # fmt: skip
    subscription = Subscription.objects.create(
        customer=alice, plan=gold, entitlement="gold", payment_method="telegram_stars", amount=500, currency="XTR",
        reference="<script>alert(1)</script>", first_charge_id="<script>alert(1)</script>", state_changed_at=now,
        started_at=now, current_period_end=now, grace_ends_at=now,
    )  # fmt: skip
    SubscriptionPayment.objects.create(event=event, subscription=subscription, period_ends_at=now)
    SubscriptionChange.objects.create(
        subscription=subscription, state="active", at=now, why="<script>alert(1)</script>"
    )  # fmt: skip
    SubscriptionOrder.objects.create(
        subscription=subscription, what="cancel", reason="<script>alert(1)</script>", ordered_by="staff:1",
        next_attempt_at=now,
    )  # fmt: skip
    WithoutReminders.objects.create(customer=alice)
    Grant.objects.create(customer=alice, entitlement="gold", source="staff:1", granted_at=now)
    Entitlement.objects.create(customer=alice, code="gold", latest_grant_at=now)
    AccessCount.objects.create(entitlement="gold", customers=1, counted_at=now)
    ApiClient.objects.create(name="shop", prefix="abcd1234", secret_hash=b"\xca" * 32, scopes=[Scope.PAYMENTS_READ])
    IdempotencyKey.objects.create(caller="a", path="/b", key="c", body_digest=b"d" * 32)
    RateLimit.objects.create(subject="a")
    IncomingUpdate.objects.create(
        bot_id=1, update_id=7, digest=b"1" * 32, kind="message", body=b"{}", status=UpdateStatus.DEAD
    )
    tallies.count(TallyResult.FAILED, plan_code="gold_1m")
    tallies.move_forward()
    revenue.fold_revenue()
    RevenueDay.objects.create(day=now.date(), currency="XTR", payment_method="telegram_stars")
    expire_invoices(now=now)
    Refund.objects.create(payment=event, reason="<script>alert(1)</script>", requested_by="staff:1")
    RefundTally.objects.create(result="confirmed", source="webhook", count=1)
    StarTransaction.objects.create(
        transaction_id="<script>alert(1)</script>", direction="out", amount=1, date=now, raw=b"{}"
    )
    MirrorCursor.objects.create(length=1)
    run = ReconciliationRun.objects.create(asked_by="staff:1", lease_until=now, error="<script>alert(1)</script>")
    Discrepancy.objects.create(
        kind=DiscrepancyKind.MISSING_THERE, transaction_id="<script>alert(1)</script>", direction="in", event=event,
        telegram_says="<script>alert(1)</script>", we_have="a payment", run=run,
    )  # fmt: skip
    StripeEvent.objects.create(event_id="evt_1", kind="<script>", body=b"{}", status="dead", error="<script>")
    StripeCustomer.objects.create(customer=alice, stripe_id="cus_1")
    TelegramCurrency.objects.create(code="GBP", least=1, most=100_000_000, read_at=now)
    StripeReadUpTo.objects.create(moment=now)
    Dispute.objects.create(
        dispute_id="dp_1", payment=event, amount=1, currency="GBP", reason="<script>", status="lost", opened_at=now
    )
    WebhookState.keep(pending=0, last_error_at=None, now=now)
    InvariantCheck.objects.create(check_name="entitlements", detail="<script>alert(1)</script>", checked_at=now)
    auditor = User.objects.create_user("<script>alert(1)</script>")
    audit.record(staff=auditor, what="looked", subject=event, reason="<script>alert(1)</script>")
