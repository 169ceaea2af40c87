"""Megolm decryption, with a bounded memory of sessions that are read from Postgres in batches (DESIGN D8).

Source: Matrix specification, "m.megolm.v1.aes-sha2".
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import vodozemac

from archiver.capture.seat import Secrets
from archiver.db import Connection
from archiver.ledger.canonical import HostileJson, JsonObject, parse_object
from archiver.ledger.record import OTHER_SENDER
from archiver.ledger.sealing import Vault

ALGORITHM = "m.megolm.v1.aes-sha2"
FIND = """
    SELECT room_id, session_id, pickle, giver FROM megolm_session
    WHERE org = $1 AND user_id = $2 AND (room_id, session_id) IN (SELECT * FROM unnest($3::text[], $4::text[]))
"""
WITHHELD = """
    SELECT room_id, session_id, sender, code FROM withheld
    WHERE org = $1 AND (room_id, session_id) IN (SELECT * FROM unnest($2::text[], $3::text[])) ORDER BY received_at
"""
# The one that reaches furthest back, whichever seat received it.
BEST = """
    SELECT room_id, session_id, sender_key, signing_key, pickle, sealed_secrets, seat.user_id
    FROM megolm_session JOIN seat USING (org, user_id)
    WHERE org = $1 AND room_id = $2 AND session_id = $3 ORDER BY first_index LIMIT 1
"""

# Why a message that can be read need not be believed (specification, "m.megolm.v1.aes-sha2", "Security considerations").
OTHER_ROOM = "other-room"  # the message says that it was written for another room
REPLAYED = "replayed"  # another event has the same place in the same session

Ref = tuple[str, str]
"""(room id, session id)."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What came of an encrypted event: the payload, byte for byte, or the reason why there is none."""

    payload: bytes | None
    unreadable: str | None
    index: int | None = None  # the message's place in its session
    doubts: tuple[str, ...] = ()
    said: JsonObject | None = None  # the payload as JSON; None when it is none
    giver: str | None = None  # the account whose device gave us the key


class Megolm:
    """Decrypts the events of one seat."""

    def __init__(self, org: int, user_id: str, pickle_key: str, size: int) -> None:
        self._org = org
        self._user_id = user_id
        self._pickle_key = _pickle_key(pickle_key)
        self._size = size
        self._sessions: OrderedDict[Ref, tuple[vodozemac.InboundGroupSession, str | None]] = OrderedDict()
        self._withheld: dict[tuple[str, str, str], str] = {}  # (room id, session id, who says so) to the latest reason

    async def prepare(self, tx: Connection, refs: Iterable[Ref], *, fresh: Iterable[Ref] = ()) -> None:
        """Read the sessions that the next events need; `fresh` ones are read again, since a better key may have come."""
        for ref in fresh:
            self._sessions.pop(ref, None)
        missing = [ref for ref in set(refs) if ref not in self._sessions]
        self._withheld = {}
        if not missing:
            return
        rooms, sessions = [room for room, _ in missing], [session for _, session in missing]
        for row in await tx.fetch(FIND, self._org, self._user_id, rooms, sessions):
            session = vodozemac.InboundGroupSession.from_pickle(row["pickle"].decode(), self._pickle_key)
            self._sessions[row["room_id"], row["session_id"]] = session, row["giver"]
        missing = [ref for ref in missing if ref not in self._sessions]
        if not missing:
            return
        rooms, sessions = [room for room, _ in missing], [session for _, session in missing]
        for row in await tx.fetch(WITHHELD, self._org, rooms, sessions):
            self._withheld[row["room_id"], row["session_id"], row["sender"]] = row["code"]

    def trim(self) -> None:
        """Forget the sessions used longest ago, down to the bound; called after a batch."""
        while len(self._sessions) > self._size:
            self._sessions.popitem(last=False)

    def open(self, room_id: str, event: JsonObject) -> Opened:
        """Decrypt an m.room.encrypted event whose session was prepared; never raises."""
        content = event.get("content")
        content = content if isinstance(content, dict) else {}
        if not content:
            return Opened(None, "redacted")
        if content.get("algorithm") != ALGORITHM:
            return Opened(None, "unknown-algorithm")
        session_id, ciphertext = content.get("session_id"), content.get("ciphertext")
        if not isinstance(session_id, str) or not isinstance(ciphertext, str):
            return Opened(None, "malformed")
        ref = room_id, session_id
        session, giver = self._sessions.get(ref, (None, None))
        if session is None:
            code = self._withheld.get((*ref, str(event.get("sender"))))
            return Opened(None, f"withheld:{code}" if code else "no-key")
        self._sessions.move_to_end(ref)
        try:
            message = session.decrypt(vodozemac.MegolmMessage.from_base64(ciphertext))
        except (vodozemac.DecodeException, UnicodeEncodeError):
            return Opened(None, "malformed")
        except vodozemac.MegolmDecryptionException as error:
            late = "index" in str(error).lower()
            return Opened(None, "key-starts-later" if late else "wrong-key")
        payload = bytes(message.plaintext)
        said = _object(payload)
        doubts = []
        if giver is not None and giver != event.get("sender"):
            doubts.append(OTHER_SENDER)
        if said is not None and said.get("room_id") != room_id:  # what can't be read as JSON is kept all the same
            doubts.append(OTHER_ROOM)
        return Opened(payload, None, message.message_index, tuple(doubts), said, giver)


def _pickle_key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()  # as nio derives it


def exported(row: Mapping[str, Any], pickle_key: str) -> JsonObject:
    """A row of `megolm_session` in the specification's "Key export format": what any Matrix client can import."""
    session = vodozemac.InboundGroupSession.from_pickle(row["pickle"].decode(), _pickle_key(pickle_key))
    key = session.export_at(session.first_known_index)
    assert key is not None  # noqa: S101 - narrows for the type checker: a session can be exported at its first index
    return {
        "algorithm": ALGORITHM,
        "forwarding_curve25519_key_chain": [],
        "room_id": row["room_id"],
        "sender_key": row["sender_key"],
        "sender_claimed_keys": {"ed25519": row["signing_key"]},
        "session_id": row["session_id"],
        "session_key": key.to_base64(),
    }


async def exported_session(tx: Connection, vault: Vault, room_id: str, session_id: str) -> JsonObject | None:
    """The Megolm session of a record, exported: with it and the sealed event, others can read what the archive read.

    None when the archive has no key of that session. Raises SealingError when the organisation key is another.
    """
    row = await tx.fetchrow(BEST, vault.org, room_id, session_id)
    if row is None:
        return None
    secrets = Secrets.read(vault.unwrap(row["sealed_secrets"], f"seat|{row['user_id']}"))
    return exported(row, secrets.pickle_key)


def _object(payload: bytes) -> JsonObject | None:
    try:
        return parse_object(payload)
    except HostileJson:
        return None
