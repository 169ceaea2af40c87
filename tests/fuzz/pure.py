"""The event path as far as it needs no database: from bytes to what people see."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import vodozemac
from canonicaljson import encode_canonical_json

from archiver.capture import page
from archiver.capture.media import sources
from archiver.capture.megolm import Megolm
from archiver.ledger.canonical import HostileJson, canonical, parse_object
from archiver.ledger.event import Rules, check, event_id, examine, signed_form, signers
from archiver.ledger.graph import previous
from archiver.ledger.record import Record, moment, payload_type, relation
from archiver.reading.message import Message, compose, is_message
from archiver.reading.words import BlindIndex

NOW = datetime(2026, 1, 1, tzinfo=UTC)
INDEX = BlindIndex(b"k" * 32)
MEGOLM = Megolm(1, "@archief:x", "", 10)
SESSION = vodozemac.GroupSession()
ROOM = "!zaal:x"
MEGOLM._sessions[ROOM, SESSION.session_id] = vodozemac.InboundGroupSession(SESSION.session_key), None


def take_page(raw: bytes) -> int:
    """Read bytes as a `/sync` answer, and every event on it; returns how many events there were."""
    try:
        answer = parse_object(raw)
        found = page.parse(answer)
    except HostileJson:
        return 0
    list(found.successors())
    events = [event for room in found.rooms for event in room.events]
    for room in found.rooms:
        room.state("m.room.member", "@archief:x")
        for event in room.events:
            take_event(event, "11")
    return len(events)


def written(write: Callable[[Any], bytes], event: dict[str, Any]) -> bytes | None:
    """An event in canonical JSON; None when it has no such form."""
    try:
        return write(event)
    except (ValueError, TypeError, RecursionError):
        return None


def take_event(event: dict[str, Any], version: str) -> Message | None:
    """All that is worked out about one event; its message if it is one."""
    rules = Rules(version)
    assert written(canonical, event) == written(encode_canonical_json, event)
    pdu = signed_form(event, rules)
    try:
        identity = event_id(pdu, rules)
        assert examine(event, rules, {}).event_id == identity
    except HostileJson:
        identity = "$zonder"
    checks = check(pdu, identity, rules, {})
    signers(event)
    previous(event)
    opened = MEGOLM.open(ROOM, event)
    payload_type(opened.payload)
    state_key, sender = event.get("state_key"), event.get("sender")
    kind = event.get("type")
    record = Record(
        room_id=ROOM, event_id=identity, type=kind if isinstance(kind, str) else "?",
        state_key=state_key if isinstance(state_key, str) else None, sender=sender if isinstance(sender, str) else "?",
        sent_at=moment(event.get("origin_server_ts")), captured_at=NOW, depth=0, rel_type=relation(event, rules)[0],
        relates_to=relation(event, rules)[1], id_matches=checks.id_matches, content_matches=checks.content_matches,
        signed_by=checks.signed_by, unsigned_by=checks.unsigned_by, session_id=None, payload_type=payload_type(opened.payload),
        unreadable=opened.unreadable if kind == "m.room.encrypted" else None, message_index=opened.index, doubts=opened.doubts,
        event=event, payload=opened.payload,
    )  # fmt: skip
    list(sources(record.content))
    if not is_message(record):
        return None
    message = compose(record, [record])
    INDEX.vector(message.texts())
    return message
