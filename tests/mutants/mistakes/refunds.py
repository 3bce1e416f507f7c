"""Giving Stars back."""

from tests.mutants.mutant import Edit, Mutant

REFUNDING = "payments/refunding.py"
REFUND_CRASHES = (
    "tests/faults/test_refund_crashes.py::TestDyingAtAnyBoundary::test_of_pursuing_makes_and_records_it_once"
)
REFUNDS = "tests/payments/test_refunding.py"

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
                "status=RefundStatus.VERIFY, faults=refund.faults + 1, detail=detail)\n"
                "    except channel.Refused as error:\n",
                "status=RefundStatus.VERIFY, refusal='no')\n"
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
)
