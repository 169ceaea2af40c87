"""A webhook delivery: whose it is, and every single change in it, before anything of it is parsed (Meta: webhooks)."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from typing import Any

from bridge.network.cloud.parts import number_of

TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|\Z)|[{}\[\]]', re.DOTALL)
MAX_DEPTH = 64  # of objects and lists in a delivery; Meta's own go to about ten
OWN_LISTS = ("messages", "message_echoes", "statuses", "errors", "history", "state_sync", "groups")


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
            # Whose news it is, and when: the same may truly happen again another day.
            told = {"field": change.get("field"), "account": entry.get("id"), "time": entry.get("time")}
            if not isinstance(value, dict):
                yield _whole(told, value)
                continue
            rest = {name: part for name, part in value.items() if name not in OWN_LISTS}
            found = False
            for kind in OWN_LISTS:
                items = value.get(kind, [])
                for item in items if isinstance(items, list) else [items]:
                    found = True
                    yield from _chunk(told, rest, item) if kind == "history" else [_single(told, kind, rest, item)]
            if not found:
                yield _whole(told, value)


def _chunk(told: dict[str, Any], rest: dict[str, Any], chunk: Any) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every message of a piece of history, and how far it is; what has another form than we know is kept whole."""
    threads = chunk.get("threads", []) if isinstance(chunk, dict) else None
    errors = chunk.get("errors", []) if isinstance(chunk, dict) else None
    if not isinstance(threads, list) or not isinstance(errors, list) or not (threads or errors or "metadata" in chunk):
        yield _single(told, "history", rest, chunk)
        return
    about = {name: part for name, part in chunk.items() if name not in ("threads", "errors")}
    for thread in threads:
        messages = thread.get("messages") if isinstance(thread, dict) else None
        if not isinstance(messages, list):
            yield _single(told, "history", rest, {**about, "threads": [thread]})
            continue
        person = {name: part for name, part in thread.items() if name != "messages"}
        for message in messages:
            yield _single(told, "history", rest | {"history": about, "thread": person}, message)
    for error in errors:
        yield _single(told, "history_errors", rest, error)
    if about:
        yield _single(told, "history_progress", rest, about)


def _whole(told: dict[str, Any], value: Any) -> tuple[str, str, dict[str, Any]]:
    single = told | {"kind": "other", "value": value}
    return "other|" + _digest(single), "", single


def _single(told: dict[str, Any], kind: str, rest: dict[str, Any], item: Any) -> tuple[str, str, dict[str, Any]]:
    single = told | {"kind": kind, "value": rest, "item": item}
    number = number_of(single)
    if not isinstance(item, dict):
        return "odd|" + _digest(single), number, single
    if kind in ("messages", "message_echoes", "history") and isinstance(item.get("id"), str):
        return _message(single, number, item)
    if kind == "statuses":
        names = ("id", "status", "recipient_participant_id", "recipient_id", "recipient_user_id", "timestamp")
        parts = [str(item.get(name, "")) for name in names]
        # In order for whom they are about, and beside what others do.
        return "status|" + "|".join(parts), f"{number}|status|{item.get('recipient_id') or item.get('recipient_user_id')}", single
    conversation = f"{number}|{item.get('group_id')}" if kind == "groups" else number
    return f"{kind}|{_digest(single)}", conversation, single


def _message(single: dict[str, Any], number: str, item: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    rest = single["value"]
    # A delivery can hold a thousand messages: each keeps its own contact, not everybody's.
    names = {str(item.get(name)) for name in ("from", "from_user_id", "to", "to_user_id") if item.get(name)}
    own = [c for c in objects(rest.get("contacts")) if names & {str(c.get(name)) for name in ("wa_id", "user_id", "input")}]
    single["value"] = rest | {"contacts": own}
    if single["kind"] == "history" or single["field"] == "history":
        # What was said before is told in the order in which it comes, and holds up nothing that is said now. What fills a
        # placeholder has the placeholder's id.
        part = "history" if single["kind"] == "history" else "history-file"
        thread = rest.get("thread")
        whose = thread.get("id") if isinstance(thread, dict) else None
        whose = whose or item.get("to") or item.get("to_user_id") or item.get("from") or item.get("from_user_id")
        return f"{part}|{number}|{item['id']}", f"history|{number}|{whose}", single
    other = item.get("to") or item.get("to_user_id") if single["kind"] == "message_echoes" else None
    other = item.get("group_id") or other or item.get("from") or item.get("from_user_id")
    return f"message|{number}|{item['id']}", f"{number}|{other}", single


def _digest(value: Any) -> str:
    return hashlib.sha256(canonical(value)).hexdigest()


def canonical(value: Any) -> bytes:
    """The same JSON for the same value, however it was written."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def objects(value: Any) -> Iterator[dict[str, Any]]:
    yield from (part for part in value if isinstance(part, dict)) if isinstance(value, list) else ()
