"""Formatted text: ``parse_mode`` HTML into entities, and the entities Telegram finds by itself.

Offsets and lengths count UTF-16 code units, as everywhere in the Bot API. Of the parse modes only
HTML is understood; the others are refused rather than shown with their marks.
"""

import html
import re

from telegram_bot.sandbox.errors import BadRequest
from telegram_bot.sandbox.schema import Json

TAGS = {
    "b": "bold", "strong": "bold", "i": "italic", "em": "italic", "u": "underline", "ins": "underline",
    "s": "strikethrough", "strike": "strikethrough", "del": "strikethrough", "tg-spoiler": "spoiler",
    "code": "code", "pre": "pre", "blockquote": "blockquote", "a": "text_link",
}  # fmt: skip
TOKEN = re.compile(
    r"<(?P<end>/?)(?P<tag>[a-zA-Z-]+)(?P<attributes>[^<>]*)>"
    r"|(?P<reference>&(?:lt|gt|amp|quot|#[0-9]+|#[xX][0-9a-fA-F]+);)"
    r"|(?P<text>[^<&]+|&)"
)
HREF = re.compile(r"""\bhref\s*=\s*(?:"([^"]*)"|'([^']*)'|(\S+))""")
FOUND = re.compile(
    r"(?P<bot_command>(?<![\w/<>])/[A-Za-z0-9_]{1,64}(?:@\w{3,32})?(?![\w/<>]))"
    r"|(?P<url>https?://[^\s<>\"]+)"
    r"|(?P<mention>(?<!\w)@\w{4,32})"
)


def utf16(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def formatted(text: str, parse_mode: str | None, entities: list[Json] | None) -> tuple[str, list[Json]]:
    """The text a message shows, and its entities.

    :raises BadRequest: tags that do not match, or a parse mode the local Telegram does not know
    """
    if parse_mode:
        if parse_mode.lower() != "html":
            raise BadRequest(f"unsupported parse_mode: the local Telegram understands HTML, not {parse_mode}")
        text, entities = parse_html(text)
    return text, sorted([*(entities or []), *find_entities(text)], key=lambda entity: entity["offset"])


def find_entities(text: str) -> list[Json]:
    """Commands, addresses and names, as Telegram marks them in anybody's message."""
    return [
        {"type": found.lastgroup, "offset": utf16(text[: found.start()]), "length": utf16(found.group())}
        for found in FOUND.finditer(text)
    ]


def parse_html(source: str) -> tuple[str, list[Json]]:
    text = ""
    entities: list[Json] = []
    opened: list[tuple[str, Json]] = []
    position = 0
    while position < len(source):
        token = TOKEN.match(source, position)
        at = f"at byte offset {len(source[:position].encode(errors='replace'))}"
        if token is None:
            raise BadRequest(f"can't parse entities: Unclosed start tag {at}")
        position = token.end()
        tag = (token["tag"] or "").lower()
        if not tag:
            text += html.unescape(token["reference"]) if token["reference"] else token["text"]
        elif token["end"]:
            if not opened:
                raise BadRequest(f"can't parse entities: Unexpected end tag {at}")
            expected, entity = opened.pop()
            if expected != tag:
                words = f'Unmatched end tag {at}, expected "</{expected}>", found "</{tag}>"'
                raise BadRequest(f"can't parse entities: {words}")
            entity["length"] = utf16(text) - entity["offset"]
            if entity["length"]:
                entities.append(entity)
        elif tag in TAGS:
            opened.append((tag, {"type": TAGS[tag], "offset": utf16(text), "length": 0} | _link(token["attributes"])))
        else:
            raise BadRequest(f'can\'t parse entities: Unsupported start tag "{tag}" {at}')
    if opened:
        raise BadRequest(f"can't parse entities: Can't find end tag corresponding to start tag \"{opened[-1][0]}\"")
    return text, entities


def _link(attributes: str) -> Json:
    href = HREF.search(attributes)
    return {"url": html.unescape(next(filter(None, href.groups()), ""))} if href else {}
