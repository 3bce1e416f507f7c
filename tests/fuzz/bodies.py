"""Bodies that begin as good ones and are spoilt: in their values, in their form as JSON, or in their bytes."""

from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

MARK = "fuzz-mark-"  # begins every text of ours, so that an answer that repeats one is known
LARGEST = 1024 * 1024

TEXTS = (
    "", " ", "\0", "\ud800", "\u202e", "\x1b[2J", "\r\nX-Injected: 1", "'; DROP TABLE payments_plan; --", "%s%n",
    "<script>alert(1)</script>", "=HYPERLINK(1)", "../../../etc/passwd", "{{7*7}}", "é" * 300, "💳" * 200, "0", "-1",
    "1e400", "true", "null", "[]", "{}", "2026-02-30T25:61:61Z", "٣", "Ⅻ", "ſ", "İ", "\ufeff", "a\u0301" * 100,
)  # fmt: skip
NUMBERS = (
    0, -0.0, 1, -1, 0.1, 99.9, 1e308, 5e-324, 2**31, 2**52, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**40,
)  # fmt: skip
TOKENS = (
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e400",
    b"-0",
    b"01",
    b"9" * 5_000,
    b"0x10",
    b"+1",
    b"'a'",
    b"\xff",
    b"\\",
)
NAMES = ("", "method", "id", "__proto__", "update_id", "from", "ok", "\0", "x" * 5_000)
DEPTH = 100_000

Place = tuple[Any, Any]  # a list or an object, and the index or name of one of its values


def spoilt(good: dict[str, Any], dice: Random) -> bytes:
    """The bytes of a good body after one to five accidents; now and then without any."""
    document: Any = copy.deepcopy(good)
    for _ in range(dice.choice((0, 1, 1, 1, 2, 2, 3, 5))):
        document = _change(document, dice)
    body = json.dumps(document, ensure_ascii=dice.random() < 0.5).encode(errors="surrogatepass")
    if dice.random() < 0.25:
        body = dice.choice(IN_BYTES)(body, dice)
    return body


def text(dice: Random) -> str:
    """Something odd for an address or a header."""
    return dice.choice((_odd_text, lambda dice: str(dice.choice(NUMBERS)), _random_text))(dice)


def _odd_text(dice: Random) -> str:
    return f"{MARK}{dice.choice(TEXTS)}" if dice.random() < 0.7 else dice.choice(TEXTS)


def _random_text(dice: Random) -> str:
    return MARK + "".join(chr(dice.randrange(0x3000)) for _ in range(dice.choice((1, 10, 300, 5_000))))


def _value(dice: Random) -> Any:
    kind = dice.randrange(8)
    if kind < 3:
        return text(dice)
    if kind < 6:
        return dice.choice(NUMBERS)
    return dice.choice((None, True, False, [], {}, [None], {"": {}}, [[[]]] * 3, {MARK: MARK}))


# --- Values ---------------------------------------------------------------------------------------------------------


def _change(document: Any, dice: Random) -> Any:
    places = list(_places(document))
    if not places or dice.random() < 0.03:
        return _value(dice)
    inside, where = dice.choice(places)
    old = inside[where]
    match dice.randrange(9):
        case 0 | 1 | 2:
            inside[where] = _value(dice)
        case 3:
            del inside[where]
        case 4:
            inside[where] = dice.choice(([old], {"value": old}, str(old), [old] * 50))
        case 5 if isinstance(inside, dict):
            inside[dice.choice(NAMES)] = inside.pop(where)
        case 6:
            other, there = dice.choice(places)
            if there in other if isinstance(other, dict) else there < len(other):
                inside[where] = copy.deepcopy(other[there])
        case 7 if isinstance(old, str):
            cut = dice.randrange(len(old) + 1)
            inside[where] = old[:cut] + dice.choice(TEXTS) + old[cut:]
        case 7 | 8 if isinstance(old, int | float):
            inside[where] = dice.choice((old + 1, -old, old * 10**6, float(old), str(old)))
        case _:
            if isinstance(inside, dict):
                inside[dice.choice(NAMES)] = _value(dice)
            else:
                inside.extend([_value(dice)] * dice.choice((1, 2_000)))
    return document


def _places(value: Any) -> Iterator[Place]:
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for where, inner in entries:
        yield value, where
        yield from _places(inner)


# --- Bytes ----------------------------------------------------------------------------------------------------------


def _cut(body: bytes, dice: Random) -> bytes:
    return body[: dice.randrange(len(body) + 1)]


def _flip(body: bytes, dice: Random) -> bytes:
    flipped = bytearray(body or b"{")
    for _ in range(dice.choice((1, 3, 20))):
        flipped[dice.randrange(len(flipped))] = dice.randrange(256)
    return bytes(flipped)


def _put(body: bytes, dice: Random) -> bytes:
    at = dice.randrange(len(body) + 1)
    return body[:at] + dice.choice((dice.choice(TOKENS), dice.randbytes(8))) + body[at:]


def _replace_a_number(body: bytes, dice: Random) -> bytes:
    digits = [at for at, byte in enumerate(body) if 48 <= byte <= 57]
    if not digits:
        return body
    at = dice.choice(digits)
    return body[:at] + dice.choice(TOKENS) + body[at + 1 :]


def _say_twice(body: bytes, dice: Random) -> bytes:
    """The first name again, with another value."""
    name, colon, _ = body[1:].partition(b":")
    return b"{" + name + b": 1, " + body[1:] if colon else body + body


def _bury(body: bytes, dice: Random) -> bytes:
    bracket, end = dice.choice(((b"[", b"]"), (b'{"a":', b"}")))
    deep = bracket * DEPTH + body + end * DEPTH if dice.random() < 0.5 else bracket * DEPTH
    return deep[:LARGEST]


def _encode(body: bytes, dice: Random) -> bytes:
    as_text = body.decode(errors="replace")
    encoded = dice.choice(
        (
            as_text.encode("utf-16"),
            as_text.encode("utf-32"),
            b"\xef\xbb\xbf" + body,
            gzip.compress(body, mtime=0),
            body + b"\0",
        )
    )
    return bytes(encoded)


def _replace_all(body: bytes, dice: Random) -> bytes:
    return dice.choice((b"", b" ", b"hello", b"{", b"[]", b'"a"', b"0", b"null", dice.randbytes(200), b"\xff\xfe\0"))


def _blow_up(body: bytes, dice: Random) -> bytes:
    """To the largest size that is taken, or over it; seldom, for it takes time."""
    return body.ljust(LARGEST + dice.choice((-1, 0, 1, 4_000))) if dice.random() < 0.1 else body + b" " * 10_000


IN_BYTES: tuple[Callable[[bytes, Random], bytes], ...] = (
    _cut, _flip, _flip, _put, _put, _replace_a_number, _replace_a_number, _say_twice, _bury, _encode, _replace_all,
    _blow_up,
)  # fmt: skip
