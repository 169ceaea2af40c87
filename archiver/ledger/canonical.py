"""JSON as it comes from outside: read with care, written as Matrix's canonical JSON (spec, appendix "Canonical JSON")."""

from __future__ import annotations

import json
import sys
from typing import Any, TypeGuard

from canonicaljson import encode_canonical_json

# An event of 64 kB can nest 30,000 deep; homeservers refuse what their own parser can't read (1,000), so this reads whatever a
# homeserver lets through, and refuses the rest with an error instead of a crash.
MAX_DEPTH = 6_000
sys.setrecursionlimit(max(sys.getrecursionlimit(), MAX_DEPTH + 2_000))

JsonObject = dict[str, Any]


class HostileJson(ValueError):  # noqa: N818 - it names what it is
    """Bytes that can't be read as JSON; the message says why, without content."""


def parse(raw: bytes | str) -> Any:
    """Parse JSON from outside; raises HostileJson for whatever can't be read."""
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


def canonical(value: Any) -> bytes:
    """Canonical JSON; raises HostileJson for what has no canonical form (lone surrogates, endless nesting, NaN)."""
    try:
        return encode_canonical_json(value)
    except RecursionError:
        raise HostileJson("it is nested too deeply") from None
    except (ValueError, TypeError):
        raise HostileJson("it has no canonical form") from None


def nearest(value: Any) -> bytes:
    """Canonical JSON; what has no canonical form is written as near to it as JSON allows, so that nothing is lost."""
    try:
        return canonical(value)
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
