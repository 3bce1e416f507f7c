"""Updates on their way to the bot, by Telegram's rules.

To a webhook: any 2xx is success. A failure is repeated at once, then after 2, 4, 8 … 64 s, then every 60–120 s,
until the update expires. An integer ``Retry-After`` up to an hour takes the pause's place. One update of a lane
is in flight at a time, and at most twice ``max_connections`` lanes are looked at: as many failing chats stall
the whole bot. Redirects are failures. 410 for 23 hours removes the webhook. A JSON answer with ``method`` is a call.

Without a webhook: ``getUpdates``, where asking with a higher offset confirms.
"""

import asyncio
import errno
import json
import os
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import aiohttp

from telegram_bot.sandbox.clock import Clock
from telegram_bot.sandbox.errors import Conflict
from telegram_bot.sandbox.faults import Faults
from telegram_bot.sandbox.schema import Json
from telegram_bot.sandbox.truth import Delivery, Truth, Update, UpdateState, Webhook

DAY = 86_400.0
CHECKOUT_LIFE = 150.0
MAX_RETRY_AFTER = 3600
GONE_TOO_LONG = 23 * 3600
NEVER_IN_ANSWERS = ("setwebhook", "deletewebhook", "close", "logout")
BY_NAME_ONLY = ("chat_member", "message_reaction", "message_reaction_count")


@dataclass(frozen=True)
class Answer:
    """What came of one request to the webhook."""

    status: int | None = None
    reason: str = ""
    body: bytes = b""
    is_json: bool = False
    retry_after: int = 0
    error: str | None = None


class Deliveries:
    def __init__(self, truth: Truth, clock: Clock, faults: Faults, *, answer_seconds: float = 60.0) -> None:
        self._truth = truth
        self._clock = clock
        self._faults = faults
        self._answer_seconds = answer_seconds
        self._held: list[Update] = []
        self._waiting: deque[Update] = deque()
        self._lanes: dict[str, deque[Update]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._poll = 0
        self._gone_since: float | None = None
        self._connections = asyncio.Semaphore(truth.webhook.max_connections)
        self._session: aiohttp.ClientSession
        self._running = False
        self.call: Callable[[str, Json], Awaitable[object]]
        """Executes a method named in a webhook's answer; its outcome is not reported to anybody."""

    async def start(self) -> None:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._answer_seconds),
            connector=aiohttp.TCPConnector(limit=0),
        )
        self._running = True
        self._restart()

    async def stop(self) -> None:
        if self._running:
            self._running = False
            await asyncio.gather(*self._halt(), return_exceptions=True)
            await self._session.close()

    # What enters

    def send(self, kind: str, content: Json, *, lane: str, life: float = DAY) -> None:
        """Queue an update, unless the bot has not asked for its kind."""
        allowed = self._truth.allowed_updates
        if (allowed and kind not in allowed) or (not allowed and kind in BY_NAME_ONLY):
            return
        update_id = self._truth.update_id()
        body = json.dumps({"update_id": update_id, kind: content}, separators=(",", ":")).encode()
        self._enter(self._update(update_id, _kind_of(kind, content), lane, body, life))

    def inject(self, body: bytes) -> None:
        """Queue bytes as they are, in a lane of their own."""
        update_id = self._truth.update_id()
        self._enter(self._update(update_id, "raw", f"raw:{update_id}", body, DAY))

    def redeliver(self, update_id: int, *, under_new_id: bool = False) -> int:
        """Queue an update once more and tell its id.

        :raises LookupError: nobody knows it any more
        :raises ValueError: its bytes are not JSON, so no other id can be written into them
        """
        known = (*self._truth.past_updates, *self._truth.updates.values())
        earlier = next((one for one in reversed(known) if one.update_id == update_id), None)
        if earlier is None:
            raise LookupError(f"no update {update_id} is remembered")
        body = earlier.body
        if under_new_id:
            update_id = self._truth.update_id()
            body = json.dumps(json.loads(body) | {"update_id": update_id}, separators=(",", ":")).encode()
        self._accept(self._update(update_id, earlier.kind, earlier.lane, body, DAY))
        return update_id

    def _update(self, update_id: int, kind: str, lane: str, body: bytes, life: float) -> Update:
        now = self._clock.now()
        number = self._truth.number("update")
        return Update(number, update_id, kind, lane, body, date=now, expires_at=now + life)

    def _enter(self, update: Update) -> None:
        """Let ordered faults befall a new update."""
        if self._faults.take_update("lose", update.kind):
            self._finish(update, "lost")
            return
        if self._faults.take_update("duplicate", update.kind):
            update.repeats += 1
        if not self._faults.take_update("reorder", update.kind):
            self._accept(update)
            return
        self._held.append(update)
        if not self._faults.still_ordered("reorder"):
            self.release_held()

    def release_held(self) -> None:
        """Send what was held back for another order, the last one first."""
        held, self._held = self._held[::-1], []
        for update in held:
            self._accept(update)

    def _accept(self, update: Update) -> None:
        self._truth.updates[update.number] = update
        self._waiting.append(update)
        self._load()
        self._truth.touch()

    def _finish(self, update: Update, state: UpdateState) -> None:
        update.state = state
        self._truth.updates.pop(update.number, None)
        self._truth.past_updates.append(update)
        self._truth.touch()

    # To the webhook

    def set_webhook(self, webhook: Webhook, *, drop_pending: bool) -> bool:
        """Point updates elsewhere; an empty address means ``getUpdates``. False when nothing changes.

        Pending updates go to the new place, each as if never tried.
        """
        if drop_pending:
            self.drop_pending()
        if replace(self._truth.webhook, last_error_date=None, last_error_message=None) == webhook:
            return False
        self._truth.webhook = webhook
        self._restart()
        self._truth.touch()
        return True

    def drop_pending(self) -> None:
        for update in list(self._truth.updates.values()):
            self._finish(update, "dropped")
        self._restart()

    def _halt(self) -> set[asyncio.Task[None]]:
        """Stop all lanes. The one that asks for it (410 for too long) ends by itself."""
        tasks = {task for task in self._tasks if task is not asyncio.current_task()}
        for task in tasks:
            task.cancel()
        self._tasks -= tasks
        self._lanes = {}
        return tasks

    def _restart(self) -> None:
        self._halt()
        self._gone_since = None
        self._connections = asyncio.Semaphore(self._truth.webhook.max_connections)
        self._waiting = deque(self._truth.updates.values())
        self._load()

    def _load(self) -> None:
        """Give waiting updates to their lanes, oldest first, while there are lanes to look at."""
        if not self._truth.webhook.url or not self._running:
            return
        while self._waiting and len(self._lanes) < 2 * self._truth.webhook.max_connections:
            update = self._waiting.popleft()
            if update.lane in self._lanes:
                self._lanes[update.lane].append(update)
                continue
            queue = self._lanes[update.lane] = deque([update])
            task = asyncio.create_task(self._drain(update.lane, queue))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _drain(self, lane: str, queue: deque[Update]) -> None:
        while queue and self._lanes.get(lane) is queue:
            await self._deliver(queue[0])
            if queue[0].state != "pending":
                queue.popleft()
        if self._lanes.get(lane) is queue:
            del self._lanes[lane]
            self._load()

    async def _deliver(self, update: Update) -> None:
        """Send one update until it is heard or expires."""
        webhook, failures, delay = self._truth.webhook, 0, 1.0
        while update.state == "pending" and self._truth.webhook is webhook:
            if self._clock.now() > update.expires_at:
                self._finish(update, "expired")
                return
            answer = await self._post(update, webhook)
            if answer.error is None:
                self._heard(update)
                continue
            pause = float(answer.retry_after)
            if not pause and failures:
                pause = delay = min(random.uniform(60, 120), delay * 2)  # noqa: S311
            failures += 1
            if self._clock.now() + pause > update.expires_at:
                self._finish(update, "expired")
                return
            await self._clock.pause(pause)

    def _heard(self, update: Update) -> None:
        if update.repeats:
            update.repeats -= 1
            self._truth.touch()
        else:
            self._finish(update, "delivered")

    async def _post(self, update: Update, webhook: Webhook) -> Answer:
        async with self._connections:
            date, began = self._clock.now(), time.perf_counter()
            update.attempts += 1
            answer = await self._ask(webhook, update.body)
            if answer.error is None and self._faults.take_update("unheard", update.kind):
                answer = replace(answer, error="Webhook connection closed")
        if answer.error is not None:
            webhook.last_error_date, webhook.last_error_message = self._clock.today(), answer.error
        self._truth.deliveries.append(
            Delivery(
                number=self._truth.number("delivery"),
                date=date,
                update_id=update.update_id,
                kind=update.kind,
                url=webhook.url,
                attempt=update.attempts,
                request=update.body,
                status=answer.status,
                reply=answer.body,
                error=answer.error,
                seconds=time.perf_counter() - began,
            )
        )
        self._truth.touch()
        self._watch_gone(answer)
        if answer.error is None and answer.is_json:
            await self._obey(answer.body)
        return answer

    async def _ask(self, webhook: Webhook, body: bytes) -> Answer:
        headers = {"Content-Type": "application/json", "Accept-Encoding": "gzip, deflate"}
        if webhook.secret_token:
            headers["X-Telegram-Bot-Api-Secret-Token"] = webhook.secret_token
        try:
            async with self._session.post(webhook.url, data=body, headers=headers, allow_redirects=False) as response:
                answer = Answer(
                    status=response.status,
                    reason=response.reason or "",
                    body=await response.read(),
                    is_json="application/json" in response.headers.get("Content-Type", "").lower(),
                    retry_after=_retry_after(response.headers.get("Retry-After", "")),
                )
        except TimeoutError:
            return Answer(error="Read timeout expired")
        except aiohttp.ClientConnectorError as error:
            return Answer(error=os.strerror(error.os_error.errno or errno.ECONNREFUSED))
        except (aiohttp.ClientError, OSError):
            return Answer(error="Webhook connection closed")
        if 200 <= response.status < 300:
            return answer
        return replace(answer, error=f"Wrong response from the webhook: {answer.status} {answer.reason}")

    def _watch_gone(self, answer: Answer) -> None:
        if answer.status != 410:
            if answer.status is not None:
                self._gone_since = None
        elif self._gone_since is None:
            self._gone_since = self._clock.now()
        elif self._clock.now() > self._gone_since + GONE_TOO_LONG:
            self.set_webhook(Webhook(), drop_pending=False)

    async def _obey(self, body: bytes) -> None:
        """A call in the body of the answer. What comes of it is in the truth and nowhere else."""
        try:
            content = json.loads(body)
        except (ValueError, RecursionError):
            return
        method = content.pop("method", None) if isinstance(content, dict) else None
        if not isinstance(method, str) or method.lower() in NEVER_IN_ANSWERS or method.lower().startswith("get"):
            return
        await self.call(method, content)

    # To whoever asks

    async def get_updates(self, *, offset: int, limit: int, wait: float) -> list[bytes]:
        """Bodies of pending updates, oldest first.

        :raises Conflict: a webhook is set, or another call of ``getUpdates`` has come meanwhile
        """
        if self._truth.webhook.url:
            raise Conflict(
                "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
            )
        self._poll += 1
        mine = self._poll
        self._truth.touch()
        self._confirm(offset)
        await self._truth.until(
            lambda: bool(self._pending()) or self._poll != mine or bool(self._truth.webhook.url), within=wait
        )
        if self._poll != mine:
            raise Conflict("terminated by other getUpdates request; make sure that only one bot instance is running")
        if self._truth.webhook.url:
            raise Conflict("terminated by setWebhook request")
        chosen = self._pending()[:limit]
        for update in chosen:
            update.attempts += 1
        return [update.body for update in chosen]

    def _pending(self) -> list[Update]:
        now = self._clock.now()
        for update in [one for one in self._truth.updates.values() if one.expires_at < now]:
            self._finish(update, "expired")
        return list(self._truth.updates.values())

    def _confirm(self, offset: int) -> None:
        pending = self._pending()
        confirmed = pending[:offset] if offset < 0 else [one for one in pending if one.update_id < offset]
        for update in confirmed:
            self._finish(update, "confirmed")

    # Whether all is said

    def quiet(self) -> bool:
        return not self._truth.updates and not self._held

    def unrest(self) -> str:
        """What keeps it from being quiet, for people."""
        pending = [f"{one.update_id} ({one.kind}, {one.attempts} attempts)" for one in self._truth.updates.values()]
        held = [f"{one.update_id} ({one.kind}, held back)" for one in self._held]
        error = self._truth.webhook.last_error_message
        return ", ".join(pending[:10] + held[:10]) + (f"; last error: {error}" if error else "")

    async def settled(self, *, within: float) -> None:
        """Give a webhook the time to be sent what is pending, each update once."""
        if self._truth.webhook.url:
            await self._truth.until(lambda: all(one.attempts for one in self._truth.updates.values()), within=within)


def _kind_of(kind: str, content: Json) -> str:
    """Payments by their own names: that is how they are asked for."""
    return next((name for name in ("successful_payment", "refunded_payment") if name in content), kind)


def _retry_after(header: str) -> int:
    return min(int(header), MAX_RETRY_AFTER) if header.isascii() and header.isdigit() else 0
