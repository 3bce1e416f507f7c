"""Recording money once, with its access and its message."""

from tests.mutants.mutant import Edit, Mutant

RECORDING = "payments/recording/payments.py"
RECORDING_REFUNDS = "payments/recording/refunds.py"
ANSWERS = "tests/telegram_bot/test_webhook.py"
CRASHES = "tests/faults/test_crash_points.py::test_dying_at_any_boundary_loses_and_doubles_nothing"
INTERLEAVINGS = "tests/faults/test_interleavings.py"

MUTANTS = (
    Mutant(
        "X1",
        "the database takes a second row for one charge",
        (
            Edit(
                "payments/migrations/0001_books.py",
                "fields=('event_id', 'event_type'), name='payment_event_once'",
                "fields=('event_id', 'event_type', 'id'), name='payment_event_once'",
            ),
        ),
        ("tests/payments/test_recording.py::TestTheLedger::test_refuses_a_second_row_for_one_charge",),
    ),
    Mutant(
        "X4",
        "the end of access is read and written back without the customer's lock",
        (
            Edit(
                "entitlements/models.py",
                'return self.order_by("pk").select_for_update(no_key=True)',
                'return self.order_by("pk")',
            ),
        ),
        (f"{INTERLEAVINGS}::test_in_every_order_the_books_are_right[two_payments_the_general_way]",),
    ),
    Mutant(
        "X5",
        "access is given in a transaction after that of the payment",
        (
            Edit(
                RECORDING,
                "        _grant_for(event, invoice, plan)\n",
                "        transaction.on_commit(lambda: _grant_for(event, invoice, plan))\n",
            ),
        ),
        (f"{CRASHES}[renewal]",),
    ),
    # No statement here changes several rows that another may want in another order: where many are changed at once
    # one row guards them all, and payments that share a statement pass over customers who are taken. To wait for
    # those customers, in whatever order the payments came, is the mistake that would bring the deadlocks back.
    Mutant(
        "X14",
        "payments that share a statement wait for rows in the order they came in",
        (
            Edit(
                "payments/ordinary.py",
                "FOR NO KEY UPDATE OF customer, invoice SKIP LOCKED",
                "FOR NO KEY UPDATE OF customer, invoice",
            ),
        ),
        ("tests/payments/test_ordinary.py::test_a_row_that_somebody_else_holds_is_passed_over_without_waiting",),
    ),
    Mutant(
        "X17",
        "access is given at the pre-checkout, before the money came",
        (
            Edit(
                "payments/checkout.py",
                '    logger.info("checkout decided"',
                "    if quoted and not reason:\n"
                "        from entitlements.services import grant\n"
                "        from payments.models import Invoice\n"
                "        bought = Invoice.objects.select_related('customer').get(pk=quoted.invoice_id)\n"
                "        grant(\n"
                "            customer=bought.customer, entitlement=bought.entitlement, source=query.query_id,\n"
                "            granted_at=bought.sent_at, duration=bought.duration,\n"
                "        )\n"
                '    logger.info("checkout decided"',
            ),
        ),
        (f"{ANSWERS}::TestAPreCheckout::test_gives_nothing_before_the_money_is_there",),
    ),
    Mutant(
        "X18",
        "the host's clock decides when access begins",
        (
            Edit(
                RECORDING,
                "    now = database_now()\n    occurred_at = min(payment.occurred_at, now)\n",
                "    from django.utils.timezone import now as the_hosts_clock\n"
                "    now = the_hosts_clock()\n    occurred_at = min(payment.occurred_at, now)\n",
            ),
        ),
        (
            "tests/payments/test_recording.py::TestAPaymentThatMatchesItsInvoice"
            "::test_gives_access_by_the_clock_of_the_database_wherever_that_of_the_host_stands",
        ),
    ),
    Mutant(
        "X19",
        "the message is owed only after the commit of what it tells",
        (
            Edit(
                RECORDING_REFUNDS,
                "    Notice.objects.create(event=event, kind=NoticeKind.REFUNDED)\n",
                "    transaction.on_commit(lambda: Notice.objects.create(event=event, kind=NoticeKind.REFUNDED))\n",
            ),
        ),
        (f"{CRASHES}[refund]",),
    ),
)
