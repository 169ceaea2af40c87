"""The ledger: captured events, appended once and never altered (promise 3)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from archiver.db import Connection
from archiver.ledger import graph
from archiver.ledger.canonical import HostileJson, JsonObject, column, parse_object
from archiver.ledger.event import Checks, Rules, Written, write
from archiver.ledger.sealing import Vault, bound, month_of

SALT = 32

OTHER_SENDER = "other-sender"
"""The doubt that an event's key is another account's than the one that sent it."""

Place = tuple[str, str, int]
"""(room id, session id, message index)."""
MAX_TIME = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Arrival:
    """An event on its way into the ledger."""

    room_id: str
    event_id: str
    event: JsonObject  # as it came, `unsigned` included
    rules: Rules
    checks: Checks
    payload: bytes | None = None  # the decrypted payload, byte for byte, of an encrypted event
    unreadable: str | None = None  # why there is no payload
    message_index: int | None = None  # its place in its Megolm session
    doubts: tuple[str, ...] = ()  # what speaks against believing it: other-sender, other-room
    written: Written | None = None  # the event as bytes, where the checks have made them already
    said: JsonObject | None = None  # the payload as JSON, where it has been read already

    @property
    def session_id(self) -> str | None:
        """The Megolm session that an encrypted event names."""
        content = self.event.get("content")
        session = content.get("session_id") if isinstance(content, dict) and self.type == "m.room.encrypted" else None
        return session if isinstance(session, str) else None

    @property
    def deletes(self) -> tuple[str, str] | None:
        """(room id, event id) of what it deletes, if it deletes something."""
        kind, target = relation(self.event, self.rules)
        return (self.room_id, target) if kind == "m.redaction" and target else None

    @property
    def type(self) -> str:
        kind = self.event.get("type")
        return kind if isinstance(kind, str) else "?"


def moment(milliseconds: Any) -> datetime:
    """A Matrix timestamp as a time; nonsense becomes the nearest time that can be stored."""
    if not isinstance(milliseconds, int | float) or milliseconds < 0:
        return datetime(1970, 1, 1, tzinfo=UTC)
    try:
        return min(datetime.fromtimestamp(milliseconds / 1000, UTC), MAX_TIME)
    except (ValueError, OverflowError, OSError):
        return MAX_TIME


def relation(event: JsonObject, rules: Rules) -> tuple[str | None, str | None]:
    """(relation type, related event id) of an event; a redaction is the relation `m.redaction`.

    What a redaction deletes stands in the one place that its room's version names (room version 11, "Redactions"): whatever its
    sender wrote in the other was never authorised.
    """
    content = event.get("content")
    content = content if isinstance(content, dict) else {}
    if event.get("type") == "m.room.redaction":
        target = (content if rules.redacts_in_content else event).get("redacts")
        return "m.redaction", column(target) if isinstance(target, str) else None
    related = content.get("m.relates_to")
    if not isinstance(related, dict):
        return None, None
    kind, target = related.get("rel_type"), related.get("event_id")
    if isinstance(kind, str) and isinstance(target, str):
        return column(kind), column(target)
    return None, None


def payload_type(payload: bytes | None, said: JsonObject | None = None) -> str | None:
    """The event type of a decrypted payload; `?` when it can't be read as an event. `said` is the payload, if read already."""
    if payload is None:
        return None
    try:
        kind = (parse_object(payload) if said is None else said).get("type")
    except HostileJson:
        return "?"
    return column(kind) if isinstance(kind, str) else "?"


# What is new is unread too.
APPEND = """
    WITH added AS (
        INSERT INTO record (org, room_id, event_id, type, state_key, sender, sent_at, depth, rel_type, relates_to,
                            id_matches, content_matches, signed_by, unsigned_by, session_id, sealed_event, commitment,
                            sealed_payload, payload_type, opened_at, unreadable, message_index, doubts)
        SELECT $1, room_id, event_id, type, state_key, sender, sent_at, depth, rel_type, relates_to,
               id_matches, content_matches, signed_by, unsigned_by, session_id, sealed_event, commitment,
               sealed_payload, payload_type, CASE WHEN sealed_payload IS NOT NULL THEN now() END, unreadable, message_index,
               doubts
        FROM unnest($2::arriving[])
        ON CONFLICT (org, room_id, event_id) DO NOTHING      -- replaying a batch changes nothing (promise 2)
        RETURNING room_id, event_id
    ), unread AS (
        INSERT INTO unread (org, room_id, event_id) SELECT $1, room_id, event_id FROM added ON CONFLICT DO NOTHING
    )
    SELECT room_id, event_id FROM added
"""
MARK_UNREAD = """
    INSERT INTO unread (org, room_id, event_id)
    SELECT $1, u.* FROM unnest($2::text[], $3::text[]) AS u ON CONFLICT DO NOTHING
"""
# The earlier event at the same place of the same session; a second one is a replay. Whose key it is not can't be who was first:
# history comes newest page first, so the copy may be here before what it copies.
TAKEN = f"""
    SELECT p.*, min(r.event_id) AS event_id
    FROM unnest($2::text[], $3::text[], $4::bigint[]) AS p (room_id, session_id, message_index),
         LATERAL (SELECT event_id FROM record WHERE org = $1 AND record.room_id = p.room_id
                  AND record.session_id = p.session_id AND record.message_index = p.message_index
                  AND '{OTHER_SENDER}' <> ALL (record.doubts) OFFSET 0) AS r
    GROUP BY 1, 2, 3
"""  # noqa: S608 - a constant only
# Set once: a record that has a payload keeps it, whatever comes later.
SET_PAYLOADS = """
    UPDATE record SET sealed_payload = p.sealed, payload_type = p.kind, opened_at = now(), unreadable = NULL,
                      message_index = p.index, doubts = string_to_array(p.doubts, ' ')
    FROM unnest($2::text[], $3::text[], $4::bytea[], $5::text[], $6::bigint[], $7::text[])
        AS p (room_id, event_id, sealed, kind, index, doubts)
    WHERE org = $1 AND record.room_id = p.room_id AND record.event_id = p.event_id AND sealed_payload IS NULL
"""


async def append(tx: Connection, vault: Vault, arrivals: Sequence[Arrival]) -> set[tuple[str, str]]:
    """Add events to the ledger; return the (room id, event id) pairs that were new. Runs in the caller's transaction."""
    if not arrivals:
        return set()
    arrivals = list({(a.room_id, a.event_id): a for a in reversed(arrivals)}.values())[::-1]
    times = [moment(a.event.get("origin_server_ts")) for a in arrivals]
    months = [(arrival.room_id, month_of(sent_at)) for arrival, sent_at in zip(arrivals, times, strict=True)]
    keys = await vault.keys_for(tx, set(months))
    rows = []
    for arrival, sent_at, month in zip(arrivals, times, months, strict=True):
        event, key = arrival.event, keys[month]
        state_key, sender, depth = event.get("state_key"), event.get("sender"), event.get("depth")
        salt, written = secrets.token_bytes(SALT), arrival.written or write(event, arrival.rules)
        sealed_payload = None
        if arrival.payload is not None:
            sealed_payload = key.seal(arrival.payload, _context(vault, arrival.room_id, arrival.event_id, "payload"))
        rows.append(
            (
                arrival.room_id, arrival.event_id, column(arrival.type),
                column(state_key) if isinstance(state_key, str) else None,
                column(sender) if isinstance(sender, str) else "?", sent_at,
                min(max(depth, 0), 2**63 - 1) if isinstance(depth, int) else 0, *relation(event, arrival.rules),
                arrival.checks.id_matches, arrival.checks.content_matches,
                list(map(column, arrival.checks.signed_by)), list(map(column, arrival.checks.unsigned_by)),
                column(arrival.session_id) if arrival.session_id else None,
                key.seal(salt + written.whole, _context(vault, arrival.room_id, arrival.event_id, "event")),
                hmac.digest(salt, written.signed, hashlib.sha256),
                sealed_payload, payload_type(arrival.payload, arrival.said), arrival.unreadable,
                arrival.message_index, arrival.doubts,
            )
        )  # fmt: skip
    new = set(map(tuple, await tx.fetch(APPEND, vault.org, rows)))
    await graph.link(tx, vault.org, [(a.room_id, a.event_id, a.event) for a in arrivals if (a.room_id, a.event_id) in new])
    return new


async def taken(tx: Connection, org: int, places: Iterable[Place]) -> dict[Place, str]:
    """Which of these places in Megolm sessions are a stored event's already, and whose."""
    wanted = list(places)
    if not wanted:
        return {}
    found = await tx.fetch(TAKEN, org, *zip(*wanted, strict=True))
    return {(row["room_id"], row["session_id"], row["message_index"]): row["event_id"] for row in found}


def repeats(first: dict[Place, str], place: Place, event_id: str, doubts: Iterable[str]) -> bool:
    """Whether another event has this place; who finds it free takes it in `first`, unless the key is another account's."""
    holder = first.get(place, event_id) if OTHER_SENDER in doubts else first.setdefault(place, event_id)
    return holder != event_id


async def mark_unread(tx: Connection, org: int, records: set[tuple[str, str]]) -> None:
    """Have the reading view of these records made again."""
    if records:
        await tx.execute(MARK_UNREAD, org, *zip(*records, strict=True))


@dataclass(frozen=True, slots=True)
class Reading:
    """What an encrypted event turned out to say, once its key had come."""

    record: Record
    payload: bytes
    message_index: int | None
    doubts: tuple[str, ...] = ()


async def set_payloads(tx: Connection, vault: Vault, readings: Sequence[Reading]) -> None:
    """Add what encrypted events say."""
    if not readings:
        return
    months = [(reading.record.room_id, month_of(reading.record.sent_at)) for reading in readings]
    keys = await vault.keys_for(tx, set(months))
    rows = []
    for reading, month in zip(readings, months, strict=True):
        place = reading.record.room_id, reading.record.event_id
        sealed = keys[month].seal(reading.payload, _context(vault, *place, "payload"))
        rows.append((*place, sealed, payload_type(reading.payload), reading.message_index, " ".join(reading.doubts)))
    await tx.execute(SET_PAYLOADS, vault.org, *zip(*rows, strict=True))
    await mark_unread(tx, vault.org, {(reading.record.room_id, reading.record.event_id) for reading in readings})


COLUMNS = """org, room_id, event_id, type, state_key, sender, sent_at, captured_at, depth, rel_type, relates_to, id_matches,
    content_matches, signed_by, unsigned_by, session_id, sealed_event, sealed_payload, payload_type, unreadable,
    message_index, doubts"""


@dataclass(frozen=True)
class Record:
    """A captured event, opened."""

    room_id: str
    event_id: str
    type: str
    state_key: str | None
    sender: str
    sent_at: datetime
    captured_at: datetime
    depth: int
    rel_type: str | None
    relates_to: str | None
    id_matches: bool
    content_matches: bool
    signed_by: tuple[str, ...]
    unsigned_by: tuple[str, ...]
    session_id: str | None
    payload_type: str | None
    unreadable: str | None
    message_index: int | None
    doubts: tuple[str, ...]
    event: JsonObject
    payload: bytes | None

    @cached_property
    def said(self) -> JsonObject:
        """What the event says: its decrypted payload, or the event itself if it was never encrypted."""
        if self.type != "m.room.encrypted":
            return self.event
        try:
            return parse_object(self.payload) if self.payload is not None else {}
        except HostileJson:
            return {}

    @property
    def said_type(self) -> str:
        """The type of what it says; m.room.encrypted as long as it can't be read."""
        return self.payload_type or self.type

    @property
    def content(self) -> JsonObject:
        """The content of what it says; empty when it has none."""
        content = self.said.get("content")
        return content if isinstance(content, dict) else {}


async def unseal(tx: Connection, vault: Vault, rows: Sequence[Any]) -> list[Record]:
    """Open rows selected with COLUMNS. Raises SealingError when a seal is broken."""
    sealed = [(row["room_id"], f"{row['event_id']}|event", row["sealed_event"]) for row in rows]
    read = [row for row in rows if row["sealed_payload"] is not None]
    payloads = [(row["room_id"], f"{row['event_id']}|payload", row["sealed_payload"]) for row in read]
    events = await vault.open_many(tx, sealed)
    plains = await vault.open_many(tx, payloads)
    opened = {(room, what.removesuffix("|payload")): plain for (room, what, _), plain in zip(payloads, plains, strict=True)}
    return [
        Record(
            room_id=row["room_id"],
            event_id=row["event_id"],
            type=row["type"],
            state_key=row["state_key"],
            sender=row["sender"],
            sent_at=row["sent_at"],
            captured_at=row["captured_at"],
            depth=row["depth"],
            rel_type=row["rel_type"],
            relates_to=row["relates_to"],
            id_matches=row["id_matches"],
            content_matches=row["content_matches"],
            signed_by=tuple(row["signed_by"] or ()),
            unsigned_by=tuple(row["unsigned_by"] or ()),
            session_id=row["session_id"],
            payload_type=row["payload_type"],
            unreadable=row["unreadable"],
            message_index=row["message_index"],
            doubts=tuple(row["doubts"]),
            event=parse_object(plain[SALT:]) if plain is not None else {},
            payload=opened.get((row["room_id"], row["event_id"])),
        )
        for row, plain in zip(rows, events, strict=True)
    ]


def _context(vault: Vault, room_id: str, event_id: str, what: str) -> bytes:
    return bound(vault.org, room_id, f"{event_id}|{what}")
