"""Why an event can be believed: what came, what its id, hash and signatures say, whose device wrote it, what lies around it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from archiver.db import Connection
from archiver.ledger.canonical import HostileJson, JsonObject, parse_object
from archiver.ledger.event import Rules, VerifyKey, check, content_hash, event_id, public_key, responsible, signed_form, signers
from archiver.ledger.graph import previous
from archiver.ledger.record import COLUMNS, SALT, Record, unseal
from archiver.ledger.sealing import Vault
from archiver.reading.membership import limited
from archiver.reading.walk import ANYTHING, SEEN

FIND = f"SELECT {COLUMNS}, commitment FROM record WHERE org = $1 AND room_id = $2 AND event_id = $3"  # noqa: S608
VERSION = "SELECT version FROM room WHERE org = $1 AND room_id = $2"
KEYS = """
    SELECT server_name, key_id, public_key, valid_until, expired_at, fetched_at FROM server_key
    WHERE org = $1 AND (server_name, key_id) IN (SELECT * FROM unnest($2::text[], $3::text[]))
"""
LATER = """
    SELECT checked_at, signed_by, unsigned_by FROM later_check
    WHERE org = $1 AND room_id = $2 AND event_id = $3 ORDER BY checked_at
"""
SESSION = """
    SELECT giver, sender_key, signing_key, first_index, forwarded, received_at FROM megolm_session
    WHERE org = $1 AND room_id = $2 AND session_id = $3 ORDER BY received_at LIMIT 1
"""
DEVICE = """
    SELECT device_id, ed25519, master_key, cross_signed, seen_at FROM sender_device
    WHERE org = $1 AND user_id = $2 AND curve25519 = $3
"""
WITHHELD = """
    SELECT sender, code, received_at FROM withheld
    WHERE org = $1 AND room_id = $2 AND session_id = $3 ORDER BY received_at LIMIT 20
"""
HERE = "SELECT event_id FROM record WHERE org = $1 AND room_id = $2 AND event_id = ANY($3) AND (state_key IS NULL OR {seen})"
GAPS = "SELECT event_id FROM gap WHERE org = $1 AND room_id = $2 AND event_id = ANY($3) AND state <> 'filled'"
NEXT = "SELECT event_id FROM edge WHERE org = $1 AND room_id = $2 AND prev_event_id = $3 ORDER BY event_id LIMIT 50"
RELATED = f"""
    SELECT {COLUMNS} FROM record WHERE org = $1 AND room_id = $2 AND relates_to = $3 ORDER BY sent_at, depth, event_id LIMIT 200
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature on an event, checked now with the key that is known now."""

    server: str
    key_id: str
    state: str  # good, wrong, no-key, key-expired
    needed: bool  # whether the specification asks for this server's signature
    public_key: str | None = None
    valid_until: datetime | None = None
    fetched_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Later:
    """What was found of the signatures after the event came."""

    checked_at: datetime
    signed_by: tuple[str, ...]
    unsigned_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Device:
    """The device that gave the key of an encrypted message, as its homeserver showed it then."""

    user_id: str | None
    session_id: str
    sender_key: str | None
    received_at: datetime | None
    first_index: int | None
    forwarded: bool | None  # whether the key came through another device than the one that made it
    device_id: str | None
    ed25519: str | None
    master_key: str | None
    cross_signed: bool | None  # whether its owner's account vouched for it; None: not known
    seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class Edge:
    """An event beside this one in the room's graph."""

    event_id: str
    state: str  # here, missing, unknown


@dataclass(frozen=True, slots=True)
class Proof:
    """All there is to check an event by."""

    record: Record
    room_version: str
    computed_id: str | None  # None where no id can be computed
    computed_hash: str | None
    signatures: tuple[Signature, ...]
    later: tuple[Later, ...]
    device: Device | None
    withheld: tuple[tuple[str, str, datetime], ...]  # (who said so, code, when)
    before: tuple[Edge, ...]
    after: tuple[Edge, ...]
    related: tuple[Record, ...]  # edits, reactions, deletions: what relates to it directly
    salt: bytes | None
    commitment: bytes

    @property
    def destroyed(self) -> bool:
        """Whether the key that sealed it is gone."""
        return self.salt is None

    def to_json(self) -> JsonObject:
        """For programs, and for whoever wants to check it again: the event as it came and all that belongs to it."""
        record, device = self.record, self.device
        return {
            "event_id": record.event_id, "room_id": record.room_id, "room_version": self.room_version,
            "captured_at": record.captured_at.isoformat(), "event": record.event or None,
            "payload": _payload(record), "unreadable": record.unreadable, "doubts": list(record.doubts),
            "checks": {
                "id": {"matches": record.id_matches, "computed_now": self.computed_id},
                "content": {"matches": record.content_matches, "computed_now": self.computed_hash},
                "at_capture": {"signed_by": record.signed_by, "not_verified": record.unsigned_by},
                "later": [
                    {"at": each.checked_at.isoformat(), "signed_by": each.signed_by, "not_verified": each.unsigned_by}
                    for each in self.later
                ],
                "signatures": [
                    {
                        "server": each.server, "key_id": each.key_id, "state": each.state, "needed": each.needed,
                        "public_key": each.public_key, "valid_until": _moment(each.valid_until),
                        "key_fetched_at": _moment(each.fetched_at),
                    }
                    for each in self.signatures
                ],
            },
            "sender_device": {
                "user_id": device.user_id, "device_id": device.device_id, "session_id": device.session_id,
                "message_index": record.message_index, "curve25519": device.sender_key, "ed25519": device.ed25519,
                "master_key": device.master_key, "cross_signed": device.cross_signed, "device_seen_at": _moment(device.seen_at),
                "key_received_at": _moment(device.received_at), "key_forwarded": device.forwarded,
                "key_from_index": device.first_index,
            } if device else None,
            "withheld": [{"by": by, "code": code, "at": at.isoformat()} for by, code, at in self.withheld],
            "previous": [{"event_id": edge.event_id, "state": edge.state} for edge in self.before],
            "next": [{"event_id": edge.event_id, "state": edge.state} for edge in self.after],
            "related": [
                {
                    "event_id": each.event_id, "relation": each.rel_type, "type": each.said_type, "sender": each.sender,
                    "sent_at": each.sent_at.isoformat(),
                }
                for each in self.related
            ],
            "commitment": {
                "algorithm": "HMAC-SHA-256(salt, canonical JSON of the signed event)",
                "salt": base64.b64encode(self.salt).decode() if self.salt is not None else None,
                "value": self.commitment.hex(),
                "log_position": None,
            },
        }  # fmt: skip


async def proof(tx: Connection, vault: Vault, room_id: str, wanted: str) -> Proof | None:
    """What there is to check an event by; None when it is not there, or not this reader's to see."""
    seen = f" AND (state_key IS NULL OR {SEEN})" if await limited(tx) else ""
    row = await tx.fetchrow(FIND + seen, vault.org, room_id, wanted)
    if row is None:
        return None
    [record] = await unseal(tx, vault, [row])
    [plain] = await vault.open_many(tx, [(room_id, f"{wanted}|event", row["sealed_event"])])
    version = await tx.fetchval(VERSION, vault.org, room_id) or "11"
    rules, pdu = Rules(version), signed_form(record.event, Rules(version))
    edges = previous(record.event)
    after = [found["event_id"] for found in await tx.fetch(NEXT, vault.org, room_id, wanted)]
    return Proof(
        record=record,
        room_version=version,
        computed_id=_or_none(event_id, pdu, rules) if record.event else None,
        computed_hash=_or_none(content_hash, pdu) if record.event else None,
        signatures=tuple(await _signatures(tx, vault.org, pdu, rules)),
        later=tuple(
            Later(each["checked_at"], tuple(each["signed_by"]), tuple(each["unsigned_by"]))
            for each in await tx.fetch(LATER, vault.org, room_id, wanted)
        ),
        device=await _device(tx, vault.org, record),
        withheld=tuple(tuple(each) for each in await tx.fetch(WITHHELD, vault.org, room_id, record.session_id or "")),
        before=await _edges(tx, vault.org, room_id, edges),
        after=tuple(each for each in await _edges(tx, vault.org, room_id, after) if each.state == "here"),
        related=tuple(await unseal(tx, vault, await tx.fetch(RELATED, vault.org, room_id, wanted))),
        salt=plain[:SALT] if plain is not None else None,
        commitment=row["commitment"],
    )


async def _signatures(tx: Connection, org: int, pdu: JsonObject, rules: Rules) -> list[Signature]:
    named = sorted(signers(pdu))
    rows = await tx.fetch(KEYS, org, [server for server, _ in named], [key_id for _, key_id in named]) if named else []
    known = {(row["server_name"], row["key_id"]): row for row in rows}
    needed = responsible(pdu)
    return [_signature(pdu, rules, pair, known.get(pair), needed=pair[0] in needed) for pair in named]


def _signature(pdu: JsonObject, rules: Rules, pair: tuple[str, str], key: Any, *, needed: bool) -> Signature:
    """One signature, checked with the key that is known by that name."""
    if key is None:
        return Signature(*pair, "no-key", needed)
    until = min((moment for moment in (key["valid_until"], key["expired_at"]) if moment), default=None)
    try:
        public = public_key(key["public_key"])
    except ValueError:
        return Signature(*pair, "no-key", needed)
    end = round(until.timestamp() * 1000) if until else 2**53
    state = "wrong"
    if check(pdu, None, rules, {pair: VerifyKey(public, end)}).signed_by:
        state = "good"
    elif check(pdu, None, rules, {pair: VerifyKey(public, 2**53)}).signed_by:
        state = "key-expired"  # a true signature, with a key that no longer counted when the event was sent
    return Signature(*pair, state, needed, key["public_key"], until, key["fetched_at"])


async def _device(tx: Connection, org: int, record: Record) -> Device | None:
    if record.session_id is None:
        return None
    key = await tx.fetchrow(SESSION, org, record.room_id, record.session_id)
    if key is None:
        return Device(None, record.session_id, *[None] * 9)
    found = await tx.fetchrow(DEVICE, org, key["giver"] or record.sender, key["sender_key"])
    shown = tuple(found) if found is not None else (None,) * 5
    given = key["giver"], record.session_id, key["sender_key"], key["received_at"], key["first_index"], key["forwarded"]
    return Device(*given, *shown)


async def _edges(tx: Connection, org: int, room_id: str, ids: Sequence[str]) -> tuple[Edge, ...]:
    """How it stands with these events; of what an official may not see is not said whether it is there."""
    statement = HERE.format(seen=SEEN if await limited(tx) else ANYTHING)
    here = {row["event_id"] for row in await tx.fetch(statement, org, room_id, ids)}
    gone = {row["event_id"] for row in await tx.fetch(GAPS, org, room_id, ids)}
    return tuple(Edge(each, "here" if each in here else "missing" if each in gone else "unknown") for each in ids)


def _payload(record: Record) -> JsonObject | str | None:
    """What an encrypted event said; as text where it is no JSON."""
    if record.payload is None:
        return None
    try:
        return parse_object(record.payload)
    except HostileJson:
        return record.payload.decode("utf-8", "replace")


def _or_none(compute: Any, *arguments: Any) -> str | None:
    try:
        return str(compute(*arguments))
    except HostileJson:
        return None


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
