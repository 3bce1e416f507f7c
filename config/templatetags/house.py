"""The look of facts, for templates of the admin."""

from __future__ import annotations

from django import template
from django.utils.html import format_html

from config import shown
from config.shown import Tone
from entitlements.periods import Access

register = template.Library()

register.simple_tag(shown.time, name="time")
register.simple_tag(shown.page_of, name="page_of")
register.simple_tag(shown.link, name="link")


@register.simple_tag
def badge(words: str, tone: str) -> str:
    return shown.badge(words, Tone(tone))


@register.simple_tag
def ends(access: Access) -> str:
    """Until when it lasts."""
    return "for life" if access.ends_at is None else format_html("until {}", shown.time(access.ends_at))
