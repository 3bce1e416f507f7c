"""The pages on which staff decide about updates that were given up or not understood."""

import pytest
from django.urls import reverse

from entitlements.models import AuditEntry
from payments.models import PaymentEvent
from telegram_bot import dead_letters, processing
from telegram_bot.models import IncomingUpdate, UpdateStatus
from tests import updates
from tests.admin_pages.conftest import staff_with
from tests.telegram_bot.test_dead_letters import stored

pytestmark = pytest.mark.django_db

LIST = reverse("admin:telegram_bot_incomingupdate_changelist")


def page_of(update):
    return reverse("admin:telegram_bot_incomingupdate_change", args=[update.pk])


def decide(browser, update, do, reason="The disk is larger now."):
    address = reverse("admin:telegram_bot_incomingupdate_decide", args=[update.pk])
    return browser.post(address, {"do": do, "reason": reason})


def choose(browser, chosen, **more):
    return browser.post(LIST, {"action": "replay_selected", "_selected_action": [row.pk for row in chosen], **more})


class TestThePageOfAnUpdate:
    def test_says_what_failed_how_often_and_what_it_holds(self, dana, invoice):
        page = dana.get(page_of(stored(updates.payment(invoice)))).content.decode()

        assert "It was tried 9 times and then given up" in page
        assert "LookupError: a mistake of ours" in page
        assert "It reports money that is not in the books." in page
        assert "stxAlicePays" in page
        assert "Replay or dismiss…" in page

    def test_offers_nothing_where_there_is_nothing_to_decide(self, dana):
        page = dana.get(page_of(stored(b"{}", UpdateStatus.DONE))).content.decode()

        assert "Replay or dismiss" not in page

    def test_offers_nothing_to_those_who_may_only_look(self):
        browser = staff_with("frank", "telegram_bot.view_incomingupdate")

        assert "Replay or dismiss" not in browser.get(page_of(stored(b"{}"))).content.decode()

    def test_tells_who_decided(self, dana):
        update = stored(updates.message(7, text="/plans"))
        decide(dana, update, "dismiss", reason="Nobody waits <b>for</b> it.")

        assert "dana dismissed an update" in (page := dana.get(page_of(update)).content.decode())
        assert "Nobody waits &lt;b&gt;for&lt;/b&gt; it." in page


class TestDeciding:
    def test_replays_with_a_reason(self, dana, invoice):
        update = stored(updates.payment(invoice))

        assert decide(dana, update, "replay").url == page_of(update)

        processing.process_update(update.pk, tried=0)
        assert PaymentEvent.objects.exists()
        assert AuditEntry.objects.get().reason == "The disk is larger now."

    def test_without_a_reason_does_nothing(self, dana):
        update = stored(updates.message(7, text="/plans"))

        assert decide(dana, update, "replay", reason=" ").status_code == 200

        update.refresh_from_db()
        assert update.status == UpdateStatus.DEAD

    def test_refuses_to_dismiss_money_and_says_what_to_do(self, dana, invoice):
        answer = decide(dana, stored(updates.payment(invoice)), "dismiss").content.decode()

        assert "Replay it; if it fails again, mend what its error names" in answer

    def test_a_second_time_says_who_was_first(self, dana):
        update = stored(updates.message(7, text="/plans"))
        decide(dana, update, "replay")

        assert "dana replayed an update" in decide(dana, update, "dismiss").content.decode()

    def test_is_for_those_who_may(self):
        browser = staff_with("frank", "telegram_bot.view_incomingupdate")

        assert decide(browser, stored(b"{}"), "replay").status_code == 403


class TestASelection:
    def test_is_replayed_with_one_confirmation(self, dana):
        dead = [stored(updates.message(7, text="/plans"), update_id=number) for number in range(3)]
        asked = choose(dana, dead)
        assert "Replay 3 updates" in asked.content.decode()
        assert set(IncomingUpdate.objects.values_list("status", flat=True)) == {"dead"}

        answer = dana.post(
            reverse("admin:telegram_bot_incomingupdate_replay_selected"),
            {"updates": [row.pk for row in dead], "reason": "The disk is larger now.", "do": "replay"},
        )

        assert "3 updates will be processed again." in answer.content.decode()
        assert set(IncomingUpdate.objects.values_list("status", flat=True)) == {"pending"}

    def test_may_be_all_that_the_filter_finds_the_oldest_first(self, dana, monkeypatch):
        monkeypatch.setattr(dead_letters, "MOST_AT_ONCE", 2)
        dead = [stored(updates.message(7, text="/plans"), update_id=number) for number in range(3)]
        stored(b"{}", UpdateStatus.DONE, update_id=9)

        asked = choose(dana, dead[:1], select_across="1").content.decode()

        assert "Replay 2 updates" in asked
        assert "These are the oldest of those you chose." in asked
        assert [f'value="{row.pk}"' in asked for row in dead] == [True, True, False]

    def test_without_anything_to_decide_says_so(self, dana):
        answer = dana.post(
            LIST, {"action": "replay_selected", "_selected_action": [stored(b"{}", UpdateStatus.DONE).pk]}, follow=True
        )

        assert "None of those was given up or not understood." in answer.content.decode()

    def test_is_not_offered_to_those_who_may_only_look(self):
        browser = staff_with("frank", "telegram_bot.view_incomingupdate")

        choose(browser, [update := stored(updates.message(7, text="/plans"))])

        update.refresh_from_db()
        assert update.status == UpdateStatus.DEAD
        assert "Replay selected" not in browser.get(LIST).content.decode()


def test_the_list_tells_the_next_try_only_of_what_is_tried_again(dana):
    stored(b"{}")
    assert dana.get(LIST).content.decode().count("<time") == 1

    IncomingUpdate.objects.update(status=UpdateStatus.PENDING)

    assert dana.get(LIST).content.decode().count("<time") == 2
