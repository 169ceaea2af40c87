"""A webhook delivery: whose it is, and every single change in it, before anything of it is parsed (Meta: webhooks)."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from typing import Any

TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|\Z)|[{}\[\]]', re.DOTALL)
MAX_DEPTH = 64  # of objects and lists in a delivery; Meta's own go to about ten
OWN_LISTS = ("messages", "message_echoes", "statuses", "errors")


def signature_ok(secret: str, body: bytes, header: str | None) -> bool:
    """Whether X-Hub-Signature-256 belongs to these exact bytes."""
    expected = "sha256=" + hmac.digest(secret.encode(), body, hashlib.sha256).hex()
    return bool(secret) and hmac.compare_digest(expected.encode(), (header or "").encode("utf-8", "replace"))


def parse(raw: bytes) -> tuple[Any, bool]:
    """A delivery as JSON, and whether something too deep or too large to be read had to be left out of it.

    What one message holds must not keep its neighbours from being read: a value nested deeper than MAX_DEPTH becomes null, a
    number of thousands of digits a text. Raises ValueError when it is no JSON.
    """
    shallow, cut = _shallow(raw)
    try:
        text = shallow.decode()
    except UnicodeDecodeError:
        text, cut = shallow.decode("utf-8", "replace"), True
    return json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < 100 else digits), cut


def _shallow(raw: bytes) -> tuple[bytes, bool]:
    """JSON with everything below MAX_DEPTH replaced by null; told in one pass, whatever the nesting."""
    kept, depth, start, cut = [], 0, 0, False
    for token in TOKEN.finditer(raw):
        if token[0] in (b"{", b"["):
            depth += 1
            if depth == MAX_DEPTH + 1:
                kept += [raw[start : token.start()], b"null"]
                cut = True
        elif token[0] in (b"}", b"]"):
            depth -= 1
            if depth == MAX_DEPTH:
                start = token.end()
    if depth > MAX_DEPTH:
        raise ValueError("it ends too early")
    kept.append(raw[start:])
    return b"".join(kept), cut


def split(body: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every single change of a delivery, before anything of it is parsed: one bad message spoils no other."""
    for entry in objects(body.get("entry")):
        for change in objects(entry.get("changes")):
            value = change.get("value")
            if not isinstance(value, dict):
                yield _whole(change)
                continue
            rest = {name: part for name, part in value.items() if name not in OWN_LISTS}
            found = False
            for kind in OWN_LISTS:
                items = value.get(kind, [])
                for item in items if isinstance(items, list) else [items]:
                    found = True
                    yield _single(change.get("field"), kind, rest, item)
            if not found:
                yield _whole(change)


def _whole(change: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    single = {"field": change.get("field"), "kind": "other", "value": change.get("value")}
    return "other|" + hashlib.sha256(canonical(single)).hexdigest(), "", single


def _single(field: Any, kind: str, rest: dict[str, Any], item: Any) -> tuple[str, str, dict[str, Any]]:
    single = {"field": field, "kind": kind, "value": rest, "item": item}
    metadata = rest.get("metadata")
    number = str(metadata.get("phone_number_id", "")) if isinstance(metadata, dict) else ""
    if not isinstance(item, dict):
        return "odd|" + hashlib.sha256(canonical(single)).hexdigest(), number, single
    if kind in ("messages", "message_echoes") and isinstance(item.get("id"), str):
        # A delivery can hold a thousand messages: each keeps its own contact, not everybody's.
        names = {str(item.get(name)) for name in ("from", "from_user_id", "to", "to_user_id")}
        own = [c for c in objects(rest.get("contacts")) if names & {str(c.get("wa_id")), str(c.get("user_id"))}]
        single["value"] = rest | {"contacts": own}
        other = item.get("to") if kind == "message_echoes" else item.get("from") or item.get("from_user_id")
        return f"message|{number}|{item['id']}", f"{number}|{other}", single
    if kind == "statuses":
        parts = [str(item.get(name, "")) for name in ("id", "status", "recipient_participant_id", "recipient_id", "timestamp")]
        return "status|" + "|".join(parts), f"{number}|status", single
    return f"{kind}|" + hashlib.sha256(canonical(single)).hexdigest(), number, single


def canonical(value: Any) -> bytes:
    """The same JSON for the same value, however it was written."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def objects(value: Any) -> Iterator[dict[str, Any]]:
    yield from (part for part in value if isinstance(part, dict)) if isinstance(value, list) else ()
