"""What must hold in the books after anything whatever."""

from payments import invariants
from telegram_bot.models import IncomingUpdate, UpdateStatus


def faults_in_the_books() -> list[str]:
    """Every contradiction found, in words; an empty list is a sound ledger. Nor may a fault have cost an update."""
    given_up = IncomingUpdate.objects.filter(status=UpdateStatus.DEAD)
    return [*invariants.differences(), *(f"{update} was given up: {update.error}" for update in given_up)]
