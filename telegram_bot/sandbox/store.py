"""The truth in a file, so that a demo keeps its chats and its money between runs.

What went over the wire is not kept; updates that have not arrived are.
"""

import asyncio
import contextlib
import json
import logging
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from telegram_bot.sandbox.truth import (
    Bot,
    CallbackQuery,
    Charge,
    Forward,
    Invoice,
    Person,
    PreCheckout,
    Subscription,
    Truth,
    Update,
    Webhook,
)

log = logging.getLogger(__name__)

FORMAT = 1
SAVE_EVERY = 0.5
RECORDS = {
    "people": Person,
    "invoices": Invoice,
    "checkouts": PreCheckout,
    "charges": Charge,
    "subscriptions": Subscription,
    "callbacks": CallbackQuery,
}
PLAIN = ("transactions", "allowed_updates", "last", "ahead")


class UnreadableState(Exception):
    """The file is not one of ours, or belongs to another bot."""


def dump(truth: Truth) -> bytes:
    state: dict[str, Any] = {"format": FORMAT, "bot": asdict(truth.bot), "webhook": asdict(truth.webhook)}
    state |= {name: [asdict(record) for record in getattr(truth, name).values()] for name in RECORDS}
    state |= {name: getattr(truth, name) for name in PLAIN}
    state["forwards"] = [asdict(forward) for forward in truth.forwards]
    state["messages"] = {chat: list(messages.values()) for chat, messages in truth.messages.items()}
    state["keyboards"] = truth.keyboards
    state["charged_back"] = truth.charged_back
    # Latin-1 carries any bytes through JSON and back.
    state["updates"] = [asdict(one) | {"body": one.body.decode("latin-1")} for one in truth.updates.values()]
    del state["bot"]["token"]
    return json.dumps(state).encode()


def restore(truth: Truth, content: bytes) -> None:
    """Fill an empty truth. :raises UnreadableState: when the content is not what ``dump`` writes"""
    try:
        state = json.loads(content)
        if state["format"] != FORMAT:
            raise UnreadableState("it was written by another version")
        if state["bot"]["id"] != truth.bot.id:
            raise UnreadableState(f"it belongs to bot {state['bot']['id']}, not to bot {truth.bot.id}")
        _fill(truth, state)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableState("it is not a state file of the local Telegram") from error


def _fill(truth: Truth, state: dict[str, Any]) -> None:
    truth.bot = Bot(**state["bot"], token=truth.bot.token)
    truth.webhook = Webhook(**state["webhook"])
    for name, record in RECORDS.items():
        entries = (record(**entry) for entry in state[name])
        setattr(truth, name, {entry.id: entry for entry in entries})
    for name in PLAIN:
        setattr(truth, name, state[name])
    truth.charged_back = state.get("charged_back", 0)  # not in files of earlier versions
    for invoice in truth.invoices.values():
        truth.add_invoice(invoice)
    truth.forwards = [Forward(**entry) for entry in state["forwards"]]
    truth.messages = {
        int(chat): {message["message_id"]: message for message in messages}
        for chat, messages in state["messages"].items()
    }
    truth.keyboards = {int(chat): keyboard for chat, keyboard in state["keyboards"].items()}
    updates = (Update(**entry | {"body": entry["body"].encode("latin-1")}) for entry in state["updates"])
    truth.updates = {update.number: update for update in updates}


class Store:
    """Reads the file once, and writes it whenever the truth has changed, whole or not at all."""

    def __init__(self, truth: Truth, path: Path) -> None:
        self._truth = truth
        self._path = path
        self._saved = truth.version
        self._task: asyncio.Task[None] | None = None

    def load(self) -> None:
        """:raises UnreadableState: with the file's name"""
        try:
            if self._path.exists():
                restore(self._truth, self._path.read_bytes())
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except UnreadableState as error:
            raise UnreadableState(f"cannot use the state file {self._path}: {error}") from error
        except OSError as error:
            raise UnreadableState(f"cannot use the state file {self._path}: {error.strerror}") from error

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_saving())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self.save()

    async def _keep_saving(self) -> None:
        while True:
            await asyncio.sleep(SAVE_EVERY)
            if self._saved != self._truth.version:
                self.save()

    def save(self) -> None:
        """What cannot be written now is written after the next change; the chat goes on meanwhile."""
        self._saved = self._truth.version
        beside = self._path.with_name(f"{self._path.name}.new")
        try:
            beside.write_bytes(dump(self._truth))
            os.replace(beside, self._path)
        except OSError as error:
            log.error("cannot write the state file %s: %s", self._path, error.strerror)
