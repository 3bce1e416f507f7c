"""Staff decide about updates that nothing more happens to: once, with a reason, and never about money unseen."""

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db import connection
from procrastinate.contrib.django.models import ProcrastinateJob

from config.database import database_now
from entitlements.audit import ReasonMissing
from entitlements.models import AuditEntry
from payments import dead_letters
from payments.dead_letters import NothingToDecide
from payments.models import Hold, HoldReason, PaymentEvent
from payments.models.letters import PAUSES, UNDECIDED
from telegram_bot import processing
from telegram_bot.dead_letters import (
    DISMISSED,
    MoneyNotRecorded,
    StillUnreadable,
    dismiss_update,
    replay_each,
    replay_update,
)
from telegram_bot.models import IncomingUpdate, UpdateStatus
from telegram_bot.receiving import receive
from telegram_bot.retention import blank_old_bodies
from tests import updates

pytestmark = pytest.mark.django_db


@pytest.fixture
def dana(db):
    return User.objects.create_superuser("dana")


def stored(body, status=UpdateStatus.DEAD, *, update_id: int | None = 1, kind: str = "message") -> IncomingUpdate:
    body = body if isinstance(body, bytes) else updates.body(body)
    return IncomingUpdate.objects.create(
        bot_id=1,
        update_id=update_id,
        digest=hashlib.sha256(body).digest(),
        kind=kind,
        body=body,
        status=status,
        attempts=1 + len(PAUSES),
        error="LookupError: a mistake of ours",
    )


def process(update: IncomingUpdate) -> IncomingUpdate:
    processing.process_update(update.pk, tried=0)
    update.refresh_from_db()
    return update


class TestReplaying:
    def test_records_the_payment_that_was_given_up(self, dana, invoice):
        dead = stored(updates.payment(invoice))

        replayed = replay_update(update=dead, staff=dana, reason="The disk is larger now.")
        assert (replayed.status, replayed.attempts) == (UpdateStatus.PENDING, 0)

        assert process(dead).status == UpdateStatus.DONE
        assert PaymentEvent.objects.get().invoice == invoice

    def test_is_one_job_and_one_entry_of_the_audit(self, dana):
        dead = stored(updates.message(7, text="/plans"))

        replay_update(update=dead, staff=dana, reason=" The disk is larger now. ")

        [job] = ProcrastinateJob.objects.filter(task_name="telegram_bot.tasks.process_update", args__update_pk=dead.pk)
        assert (job.lock, job.status) == ("chat:7", "todo")
        entry = AuditEntry.objects.get()
        assert (entry.what, entry.subject_id, entry.reason) == (
            "replayed an update",
            str(dead.pk),
            "The disk is larger now.",
        )
        assert (entry.before, entry.after) == ({"status": "dead"}, {"status": "pending"})

    def test_a_second_time_is_refused_and_says_who_was_first(self, dana):
        dead = stored(updates.message(7, text="/plans"))
        replay_update(update=dead, staff=dana, reason="The disk is larger now.")

        with pytest.raises(NothingToDecide, match=r"dana replayed an update at .* UTC: The disk is larger now"):
            replay_update(update=dead, staff=dana, reason="Once more.")

        assert AuditEntry.objects.count() == 1

    def test_of_what_cannot_be_read_is_refused(self, dana):
        unreadable = stored(b"{", UpdateStatus.QUARANTINED, kind="unreadable")

        with pytest.raises(StillUnreadable, match="no JSON"):
            replay_update(update=unreadable, staff=dana, reason="Try it.")

        unreadable.refresh_from_db()
        assert unreadable.status == UpdateStatus.QUARANTINED

    def test_of_what_this_release_can_read_is_done(self, dana, invoice):
        newly_readable = stored(updates.payment(invoice), UpdateStatus.QUARANTINED, kind="unreadable")

        replay_update(update=newly_readable, staff=dana, reason="After the upgrade.")

        assert process(newly_readable).status == UpdateStatus.DONE
        assert newly_readable.kind == "message"
        assert PaymentEvent.objects.exists()

    def test_is_not_needed_where_telegram_brings_it_again(self, invoice):
        receive(updates.body(updates.payment(invoice)))
        body = updates.body(update := updates.refund(invoice))
        newly_readable = stored(body, UpdateStatus.QUARANTINED, update_id=update["update_id"], kind="unreadable")
        IncomingUpdate.objects.update(bot_id=settings.TELEGRAM_BOT_ID)

        receive(body)

        newly_readable.refresh_from_db()
        assert newly_readable.status == UpdateStatus.DONE
        assert PaymentEvent.objects.filter(refund_of__isnull=False).exists()

    def test_gives_it_all_its_tries_again(self, dana, monkeypatch):
        def fail(*_, **__):
            raise LookupError("still")

        dead = stored(updates.message(7, text="/plans"))
        replay_update(update=dead, staff=dana, reason="Try it.")
        monkeypatch.setattr(processing, "act", fail)
        for tried in range(1 + len(PAUSES)):
            with pytest.raises(LookupError):
                processing.process_update(dead.pk, tried=tried)

        dead.refresh_from_db()
        assert dead.status == UpdateStatus.DEAD
        assert replay_update(update=dead, staff=dana, reason="And again.").status == UpdateStatus.PENDING


class TestReplayingSeveral:
    def test_keeps_the_order_in_which_they_came_and_says_what_it_left(self, dana):
        letters = [stored(updates.message(7, text="/plans"), update_id=number) for number in (1, 2, 3)]
        letters.append(stored(b"{", UpdateStatus.QUARANTINED, update_id=None))

        answers = replay_each(updates=reversed(letters), staff=dana, reason="The disk is larger now.")

        assert [bool(answer.refusal) for answer in answers] == [False, False, False, True]
        jobs = ProcrastinateJob.objects.filter(lock="chat:7").order_by("id")
        assert [job.args["update_pk"] for job in jobs] == [letter.pk for letter in letters[:3]]
        assert AuditEntry.objects.count() == 3


class TestDismissing:
    def test_ends_it_with_an_entry_of_the_audit(self, dana):
        dead = stored(updates.message(7, text="/plans"))

        dismiss_update(update=dead, staff=dana, reason="Nobody waits for it.")

        dead.refresh_from_db()
        assert (dead.status, AuditEntry.objects.get().what) == (UpdateStatus.DISMISSED, DISMISSED)

    @pytest.mark.parametrize("report", [updates.payment, updates.refund])
    def test_money_that_is_not_in_the_books_is_refused(self, dana, invoice, report):
        dead = stored(report(invoice))

        with pytest.raises(MoneyNotRecorded, match="Replay it"):
            dismiss_update(update=dead, staff=dana, reason="A test of ours.")

        dead.refresh_from_db()
        assert dead.status == UpdateStatus.DEAD

    def test_money_whose_amount_cannot_be_read_is_refused_until_it_is_held(self, dana, invoice):
        dead = stored(updates.payment(invoice, total_amount="500"))
        with pytest.raises(MoneyNotRecorded):
            dismiss_update(update=dead, staff=dana, reason="A test of ours.")

        receive(bytes(dead.body))
        assert dismiss_update(update=dead, staff=dana, reason="It is held.").status == UpdateStatus.DISMISSED

    @pytest.mark.parametrize("reports", [[updates.payment], [updates.refund], [updates.payment, updates.refund]])
    def test_money_that_is_in_the_books_is_dismissed_like_anything_else(self, dana, invoice, reports):
        for number, report in enumerate(reports):
            update = report(invoice)
            receive(updates.body(update))
            dead = stored(update, update_id=number)

            assert dismiss_update(update=dead, staff=dana, reason="It is recorded.").status == UpdateStatus.DISMISSED

    def test_what_cannot_be_read_and_speaks_of_money_is_put_with_the_held_payments(self, dana):
        body = b'{"update_id": 5, "message": {"successful_payment": {"currency": "XTR", "currency": "GBP"}}}'
        unreadable = stored(body, UpdateStatus.QUARANTINED, kind="unreadable")

        dismiss_update(update=unreadable, staff=dana, reason="It came from our own proxy.")

        hold = Hold.objects.unresolved().get()
        assert (hold.reason, bytes(hold.evidence)) == (HoldReason.UNREADABLE, body)
        assert hold.detail == "An update dismissed by dana: It came from our own proxy."

    def test_what_cannot_be_read_and_speaks_of_nothing_holds_nothing(self, dana):
        dismiss_update(update=stored(b"{", UpdateStatus.QUARANTINED), staff=dana, reason="Noise.")

        assert not Hold.objects.exists()

    def test_lets_the_body_go_after_90_days_and_that_of_an_undecided_one_never(self, dana):
        dismissed = dismiss_update(update=stored(b"[]"), staff=dana, reason="Noise.")
        undecided = stored(b"{", UpdateStatus.QUARANTINED, update_id=2)
        IncomingUpdate.objects.update(received_at="2020-01-01T00:00Z")
        IncomingUpdate.objects.filter(pk=dismissed.pk).update(done_at="2020-01-02T00:00Z")

        assert blank_old_bodies(now=database_now()) == 1
        undecided.refresh_from_db()
        assert bytes(undecided.body) == b"{"


class TestWhoeverDecides:
    @pytest.mark.parametrize("decide", [replay_update, dismiss_update])
    def test_needs_the_permission(self, decide):
        eve = User.objects.create_user("eve", is_staff=True)

        with pytest.raises(PermissionDenied):
            decide(update=stored(b"{}"), staff=eve, reason="Because.")

    @pytest.mark.parametrize("decide", [replay_update, dismiss_update])
    def test_says_why(self, decide, dana):
        with pytest.raises(ReasonMissing):
            decide(update=stored(b"{}"), staff=dana, reason=" ")

    @pytest.mark.parametrize("status", [UpdateStatus.PENDING, UpdateStatus.DONE, UpdateStatus.DISMISSED])
    @pytest.mark.parametrize("decide", [replay_update, dismiss_update])
    def test_decides_nothing_where_nothing_waits(self, decide, status, dana):
        with pytest.raises(NothingToDecide):
            decide(update=stored(updates.message(7, text="/plans"), status), staff=dana, reason="Because.")


def unlocked(update: IncomingUpdate) -> IncomingUpdate:
    """As the row was found, held against nobody."""
    stored = IncomingUpdate.objects.get(pk=update.pk)
    if stored.status not in UNDECIDED:
        raise NothingToDecide(stored)
    return stored


def somebody_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return cursor.fetchone()[0] > 0


@pytest.mark.django_db(transaction=True)
class TestTwoPeopleAtOnce:
    def decide_together(self, dana, monkeypatch, look):
        """One replays, one dismisses, neither before the other has looked or waits to. How many were not refused."""
        dead = stored(updates.message(7, text="/plans"))
        looked = []

        def look_and_wait(update):
            found = look(update)
            looked.append(found)
            deadline = time.monotonic() + 60
            while len(looked) < 2 and not somebody_waits_for_a_lock():
                assert time.monotonic() < deadline, "the other did not come"
                time.sleep(0.01)
            return found

        def decide(choice):
            try:
                choice(update=dead, staff=dana, reason="Mine.")
            except NothingToDecide:
                return 0
            else:
                return 1
            finally:
                connection.close()

        monkeypatch.setattr(dead_letters, "undecided", look_and_wait)
        with ThreadPoolExecutor(2) as threads:
            return sum(threads.map(decide, (replay_update, dismiss_update)))

    def test_decide_once(self, dana, monkeypatch):
        assert self.decide_together(dana, monkeypatch, dead_letters.undecided) == 1
        assert AuditEntry.objects.count() == 1

    def test_would_both_decide_without_the_lock(self, dana, monkeypatch):
        assert self.decide_together(dana, monkeypatch, unlocked) == 2
