"""What the bot says, in every language it speaks."""

import io
import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po
from django.conf import settings
from django.utils import translation

from config.api.ratelimit import RateLimited
from payments import invoicing
from payments.checkout import Reason
from payments.models import Plan
from payments.money import Money
from telegram_bot import texts

LANGUAGES = [code for code, _ in settings.LANGUAGES]
SOURCE = settings.BASE_DIR / "telegram_bot" / "texts.py"
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]")
CHRISTMAS = datetime(2026, 12, 25, 18, 30, tzinfo=UTC)


def catalogue(language):
    path = settings.LOCALE_PATHS[0] / language / "LC_MESSAGES" / "django.po"
    return read_po(io.BytesIO(path.read_bytes()))


def words_of(message):
    return message.id if isinstance(message.id, tuple) else (message.id,)


@pytest.fixture(params=LANGUAGES)
def language(request):
    with translation.override(request.param):
        yield request.param


class TestTheCatalogues:
    @pytest.mark.parametrize("language", LANGUAGES)
    def test_hold_exactly_the_words_of_the_source(self, language):
        keywords = {"_": None, "N_": None, "ngettext": (1, 2)}
        extracted = {words for _, words, *_ in extract_from_file("python", str(SOURCE), keywords=keywords)}
        written = {words if isinstance(words, tuple) else (words,) for words in extracted}

        assert written == {words_of(message) for message in catalogue(language) if message.id}

    def test_leave_nothing_untranslated_in_russian(self):
        assert [message.id for message in catalogue("ru") if message.id and not all(_strings(message))] == []

    def test_have_the_three_plurals_of_russian(self):
        assert {len(_strings(message)) for message in catalogue("ru") if isinstance(message.id, tuple)} == {3}

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_keep_what_is_filled_in(self, language):
        for message in catalogue(language):
            wanted = set(PLACEHOLDER.findall(words_of(message)[0]))
            assert all(set(PLACEHOLDER.findall(said)) == wanted for said in _strings(message) if said), message.id


def _strings(message):
    return message.string if isinstance(message.string, (tuple, list)) else (message.string,)


class TestTheLanguage:
    @pytest.mark.parametrize(
        ("language_code", "expected"),
        [("en", "en"), ("ru", "ru"), ("ru-RU", "ru"), ("RU", "ru"), ("en-GB", "en"), ("de", "en"), ("", "en")],
    )
    def test_is_the_nearest_we_speak(self, language_code, expected):
        assert texts.language_of(language_code) == expected

    @pytest.mark.parametrize("language_code", ["x" * 600, "../../etc", "ru\0", "\N{FIRE}"])
    def test_is_english_for_nonsense(self, language_code):
        assert texts.language_of(language_code) == "en"


class TestDatesAndAmounts:
    @pytest.mark.parametrize(
        ("language", "expected"), [("en", "25 December 2026, 18:30 UTC"), ("ru", "25 декабря 2026, 18:30 UTC")]
    )
    def test_a_moment_is_told_in_utc(self, language, expected):
        with texts.speaking(language):
            assert texts.moment(CHRISTMAS.astimezone(timezone(timedelta(hours=3)))) == expected

    @pytest.mark.parametrize(
        ("days", "expected"),
        [(1, "Доступ на 1 день."), (3, "Доступ на 3 дня."), (21, "Доступ на 21 день."), (30, "Доступ на 30 дней.")],
    )
    def test_days_are_counted_as_russian_does(self, days, expected):
        with texts.speaking("ru"):
            assert expected in texts.plan_card(Plan(title="Gold", description="All of it.", duration_days=days))

    def test_a_single_day_is_one_in_english(self):
        with texts.speaking("en"):
            assert "Access for 1 day." in texts.plan_card(Plan(title="Gold", description="All of it.", duration_days=1))

    def test_a_plan_for_life_says_so(self):
        with texts.speaking("en"):
            assert "Access for life." in texts.plan_card(Plan(title="Gold", description="All of it."))

    def test_a_recurring_plan_says_that_it_renews(self):
        with texts.speaking("en"):
            card = texts.plan_card(Plan(title="Gold", description="All of it.", duration_days=30, recurring=True))
        assert "Access for 30 days, renewed by itself until you cancel it." in card

    def test_money_is_written_as_the_reader_does(self):
        with texts.speaking("ru"):
            assert texts.pay(Money(2500, "GBP")) == "Заплатить 25,00\N{NO-BREAK SPACE}£"


class TestARefusedCheckout:
    @pytest.mark.parametrize("reason", list(Reason))
    def test_2_8_is_explained_within_what_telegram_shows(self, language, reason):
        words = texts.checkout_refused(reason.value)

        assert 20 < len(words) <= 200

    @pytest.mark.parametrize("reason", list(Reason))
    def test_says_what_to_do_next(self, language, reason):
        assert re.search(r"/(buy|status|support|plans)\b|again later|попробуйте позже", texts.checkout_refused(reason))

    def test_differs_for_each_reason(self, language):
        assert len({texts.checkout_refused(reason) for reason in Reason}) == len(Reason)


class TestARefusedInvoice:
    REFUSALS = (
        invoicing.PaymentsDisabled(),
        invoicing.CustomerBlocked(),
        invoicing.UnknownPlan(),
        invoicing.CurrencyNotOffered(),
        invoicing.AlreadyActive(None),
        invoicing.AlreadyActive(CHRISTMAS),
        invoicing.ChannelRefused("CURRENCY_TOTAL_AMOUNT_INVALID"),
        invoicing.ChannelUnavailable(7),
        RateLimited(42),
    )

    def test_is_known_to_us_whatever_the_reason(self):
        ours = {type(refusal) for refusal in self.REFUSALS} | {invoicing.ChatUnavailable}

        assert ours == {*invoicing.InvoicingError.__subclasses__(), RateLimited}

    @pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: type(refusal).__name__)
    def test_fits_the_window_above_the_chat(self, language, refusal):
        assert 20 < len(texts.invoice_refused(refusal)) <= 200

    def test_tells_until_when_it_is_active(self, language):
        assert texts.moment(CHRISTMAS) in texts.invoice_refused(invoicing.AlreadyActive(CHRISTMAS))

    @pytest.mark.parametrize("refusal", [invoicing.ChannelUnavailable(42), RateLimited(42)])
    def test_tells_when_to_try_again(self, language, refusal):
        assert re.search(r"\b42 (seconds|секунды)\.", texts.invoice_refused(refusal))

    def test_has_no_words_for_somebody_who_cannot_be_written_to(self):
        with pytest.raises(invoicing.ChatUnavailable):
            texts.invoice_refused(invoicing.ChatUnavailable())


class TestWhatTelegramShowsOfTheBot:
    def test_fits_its_limits(self, language):
        assert 0 < len(texts.description()) <= 512
        assert 0 < len(texts.short_description()) <= 120
        assert all(1 <= len(what) <= 256 for what in texts.commands().values())

    def test_names_every_command_but_the_first(self, language):
        from telegram_bot import handlers

        assert set(texts.commands()) == set(handlers.COMMANDS) - {"start"}


@pytest.mark.parametrize("name", ["terms", "support", "paysupport"])
class TestAPage:
    def test_exists_in_every_language(self, language, name):
        page = texts.page(name)

        assert 100 < len(page) <= 4096
        assert "&" not in page
        assert "{" not in page

    def test_is_not_the_same_in_two_languages(self, name):
        pages = set()
        for code in LANGUAGES:
            with texts.speaking(code):
                pages.add(texts.page(name))
        assert len(pages) == len(LANGUAGES)


def test_help_for_money_warns_that_telegrams_own_support_cannot_help():
    with texts.speaking("en"):
        assert "Telegram's own support cannot help" in texts.page("paysupport")
