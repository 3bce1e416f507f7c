"""Selling by Stripe: whom to believe, what to do once, and what of it is given back."""

from tests.mutants.mutant import Edit, Mutant

CHANNEL = "payments/channels/stripe.py"
RECEIVING = "payments/stripe/receiving.py"
PROCESSING = "payments/stripe/processing.py"

PAYMENTS = "tests/stripe/test_payments.py"
REFUNDS = "tests/stripe/test_refunds.py"
SUBSCRIPTIONS = "tests/stripe/test_subscriptions.py"
ARRIVING = "tests/stripe/test_webhook.py"
DISPUTED = "tests/stripe/test_fees.py::TestADispute"
FOR_OTHERS = f"{ARRIVING}::TestAnEvent::test_that_is_not_for_us_is_kept_and_nothing_is_done_about_it"

MUTANTS = (
    Mutant(
        "X28",
        "what an event says was paid is believed, and not read from Stripe",
        (
            Edit(
                PROCESSING,
                '    _record_or_say(stripe.purchase_on(session["id"]))\n',
                "    from dataclasses import replace\n\n"
                "    from payments.money import Money\n\n"
                '    purchase = stripe.purchase_on(session["id"])\n'
                '    said = Money(session["amount_total"], session["currency"].upper())\n'
                "    _record_or_say(purchase and replace(purchase, money=said))\n",
            ),
        ),
        (f"{PAYMENTS}::TestAPayment::test_of_another_amount_is_held",),
    ),
    Mutant(
        "X28b",
        "what an event says of a subscription is believed, also when it comes after a younger one",
        (
            Edit(
                PROCESSING,
                '    _bring_up_to_date(told["id"])\n',
                '    state = SubscriptionState.CANCELED if told["cancel_at_period_end"] else STATES[told["status"]]\n'
                "    subscriptions.note_state_at_stripe(\n"
                '        reference=told["id"], state=state, at=database_now(), why=WORDS[state]\n'
                "    )\n",
            ),
        ),
        (f"{SUBSCRIPTIONS}::TestASubscription::test_is_the_same_in_whatever_order_its_events_come",),
    ),
    Mutant(
        "X29",
        "an event is taken from whoever signs it",
        (Edit(CHANNEL, '    raise BadSignature("not ours")\n', "    return moment\n"),),
        (f"{ARRIVING}::TestASignature::test_by_another_secret_is_refused",),
    ),
    Mutant(
        "X29b",
        "a signature is good for ever",
        (Edit(CHANNEL, "return abs(now - signed_at) <= TOLERANCE", "return True"),),
        (f"{ARRIVING}::TestASignature::test_of_another_time_is_refused_whoever_repeats_it",),
    ),
    Mutant(
        "X30",
        "an event is acted upon before it is stored",
        (
            Edit(
                RECEIVING,
                "        store(body)\n    except Error",
                "        from payments.stripe.processing import act\n\n"
                "        told = json.loads(body)\n"
                '        act(told["type"], told["data"]["object"])\n'
                "        store(body)\n    except Error",
            ),
        ),
        (f"{PAYMENTS}::TestAnEventThatFails::test_is_stored_before_anything_is_asked_of_stripe",),
    ),
    Mutant(
        "X30b",
        "an event is stored without the job that acts upon it",
        (
            Edit(
                RECEIVING,
                "@retried\n@transaction.atomic\ndef _keep(",
                "@retried\ndef _keep(",
            ),
        ),
        (f"{ARRIVING}::test_an_event_is_stored_in_one_transaction_with_its_job",),
    ),
    Mutant(
        "X31",
        "a payment that is told again is recorded again",
        (
            Edit(
                PROCESSING,
                "            charge_id=purchase.payment_intent,\n",
                "            charge_id=purchase.payment_intent\n"
                '            + "+" * PaymentEvent.objects.filter(\n'
                "                event_id__startswith=purchase.payment_intent\n"
                "            ).count(),\n",
            ),
        ),
        (f"{PAYMENTS}::TestAPayment::test_told_again_and_again_changes_nothing",),
    ),
    Mutant(
        "X32",
        "each try of a refund has an idempotency key of its own",
        (
            Edit(
                CHANNEL,
                'f"starledger-refund-{intent}-{turn}"',
                'f"starledger-refund-{intent}-{turn}-{datetime.now(UTC)}"',
            ),
        ),
        (f"{REFUNDS}::TestTheWhole::test_is_asked_for_with_a_key_that_makes_it_once",),
    ),
    Mutant(
        "X33",
        "a refund that came back after all stays given back in the books",
        (Edit("payments/stripe/refunds.py", "elif refund.status in FAILED:", "elif refund.status in ():"),),
        (f"{REFUNDS}::TestARefundThatFailsAfterItSucceeded::test_is_undone_in_the_books_told_and_put_before_a_person",),
    ),
    Mutant(
        "X34",
        "a part given back takes all of the access",
        (
            Edit(
                "payments/recording/refunds.py",
                "is_whole = part is None or part.amount == payment.left",
                "is_whole = True",
            ),
        ),
        (f"{REFUNDS}::TestAPart::test_leaves_the_access_and_counts_as_given_back",),
    ),
    Mutant(
        "X35",
        "what a bank takes is not booked",
        (
            Edit(
                CHANNEL,
                'for movement in movements if movement["amount"])',
                'for movement in movements if movement["amount"] > 0)',
            ),
        ),
        (DISPUTED,),
    ),
    Mutant(
        "X35b",
        "what a bank brings back is not booked",
        (
            Edit(
                CHANNEL,
                'for movement in movements if movement["amount"])',
                'for movement in movements if movement["amount"] < 0)',
            ),
        ),
        (DISPUTED,),
    ),
    Mutant(
        "X36",
        "an event of a trial counts in a live shop",
        (Edit(RECEIVING, "    if live is not stripe.is_live():\n", "    if live is None:\n"),),
        (f"{FOR_OTHERS}[of another mode]",),
    ),
    Mutant(
        "X36b",
        "an event of another account counts",
        (Edit(RECEIVING, "    if account:\n", "    if account is True:\n"),),
        (f"{FOR_OTHERS}[of another account]",),
    ),
    Mutant(
        "X37",
        "Stripe is called while a transaction is open",
        (
            Edit(
                PROCESSING,
                "def process(*, event_pk: int) -> None:",
                "@transaction.atomic\ndef process(*, event_pk: int) -> None:",
            ),
        ),
        (f"{PAYMENTS}::TestAPayment::test_is_recorded_with_all_it_entails",),
    ),
    Mutant(
        "X37b",
        "nothing keeps Stripe from being called while a transaction is open",
        (
            Edit(
                CHANNEL,
                "    if any(connection.in_atomic_block for connection in connections.all(initialized_only=True)):\n",
                "    if False:\n",
            ),
        ),
        ("tests/stripe/test_selling.py::TestACall::test_is_not_made_while_a_transaction_is_open",),
    ),
)
