"""Telegram's list of Stars, mirrored row by row."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.db import DatabaseError, transaction

from config.database import database_now
from payments import mirror
from payments.channels.base import Unavailable, Unclear
from payments.models import Direction, MirrorCursor, StarTransaction
from tests.factories import InvoiceFactory

pytestmark = pytest.mark.django_db(transaction=True)

WITHDRAWAL = {"id": "wd-1", "amount": 7, "nanostar_amount": 5, "date": 1_760_000_000, "receiver": {"type": "fragment"}}


def rows() -> list[tuple[str, str]]:
    return list(StarTransaction.objects.order_by("pk").values_list("transaction_id", "direction"))


class TestTheMirror:
    def test_holds_a_payment_and_its_refund_as_two_rows_of_one_id(self, telegram, invoice):
        payment = telegram.sells(invoice)
        telegram.refunds_by_itself(payment)

        mirror.bring_up_to_date()

        assert rows() == [(payment.event_id, "in"), (payment.event_id, "out")]
        refund = mirror.refund_of(payment.event_id)
        assert (refund.amount, refund.telegram_user_id) == (500, invoice.customer.telegram_user_id)
        assert refund.payload == invoice.payload
        assert abs(refund.date - datetime.now(UTC)) < timedelta(minutes=1)
        assert json.loads(bytes(refund.raw))["receiver"]["invoice_payload"] == invoice.payload

    def test_holds_what_no_purchase_made(self, telegram):
        telegram.local.adds_transaction(WITHDRAWAL)

        mirror.bring_up_to_date()

        row = StarTransaction.objects.get()
        assert (row.direction, row.amount, row.nanostar_amount) == (Direction.OUT, 7, 5)
        assert (row.telegram_user_id, row.payload) == (None, "")

    def test_does_not_take_a_payment_for_its_refund(self, telegram, invoice):
        payment = telegram.sells(invoice)

        mirror.bring_up_to_date()

        assert mirror.refund_of(payment.event_id) is None

    def test_is_read_page_by_page_to_the_end(self, telegram):
        for number in range(205):
            telegram.local.adds_transaction({**WITHDRAWAL, "id": str(number)})

        mirror.bring_up_to_date()

        assert [name for name, _ in rows()] == [str(number) for number in range(205)]
        assert mirror.length() == 205

    def test_goes_on_where_it_was_left_with_an_overlap(self, telegram, monkeypatch):
        monkeypatch.setattr(mirror, "OVERLAP", 1)
        for number in range(3):
            telegram.local.adds_transaction({**WITHDRAWAL, "id": str(number)})
        mirror.bring_up_to_date()
        telegram.local.adds_transaction({**WITHDRAWAL, "id": "3"})

        mirror.bring_up_to_date()

        assert len(rows()) == 4
        assert [int(call.arguments["offset"]) for call in telegram.truth.calls_of("getStarTransactions")] == [
            *(0, 3),
            *(2, 4),
        ]

    def test_is_read_from_an_earlier_row_when_asked(self, telegram, monkeypatch):
        monkeypatch.setattr(mirror, "OVERLAP", 0)
        for number in range(3):
            telegram.local.adds_transaction({**WITHDRAWAL, "id": str(number)})
        mirror.bring_up_to_date()

        mirror.bring_up_to_date(since=1)
        mirror.bring_up_to_date(since=900)

        calls = telegram.truth.calls_of("getStarTransactions")
        assert [int(call.arguments["offset"]) for call in calls] == [0, 3, 1, 3, 3]
        assert len(rows()) == 3

    def test_is_not_read_again_when_a_reading_that_began_later_came_to_the_end(self, telegram):
        asked_at = database_now()
        began = mirror.bring_up_to_date()
        calls = telegram.calls("getStarTransactions")

        assert mirror.bring_up_to_date(as_of=asked_at) == began
        assert telegram.calls("getStarTransactions") == calls
        assert mirror.bring_up_to_date(as_of=database_now()) > began

    def test_takes_a_short_page_for_no_end(self, telegram, monkeypatch):
        monkeypatch.setattr(mirror, "PAGE", 2)
        for number in range(5):
            telegram.local.adds_transaction({**WITHDRAWAL, "id": str(number)})

        mirror.bring_up_to_date()

        assert len(rows()) == 5

    def test_keeps_what_was_read_before_a_failure(self, telegram, monkeypatch):
        monkeypatch.setattr(mirror, "PAGE", 2)
        for number in range(4):
            telegram.local.adds_transaction({**WITHDRAWAL, "id": str(number)})
        mirror.bring_up_to_date()
        read_at = MirrorCursor.objects.get().read_at
        monkeypatch.setattr(mirror, "OVERLAP", 0)
        telegram.local.adds_transaction({**WITHDRAWAL, "id": "4"})
        telegram.faults.order("getStarTransactions", "half_json")

        with pytest.raises(Unclear):
            mirror.bring_up_to_date()

        assert (mirror.length(), MirrorCursor.objects.get().read_at) == (4, read_at)
        mirror.bring_up_to_date()
        assert mirror.length() == 5

    def test_waits_as_long_as_telegram_asks_in_whatever_process(self, telegram):
        telegram.faults.order("getStarTransactions", "429", retry_after=17)
        with pytest.raises(Unavailable):
            mirror.bring_up_to_date()

        with pytest.raises(Unavailable) as raised:
            mirror.bring_up_to_date()

        assert 15 <= raised.value.retry_after <= 17
        assert telegram.calls("getStarTransactions") == 1

    def test_keeps_a_row_whose_text_no_column_can_hold(self, telegram, invoice):
        payment = telegram.sells(InvoiceFactory(customer=invoice.customer, plan=invoice.plan, payload="a\ufffdb"))
        telegram.local._world.truth.transactions[0]["source"]["invoice_payload"] = "a\x00b"

        mirror.bring_up_to_date()

        row = StarTransaction.objects.get(transaction_id=payment.event_id)
        assert row.payload == "a\ufffdb"
        assert json.loads(bytes(row.raw))["source"]["invoice_payload"] == "a\x00b"

    @pytest.mark.parametrize("change", ["update", "delete"])
    def test_is_never_edited(self, telegram, change):
        telegram.local.adds_transaction(WITHDRAWAL)
        mirror.bring_up_to_date()

        with pytest.raises(DatabaseError), transaction.atomic():
            StarTransaction.objects.update(amount=1) if change == "update" else StarTransaction.objects.all().delete()
