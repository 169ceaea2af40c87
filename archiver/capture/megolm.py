"""Megolm decryption, with a bounded memory of sessions that are read from Postgres in batches (DESIGN D8).

Source: Matrix specification, "m.megolm.v1.aes-sha2".
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

import vodozemac

from archiver.db import Connection
from archiver.ledger.canonical import HostileJson, JsonObject, parse_object

ALGORITHM = "m.megolm.v1.aes-sha2"
FIND = """
    SELECT room_id, session_id, pickle, giver FROM megolm_session
    WHERE org = $1 AND user_id = $2 AND (room_id, session_id) IN (SELECT * FROM unnest($3::text[], $4::text[]))
"""
WITHHELD = """
    SELECT room_id, session_id, code FROM withheld
    WHERE org = $1 AND (room_id, session_id) IN (SELECT * FROM unnest($2::text[], $3::text[]))
"""

# Why a message that can be read need not be believed (specification, "m.megolm.v1.aes-sha2", "Security considerations").
OTHER_SENDER = "other-sender"  # the key is another account's than the one that sent the event
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


class Megolm:
    """Decrypts the events of one seat."""

    def __init__(self, org: int, user_id: str, pickle_key: str, size: int) -> None:
        self._org = org
        self._user_id = user_id
        self._pickle_key = hashlib.sha256(pickle_key.encode()).digest()  # as nio derives it
        self._size = size
        self._sessions: OrderedDict[Ref, tuple[vodozemac.InboundGroupSession, str | None]] = OrderedDict()
        self._withheld: dict[Ref, str] = {}

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
            self._withheld[row["room_id"], row["session_id"]] = row["code"]

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
            code = self._withheld.get(ref)
            return Opened(None, f"withheld:{code}" if code else "no-key")
        self._sessions.move_to_end(ref)
        try:
            message = session.decrypt(vodozemac.MegolmMessage.from_base64(ciphertext))
        except vodozemac.DecodeException:
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
        return Opened(payload, None, message.message_index, tuple(doubts), said)


def _object(payload: bytes) -> JsonObject | None:
    try:
        return parse_object(payload)
    except HostileJson:
        return None
