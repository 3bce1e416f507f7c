"""The mistakes, by their numbers. Those of refunds come first."""

from tests.mutants.mutant import Edit, Mutant

RECEIVING = "telegram_bot/receiving.py"
WEBHOOK = "telegram_bot/webhook.py"
RECORDING = "payments/recording/payments.py"
RECORDING_REFUNDS = "payments/recording/refunds.py"
REFUNDING = "payments/refunding.py"
PATIENCE = "config/patience.py"
TURNS = "config/turns.py"

ANSWERS = "tests/telegram_bot/test_webhook.py"
CRASHES = "tests/faults/test_crash_points.py::test_dying_at_any_boundary_loses_and_doubles_nothing"
REFUND_CRASHES = (
    "tests/faults/test_refund_crashes.py::TestDyingAtAnyBoundary::test_of_pursuing_makes_and_records_it_once"
)
REFUNDS = "tests/payments/test_refunding.py"
INTERLEAVINGS = "tests/faults/test_interleavings.py"
WAITING = "tests/config/test_patience.py"
TAKING_TURNS = "tests/config/test_turns.py"

MUTANTS = (
    Mutant(
        "X6",
        "Telegram is called while a transaction is open",
        (
            Edit(
                REFUNDING,
                "def pursue(*, refund_id: UUID) -> None:",
                "@transaction.atomic\ndef pursue(*, refund_id: UUID) -> None:",
            ),
        ),
        (f"{REFUNDS}::TestARefundThatTelegramAnswers::test_is_recorded_with_all_it_entails",),
    ),
    Mutant(
        "X7",
        "that a refund is sent is written down after the call",
        (
            Edit(
                REFUNDING,
                """    if (refund.attempts == 0 or _is_to_be_sent_again(refund, due)) and _mark_sending(refund):
        _send(refund)
""",
                """    if refund.attempts == 0 or _is_to_be_sent_again(refund, due):
        _send(refund)
        _mark_sending(refund)
""",
            ),
        ),
        (f"{REFUND_CRASHES}[goes_well]",),
    ),
    Mutant(
        "X8",
        "a refund that was made already is taken for one that failed",
        (
            Edit(
                REFUNDING,
                "        _leave(refund, pause=FIRST_LOOK, status=RefundStatus.VERIFY, detail=detail)\n"
                "    except channel.Refused as error:\n",
                "        _leave(refund, pause=FIRST_LOOK, status=RefundStatus.VERIFY, refusal='no')\n"
                "        _mark_refused(refund)\n"
                "    except channel.Refused as error:\n",
            ),
        ),
        (f"{REFUNDS}::TestARefundThatWasMadeAlready",),
    ),
    Mutant(
        "X9",
        "a refund without an answer is sent again before Telegram's list is read",
        (
            Edit(
                REFUNDING,
                "if (refund.attempts == 0 or _is_to_be_sent_again(refund, due)) and _mark_sending(refund):",
                "if _mark_sending(refund):",
            ),
        ),
        (f"{REFUNDS}::TestARefundWithoutAClearAnswer::test_is_found_in_the_list_and_not_sent_again",),
    ),
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
        "X2",
        "the webhook answers first and works later",
        (
            Edit(WEBHOOK, "answer = receive(body)", "answer = None"),
            Edit(
                WEBHOOK,
                "        return HttpResponse() if answer is None else JsonResponse(answer)\n",
                "        response = HttpResponse() if answer is None else JsonResponse(answer)\n"
                "        response._resource_closers.append(lambda: receive(body))\n"
                "        return response\n",
            ),
        ),
        (f"{ANSWERS}::test_nothing_is_answered_200_that_was_not_stored",),
    ),
    Mutant(
        "X3",
        "what was stored counts as done, though the process died before its effect",
        (
            Edit(
                RECEIVING,
                "        stored, _ = _stored(update, body)\n        return _act(stored, update)",
                "        stored, created = _stored(update, body)\n"
                '        return _act(stored, update) if created else "duplicate"',
            ),
        ),
        (f"{CRASHES}[refund]",),
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
    Mutant(
        "X10",
        "what is no update raises an error",
        (
            Edit(
                "telegram_bot/updates.py",
                "except (ValueError, RecursionError) as error:",
                "except UnfitError as error:",
            ),
        ),
        (f"{ANSWERS}::TestWhatIsNotUnderstood::test_is_kept_as_bytes_and_not_sent_again",),
    ),
    Mutant(
        "X11",
        "a payment older than its invoice may be is turned away, though the money was taken",
        (
            Edit(
                RECEIVING,
                "        if isinstance(update.content, ReceivedPayment) and _record_ordinary(",
                "        oldest = database_now() - settings.INVOICE_LIFETIME\n"
                "        if isinstance(update.content, ReceivedPayment) and update.content.occurred_at < oldest:\n"
                "            return None\n"
                "        if isinstance(update.content, ReceivedPayment) and _record_ordinary(",
            ),
        ),
        (f"{ANSWERS}::TestAPayment::test_is_not_refused_for_its_age",),
    ),
    Mutant(
        "X12",
        "an update counts as known by its id alone",
        (
            Edit(
                RECEIVING,
                "        if isinstance(update.content, PreCheckout):\n",
                "        known = IncomingUpdate.objects.filter(update_id=update.update_id, status=UpdateStatus.DONE)\n"
                "        if known.exists():\n"
                "            return None\n"
                "        if isinstance(update.content, PreCheckout):\n",
            ),
        ),
        (f"{ANSWERS}::TestAPayment::test_under_a_known_update_id_is_another_payment",),
    ),
    Mutant(
        "X13",
        "blanks are trimmed from the charge id of an update",
        (
            Edit(
                "telegram_bot/updates.py",
                'charge_id=_key(payment, "telegram_payment_charge_id")',
                'charge_id=_key(payment, "telegram_payment_charge_id").strip()',
            ),
        ),
        (f"{ANSWERS}::TestAPayment::test_with_blanks_around_its_charge_id_is_another_payment",),
    ),
    Mutant(
        "X13b",
        "blanks are trimmed from the charge id of a report",
        (
            Edit(
                "config/api/fields.py",
                '            self.fail("invalid")\n        return data\n\n\nclass UserId(Text):',
                '            self.fail("invalid")\n        return data.strip()\n\n\nclass UserId(Text):',
            ),
        ),
        ("tests/api/test_ingest.py::TestAReportedPayment::test_may_have_a_charge_id_of_blanks_alone",),
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
        "X15",
        "Telegram is asked to come again in an hour",
        (Edit(RECEIVING, "retry_after=1 if is_urgent else 5", "retry_after=3600"),),
        (f"{ANSWERS}::test_nothing_is_answered_200_that_was_not_stored",),
    ),
    Mutant(
        "X15b",
        "nobody is told when to come again",
        (Edit("config/api/problems.py", "if self.code.status in {429, 503}:", "if self.code.status in set():"),),
        (f"{ANSWERS}::test_nothing_is_answered_200_that_was_not_stored",),
    ),
    Mutant(
        "X16",
        "without a secret everybody is let in",
        (
            Edit(
                WEBHOOK,
                "    return sum(hmac.compare_digest(",
                "    return not settings.TELEGRAM_WEBHOOK_SECRETS or sum(hmac.compare_digest(",
            ),
        ),
        (f"{ANSWERS}::TestStrangers::test_are_turned_away_when_no_secret_is_set",),
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
    Mutant(
        "X20",
        "the webhook says back what it was told",
        (Edit(WEBHOOK, "return HttpResponse() if answer is None", "return HttpResponse(body) if answer is None"),),
        (f"{ANSWERS}::TestAPayment::test_never_has_its_own_words_echoed",),
    ),
    Mutant(
        "X21",
        "that the database is silent is never noticed, and all wait in line for it",
        (Edit(PATIENCE, "            self.reigns = True\n", "            pass\n"),),
        (f"{WAITING}::TestSilence::test_is_noticed_by_whoever_waits_in_vain",),
    ),
    Mutant(
        "X21b",
        "while the database is silent everybody tries",
        (Edit("config/postgresql/base.py", "silence.may_try():", "silence.may_try() and False:"),),
        (f"{WAITING}::TestASilentDatabase::test_is_asked_by_nobody_whose_turn_it_is_not",),
    ),
    Mutant(
        "X22",
        "a request may wait for the database as often as it likes",
        (Edit(PATIENCE, "        with within(REQUEST):\n", "        if True:\n"),),
        (f"{WAITING}::TestTime::test_of_a_request_is_less_than_telegram_waits",),
    ),
    Mutant(
        "X22b",
        "who lets another act for him waits as long as that one may",
        (Edit("config/together.py", "min(max(0.0, remaining()), within, ", "min(within, "),),
        ("tests/config/test_together.py::test_who_was_taken_along_waits_no_longer_than_he_may",),
    ),
    Mutant(
        "X23",
        "a worker waits for an answer without an end",
        (Edit(PATIENCE, "await super().wait(gen, interval, limit)", "await super().wait(gen, interval)"),),
        (f"{WAITING}::TestAConnection::test_is_as_patient_in_an_event_loop",),
    ),
    Mutant(
        "X24",
        "all requests that are at hand work at once",
        (Edit(TURNS, "            if self._free:\n", "            if True:\n"),),
        (f"{TAKING_TURNS}::TestTurns::test_are_as_many_as_there_are",),
    ),
    Mutant(
        "X24b",
        "who comes last is next",
        (Edit(TURNS, "self._waiting.popleft()", "self._waiting.pop()"),),
        (f"{TAKING_TURNS}::TestTurns::test_come_in_the_order_of_waiting",),
    ),
    Mutant(
        "X24c",
        "whoever comes as a turn is given back takes it before those who wait",
        (
            Edit(
                TURNS,
                "            if self._waiting:\n"
                "                self._waiting.popleft().release()\n"
                "            else:\n"
                "                self._free += 1\n",
                "            self._free += 1\n",
            ),
        ),
        (f"{TAKING_TURNS}::TestTurns::test_are_not_taken_before_those_who_wait",),
    ),
    Mutant(
        "X25",
        "the proxy passes on what has not arrived yet",
        (Edit("deploy/nginx.conf", "proxy_request_buffering on;", "proxy_request_buffering off;"),),
        ("tests/config/test_proxy.py::test_a_request_goes_on_only_when_it_is_here_as_a_whole",),
    ),
    Mutant(
        "X26",
        "a client's address is what he says it is",
        (Edit("config/addresses.py", "if not is_in(settings.TRUSTED_PROXIES, address) or not (", "if not ("),),
        ("tests/config/test_addresses.py::TestWithoutTrustedProxies::test_nothing_that_is_said_counts",),
    ),
    Mutant(
        "X26b",
        "behind a proxy, a client's address is what he says it is",
        (Edit("config/addresses.py", "in reversed(request", "in (request"),),
        ("tests/config/test_addresses.py::TestBehindTrustedProxies::test_a_thousand_forged_headers_are_one_client",),
    ),
    Mutant(
        "X27",
        "who finds no free connection waits longer than Telegram does",
        (Edit("config/settings.py", '"timeout": CHECKOUT,', '"timeout": 5 * CHECKOUT,'),),
        (f"{WAITING}::test_limits_nest_as_they_are_in_production",),
    ),
    Mutant(
        "X27b",
        "who finds no free connection is told that all is well",
        (Edit(RECEIVING, "raise NotStored(retry_after=1 if is_urgent else 5) from error", "return None"),),
        (f"{WAITING}::test_a_payment_that_finds_no_free_connection_is_asked_for_again_and_then_recorded",),
    ),
)
