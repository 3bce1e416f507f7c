"""The mistakes, by their numbers. Those of refunds come first."""

from tests.mutants.mistakes import receiving, recording, refunds, stripe, subscriptions, waiting

MUTANTS = (
    *refunds.MUTANTS,
    *stripe.MUTANTS,
    *subscriptions.MUTANTS,
    *recording.MUTANTS,
    *receiving.MUTANTS,
    *waiting.MUTANTS,
)
