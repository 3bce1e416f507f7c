"""What Telegram's payment providers take, by Telegram's own table."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from threading import Thread

import pytest
from django.core.management import CommandError, call_command

from config.database import database_now
from payments import currencies
from payments.catalog_file import CatalogRefused, read
from payments.currencies import BadTable, Range, Table
from payments.doctor import providers_limits
from payments.invoicing import CurrencyNotOffered, offered_prices, send_invoice
from payments.models import Invoice, TelegramCurrency
from payments.money import Money, exponent
from telegram_bot.sandbox.rules import CURRENCIES
from tests.factories import PlanFactory

POUNDS = {"code": "GBP", "title": "British Pound", "exp": 2, "min_amount": "75", "max_amount": "750000"}
DINARS = {"exp": 3, "min_amount": "300", "max_amount": 3000000}


def table_of(**rows) -> bytes:
    return json.dumps(rows).encode()


def refresh(source: object) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("refresh_currencies", str(source), stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


class TestTheTable:
    def test_of_the_release_counts_every_currency_as_we_do(self):
        rows = json.loads(currencies.RELEASED.read_text())["currencies"]

        assert len(rows) == 93
        assert {code: row["exp"] for code, row in rows.items()} == {code: exponent(code) for code in rows}
        assert set(rows) == CURRENCIES

    @pytest.mark.parametrize(
        ("money", "told"),
        [
            (Money(72, "GBP"), ""),
            (Money(723134, "GBP"), ""),
            (Money(71, "GBP"), "amount must be from 72 to 723134, £0.72 to £7,231.34, for Telegram's providers"),
            (Money(723135, "GBP"), "amount must be from 72 to 723134"),
            (Money(108, "JPY"), "amount must be from 109 to 1093219, ¥109 to ¥1,093,219,"),
            (Money(1, "BYN"), ""),
            (Money(500, "KWD"), "Telegram's providers do not take KWD (its table of September 2021; `manage.py "),
        ],
    )
    def test_says_what_is_taken(self, money, told):
        refusal = currencies.released().refusal(money)

        assert refusal.startswith(told)
        assert bool(refusal) == bool(told)

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (b"<html>", "This is not JSON."),
            (b"[]", "This is not an object of currencies."),
            (b"{}", "This is not an object of currencies."),
            (table_of(gbp=POUNDS), "'gbp' is no currency with its limits."),
            (table_of(GBP=3), "'GBP' is no currency with its limits."),
            (table_of(GBP=POUNDS | {"exp": 3}), "Telegram counts GBP with 3 digits after the point, we with 2."),
            (table_of(GBP=POUNDS | {"min_amount": "a"}), "The limits of GBP are no whole numbers."),
            (table_of(GBP=POUNDS | {"min_amount": None}), "The limits of GBP are no whole numbers."),
            (table_of(GBP=POUNDS | {"max_amount": 1}), "The limits of GBP make no range: 75 to 1."),
        ],
    )
    def test_is_refused_with_what_is_wrong(self, content, told):
        with pytest.raises(BadTable, match=r"^.") as refused:
            currencies.read(content)

        assert refused.value.problems == (told,)

    def test_leaves_out_stars_which_no_provider_takes(self):
        assert currencies.read(table_of(XTR={"exp": 0}, GBP=POUNDS)) == {"GBP": Range(75, 750_000)}


class TestACatalogue:
    PRICE = """
[[plan]]
code = "gold_1m"
title = "Gold"
description = "Signals."
entitlement = "gold"
[[plan.price]]
payment_method = "telegram_provider"
currency = "GBP"
amount = 2500
"""

    def problems(self, find: str, put: str) -> list[str]:
        table = Table("2026-11-21", {"GBP": Range(75, 750_000)})
        with pytest.raises(CatalogRefused) as refused:
            read("shop.toml", self.PRICE.replace(find, put).encode(), table=table)
        return list(refused.value.problems)

    def test_is_refused_where_a_price_is_beyond_what_is_taken(self):
        (problem,) = self.problems("2500", "74")

        assert problem == (
            "shop.toml:10: amount must be from 75 to 750000, £0.75 to £7,500.00, for Telegram's providers"
            " (its table of 2026-11-21; `manage.py refresh_currencies` reads it anew)."
        )

    def test_is_refused_where_the_currency_is_not_taken(self):
        (problem,) = self.problems("GBP", "KWD")

        assert problem.startswith("shop.toml:9: Telegram's providers do not take KWD ")

    def test_is_held_to_what_the_provider_of_telegram_takes_and_no_other(self):
        text = self.PRICE.replace("telegram_provider", "stripe").replace("2500", "10")

        assert read("shop.toml", text.encode())[0].prices[0].amount == 10

    def test_is_loaded_by_the_table_that_was_read_last(self, db, tmp_path):
        (tmp_path / "table.json").write_bytes(table_of(GBP=POUNDS | {"min_amount": "3000"}))
        (tmp_path / "shop.toml").write_text(self.PRICE)
        call_command("load_catalog", tmp_path / "shop.toml", "--dry-run", stdout=StringIO())
        refresh(tmp_path / "table.json")

        with pytest.raises(CommandError, match=r"shop\.toml:10: amount must be from 3000 to 750000"):
            call_command("load_catalog", tmp_path / "shop.toml", "--dry-run", stdout=StringIO())


class TestRefreshing:
    def test_puts_another_table_into_force(self, db, tmp_path):
        (tmp_path / "first.json").write_bytes(table_of(GBP=POUNDS, JOD=DINARS))
        (tmp_path / "then.json").write_bytes(table_of(GBP=POUNDS | {"min_amount": "80"}))

        assert refresh(tmp_path / "first.json") == ("2 currencies.\n", "")
        assert currencies.in_force().ranges == {"GBP": Range(75, 750_000), "JOD": Range(300, 3_000_000)}

        assert refresh(tmp_path / "then.json") == ("1 currencies.\n", "")
        assert currencies.in_force() == Table(f"{database_now():%Y-%m-%d}", {"GBP": Range(80, 750_000)})

    def test_leaves_the_table_as_it_is_where_the_new_one_is_none(self, db, tmp_path):
        (tmp_path / "table.json").write_bytes(table_of(GBP=POUNDS, USD=POUNDS | {"exp": 0}, EUR=3))

        with pytest.raises(CommandError) as refused:
            refresh(tmp_path / "table.json")

        assert [line.rpartition(".json: ")[2] for line in str(refused.value).splitlines()] == [
            "Telegram counts USD with 0 digits after the point, we with 2.",
            "'EUR' is no currency with its limits.",
        ]
        assert not TelegramCurrency.objects.exists()

    def test_names_what_is_not_sold_any_more(self, db, tmp_path):
        PlanFactory()
        (tmp_path / "table.json").write_bytes(table_of(GBP=POUNDS | {"min_amount": "3000"}))

        said = refresh(tmp_path / "table.json")[1]

        assert said.startswith("gold_1m: £25.00 is not sold any more: amount must be from 3000 to 750000")

    def test_reads_it_from_where_telegram_has_it(self, db):
        class Publishing(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if self.path == "/currencies.json" else 404)
                self.end_headers()
                self.wfile.write(table_of(GBP=POUNDS))

            def log_message(self, *args: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Publishing)
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        try:
            assert refresh(f"{address}/currencies.json")[0] == "1 currencies.\n"
            with pytest.raises(CommandError, match="cannot be read"):
                refresh(f"{address}/elsewhere.json")
        finally:
            server.shutdown()
            server.server_close()

    def test_needs_a_file_that_can_be_read(self, db, tmp_path):
        with pytest.raises(CommandError, match="cannot be read: No such file"):
            refresh(tmp_path / "nowhere.json")


class TestAPriceBeyondWhatIsTakenNow:
    @pytest.fixture(autouse=True)
    def rates_have_moved(self, db, settings):
        settings.TELEGRAM_PAYMENT_PROVIDER_TOKEN = "1:TEST:token"
        currencies.put_into_force({"GBP": Range(3000, 750_000)}, now=database_now())

    def test_is_not_offered(self, gold):
        assert [price.currency for price in offered_prices(gold)] == ["XTR"]

    def test_makes_no_invoice_that_telegram_would_refuse(self, alice, gold):
        with pytest.raises(CurrencyNotOffered):
            send_invoice(customer=alice, plan_code=gold.code, currency="GBP")

        assert not Invoice.objects.exists()

    def test_is_told_by_the_doctor(self, gold):
        (finding,) = providers_limits()

        assert "gold_1m: £25.00" in finding.seen
        currencies.put_into_force({"GBP": Range(1, 750_000)}, now=database_now())
        assert "every price is within" in next(providers_limits()).seen
