"""Every acceptance criterion of the payment core is the subject of a test that carries its number."""

import re
from pathlib import Path

import pytest

CRITERIA = {1: 10, 2: 10, 3: 10, 4: 8, 5: 7, 6: 8}
LATER = {"5.7"}  # needs the Mini App
IN_A_NAME = re.compile(r"def test_(\d)_(\d+)(?:_to_\d_(\d+))?_")
IN_A_DOCSTRING = re.compile(r"(?:def test_|class Test)[^\n]*\n\s+\"\"\"([^\n]*)")
NUMBER = re.compile(r"\b(\d)\.(\d+)(?:-\d\.(\d+))?")


def numbers_in_tests() -> set[str]:
    found: set[str] = set()
    for file in Path(__file__).parent.rglob("test_*.py"):
        text = file.read_text()
        numbers = IN_A_NAME.findall(text)
        for docstring in IN_A_DOCSTRING.findall(text):
            numbers += NUMBER.findall(docstring)
        for group, first, last in numbers:
            found.update(f"{group}.{each}" for each in range(int(first), int(last or first) + 1))
    return found


@pytest.mark.parametrize(
    "criterion",
    [
        number
        for group, count in CRITERIA.items()
        for each in range(1, count + 1)
        if (number := f"{group}.{each}") not in LATER
    ],
)
def test_has_a_test(criterion):
    assert criterion in numbers_in_tests()
