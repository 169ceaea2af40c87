"""The keys with which homeservers sign events (Matrix specification, server-server API, "Retrieving server keys").

A server says with each answer until when its keys are valid; what it signs later needs a newer answer. Every answer is archived
as the server signed it, so that whoever doubts a signature can check it without trusting this archive.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from archiver.capture.client import CaptureError, Homeserver
from archiver.db import Connection
from archiver.ledger.canonical import HostileJson, JsonObject, canonical, column
from archiver.ledger.event import VerifyKey, public_key, responsible, signers, verify_json
from archiver.ledger.record import moment

log = logging.getLogger(__name__)

LOAD = """
    SELECT server_name, key_id, public_key, coalesce(expired_at, valid_until) AS until, expired_at FROM server_key WHERE org = $1
"""
# The first key of a name stays: a server that gives the same name to another key is not believed. Each organisation keeps its
# own: it is its homeserver that tells of other servers' keys.
SAVE = """
    INSERT INTO server_key AS known (org, server_name, key_id, public_key, valid_until, expired_at)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (org, server_name, key_id) DO UPDATE
        SET valid_until = greatest(known.valid_until, excluded.valid_until),
            expired_at = least(known.expired_at, excluded.expired_at), fetched_at = now()
        WHERE known.public_key = excluded.public_key
"""
SAVE_ANSWER = """
    INSERT INTO server_key_answer (org, server_name, digest, answer) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING
"""
# What waited for this server's keys need wait no longer: archiver.capture.signatures.
HURRY = "UPDATE server_wait SET due_at = now() WHERE org = $1 AND server_name = $2 AND due_at > now()"
LONGEST = timedelta(days=7)  # a key is believed at most this long after its server was asked (specification)
MAX_ANSWER = 262_144  # bytes
ASK_AT_MOST = 10.0  # seconds that live capture waits for a server's keys; archiver.capture.signatures asks again
AGAIN, MAX_AGAIN = 60.0, 6 * 3600.0  # seconds before what was asked for in vain is asked for anew, and at most
MAX_REMEMBERED = 10_000
MAX_KEYS = 50  # of one server in one question
SERVER_NAME = re.compile(r"(?=.{1,255}\Z)([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")

Pair = tuple[str, str]
"""(server name, key id)."""


@dataclass(frozen=True, slots=True)
class ToldKey:
    """A key as its server told of it."""

    key_id: str
    public_key: str  # unpadded base64
    until: datetime
    expired: bool  # an old key, which signs no more


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server told of its keys, signed by one of them."""

    server_name: str
    proof: bytes  # the answer in canonical JSON
    keys: tuple[ToldKey, ...]


def believable() -> float:
    """The latest time, in milliseconds, for which an answer of today can be believed."""
    return (time.time() + LONGEST.total_seconds()) * 1000


def needed(events: Iterable[JsonObject], until: float = math.inf) -> dict[Pair, int]:
    """The keys with which the servers responsible for these events signed, each with the latest time it must be valid for.

    A time after `until` counts for nothing: what says that it was sent then keeps no key from what was sent beside it.
    """
    latest: dict[Pair, int] = {}
    for event in events:
        servers, told = responsible(event), event.get("origin_server_ts")
        sent = told if isinstance(told, int) and told <= until else 0
        for pair in signers(event):
            if pair[0] in servers and SERVER_NAME.fullmatch(pair[0]):
                latest[pair] = max(latest.get(pair, 0), sent)
    return latest


class ServerKeys:
    """The known keys, asked of the homeserver when a new one turns up or an answer is no longer new enough."""

    def __init__(self, server: Homeserver, own_name: str) -> None:
        self._server = server
        self._own_name = own_name
        self._vain: dict[Pair, tuple[float, float]] = {}  # when a pair may be asked for again, and how long that was
        self._expired: set[Pair] = set()
        self.known: dict[Pair, VerifyKey] = {}

    async def load(self, tx: Connection, org: int) -> None:
        """Read the keys that were kept before."""
        for row in await tx.fetch(LOAD, org):
            until, expired = row["until"] or datetime.fromtimestamp(0, UTC), row["expired_at"] is not None
            self._learn(row["server_name"], ToldKey(row["key_id"], row["public_key"], until, expired))

    async def learn(self, wanted: Mapping[Pair, int]) -> list[Answer]:
        """Ask the servers whose keys are not known for the times wanted; return what they told, to be kept.

        Takes at most ASK_AT_MOST seconds; what did not come is asked for again with a later event.
        """
        now = asyncio.get_running_loop().time()
        latest = believable()
        asked = {
            pair: sent
            for pair, sent in self.lacking(wanted).items()
            if sent <= latest and self._vain.get(pair, (0.0, 0.0))[0] <= now
        }
        if not asked:
            return []
        names = sorted({name for name, _ in asked})
        told = await asyncio.gather(*(self._in_time(name, asked) for name in names))
        silent = [name for name, answers in zip(names, told, strict=True) if not answers]
        if silent:
            log.warning("The signing keys of %d server(s) can't be had now, for one of %s.", len(silent), silent[0])
        if len(self._vain) > MAX_REMEMBERED:
            self._vain.clear()
        for pair, sent in asked.items():
            if self._until(pair) >= sent:
                self._vain.pop(pair, None)
            else:
                wait = min(MAX_AGAIN, self._vain.get(pair, (0.0, AGAIN / 4))[1] * 4)
                self._vain[pair] = now + wait, wait
        return [answer for answers in told for answer in answers]

    def lacking(self, wanted: Mapping[Pair, int]) -> dict[Pair, int]:
        """Which of these keys are not known for the time that they must be valid for."""
        return {pair: sent for pair, sent in wanted.items() if self._until(pair) < sent}

    async def _in_time(self, server_name: str, wanted: Mapping[Pair, int]) -> list[Answer]:
        try:
            async with asyncio.timeout(ASK_AT_MOST):
                return await self.ask(server_name, wanted)
        except (CaptureError, TimeoutError):
            return []

    async def ask(self, server_name: str, wanted: Mapping[Pair, int]) -> list[Answer]:
        """Ask a server for its keys, through the homeserver, and know them. Raises MatrixError, HomeserverUnreachable.

        Each key is asked for by name with the time it must be valid for: asked for all its keys, Synapse tells what it happens to
        have, which is none of a server it has just met, and never a newer answer than it once got.
        """
        if server_name == self._own_name:
            answers = [await self._server.call("GET", "/_matrix/key/v2/server")]
        else:
            own = sorted(pair for pair in wanted if pair[0] == server_name)[:MAX_KEYS]
            asked = {key_id: {"minimum_valid_until_ts": wanted[name, key_id]} for name, key_id in own}
            answer = await self._server.call("POST", "/_matrix/key/v2/query", {"server_keys": {server_name: asked}})
            told_of = answer.get("server_keys")
            answers = [keys for keys in told_of if isinstance(keys, dict)] if isinstance(told_of, list) else []
        found = [verified for answer in answers if (verified := verify(answer, server_name, datetime.now(UTC)))]
        for told in (key for verified in found for key in verified.keys):
            self._learn(server_name, told)
        return found

    def _until(self, pair: Pair) -> int:
        known = self.known.get(pair)
        return known.until if known else -1

    def _learn(self, server_name: str, told: ToldKey) -> None:
        """Know a key: valid as long as the latest answer says, or until it was first called an old one."""
        pair, known = (server_name, told.key_id), self.known.get((server_name, told.key_id))
        key = public_key(told.public_key)
        until = round(told.until.timestamp() * 1000)
        if known is not None:
            if known.key.to_base64() != key.to_base64():
                log.warning("%s has another key by the name %s than before: it is not believed.", server_name, told.key_id)
                return
            if pair in self._expired:
                until = min(until, known.until) if told.expired else known.until
            elif not told.expired:
                until = max(until, known.until)
        if told.expired:
            self._expired.add(pair)
        self.known[pair] = VerifyKey(key, until)


async def keep(tx: Connection, org: int, found: Iterable[Answer]) -> None:
    """Keep the keys, and the answers that prove them, with the events they verify."""
    for answer in found:
        rows = [
            (org, answer.server_name, key.key_id, key.public_key, *((None, key.until) if key.expired else (key.until, None)))
            for key in answer.keys
        ]
        await tx.executemany(SAVE, rows)
        await tx.execute(SAVE_ANSWER, org, answer.server_name, hashlib.sha256(answer.proof).digest(), answer.proof.decode())
        await tx.execute(HURRY, org, answer.server_name)


def verify(answer: JsonObject, server_name: str, asked_at: datetime) -> Answer | None:
    """The keys in a server's answer, old ones too; None unless it is signed by one of its own present keys. Pure.

    A key is valid until `valid_until_ts`, at most for seven days after the server was asked; an old one until `expired_ts`.
    """
    present, old = answer.get("verify_keys"), answer.get("old_verify_keys")
    if answer.get("server_name") != server_name or not isinstance(present, dict):
        return None
    until = min(moment(answer.get("valid_until_ts")), asked_at + LONGEST)
    keys = [key for key_id, part in present.items() if (key := _told(key_id, part, until, expired=False))]
    if not any(verify_json(answer, server_name, key.key_id, key.public_key) for key in keys):
        return None
    for key_id, part in (old if isinstance(old, dict) else {}).items():
        end = moment(part.get("expired_ts")) if isinstance(part, dict) else asked_at
        if key_id not in present and (key := _told(key_id, part, end, expired=True)):
            keys.append(key)
    try:
        proof = canonical({name: part for name, part in answer.items() if name != "unsigned"})
    except HostileJson:
        return None
    return Answer(server_name, proof, tuple(keys)) if len(proof) <= MAX_ANSWER else None


def _told(key_id: str, part: object, until: datetime, *, expired: bool) -> ToldKey | None:
    """A key of an answer, if it is one that can be used and kept."""
    key = part.get("key") if isinstance(part, dict) else None
    if not isinstance(key, str) or not key_id.startswith("ed25519:") or column(key_id) != key_id:
        return None
    try:
        return ToldKey(key_id, public_key(key).to_base64(), until, expired)
    except ValueError:
        return None
