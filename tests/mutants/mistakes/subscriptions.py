"""What a renewal is for, and how long it lasts."""

from tests.mutants.mutant import Edit, Mutant

SUBSCRIPTIONS = "payments/subscriptions.py"
TESTS = "tests/payments/test_subscriptions.py"

MUTANTS = (
    Mutant(
        "X38",
        "of two subscriptions by one invoice the older takes all renewals",
        (
            Edit(
                SUBSCRIPTIONS,
                "key=lambda each: (apart(each), each.current_period_end, each.pk)",
                "key=lambda each: (each.started_at, each.pk)",
            ),
        ),
        (f"{TESTS}::TestOfSeveral::test_begun_by_one_invoice_each_renewal_finds_its_own",),
    ),
    Mutant(
        "X39",
        "a renewal that is charged late lasts beyond its period",
        (Edit(SUBSCRIPTIONS, "duration=min(bought, left)", "duration=bought"),),
        (f"{TESTS}::TestARenewal::test_charged_early_or_late_ends_when_its_period_does",),
    ),
)
