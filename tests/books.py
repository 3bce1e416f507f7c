"""What must hold in the books after anything whatever."""

from payments import invariants
from telegram_bot.models import IncomingUpdate, UpdateStatus


def faults_in_the_books() -> list[str]:
    """Every contradiction found, in words; an empty list is a sound ledger."""
    return [*invariants.differences(), *_inbox()]


def _inbox():
    """I6: nothing is given up, and what is pending has a next try."""
    if IncomingUpdate.objects.filter(status=UpdateStatus.DEAD).exists():
        yield "an update was given up"
