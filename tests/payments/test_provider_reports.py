"""The report of the payment provider behind Telegram, read and compared with the ledger, both ways."""

from datetime import UTC, datetime
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse

from config.database import database_now
from entitlements.selectors import has_access
from payments import provider_reconciling, runs
from payments.models import (
    Discrepancy,
    Notice,
    NoticeKind,
    Origin,
    PaymentEvent,
    PaymentMethod,
    ReconciliationRun,
    RunOutcome,
)
from payments.money import Money
from payments.provider_reports import Format, ReportRefused, read
from payments.reconciling import compared_at
from payments.recording import record_payment
from tests.books import faults_in_the_books
from tests.factories import InvoiceFactory
from tests.payments.reports import payment_of
from tests.staff import signed_in

pytestmark = pytest.mark.django_db

PAID_AT = datetime(2026, 11, 2, 12, 0, 5, tzinfo=UTC)
STRIPE = "id,Created date (UTC),Amount,Amount Refunded,Currency,Status,Refunded date (UTC)\n"


@pytest.fixture
def report(tmp_path):
    """Writes a report: a line each, with what it says of the charge."""

    def write(*lines: str, head: str = "charge_id,amount,currency,refunded,paid_at\n"):
        path = tmp_path / "report.csv"
        path.write_text(head + "".join(f"{line}\n" for line in lines))
        return path

    return write


@pytest.fixture
def card(gold):
    """Somebody paid £25 by card."""

    def pay(charge: str = "ch_1", paid_at: datetime = PAID_AT) -> PaymentEvent:
        invoice = InvoiceFactory(plan=gold, payment_method=PaymentMethod.TELEGRAM_PROVIDER, amount=2500, currency="GBP")
        paid = payment_of(invoice, charge_id=f"telegram-{charge}", provider_charge_id=charge, occurred_at=paid_at)
        return record_payment(paid).event

    return pay


def run(path, *options: str) -> list[str]:
    """What the command says; its last line, where something needs a person, is its refusal."""
    out = StringIO()
    try:
        call_command("import_provider_report", path, *options, stdout=out, stderr=out)
    except CommandError as error:
        out.write(str(error))
    return out.getvalue().splitlines()


def counts() -> dict[str, int]:
    last = ReconciliationRun.objects.latest("pk")
    return {name: value for name in runs.COUNTS if (value := getattr(last, name))}


def open_ones() -> list[tuple[str, str, str, int]]:
    return list(
        Discrepancy.objects.unresolved().order_by("pk").values_list("kind", "transaction_id", "direction", "difference")
    )


class TestAReport:
    def test_that_says_what_the_books_say_is_clean(self, card, report):
        card()

        said = run(report("ch_1,25.00,gbp,0,2026-11-02 12:00:00"))

        assert said[-1] == "Everything is accounted for."
        assert counts() == {"matched": 1}
        last = ReconciliationRun.objects.get()
        assert (last.outcome, last.payment_method, last.asked_by) == ("clean", "telegram_provider", "command")
        assert compared_at() is None  # which is about Telegram's list

    def test_with_a_charge_that_is_missing_here_waits_for_a_person(self, card, report):
        card()
        lines = ("ch_1,25.00,GBP,,2026-11-02 12:00", "ch_other,9.99,GBP,,2026-11-02 13:00")

        said = run(report(*lines))

        assert said[0] == (
            "line 3: ch_other is in the other list, and not in our books."
            " There: £9.99 on 2026-11-02 13:00 UTC, £0.00 given back. Here: Nothing."
        )
        assert said[-1] == "Something needs a person. See Discrepancies in the admin."
        assert open_ones() == [("not_recorded", "ch_other", "in", 999)]
        assert ReconciliationRun.objects.get().outcome == RunOutcome.ATTENTION

    def test_without_a_charge_of_its_days_says_that_it_is_missing_there(self, card, report):
        for charge, day in (("ch_1", 1), ("ch_2", 2), ("ch_3", 3), ("ch_before", 30)):
            card(charge, PAID_AT.replace(day=day, month=10 if day == 30 else 11))
        lines = ("ch_1,25.00,GBP,,2026-11-01 12:00", "ch_3,25.00,GBP,,2026-11-03 12:00:30")

        said = run(report(*lines))

        assert said[0].startswith("ch_2 is in our books, and not in the other list. There: Nothing. Here: £25.00 on")
        assert open_ones() == [("missing_there", "ch_2", "in", 0)]

    def test_tells_by_the_days_it_covers_what_it_lacks(self, card, report):
        card("ch_1", PAID_AT.replace(hour=0))
        card("ch_2", PAID_AT.replace(hour=23))

        run(report("ch_1,25.00,GBP", head="charge_id,amount,currency\n"), "--since=2026-11-02", "--until=2026-11-02")

        assert open_ones() == [("missing_there", "ch_2", "in", 0)]

    def test_without_times_is_searched_for_what_it_has_alone(self, card, report):
        card("ch_1")
        card("ch_2")

        said = run(report("ch_1,25.00,GBP", head="charge_id,amount,currency\n"))

        assert said[0].startswith("The report tells no times")
        assert said[-1] == "Everything is accounted for."

    def test_with_another_amount_or_currency_waits_for_a_person(self, card, report):
        card("ch_1")
        card("ch_2")

        run(report("ch_1,24.99,GBP,24.99,2026-11-02 12:00", "ch_2,25.00,EUR,,2026-11-02 13:00"))

        assert open_ones() == [("amount_differs", "ch_1", "in", -1), ("amount_differs", "ch_2", "in", 0)]
        assert not PaymentEvent.objects.refunds().exists()

    def test_counts_what_was_not_paid_as_no_sale(self, card, report):
        card()
        head = "charge_id,amount,currency,status\n"

        run(report("ch_1,25.00,GBP,Paid", "ch_9,25.00,GBP,Failed", head=head))

        assert counts() == {"matched": 1, "other": 1}


class TestARefundMadeThere:
    def test_is_recorded_once_with_all_it_entails(self, card, report):
        payment = card(paid_at=database_now())
        assert has_access(payment.customer.user_id, "gold")
        path = report("ch_1,25.00,GBP,25.00,2026-11-02 12:00")

        said = run(path)

        assert said[0] == "line 2: ch_1: £25.00 of it was given back there, and not here."
        assert counts() == {"refunded": 1}
        refund = PaymentEvent.objects.refunds().get()
        assert (refund.event_id, refund.refund_of, refund.origin) == ("telegram-ch_1", payment, Origin.RECONCILIATION)
        assert not has_access(payment.customer.user_id, "gold")
        assert Notice.objects.filter(event=refund, kind=NoticeKind.REFUNDED).count() == 1

        assert run(path)[-1] == "Everything is accounted for."
        assert counts() == {"matched": 1}
        assert PaymentEvent.objects.refunds().count() == 1
        assert faults_in_the_books() == []

    def test_of_a_part_leaves_the_access_until_the_rest_is_given_back(self, card, report):
        payment = card(paid_at=database_now())

        run(report("ch_1,25.00,GBP,10.00,2026-11-02 12:00"))
        assert payment.left == 1500
        assert has_access(payment.customer.user_id, "gold")

        run(report("ch_1,25.00,GBP,10.00,2026-11-02 12:00"))
        assert payment.left == 1500

        run(report("ch_1,25.00,GBP,25.00,2026-11-02 12:00"))
        assert list(PaymentEvent.objects.refunds().order_by("received_at").values_list("event_id", "amount")) == [
            ("ch_1#1000", 1000),
            ("ch_1#2500", 1500),
        ]
        assert not has_access(payment.customer.user_id, "gold")
        assert faults_in_the_books() == []

    def test_is_dated_as_the_provider_says(self, card, report):
        card()

        run(report("ch_1,2026-11-02 12:00,25.00,25.00,gbp,Refunded,2026-11-05 10:00", head=STRIPE), "--format=stripe")

        assert PaymentEvent.objects.refunds().get().occurred_at == datetime(2026, 11, 5, 10, tzinfo=UTC)

    def test_that_is_in_our_books_alone_waits_for_a_person(self, card, report):
        card()
        run(report("ch_1,25.00,GBP,10.00,2026-11-02 12:00"))

        run(report("ch_1,25.00,GBP,0,2026-11-02 12:00"))

        assert open_ones() == [("missing_there", "ch_1", "out", -1000)]

    def test_is_not_recorded_again_where_somebody_was_quicker(self, card, report):
        payment = card()
        reported = read("r", report("ch_1,25.00,GBP,10.00,2026-11-02 12:00").read_bytes(), Format.GENERIC.value)
        [compared] = provider_reconciling.compare(reported, window=None)
        run(report("ch_1,25.00,GBP,10.00,2026-11-02 12:00"))

        assert provider_reconciling._record_missing_refund(compared) is False
        assert payment.left == 1500


class TestADiscrepancy:
    def test_is_found_once_and_gone_when_both_sides_agree(self, card, report):
        path = report("ch_1,25.00,GBP,,2026-11-02 12:00")
        run(path)
        run(path)
        assert Discrepancy.objects.count() == 1

        card("ch_1")
        run(path)

        assert open_ones() == []
        assert counts() == {"matched": 1, "healed": 1}

    def test_stays_open_as_long_as_no_report_covers_it(self, report):
        run(report("ch_1,25.00,GBP,,2026-11-02 12:00"))

        run(report("ch_2,25.00,GBP,,2026-11-03 12:00"))

        assert [charge for _, charge, *_ in open_ones()] == ["ch_1", "ch_2"]

    def test_is_told_apart_from_those_with_telegram_on_its_page(self, report, admin_user):
        run(report("ch_1,25.00,GBP,,2026-11-02 12:00"))
        found = Discrepancy.objects.get()

        page = signed_in(admin_user).get(reverse("admin:payments_discrepancy_change", args=[found.pk]))

        assert "The provider says" in page.content.decode()


class TestADryRun:
    def test_says_what_would_come_of_it_and_changes_nothing(self, card, report):
        card()

        said = run(report("ch_1,25.00,GBP,25.00,2026-11-02 12:00", "ch_2,1.00,GBP,,2026-11-02 12:00"), "--dry-run")

        assert len(said) == 3
        assert said[-1] == "This was a dry run: nothing has been changed."
        assert not ReconciliationRun.objects.exists()
        assert not Discrepancy.objects.exists()
        assert not PaymentEvent.objects.refunds().exists()


class TestOnlyOneAtATime:
    def test_compares_with_the_provider_and_beside_it_one_with_telegram(self, report):
        path = report("ch_1,25.00,GBP,,2026-11-02 12:00")
        runs.begin(asked_by="schedule", full=False)
        beside = runs.begin(asked_by="command", full=True, payment_method=PaymentMethod.TELEGRAM_PROVIDER)

        assert run(path)[-1].startswith("The ledger is being compared at this moment.")
        ReconciliationRun.objects.filter(pk=beside.pk).update(lease_until=database_now())
        run(path)

        outcomes = ReconciliationRun.objects.order_by("pk").values_list("outcome", flat=True)
        assert list(outcomes) == ["running", "died", "attention"]

    def test_is_kept_with_why_it_failed(self, card, report, monkeypatch):
        card()

        def fails(compared):
            raise ZeroDivisionError("so")

        monkeypatch.setattr(provider_reconciling, "_record_missing_refund", fails)
        with pytest.raises(ZeroDivisionError):
            run(report("ch_1,25.00,GBP,25.00,2026-11-02 12:00"))

        assert ReconciliationRun.objects.get().error == "ZeroDivisionError: so"


class TestAFileIsRead:
    def read(self, text: str, layout=Format.GENERIC.value):
        return read("r.csv", text.encode(), layout)

    def test_as_stripe_writes_it(self):
        text = STRIPE + "ch_1,2026-11-02 12:00:00,25.00,10.50,gbp,Paid,\nch_2,2026-11-02 13:00:00,500,0,jpy,Paid,\n"

        report = self.read("\ufeff" + text, Format.STRIPE.value)

        assert [(each.charge_id, each.money, each.refunded) for each in report.charges] == [
            ("ch_1", Money(2500, "GBP"), 1050),
            ("ch_2", Money(500, "JPY"), 0),
        ]
        assert report.charges[0].paid_at == datetime(2026, 11, 2, 12, tzinfo=UTC)

    def test_by_the_columns_and_in_the_form_that_are_named(self, card, tmp_path):
        card("1001")
        path = tmp_path / "theirs.csv"
        path.write_text("Order;Sum;Cur;State;Back\n1001;1.025,00;GBP;ok;0,00\n1002;5,00;GBP;void;\n")
        named = ("--charge-column=Order", "--amount-column=Sum", "--currency-column=Cur", "--status-column=State")
        written = ("--refunded-column=Back", "--paid=OK", "--unpaid=void", "--delimiter=;", "--decimal-comma")

        run(path, *named, *written)

        assert open_ones() == [("amount_differs", "1001", "in", 100_000)]

    def test_in_the_smallest_unit_where_that_is_said(self, card, report):
        card()

        assert run(report("ch_1,2500,GBP,0,2026-11-02 12:00"), "--smallest-unit")[-1].startswith("Everything")

    @pytest.mark.parametrize(
        ("line", "told"),
        [
            ("ch_2,25.00,GBP,0", "It has another number of columns than the first line."),
            ("ch_2,25.00,GBP,0,2026-11-02,x", "It has another number of columns than the first line."),
            (",25.00,GBP,0,2026-11-02", "charge_id is empty or cannot be shown."),
            ("ch_2,25.00,pounds,0,2026-11-02", "currency 'pounds' is no currency."),
            ('ch_2,"25,00",GBP,0,2026-11-02', "amount '25,00' is no amount."),
            ("ch_2,-25.00,GBP,0,2026-11-02", "amount '-25.00' is no amount."),
            ("ch_2,0,GBP,0,2026-11-02", "amount is nothing."),
            ("ch_2,25.001,GBP,0,2026-11-02", "amount '25.001' is no amount in GBP."),
            ("ch_2,25.00,GBP,25.01,2026-11-02", "refunded is more than amount."),
            ("ch_2,25.00,GBP,0,yesterday", "paid_at 'yesterday' is no time like 2026-11-21 18:30."),
            ("ch_1,25.00,GBP,0,2026-11-02", "ch_1 is in line 2 already."),
        ],
    )
    def test_whole_or_not_at_all_with_the_line_of_each_fault(self, card, report, line, told):
        card()
        path = report("ch_1,25.00,GBP,25.00,2026-11-02", line, "x,y,GBP,0,2026-11-02")

        said = run(path)

        assert said == [f"{path}:3: {told}", f"{path}:4: amount 'y' is no amount."]
        assert not PaymentEvent.objects.refunds().exists()
        assert not ReconciliationRun.objects.exists()

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            (b"", "1: There is no column 'charge_id'; there are none."),
            (b"id,amount\n", "1: There is no column 'charge_id'; there are id, amount."),
            (b"charge_id,amount,currency\nch_1,\xff,GBP\n", "2: This is not UTF-8 text."),
            (b'charge_id,amount,currency\nch_1,"25" x,GBP\n', "2: "),
            (
                b"charge_id,amount,currency,status\nch_1,1,GBP,Maybe\n",
                "2: Nobody said whether a charge that is 'maybe' ",
            ),
        ],
    )
    def test_and_refused_where_it_is_no_report(self, text, told):
        with pytest.raises(ReportRefused) as refused:
            read("r.csv", text, Format.GENERIC.value)

        assert str(refused.value).startswith(f"r.csv:{told}")

    def test_needs_a_file_and_both_days(self, report, tmp_path):
        assert run(tmp_path / "nowhere.csv")[-1].endswith("cannot be read: No such file or directory.")
        assert run(report("ch_1,1,GBP,0,2026-11-02"), "--since=2026-11-02") == ["--since and --until go together."]
