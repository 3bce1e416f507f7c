"""What the pages say is so: their links lead somewhere, and what they name is there."""

import json
import re
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class
from django.urls import Resolver404, resolve

from config.api.problems import Code, not_found
from config.env import BASE_DIR
from entitlements.models import Scope
from payments.models import invoices, refunds, subscriptions
from tests.docs.pages import anchors, fenced, links, pages, prose, section, table, text, words

API, CONCEPTS, INDEX = "docs/api.md", "docs/concepts.md", "docs/README.md"
MAKE = re.compile(r"^make ([a-z]+)\b", re.MULTILINE)
MANAGE = re.compile(r"\bmanage\.py ([a-z_]+)([^`\n|]*)")
ADDRESS = re.compile(r"(?<![a-z])(/(?:api|webhook)/[\w/<>-]*)")  # and not a directory of ours
PREFIXES = {"/api/", "/api/v1/", "/webhook/"}
AN_ID = "01a1ff04-cbf8-71c5-a1f5-c653a9550ccb"

each_page = pytest.mark.parametrize("page", pages())


def code_of(page: str) -> str:
    """What is meant to be typed: fenced, or between backticks."""
    return "\n".join([*fenced(page, "sh"), *fenced(page, ""), *words(prose(page))])


@each_page
def test_every_link_leads_somewhere(page):
    astray = [link for link in links(page) if not link.startswith("https://") and not leads_somewhere(page, link)]

    assert astray == []


def leads_somewhere(page: str, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (BASE_DIR / page).parent / path if path else BASE_DIR / page
    return target.exists() and (not anchor or anchor in anchors(target))


def test_a_link_astray_is_found():
    assert leads_somewhere(API, "concepts.md#way-of-a-payment") is False
    assert leads_somewhere(API, "no-such-page.md") is False
    assert leads_somewhere(API, "concepts.md#the-way-of-a-payment") is True


@each_page
def test_every_make_target_exists(page):
    targets = set(re.findall(r"^([a-z]+):", (BASE_DIR / "Makefile").read_text(), re.MULTILINE))

    assert set(MAKE.findall(code_of(page))) - targets == set()


@each_page
def test_every_command_and_its_options_exist(page):
    known = get_commands()
    for command, rest in MANAGE.findall(code_of(page)):
        assert command in known, f"manage.py {command}"
        given = known[command]
        loaded = load_command_class(given, command) if isinstance(given, str) else given
        options = set(loaded.create_parser("manage.py", command)._option_string_actions)
        assert set(re.findall(r"--[a-z-]+", rest)) <= options, f"manage.py {command}{rest}"


@each_page
def test_every_address_is_served(page):
    addresses = set(ADDRESS.findall(text(page))) - PREFIXES

    assert {address for address in addresses if not is_served(address)} == set()


def is_served(address: str) -> bool:
    try:
        return resolve(re.sub(r"<\w+>", AN_ID, address)).func is not not_found
    except Resolver404:
        return False


@each_page
def test_every_example_can_be_read(page):
    for example in fenced(page, "json"):
        json.loads(example)
    for example in fenced(page, "python"):
        compile(example, page, "exec")


def test_the_index_names_every_page():
    listed = {Path(link.partition("#")[0]).name for link in links(INDEX)}

    assert {Path(page).name for page in pages() if page.startswith("docs/") and page != INDEX} - listed == set()


def test_the_guide_explains_every_error_and_scope():
    errors = {(row[0], word) for row in table(section(API, "Errors")) for word in words(row[1])}
    together = {(status, word) for statuses, word in errors for status in statuses.split(", ")}

    assert {word for _, word in errors} == {code.word for code in Code}
    assert {(str(code.status), code.word) for code in Code} <= together
    assert [word for row in table(section(API, "Keys")) for word in words(row[0])] == Scope.values


def test_every_guard_of_a_concept_is_in_the_code():
    sources = [
        file.read_text()
        for app in ("config", "entitlements", "payments", "telegram_bot")
        for file in (BASE_DIR / app).rglob("*.py")
        if "migrations" not in file.parts
    ]
    guards = {word for held in re.findall(r"Held\s+by\s(.+?)\.\n\n", text(CONCEPTS), re.DOTALL) for word in words(held)}
    names = {guard for guard in guards if re.fullmatch(r"[a-z_]+", guard) and not guard.startswith("starledger_")}

    assert len(names) > 20
    assert {name for name in names if not any(f'"{name}"' in source for source in sources)} == set()


@pytest.mark.parametrize(
    ("concept", "allowed"),
    [
        ("Invoice", invoices.TRANSITIONS),
        ("Refund", refunds.TRANSITIONS),
        ("Subscription", subscriptions.TRANSITIONS),
    ],
)
def test_the_states_of_a_concept_are_those_of_the_database(concept, allowed):
    told = [
        (before, after)
        for row in table(section(CONCEPTS, concept))
        for before in words(row[0])
        for after in words(row[1])
    ]

    assert sorted(told) == sorted(allowed)


def test_a_key_that_was_replaced_is_accepted_as_long_as_there_are_backups_of_its_time():
    kept = re.search(r"BACKUP_DAYS:-(\d+)", text("deploy/backup"))
    waited = re.search(r"After (\d+) days no session", text("docs/rotation.md"))

    assert int(waited[1]) > int(kept[1]) + 1  # a dump is dropped when that many days and one more are over
