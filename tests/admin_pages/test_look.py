import re
from datetime import timedelta

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from config.admin import ModelAdmin
from config.attention import MOST_COUNTED, how_long, how_many
from config.database import database_now
from config.navigation import NAVIGATION
from payments.models import (
    Discrepancy,
    DiscrepancyKind,
    EventStatus,
    Hold,
    HoldReason,
    InvariantCheck,
    Notice,
    NoticeKind,
    PaymentEvent,
    ReconciliationRun,
    Refund,
    RefundStatus,
)
from telegram_bot.models import IncomingUpdate, UpdateStatus
from tests.payments.test_tallies import NO_TIME, paid

FIRST_PAGE = reverse("admin:index")

pytestmark = pytest.mark.django_db


def figures(staff) -> dict[str, str]:
    return {figure.what: figure.value for figure in staff.get(FIRST_PAGE).context["figures"]}


class TestThePolicy:
    @pytest.mark.parametrize("address", [FIRST_PAGE, reverse("admin:login"), reverse("admin:auth_user_changelist")])
    def test_lets_the_theme_work_in_the_admin(self, dana, address):
        policy = dana.get(address)["Content-Security-Policy"]

        assert "script-src 'self' 'unsafe-eval'" in policy
        assert "style-src 'self' 'unsafe-inline'" in policy
        assert "default-src 'none'" in policy

    @pytest.mark.parametrize("address", ["/healthz", "/api/v1/catalog", "/api/schema/", "/nothing", "/administration"])
    def test_is_strict_everywhere_else(self, dana, address):
        assert "unsafe" not in dana.get(address)["Content-Security-Policy"]

    @pytest.mark.parametrize("address", [FIRST_PAGE, reverse("admin:login")])
    def test_has_no_stranger_to_allow(self, dana, address):
        page = dana.get(address).content.decode()

        assert not re.findall(r'(?:src|href)="(?:https?:)?//[^"]*"', page)


class TestTheMenu:
    def test_is_ordered_by_task(self, dana):
        tasks = dana.get(FIRST_PAGE).context["tasks"]

        assert list(tasks) == ["Money", "Access", "Shop", "Operations", "Settings"]

    def test_leads_to_pages_that_are_there(self, dana):
        for group in NAVIGATION:
            for item in group["items"]:
                assert dana.get(str(item["link"])).status_code == 200, item["title"]

    def test_shows_staff_what_they_may_see(self, eve):
        page = eve.get(FIRST_PAGE)

        assert {title: [item["title"] for item in items] for title, items in page.context["tasks"].items()} == {
            "Money": ["Payments"]
        }
        assert page.context["figures"] == []


class TestEveryPage:
    def test_has_the_look_of_the_house(self):
        strangers = [model for model, page in admin.site._registry.items() if not isinstance(page, ModelAdmin)]

        assert strangers == []

    def test_offers_nothing_that_is_done_to_many_rows_at_once_but_refunds_and_replays(self, rf, dana):
        offered = {
            model: list(actions)
            for model, page in admin.site._registry.items()
            if (actions := page.get_actions(request_of(rf, dana)))
        }

        assert offered == {PaymentEvent: ["refund_selected"], IncomingUpdate: ["replay_selected"]}


class TestTheFirstPage:
    def test_says_that_nothing_waits(self, dana):
        assert figures(dana) == {
            "Held payments": "0",
            "Refunds to approve": "0",
            "Disagreements with Telegram": "0",
            "Compared with Telegram": "never",
            "Updates given up": "0",
            "Updates not understood": "0",
            "Oldest unsent message": "none",
            "Contradictions in the books": "0",
        }

    def test_says_what_waits_and_leads_to_it(self, dana, alice, gold):
        held = [paid(alice, gold, ago=NO_TIME, status=EventStatus.HELD) for _ in range(3)]
        holds = [Hold.objects.create(event=event, reason=HoldReason.BOUGHT_TWICE) for event in held]
        done = {"resolved_at": database_now(), "resolved_by": "staff:1", "resolution": "dismissed"}
        Hold.objects.filter(pk=holds[0].pk).update(**done)
        asked = {"reason": "so", "requested_by": "staff:1"}
        proposed = Refund.objects.create(payment=held[0], status=RefundStatus.PROPOSED, **asked)
        Refund.objects.create(payment=held[1], **asked)
        run = ReconciliationRun.objects.create(
            asked_by="schedule", lease_until=database_now(), started_at=database_now() - timedelta(hours=2)
        )
        differing = Discrepancy.objects.create(
            kind=DiscrepancyKind.BALANCE, telegram_says="1 ⭐", we_have="2 ⭐", run=run
        )
        Discrepancy.objects.create(
            kind=DiscrepancyKind.BALANCE, difference=1, telegram_says="3 ⭐", we_have="2 ⭐", run=run,
            resolved_at=database_now(), resolved_by="reconciliation", resolved_why="It is gone.",
        )  # fmt: skip
        dead = update(1, UpdateStatus.DEAD)
        update(2, UpdateStatus.DONE)
        odd = update(3, UpdateStatus.QUARANTINED)
        wrong = InvariantCheck.objects.create(check_name="tallies", differences=2, checked_at=database_now())
        owed = Notice.objects.create(
            event=held[0], kind=NoticeKind.PAYMENT_HELD, created_at=database_now() - timedelta(hours=3)
        )
        Notice.objects.create(event=held[1], kind=NoticeKind.PAYMENT_HELD, sent_at=database_now())

        shown = dana.get(FIRST_PAGE).context["figures"]

        assert [figure.value for figure in shown] == ["2", "1", "1", "2 h ago", "1", "1", "3 h", "2"]
        rows = [set(dana.get(figure.address).context["cl"].result_list) for figure in shown]
        assert rows == [set(holds[1:]), {proposed}, {differing}, {run}, {dead}, {odd}, {owed}, {wrong}]

    def test_counts_no_table_whole(self, dana):
        with CaptureQueriesContext(connection) as queries:
            dana.get(FIRST_PAGE)

        assert all("LIMIT" in query["sql"] for query in queries if "COUNT(" in query["sql"])

    def test_writes_nothing(self, dana):
        with CaptureQueriesContext(connection) as queries:
            dana.get(FIRST_PAGE)

        harmless = ("SELECT", "SAVEPOINT", "RELEASE", "SET LOCAL")
        assert not [query["sql"] for query in queries if not query["sql"].lstrip().startswith(harmless)]

    def test_asks_strangers_to_sign_in(self):
        assert Client().get(FIRST_PAGE).status_code == 302

    def test_speaks_of_numbers_and_times_as_people_do(self):
        assert (how_many(MOST_COUNTED), how_many(MOST_COUNTED + 1)) == ("1000", "more than 1000")
        assert [how_long(seconds) for seconds in (45, 720, 5 * 3600, 3 * 86_400)] == ["45 s", "12 min", "5 h", "3 days"]


def update(number: int, status: UpdateStatus) -> IncomingUpdate:
    return IncomingUpdate.objects.create(
        bot_id=1, update_id=number, digest=number.to_bytes(32, "big"), kind="message", body=b"{}", status=status
    )


def request_of(rf, staff: Client):
    request = rf.get("/")
    request.user = staff.get(FIRST_PAGE).context["user"]
    return request
