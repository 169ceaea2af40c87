"""JSON as it comes from outside: read with care, written as Matrix's canonical JSON (spec, appendix "Canonical JSON").

What these functions give is what Python's json reads and what canonicaljson writes, byte for byte. Nearly always orjson does the
work, ten times as fast. It agrees with them on text, whole numbers of 64 bits, booleans, null, objects and lists (`plain`). All
else it refuses (lone surrogates, deep nesting, what is no JSON) or makes a float of (longer numbers). So whatever it refuses, and
whatever holds anything but those kinds, is done by the slower two.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import NoneType
from typing import Any, TypeGuard

import orjson
from canonicaljson import encode_canonical_json

# An event of 64 kB can nest 30,000 deep; homeservers refuse what their own parser can't read (1,000), so this reads whatever a
# homeserver lets through, and refuses the rest with an error instead of a crash.
MAX_DEPTH = 6_000
sys.setrecursionlimit(max(sys.getrecursionlimit(), MAX_DEPTH + 2_000))

JsonObject = dict[str, Any]


class HostileJson(ValueError):  # noqa: N818 - it names what it is
    """Bytes that can't be read as JSON; the message says why, without content."""


SCALARS = frozenset({str, int, bool, NoneType})


def plain(value: Any) -> bool:
    """Whether a value holds nothing on which orjson differs from json and canonicaljson: no float, no type of our own."""
    kind = type(value)
    if kind is dict or kind is list:
        for part in value.values() if kind is dict else value:
            inner = type(part)  # most parts are scalars: not to call this for each is twice as fast
            if inner not in SCALARS and not ((inner is dict or inner is list) and plain(part)):
                return False
        return True
    return kind in SCALARS


def parse(raw: bytes | str) -> Any:
    """Parse JSON from outside; raises HostileJson for whatever can't be read."""
    try:
        value = orjson.loads(raw)
        if plain(value):
            return value
    except orjson.JSONDecodeError:
        pass  # it may still be what json reads
    return _parse(raw)


def _parse(raw: bytes | str) -> Any:
    try:
        return json.loads(raw)
    except RecursionError:
        raise HostileJson("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise HostileJson("it is not UTF-8") from None
    except ValueError as error:
        # json's own messages give positions, never content.
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "a number has too many digits"
        raise HostileJson(f"it is not JSON ({reason})") from None


def parse_object(raw: bytes | str) -> JsonObject:
    """Parse a JSON object from outside; raises HostileJson."""
    value = parse(raw)
    if not isinstance(value, dict):
        raise HostileJson("it is not a JSON object")
    return value


Encode = Callable[[Any], bytes]
"""Writes canonical JSON; raises HostileJson for what has no canonical form (lone surrogates, endless nesting, NaN)."""


def canonical(value: Any) -> bytes:
    """Canonical JSON; raises HostileJson for what has no canonical form (lone surrogates, endless nesting, NaN)."""
    return encoder(value)(value)


def encoder(whole: Any) -> Encode:
    """What writes `whole`, or anything made of its parts, in canonical JSON: the parts are looked at once."""
    try:
        return _quick if plain(whole) else _canonical
    except RecursionError:
        return _canonical


def _quick(value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        return _canonical(value)


def _canonical(value: Any) -> bytes:
    try:
        return encode_canonical_json(value)
    except RecursionError:
        raise HostileJson("it is nested too deeply") from None
    except (ValueError, TypeError):
        raise HostileJson("it has no canonical form") from None


def nearest(value: Any, encode: Encode = canonical) -> bytes:
    """Canonical JSON; what has no canonical form is written as near to it as JSON allows, so that nothing is lost."""
    try:
        return encode(value)
    except HostileJson:
        return json.dumps(value, sort_keys=True).encode()


def column(text: str, limit: int = 512) -> str:
    """Text from outside made fit for a Postgres text column and its index: no NUL, no lone surrogate, `limit` bytes at most."""
    if len(text) <= limit and text.isascii() and "\0" not in text:
        return text
    fit = text[:limit].replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace")
    return fit[:limit].decode("utf-8", "ignore")


def usable(value: Any, limit: int = 255) -> TypeGuard[str]:
    """Whether something from outside can be an id: text as a column takes it, of `limit` bytes (specification, "Size limits")."""
    return isinstance(value, str) and value == column(value, limit)
