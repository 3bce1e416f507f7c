"""The security model names every attack, and proves each by a test that is there."""

import ast
import re
from functools import cache

import pytest

from config.env import BASE_DIR
from tests.docs.pages import section, table, text

PAGE = "docs/security.md"
TEST = re.compile(r"`(tests/[\w/]+\.py(?:::\w+)+)`")
NAMED = sorted(set(TEST.findall(text(PAGE))))
TAMPERING = ("4.1", "4.2", "4.3", "4.4", "4.5", "4.6", "4.7", "4.8")
INPUTS = (
    "no secret",
    "another method",
    "a gzip body",
    "a body above 1 MiB",
    "no JSON",
    "an unknown type of update",
    "invalid UTF-8",
    "NUL or a lone surrogate",
    "an amount that is a text",
    "5,000 digits",
    "a key twice",
    "names with markup",
    "a charge id that is empty",
    "a currency in small letters",
    "a checkout that differs",
    "a payment that differs",
    "a payment for an expired invoice",
    "the same payment",
    "a known charge by another",
    "a refund of an unknown charge",
    '`"method": "refundStarPayment"`',
)


@pytest.mark.parametrize("test", NAMED)
def test_names_a_test_that_exists(test):
    file, *names = test.split("::")
    body = parsed(file).body
    for name in names:
        found = [node for node in body if getattr(node, "name", "") == name]
        assert found, f"{file} has no {name}"
        body = found[0].body
    assert names[-1].startswith(("test_", "Test"))


@cache
def parsed(file: str) -> ast.Module:
    return ast.parse((BASE_DIR / file).read_text())


@pytest.mark.parametrize(
    ("heading", "rows"), [("Tampering with payments", TAMPERING), ("Hostile inputs", INPUTS)], ids=str
)
def test_names_every_attack_in_its_order(heading, rows):
    told = [row[0] for row in table(section(PAGE, heading))]

    assert [name for name, cell in zip(rows, told, strict=False) if not cell.startswith(name)] == []
    assert len(told) >= len(rows)


@pytest.mark.parametrize("heading", ["Tampering with payments", "Hostile inputs", "Credentials", "Overload"])
def test_proves_every_attack_by_a_test(heading):
    assert [row[0] for row in table(section(PAGE, heading)) if not TEST.search(row[-1])] == []
