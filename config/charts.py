"""Charts drawn by the server: SVG that needs no script, takes its colours from the stylesheet and fits any width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join

HEIGHT, STEP, WIDTH_OF_BAR = 1000, 100, 76  # the drawing's own units


@dataclass(frozen=True, slots=True)
class Column:
    """What goes up and what goes down from the line, in one unit; the words for it, and where its rows are."""

    up: int
    down: int
    words: str
    address: str


def columns(title: str, of: Sequence[Column]) -> str:
    """A bar for each, side by side, all to one scale."""
    highest, deepest = max((each.up for each in of), default=0), max((each.down for each in of), default=0)
    whole = highest + deepest or 1
    line = HEIGHT * highest // whole
    bars = format_html_join(
        "",
        '<a href="{}"><title>{}</title><rect class="whole" x="{}" y="0" width="{}" height="{}"/>'
        '<rect class="up" x="{}" y="{}" width="{}" height="{}"/>'
        '<rect class="down" x="{}" y="{}" width="{}" height="{}"/></a>',
        (
            (
                each.address, each.words, STEP * place, STEP, HEIGHT,
                STEP * place + 12, line - (up := _scaled(each.up, whole)), WIDTH_OF_BAR, up,
                STEP * place + 12, line, WIDTH_OF_BAR, _scaled(each.down, whole),
            )
            for place, each in enumerate(of)
        ),
    )  # fmt: skip
    return format_html(
        '<svg class="columns" role="img" aria-label="{}" viewBox="0 0 {} {}" preserveAspectRatio="none">'
        '<title>{}</title>{}<rect class="line" x="0" y="{}" width="{}" height="4"/></svg>',
        title, STEP * len(of), HEIGHT, title, bars, min(line, HEIGHT - 4), STEP * len(of),
    )  # fmt: skip


def share(part: int, whole: int, words: str) -> str:
    """A bar as long as the part is of the whole."""
    length = HEIGHT * part // whole if whole else 0
    return format_html(
        '<svg class="share" role="img" aria-label="{}" viewBox="0 0 {} 10" preserveAspectRatio="none">'
        '<title>{}</title><rect class="up" width="{}" height="10"/></svg>',
        words, HEIGHT, words, length,
    )  # fmt: skip


def _scaled(value: int, whole: int) -> int:
    """Never so small that it cannot be seen."""
    return max(HEIGHT * value // whole, 8) if value else 0
