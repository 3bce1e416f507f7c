"""What the payments need of a channel, and the ways in which a channel fails."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from payments.models.ledger import EventType
from payments.money import Money


class ChannelError(Exception):
    """A channel did not do what was asked."""


class Refused(ChannelError):
    """The channel said no, for good: asking again gives the same answer."""

    def __init__(self, description: str) -> None:
        super().__init__(description)
        self.description = description


class ChatUnavailable(Refused):
    """The buyer never started the bot, or has blocked it: nothing can be sent to that chat."""


class AlreadyRefunded(Refused):
    """The payment has been given back: before, or by the very call that is answered so."""


class NotRenewing(Refused):
    """The subscription is renewed no more: it was cancelled before, or has ended."""


class Unavailable(ChannelError):
    """It certainly did not happen; it may after `retry_after` seconds."""

    words = "not available"

    def __init__(self, retry_after: int = 5) -> None:
        super().__init__(f"{self.words}, try again in {retry_after} s")
        self.retry_after = retry_after


class Unclear(ChannelError):
    """It may have happened or not: the answer was lost, late or unreadable."""


class Faulty(Unclear):
    """It was answered that something went wrong there; what is asked again under the same key is answered so again."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """How an invoice reached its customer; either may be None, not both."""

    link: str | None
    message_id: int | None


class InvoiceGateway(Protocol):
    """The few calls of the Bot API that selling needs. Each is limited in time and raises a ChannelError."""

    def send_invoice(
        self,
        *,
        chat_id: int,
        title: str,
        description: str,
        payload: str,
        money: Money,
        provider_token: str,
        needs: Collection[str] = (),
    ) -> int:
        """Send an invoice into a chat and return the message's id.

        :param needs: what the buyer has to enter, of `name`, `phone_number` and `email`; never an address to ship to
        """

    def create_invoice_link(
        self,
        *,
        title: str,
        description: str,
        payload: str,
        money: Money,
        provider_token: str,
        subscription_days: int | None,
        needs: Collection[str] = (),
    ) -> str:
        """Make an invoice anybody can be handed as a link."""

    def send_link(self, *, chat_id: int, title: str, link: str, money: Money, renews: bool, language_code: str) -> int:
        """Send a message whose button opens an invoice link, and return the message's id."""


@dataclass(frozen=True, slots=True)
class ListedTransaction:
    """A row of Telegram's list of Stars. A refund has the id of its payment and is not incoming.

    `telegram_user_id` is None where the other side is no person; `payload` is that of the invoice, empty for all but
    sales; `raw` is the row as JSON. `renews` says that it paid for a period of a subscription, `commission` how many
    billionths of a Star an affiliate got for it.
    """

    transaction_id: str
    incoming: bool
    amount: int
    nanostar_amount: int
    date: datetime
    telegram_user_id: int | None
    payload: str
    raw: bytes = field(repr=False)
    renews: bool = False
    commission: int = 0


@dataclass(frozen=True, slots=True)
class Cost:
    """What a channel took besides for a payment, or brought back of that: its fee, or what a bank disputes, as the
    `event_type` says. `cost_id` is the channel's own id of the movement of money.
    """

    event_type: EventType
    cost_id: str
    money: Money
    occurred_at: datetime
    raw: bytes = field(repr=False)


class RefundGateway(Protocol):
    """The calls of the Bot API that giving Stars back needs. Each is limited in time and raises a ChannelError."""

    def refund(self, *, telegram_user_id: int, charge_id: str) -> None:
        """Give the whole of a Stars payment back.

        :raises AlreadyRefunded: look into the list; this call may have done it
        """

    def cancel_subscription(self, *, telegram_user_id: int, first_charge_id: str) -> None:
        """Stop the renewals of a subscription, known by the charge that began it. Repeating it changes nothing.

        :raises NotRenewing: there was nothing to stop
        """

    def allow_subscription(self, *, telegram_user_id: int, first_charge_id: str) -> None:
        """Let the customer renew a subscription that we have stopped. Repeating it changes nothing.

        :raises NotRenewing: it has ended
        """

    def transactions(self, *, offset: int, limit: int) -> Sequence[ListedTransaction]:
        """At most `limit` (≤ 100) rows of the list, oldest first, after the first `offset`; perhaps fewer than are."""

    def balance(self) -> int:
        """The bot's Stars, in billionths; they may be less than nothing."""
