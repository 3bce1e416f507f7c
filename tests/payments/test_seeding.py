"""`seed_demo`: books to look at, which are sound."""

from datetime import date
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db.models import Count, F

from config.database import database_now
from entitlements.models import AccessCount, AuditEntry, Customer, Grant
from payments import mirror, seeding, seeding_subscriptions
from payments.comparing import Known, Result, compare, unlisted
from payments.invariants import differences
from payments.models import (
    Hold,
    Notice,
    PaymentEvent,
    PaymentMethod,
    RevenueDay,
    Subscription,
    SubscriptionDay,
    SubscriptionState,
)
from payments.money import Money
from payments.reminding import remind
from payments.revenue import Group, revenue
from payments.subscriptions import end_what_is_over
from tests.factories import PlanFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop(settings):
    settings.DEBUG = True
    PlanFactory()
    PlanFactory(code="gold_life", duration_days=None, position=1)
    PlanFactory(code="silver_3m", entitlement="silver", duration_days=90, position=2)
    PlanFactory(code="day_pass", entitlement="archive", duration_days=1, when_active="extend", position=3)


def seeded(*arguments: str) -> str:
    out = StringIO()
    call_command("seed_demo", *arguments, stdout=out)
    return out.getvalue()


class TestSeedDemo:
    def test_writes_as_many_payments_as_it_is_told_and_sound_books(self, shop, monkeypatch):
        monkeypatch.setattr(seeding, "BUYERS_AT_ONCE", 500)

        said = seeded("--payments", "3000")

        assert PaymentEvent.objects.payments().count() == 3000
        assert list(differences()) == []
        assert "3,000 of 3,000 payments" in said
        assert len(said.splitlines()) > 2

    def test_tells_a_story_that_could_be_true(self, shop):
        seeded("--payments", "3000")

        ever = {"first_day": date(1970, 1, 1), "last_day": date(9999, 1, 1)}
        assert {row.by[Group.CURRENCY] for row in revenue(**ever)} == {"XTR", "GBP"}
        assert len({row.by[Group.PLAN_CODE] for row in revenue(**ever, group_by=[Group.PLAN_CODE])}) == 4
        assert len({row.by[Group.DAY] for row in revenue(**ever, group_by=[Group.DAY])}) > 300
        assert 50 < PaymentEvent.objects.refunds().count() < 250
        assert Hold.objects.exists()
        assert Grant.objects.exclude(revoked_at=None).exists()
        assert 500 < Customer.objects.count() < 3000
        assert RevenueDay.objects.exists()
        assert AccessCount.objects.exists()
        assert not PaymentEvent.objects.filter(received_at__lt=F("customer__created_at")).exists()

    def test_leaves_no_access_to_those_who_got_all_their_money_back(self, shop, monkeypatch):
        monkeypatch.setattr(seeding, "HELD_BELOW", 0)
        monkeypatch.setattr(seeding, "REFUNDED_BELOW", 1)

        seeded("--payments", "300")

        purchases = Grant.objects.values("customer", "entitlement").annotate(count=Count("id"))
        assert purchases.filter(count__gt=1).exists()
        assert not Grant.objects.filter(revoked_at=None).exists()
        assert list(differences()) == []

    def test_keeps_what_staff_decided_in_the_audit(self, shop, monkeypatch):
        monkeypatch.setattr(seeding, "HELD_BELOW", 0.5)

        seeded("--payments", "100")

        decided = Hold.objects.filter(resolved_by="staff:demo").count()
        assert AuditEntry.objects.count() == decided > 0
        assert list(differences()) == []

    def test_is_listed_by_telegram_as_far_as_a_reconciliation_sees(self, shop, monkeypatch):
        monkeypatch.setattr(seeding, "REFUNDED_BELOW", 0.5)

        seeded("--payments", "200")

        stars = PaymentEvent.objects.filter(payment_method=PaymentMethod.TELEGRAM_STARS).select_related("customer")
        rows = mirror.rows_after(0, at_most=1000)
        results = {compare(row, Known.of(rows), ours_since=database_now()).result for row in rows}
        assert len(rows) == len(stars) > 50
        assert (unlisted(stars), results) == ([], {Result.MATCHED})

    def test_owes_nobody_a_message(self, shop):
        seeded("--payments", "100")

        assert not Notice.objects.owed().exists()

    def test_adds_as_many_again_when_repeated(self, shop):
        seeded("--payments", "200")
        seeded("--payments", "100")

        assert PaymentEvent.objects.payments().count() == 300
        assert list(differences()) == []

    def test_refuses_to_touch_a_real_ledger(self, shop, settings):
        settings.DEBUG = False

        with pytest.raises(CommandError, match="DEBUG=true"):
            seeded()

    @pytest.mark.parametrize("count", ["0", "-1"])
    def test_refuses_to_write_nothing(self, shop, count):
        with pytest.raises(CommandError, match="1 or more"):
            seeded("--payments", count)

    def test_asks_for_a_catalogue(self, db, settings):
        settings.DEBUG = True

        with pytest.raises(CommandError, match="load_catalog"):
            seeded()


class TestSubscriptions:
    @pytest.fixture
    def club(self, shop):
        PlanFactory(code="club", entitlement="club", recurring=True, position=4, prices=[Money(300, "XTR")])

    def test_are_written_with_their_payments_and_sound_books(self, club, monkeypatch):
        monkeypatch.setattr(seeding_subscriptions, "BUYERS_AT_ONCE", 200)

        said = seeded("--payments", "10", "--subscriptions", "500")

        assert Subscription.objects.count() == 500
        assert PaymentEvent.objects.payments().count() > 1000
        assert list(differences()) == []
        assert "500 of 500 subscriptions" in said

    def test_stand_in_every_way_there_is(self, club):
        seeded("--payments", "10", "--subscriptions", "3000")

        states = Subscription.objects.values_list("state").annotate(count=Count("id")).order_by()
        assert set(dict(states)) == set(SubscriptionState)
        assert RevenueDay.objects.filter(renewals__gt=0).exists()
        assert SubscriptionDay.objects.filter(begun__gt=0, ended__gt=0).exists()

    def test_leave_nothing_to_be_done_about_them(self, club):
        seeded("--payments", "10", "--subscriptions", "500")

        assert Subscription.objects.exclude(reminded_of="").exists()
        Subscription.objects.update(reminded_of="")  # the notices tell as well
        assert (remind(), end_what_is_over()) == (0, 0)
        assert not Notice.objects.owed().exists()

    def test_need_something_on_sale_that_renews(self, shop):
        with pytest.raises(CommandError, match="renews by itself"):
            seeded("--subscriptions", "1")
