"""The Markdown of this repository, read as a reader's browser would."""

import re
import subprocess
from functools import cache
from pathlib import Path

from config.env import BASE_DIR

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#{1,6} +(.+?)\s*$", re.MULTILINE)
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
ROW = re.compile(r"^\|(.+)\|$", re.MULTILINE)


@cache
def pages() -> tuple[str, ...]:
    """Every Markdown file of ours, by its path in the repository; new ones too."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(sorted(path for path in listed.stdout.splitlines() if (BASE_DIR / path).exists()))


@cache
def text(page: str) -> str:
    return (BASE_DIR / page).read_text()


def prose(page: str) -> str:
    """Without what is fenced."""
    return FENCED.sub("", text(page))


def fenced(page: str, language: str) -> list[str]:
    return [block for named, block in FENCED.findall(text(page)) if named == language]


def links(page: str) -> list[str]:
    return LINK.findall(prose(page))


def anchors(path: Path) -> set[str]:
    """What GitHub makes of the headings: in small letters, without signs, with hyphens for blanks."""
    headings = HEADING.findall(FENCED.sub("", path.read_text()))
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)|`", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def section(page: str, heading: str) -> str:
    """From a heading to the next of the same rank or above."""
    found = re.search(rf"^(#+) {re.escape(heading)}$\n(.*?)(?=^#{{1,6}} |\Z)", text(page), re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no {heading}"
    return found[2]


def table(markdown: str) -> list[list[str]]:
    """The cells of all rows, without those of heads."""
    rows = [[cell.strip() for cell in row.split("|")] for row in ROW.findall(markdown)]
    rules = [all(re.fullmatch(r":?-+:?", cell) for cell in row) for row in rows]
    heads = [*rules[1:], False]
    return [row for row, rule, head in zip(rows, rules, heads, strict=True) if not (rule or head)]


def words(markdown: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", markdown)
