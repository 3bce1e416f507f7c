from datetime import timedelta

import pytest
from django.test import Client

from config.database import database_now
from entitlements.metrics import entitlement_denied
from payments import metrics, tallies
from payments.models import (
    Discrepancy,
    DiscrepancyKind,
    EventStatus,
    Hold,
    HoldReason,
    InvoiceStatus,
    Notice,
    NoticeKind,
    PaymentEvent,
    ReconciliationRun,
    Refund,
    RunOutcome,
    TallyResult,
)
from payments.recording import record_payment, record_refund
from payments.stripe.metrics import count_event
from telegram_bot.metrics import count_update
from telegram_bot.models import IncomingUpdate, UpdateStatus
from tests import updates
from tests.config.reading import families, figures
from tests.everything import write_one_of_everything
from tests.factories import InvoiceFactory
from tests.payments.reports import payment_of, refund_of
from tests.payments.test_tallies import NO_TIME, paid
from tests.promtool import promtool

pytestmark = pytest.mark.django_db

OURS = ("telegram_", "starledger_", "entitlement_")  # the libraries bring theirs
PROMISED = {
    "telegram_payments_total": ("counter", "result", "plan_code"),
    "telegram_payment_value_total": ("counter", "plan_code", "currency"),
    "telegram_payment_processing_seconds": ("histogram",),
    "telegram_payments_pending": ("gauge",),
    "telegram_precheck_total": ("counter", "result", "reason"),
    "telegram_precheck_seconds": ("histogram",),
    "telegram_refunds_total": ("counter", "result", "source"),
    "telegram_updates_total": ("counter", "type", "outcome"),
    "starledger_inbox_oldest_seconds": ("gauge",),
    "starledger_jobs_oldest_seconds": ("gauge",),
    "starledger_held_payments": ("gauge",),
    "starledger_refunds_unconfirmed_oldest_seconds": ("gauge",),
    "starledger_reconcile_cursor_age_seconds": ("gauge",),
    "starledger_reconcile_discrepancies": ("gauge",),
    "entitlement_denied_total": ("counter", "entitlement"),
    # And these, on which the alerts in deploy/observability stand.
    "starledger_held_payments_oldest_seconds": ("gauge",),
    "starledger_messages_oldest_seconds": ("gauge",),
    "starledger_workers": ("gauge",),
    "starledger_inbox_undecided": ("gauge", "status"),
    "starledger_invariant_differences": ("gauge", "check"),
    "starledger_invariant_checked_timestamp_seconds": ("gauge", "check"),
    "starledger_webhook_pending_updates": ("gauge",),
    "starledger_webhook_last_error_timestamp_seconds": ("gauge",),
    "starledger_webhook_checked_timestamp_seconds": ("gauge",),
    "starledger_stripe_events_total": ("counter", "type", "outcome"),
    "starledger_stripe_events_oldest_seconds": ("gauge",),
    "starledger_stripe_events_undecided": ("gauge",),
    "starledger_disputes_open": ("gauge",),
    "starledger_requests_total": ("counter", "area", "status"),
    "starledger_request_seconds": ("histogram", "area"),
    "starledger_sign_ins_refused_total": ("counter",),
}


@pytest.fixture
def scrape(settings):
    settings.DEBUG = True
    return lambda: figures(Client())


class TestPayments:
    def test_6_1_are_counted_by_result_and_plan(self, scrape, alice, gold):
        paid(alice, gold, ago=NO_TIME)
        paid(alice, gold, ago=NO_TIME, status=EventStatus.HELD)
        InvoiceFactory.create_batch(2, plan=gold, customer=alice)
        for result in (TallyResult.FAILED, TallyResult.DUPLICATE, TallyResult.CANCELLED):
            tallies.count(result, plan_code=gold.code)

        seen = scrape()

        counted = {
            result: seen[f'telegram_payments_total{{plan_code="gold_1m",result="{result}"}}'] for result in TallyResult
        }
        assert counted == {"success": 1, "held": 1, "sent": 2, "failed": 1, "duplicate": 1, "cancelled": 1}

    def test_6_2_are_valued_exactly_by_plan_and_currency(self, scrape, alice, gold):
        paid(alice, gold, ago=timedelta(days=1), amount=9_007_199_254_740_000)
        tallies.move_forward()
        paid(alice, gold, ago=NO_TIME, amount=991)
        paid(alice, gold, ago=NO_TIME, amount=2500, currency="GBP", kind="telegram_provider.successful_payment")
        paid(alice, gold, ago=NO_TIME, amount=77, status=EventStatus.HELD)
        payment = PaymentEvent.objects.first()
        paid(alice, gold, ago=NO_TIME, amount=500, kind="telegram_stars.refunded_payment", refund_of=payment)

        seen = scrape()

        assert {name: value for name, value in seen.items() if "value" in name} == {
            'telegram_payment_value_total{currency="XTR",plan_code="gold_1m"}': 9_007_199_254_740_991,
            'telegram_payment_value_total{currency="GBP",plan_code="gold_1m"}': 2500,
        }

    def test_6_4_are_pending_while_their_invoices_are_open_and_unexpired(self, scrape, alice, gold):
        for status in InvoiceStatus:
            InvoiceFactory(plan=gold, customer=alice, status=status)
        InvoiceFactory(plan=gold, customer=alice, expired=True)

        assert scrape()["telegram_payments_pending"] == 3  # draft, sent and unclear

    def test_that_are_held_are_counted_until_somebody_decided(self, scrape, alice, gold):
        for resolution in ("", "dismissed"):
            event = paid(alice, gold, ago=NO_TIME, status=EventStatus.HELD)
            event_hold(event, resolution)

        assert scrape()["starledger_held_payments"] == 1

    def test_that_are_held_age_until_somebody_decided(self, scrape, alice, gold):
        assert scrape()["starledger_held_payments_oldest_seconds"] == 0
        for minutes, resolution in ((90, "dismissed"), (30, ""), (10, "")):
            event = paid(alice, gold, ago=timedelta(minutes=minutes), status=EventStatus.HELD)
            event_hold(event, resolution, held_at=event.received_at)

        assert 30 * 60 <= scrape()["starledger_held_payments_oldest_seconds"] < 32 * 60

    def test_that_nobody_was_told_of_age_until_the_message_is_sent_or_given_up(self, scrape, alice, gold):
        assert scrape()["starledger_messages_oldest_seconds"] == 0
        now = database_now()
        for minutes, facts in ((90, {"sent_at": now}), (60, {"given_up_at": now}), (30, {}), (10, {})):
            event = paid(alice, gold, ago=NO_TIME)
            since = now - timedelta(minutes=minutes)
            Notice.objects.create(event=event, kind=NoticeKind.PAYMENT_CONFIRMED, created_at=since, **facts)

        assert 30 * 60 <= scrape()["starledger_messages_oldest_seconds"] < 32 * 60


class TestReconciliation:
    def test_is_as_old_as_the_last_run_and_counts_what_waits(self, scrape):
        now = database_now()
        run = ReconciliationRun.objects.create(
            asked_by="schedule", lease_until=now, started_at=now, finished_at=now, outcome=RunOutcome.ATTENTION,
            true_at=now - timedelta(seconds=90), ledger_up_to=now,
        )  # fmt: skip
        facts = {"kind": DiscrepancyKind.BALANCE, "telegram_says": "1", "we_have": "2", "run": run}
        Discrepancy.objects.create(**facts)
        Discrepancy.objects.create(
            **facts, difference=1, resolved_at=now, resolved_by="staff:1", resolved_why="It is so."
        )

        seen = scrape()

        assert 90 <= seen["starledger_reconcile_cursor_age_seconds"] < 150
        assert seen["starledger_reconcile_discrepancies"] == 1

    def test_has_no_age_without_a_bot_and_an_infinite_one_before_it_has_begun(self, scrape, settings):
        assert scrape()["starledger_reconcile_cursor_age_seconds"] == float("inf")
        settings.TELEGRAM_BOT_TOKEN = ""

        assert "starledger_reconcile_cursor_age_seconds" not in scrape()


class TestRefunds:
    def test_are_counted_once_by_how_they_were_learnt_of(self, scrape, invoice):
        record_payment(payment_of(invoice))
        for _ in range(3):
            record_refund(refund_of(invoice))

        assert {name: value for name, value in scrape().items() if name.startswith("telegram_refunds")} == {
            'telegram_refunds_total{result="confirmed",source="webhook"}': 1
        }

    def test_are_unconfirmed_since_the_oldest_open_one_was_asked_for(self, scrape, alice, gold):
        assert scrape()["starledger_refunds_unconfirmed_oldest_seconds"] == 0
        for status, ago in (("verify", 90), ("requested", 10), ("refused", 900)):
            Refund.objects.create(
                payment=paid(alice, gold, ago=NO_TIME),
                reason="so",
                requested_by="system",
                status=status,
                refusal="no",
                created_at=database_now() - timedelta(seconds=ago),
            )

        assert 90 <= scrape()["starledger_refunds_unconfirmed_oldest_seconds"] < 100

    def test_that_wait_for_a_second_person_are_under_way_once_they_are_approved(self, scrape, alice, gold):
        ago = database_now() - timedelta(hours=3)
        facts = {"reason": "so", "requested_by": "staff:1", "created_at": ago}
        for status in ("proposed", "declined"):
            decided = {"declined_by": "staff:2", "decided_at": ago} if status == "declined" else {}
            Refund.objects.create(payment=paid(alice, gold, ago=NO_TIME), status=status, **facts, **decided)
        assert scrape()["starledger_refunds_unconfirmed_oldest_seconds"] == 0

        approved_at = database_now() - timedelta(seconds=90)
        Refund.objects.filter(status="proposed").update(
            status="requested", approved_by="staff:2", decided_at=approved_at
        )
        assert 90 <= scrape()["starledger_refunds_unconfirmed_oldest_seconds"] < 100


def event_hold(event, resolution, **facts):
    decided = {"resolved_at": database_now(), "resolved_by": "staff:1"} if resolution else {}
    Hold.objects.create(event=event, reason=HoldReason.BOUGHT_TWICE, resolution=resolution, **decided, **facts)


class TestObservations:
    def test_6_3_of_payments_fill_a_histogram(self, scrape):
        before = scrape().get("telegram_payment_processing_seconds_count", 0)

        metrics.observe_payment(seconds=0.02)

        seen = scrape()
        assert seen["telegram_payment_processing_seconds_count"] == before + 1
        assert seen['telegram_payment_processing_seconds_bucket{le="10.0"}'] == before + 1

    def test_6_5_of_checkouts_count_results_and_reasons(self, scrape):
        ok = 'telegram_precheck_total{reason="",result="ok"}'
        rejected = 'telegram_precheck_total{reason="expired",result="rejected"}'
        before = scrape()

        metrics.observe_precheck(ok=True, reason="", seconds=0.01)
        metrics.observe_precheck(ok=False, reason="expired", seconds=9.0)

        seen = scrape()
        assert seen[ok] == before.get(ok, 0) + 1
        assert seen[rejected] == before.get(rejected, 0) + 1
        slow = 'telegram_precheck_seconds_bucket{le="10.0"}'
        assert seen[slow] == before.get(slow, 0) + 2

    def test_of_requests_count_areas_and_statuses(self, scrape, client, telegram_posts):
        asked = {
            'starledger_requests_total{area="api",status="404"}': lambda: client.get("/api/v1/nothing"),
            'starledger_requests_total{area="admin",status="302"}': lambda: client.get("/admin/"),
            'starledger_requests_total{area="other",status="200"}': lambda: client.get("/healthz"),
        }
        for name, ask in asked.items():
            before = scrape()

            ask()

            seen = scrape()
            more = 2 if "other" in name else 1  # the scrape is one as well
            assert seen[name] - before.get(name, 0) == more
            area = name.split('"')[1]
            took = f'starledger_request_seconds_count{{area="{area}"}}'
            assert seen[took] - before.get(took, 0) == (1 if area != "other" else 2)

    def test_of_updates_count_types_and_outcomes(self, scrape):
        name = 'telegram_updates_total{outcome="done",type="message"}'
        before = scrape().get(name, 0)

        count_update(kind="message", outcome="done")

        assert scrape()[name] == before + 1


class TestTheInbox:
    def test_is_as_old_as_the_update_that_has_been_due_the_longest(self, scrape):
        for status, ago in (("pending", 90), ("pending", -90), ("done", 900)):
            IncomingUpdate.objects.create(
                bot_id=1,
                update_id=ago + 100,
                digest=b"1" * 32,
                kind="message",
                body=b"{}",
                status=UpdateStatus(status),
                next_attempt_at=database_now() - timedelta(seconds=ago),
            )

        assert 90 <= scrape()["starledger_inbox_oldest_seconds"] < 100

    def test_has_no_age_while_it_is_empty(self, scrape):
        assert scrape()["starledger_inbox_oldest_seconds"] == 0


class TestTheExposition:
    def test_satisfies_promtool(self, settings, alice, gold, capsys):
        settings.DEBUG = True
        paid(alice, gold, ago=NO_TIME)
        metrics.observe_precheck(ok=True, reason="", seconds=0.01)

        assert promtool("check", "metrics", read=Client().get("/metrics").content) == (0, "")

    def test_is_all_that_other_programs_were_promised(self, scrape, alice, gold, invoice):
        write_one_of_everything(alice, gold, invoice)
        paid(alice, gold, ago=NO_TIME)
        metrics.observe_precheck(ok=True, reason="", seconds=0.01)
        entitlement_denied.labels("gold")
        count_update(kind="message", outcome="done")
        count_event(kind="invoice.paid", outcome="done")
        scrape()

        text = Client().get("/metrics").content.decode()

        seen = {name: (kind, labels) for name, (kind, labels) in families(text).items() if name.startswith(OURS)}
        assert seen == {name: (kind, set(labels)) for name, (kind, *labels) in PROMISED.items()}
        for name in PROMISED:
            assert f"# HELP {name} " in text
        assert "_created" not in text


class TestAPaymentOnItsWay:
    def test_6_1_to_6_5_leaves_its_traces(self, scrape, telegram_posts, invoice):
        """Also 2.10 and 3.10: refused, approved, paid, delivered again, and paid once more under another charge."""
        names = {
            "sent": 'telegram_payments_total{plan_code="gold_1m",result="sent"}',
            "success": 'telegram_payments_total{plan_code="gold_1m",result="success"}',
            "duplicate": 'telegram_payments_total{plan_code="gold_1m",result="duplicate"}',
            "held": 'telegram_payments_total{plan_code="gold_1m",result="held"}',
            "value": 'telegram_payment_value_total{currency="XTR",plan_code="gold_1m"}',
            "pending": "telegram_payments_pending",
            "waiting for staff": "starledger_held_payments",
            "approved": 'telegram_precheck_total{reason="",result="ok"}',
            "refused": 'telegram_precheck_total{reason="amount_mismatch",result="rejected"}',
            "decided": "telegram_precheck_seconds_count",
            "processed": "telegram_payment_processing_seconds_count",
        }

        def read() -> dict[str, float]:
            seen = scrape()
            return {short: seen.get(name, 0) for short, name in names.items()}

        before = read()

        for number, (update, changed) in enumerate(
            [
                (updates.pre_checkout(invoice, query_id="1", total_amount=1), {"refused": 1, "decided": 1}),
                (updates.pre_checkout(invoice, query_id="2"), {"approved": 1, "decided": 1}),
                (updates.payment(invoice), {"success": 1, "value": 500, "pending": -1, "processed": 1}),
                (updates.payment(invoice), {"duplicate": 1}),
                (updates.payment(invoice, charge_id="another"), {"held": 1, "waiting for staff": 1}),
            ]
        ):
            assert telegram_posts(update).status_code == 200
            after = read()
            assert {name: after[name] - before[name] for name in names if after[name] != before[name]} == changed, (
                number
            )
            before = after
        assert before["sent"] == 1
