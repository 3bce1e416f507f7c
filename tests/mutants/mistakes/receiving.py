"""What Telegram and programs tell: taken, kept, and answered."""

from tests.mutants.mutant import Edit, Mutant

RECEIVING = "telegram_bot/receiving.py"
WEBHOOK = "telegram_bot/webhook.py"
ANSWERS = "tests/telegram_bot/test_webhook.py"
CRASHES = "tests/faults/test_crash_points.py::test_dying_at_any_boundary_loses_and_doubles_nothing"

MUTANTS = (
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
        "X20",
        "the webhook says back what it was told",
        (Edit(WEBHOOK, "return HttpResponse() if answer is None", "return HttpResponse(body) if answer is None"),),
        (f"{ANSWERS}::TestAPayment::test_never_has_its_own_words_echoed",),
    ),
)
