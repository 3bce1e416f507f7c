from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from config.env import BASE_DIR
from payments import catalog
from payments.catalog_file import CatalogRefused, read
from payments.invoicing import Delivery, send_invoice
from payments.models import Plan, Price
from tests.factories import InvoiceFactory

DEMO = BASE_DIR / "payments" / "demo_catalog.toml"
NOW = datetime(2026, 11, 1, tzinfo=UTC)

GOLD = """
[[plan]]
code = "gold_1m"
title = "Gold, 1 month"
description = "Signals and three devices."
entitlement = "gold"
duration_days = 30
features = { signals_enabled = true, max_devices = 3 }
[[plan.price]]
payment_method = "telegram_stars"
currency = "XTR"
amount = 500
[[plan.price]]
payment_method = "telegram_provider"
currency = "GBP"
amount = 2500
"""
SILVER = """
[[plan]]
code = "silver_3m"
title = "Silver"
description = "The digest."
entitlement = "silver"
duration_days = 90
when_active = "extend"
[[plan.price]]
payment_method = "telegram_stars"
currency = "XTR"
amount = 750
"""


def load(text: str) -> list[catalog.Change]:
    return catalog.put_into_force(read("shop.toml", text.encode()), now=NOW)


def faults(text: str | bytes) -> list[str]:
    with pytest.raises(CatalogRefused) as refused:
        read("shop.toml", text if isinstance(text, bytes) else text.encode())
    return list(refused.value.problems)


def on_sale() -> list[str]:
    return [plan.code for plan in Plan.objects.on_sale()]


@pytest.fixture
def shop(tmp_path) -> Path:
    path = tmp_path / "shop.toml"
    path.write_text(GOLD + SILVER)
    return path


def run(*args: object) -> str:
    out = StringIO()
    call_command("load_catalog", *args, stdout=out)
    return out.getvalue()


class TestACatalogue:
    def test_comes_into_force_as_it_is_written(self, db):
        load(GOLD + SILVER)

        gold, silver = Plan.objects.on_sale()
        assert (gold.code, gold.title, gold.description) == ("gold_1m", "Gold, 1 month", "Signals and three devices.")
        assert (gold.entitlement, gold.duration_days, gold.recurring, gold.when_active) == ("gold", 30, False, "reject")
        assert gold.features == {"signals_enabled": True, "max_devices": 3}
        assert silver.when_active == "extend"
        assert list(gold.prices.values_list("payment_method", "currency", "amount")) == [
            ("telegram_stars", "XTR", 500),
            ("telegram_provider", "GBP", 2500),
        ]

    def test_says_what_the_buyer_is_asked_for(self, db):
        load(GOLD)
        assert Plan.objects.get().needs == []

        (change,) = load(GOLD.replace("duration_days", "need_name = true\nneed_email = true\nduration_days"))

        assert change.words == ("need_name: no → yes", "need_email: no → yes")
        assert Plan.objects.get().needs == ["name", "email"]

    def test_put_into_force_again_changes_nothing(self, db):
        load(GOLD + SILVER)
        before = list(Price.objects.order_by("pk").values())

        assert load(GOLD + SILVER) == []

        assert list(Price.objects.order_by("pk").values()) == before

    def test_withdraws_what_it_no_longer_holds_and_puts_it_back_when_it_returns(self, db):
        load(GOLD + SILVER)

        (withdrawal,) = load(GOLD)
        assert (withdrawal.code, withdrawal.words) == ("silver_3m", ("withdrawn",))
        assert on_sale() == ["gold_1m"]
        assert Plan.objects.get(code="silver_3m").withdrawn_at == NOW
        assert load(GOLD) == []

        (comeback,) = load(GOLD + SILVER)
        assert comeback.words == ("on sale again",)
        assert on_sale() == ["gold_1m", "silver_3m"]

    def test_leaves_the_terms_of_invoices_that_were_sent(self, db):
        load(GOLD)
        invoice = InvoiceFactory(plan=Plan.objects.get())

        load(GOLD.replace("amount = 500", "amount = 600"))

        invoice.refresh_from_db()
        assert invoice.amount == 500
        assert Price.objects.get(currency="XTR").amount == 600

    def test_moves_a_plan_between_once_and_recurring_whatever_its_prices(self, db):
        once = GOLD[: GOLD.rindex("[[plan.price]]")].replace("amount = 500", "amount = 50000")
        recurring = once.replace("duration_days = 30", "recurring = true").replace("50000", "300")
        load(once)

        load(recurring)
        assert list(Plan.objects.values_list("recurring", "duration_days", "prices__amount")) == [(True, 30, 300)]

        load(once)
        assert list(Plan.objects.values_list("recurring", "duration_days", "prices__amount")) == [(False, 30, 50000)]

    def test_of_the_demo_offers_every_kind_of_plan(self, db):
        load(DEMO.read_text())

        gold = Plan.objects.get(code="gold_1m")
        ways = [("telegram_stars", 500), ("telegram_provider", 2500), ("stripe", 2500)]
        assert list(gold.prices.values_list("payment_method", "amount")) == ways
        assert "silver_3m" in on_sale()
        assert Plan.objects.filter(recurring=True).exists()
        assert Plan.objects.filter(when_active="extend").exists()
        assert Plan.objects.filter(duration_days=None).exists()


class TestLoadCatalog:
    def test_says_what_it_changed(self, db, shop):
        load(GOLD)
        shop.write_text(GOLD.replace("amount = 500", "amount = 600").replace("Signals", "News"))

        said = run(shop)

        assert said.splitlines() == [
            "gold_1m",
            "    description: Signals and three devices. → News and three devices.",
            "    prices: 500 ⭐ by telegram_stars, £25.00 by telegram_provider"
            " → 600 ⭐ by telegram_stars, £25.00 by telegram_provider",
        ]
        assert run(shop) == "Nothing to change.\n"

    def test_changes_nothing_in_a_dry_run_and_shows_what_it_would(self, db, shop):
        said = run(shop, "--dry-run")

        assert "gold_1m\n    new\n" in said
        assert "    features: {'signals_enabled': True, 'max_devices': 3}\n" in said
        assert said.endswith("This was a dry run: nothing has been changed.\n")
        assert not Plan.objects.exists()

    def test_refuses_a_file_with_faults_and_does_nothing_half(self, db, shop):
        shop.write_text(GOLD + SILVER.replace("750", "-750"))

        with pytest.raises(CommandError) as refused:
            run(shop)

        assert str(refused.value) == f"{shop}:28: amount must be a whole number from 1 to 100000."
        assert not Plan.objects.exists()

    def test_refuses_a_file_that_cannot_be_read(self, db, tmp_path):
        with pytest.raises(CommandError, match=r"nowhere\.toml cannot be read: No such file or directory\."):
            run(tmp_path / "nowhere.toml")
        with pytest.raises(CommandError, match=r"cannot be read: Is a directory\."):
            run(tmp_path)


class TestAFaultIsToldWithItsLine:
    @pytest.mark.parametrize(
        ("find", "put", "told"),
        [
            ('code = "gold_1m"', 'code = "Gold 1"', "3: code must be 1 to 50 of a-z, 0-9 and _."),
            ('code = "gold_1m"', "", "2: code must be 1 to 50 of a-z, 0-9 and _."),
            ('"Gold, 1 month"', '""', "4: title must be a text of 1 to 32 characters."),
            ('"Gold, 1 month"', f'"{"x" * 33}"', "4: title has 33 characters; 32 are allowed."),
            ('"Gold, 1 month"', '"Gold\\u0000"', "4: title holds characters that cannot be shown."),
            ('"Signals and three devices."', f'"{"x" * 256}"', "5: description has 256 characters; 255 are allowed."),
            ('entitlement = "gold"', "entitlement = 5", "6: entitlement must be 1 to 50 of a-z, 0-9 and _."),
            ("duration_days = 30", "duration_days = 0", "7: duration_days must be a whole number from 1 to 36500."),
            ("duration_days = 30", "duration_days = true", "7: duration_days must be a whole number from 1 to 36500."),
            ("duration_days = 30", "duration_days = 1.5", "7: duration_days must be a whole number from 1 to 36500."),
            ("duration_days = 30", 'recurring = "yes"', "7: recurring must be true or false."),
            ("duration_days = 30", "need_email = 1", "7: need_email must be true or false."),
            ("duration_days = 30", 'when_active = "never"', "7: when_active must be one of reject, extend."),
            ("duration_days = 30", "duration = 30", "7: Nobody knows what 'duration' means; there are code, title, "),
            ("features = {", "features = 3 # {", "8: features must be a table, like { max_devices = 3 }."),
            ("max_devices = 3", "from = 2026-01-01", "8: features may hold texts, numbers, true, false, "),
            ("max_devices = 3", "max_devices = inf", "8: features may hold texts, numbers, true, false, "),
            ('"telegram_stars"', '"cash"', "10: payment_method must be one of telegram_stars, telegram_provider, "),
            ('"XTR"', '"xtr"', "11: currency must be XTR or a currency of ISO 4217, like GBP."),
            ('"XTR"', '"ABC"', "11: currency must be XTR or a currency of ISO 4217, like GBP."),
            ('"XTR"', '"GBP"', "11: telegram_stars goes with XTR, and XTR with nothing else."),
            ("500", "100001", "12: amount must be a whole number from 1 to 100000."),
            ("500", '"500"', "12: amount must be a whole number from 1 to 100000."),
            ("2500", "99.9", "16: amount must be a whole number from 1 to 9223372036854775807."),
            ("2500", '2500\nstripe_price_id = "price_1"', "17: stripe_price_id goes with prices by stripe."),
        ],
    )
    def test_when_a_value_is_nonsense(self, find, put, told):
        (fault,) = faults(GOLD.replace(find, put, 1))

        assert fault.startswith(f"shop.toml:{told}")

    def test_when_the_same_is_there_twice(self):
        again = GOLD[GOLD.rindex("[[plan.price]]") :]

        assert faults(GOLD + again) == ["shop.toml:17: There is another price in GBP by telegram_provider."]
        assert faults(GOLD + GOLD) == ["shop.toml:19: There is another plan gold_1m."]

    def test_when_a_plan_has_no_price_or_the_file_no_plan(self):
        assert faults(GOLD[: GOLD.index("[[plan.price]]")]) == [
            "shop.toml:2: There must be at least one [[plan.price]] here."
        ]
        assert faults("") == ["shop.toml:1: There must be at least one [[plan]] here."]
        assert faults("plan = 5") == ["shop.toml:1: There must be at least one [[plan]] here."]

    def test_when_a_recurring_plan_asks_for_what_telegram_does_not_do(self):
        recurring = GOLD.replace("duration_days = 30", "recurring = true")

        assert faults(recurring.replace("500", "10001", 1)) == [
            "shop.toml:12: amount must be a whole number from 1 to 10000.",
            "shop.toml:14: A recurring plan cannot be paid by telegram_provider.",
        ]
        assert faults(SILVER.replace("when_active", "recurring = true\nwhen_active")) == [
            "shop.toml:7: A recurring plan is renewed every 30 days."
        ]

    def test_when_a_plan_needs_to_know_what_nobody_asks_for(self):
        assert faults(SILVER.replace("when_active", "need_name = true\nneed_email = true\nwhen_active")) == [
            "shop.toml:8: need_name goes with a price by telegram_provider: nobody else asks the buyer.",
            "shop.toml:9: need_email goes with a price by telegram_provider: nobody else asks the buyer.",
        ]

    def test_when_several_things_are_wrong_all_at_once(self):
        broken = GOLD.replace("gold_1m", "!").replace("500", "0", 1).replace("2500", "0") + "[plan.extra]\na = 1\n"

        assert [fault.split(":")[1] for fault in faults(broken)] == ["3", "12", "16", "17"]

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("\n[[plan]]\ncode = \n", "shop.toml:3: Invalid value."),
            ('[[plan]]\ncode = "a', "shop.toml:2: "),
            ("[[plan]]\ncode = 1\ncode = 2\n", "shop.toml:"),
            (b"[[plan]]\ncode = '\xff'\n", "shop.toml:2: This is not UTF-8 text."),
            ("x = " + "[" * 100_000, "shop.toml:1: "),
        ],
    )
    def test_when_it_is_not_toml(self, text, told):
        (fault,) = faults(text)

        assert fault.startswith(told)
        assert fault.endswith(".")


@pytest.mark.django_db(transaction=True)
def test_a_catalogue_that_changes_while_an_invoice_is_written_gives_no_terms_at_the_price_of_others(telegram, alice):
    load(GOLD)
    changes = iter([GOLD.replace("30", "60").replace("500", "900")])

    def change() -> None:
        try:
            for text in changes:
                load(text)
        finally:
            connection.close()

    def change_once_the_plan_was_read(execute, sql, *rest):
        answer = execute(sql, *rest)
        if "payments_plan" in sql:
            with ThreadPoolExecutor(1) as owner:
                owner.submit(change).result()
        return answer

    with connection.execute_wrapper(change_once_the_plan_was_read):
        invoice = send_invoice(customer=alice, plan_code="gold_1m", delivery=Delivery.LINK)

    assert (invoice.duration.days, invoice.amount) == (30, 500)
    assert Plan.objects.get().duration_days == 60
