"""What the payments need of a channel, and the ways in which a channel fails."""

from __future__ import annotations

from typing import Protocol

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


class Unavailable(ChannelError):
    """It certainly did not happen; it may after `retry_after` seconds."""

    def __init__(self, retry_after: int = 5) -> None:
        super().__init__(f"not available, try again in {retry_after} s")
        self.retry_after = retry_after


class Unclear(ChannelError):
    """It may have happened or not: the answer was lost, late or unreadable."""


class InvoiceGateway(Protocol):
    """The few calls of the Bot API that selling needs. Each is limited in time and raises a ChannelError."""

    def send_invoice(
        self, *, chat_id: int, title: str, description: str, payload: str, money: Money, provider_token: str
    ) -> int:
        """Send an invoice into a chat and return the message's id."""

    def create_invoice_link(
        self,
        *,
        title: str,
        description: str,
        payload: str,
        money: Money,
        provider_token: str,
        subscription_days: int | None,
    ) -> str:
        """Make an invoice anybody can be handed as a link."""

    def send_link(self, *, chat_id: int, title: str, link: str, money: Money, language_code: str) -> int:
        """Send a message whose button opens an invoice link, and return the message's id."""
