"""A large archive in minutes: messages in the ledger's own form, sealed and indexed as capture leaves them, by COPY.

`record` and `message` hold what the product itself would hold (tests/unit/test_filled.py makes the reading view again and
compares); `edge` stays empty. Words are spread as in a language (Zipf), rooms as in an office: a few hold most of what is said.
While it fills, the two large tables have no index and write no log ahead, which changes how they are made, not how they are read.
"""

from __future__ import annotations

import asyncio
import bisect
import json
import multiprocessing
import os
import random
import struct
import sys
import time
import traceback
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from itertools import accumulate
from typing import Any

import asyncpg

from archiver.db import tenant_tx
from archiver.ledger.event import Checks, Rules, content_hash, event_id
from archiver.ledger.record import SALT, Arrival, append, moment
from archiver.ledger.sealing import DataKey, month_of
from archiver.reading import facts
from archiver.reading.project import project_batch
from archiver.reading.words import STEMMERS, BlindIndex, words
from tests.bench.archive import Archive

SERVER, ROOMS, SENDERS = "rijk.example", 300, 400
BEGIN, END = datetime(2022, 1, 1, tzinfo=UTC), datetime(2025, 12, 31, tzinfo=UTC)
OLD = BEGIN + (END - BEGIN) / 20  # a word that occurred until then, and never since
OLD_WORD, VOCABULARY, BODIES = "oudlijnverbinding", 60_000, 100_000
BATCH = 20_000
WORKERS = 2
TABLES = ("record", "message")
OFFICIAL_ROOMS = 20  # the rooms of the first official
RECORD = ("org", "room_id", "event_id", "type", "sender", "sent_at", "depth", "rel_type", "relates_to", "id_matches",
          "content_matches", "signed_by", "unsigned_by", "session_id", "sealed_event", "commitment", "sealed_payload",
          "payload_type", "opened_at", "message_index")  # fmt: skip
MESSAGE = ("org", "room_id", "event_id", "sender", "kind", "sent_at", "depth", "edits", "deleted_at", "deleted_by", "words",
           "facts")  # fmt: skip
EPOCH = 946_684_800_000  # Postgres' own, in milliseconds
HEAD, TAIL = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
NONE = b"\xff\xff\xff\xff"
TRUE = b"\0\0\0\1\1"
BARE = "CREATE UNLOGGED TABLE bare (room_id text, event_id text, sent_at timestamptz, words tsvector)"
INDEXES = """
    SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS made, c.conname AS key,
           pg_get_constraintdef(c.oid) AS key_made, i.indrelid::regclass::text AS table
    FROM pg_index AS i LEFT JOIN pg_constraint AS c ON c.conindid = i.indexrelid AND c.contype = 'p'
    WHERE i.indrelid = ANY($1::regclass[]) ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Body:
    """A text and its tsvectors, as Postgres reads them in binary: how many lexemes, and those."""

    text: bytes  # as JSON
    length: int
    blind: tuple[int, bytes]
    plain: tuple[int, bytes]
    link: bool


def room_name(number: int) -> str:
    return f"!zaal{number:03}:{SERVER}"


def sender_name(number: int) -> str:
    return f"@ambtenaar{number:03}:{SERVER}"


def rare(number: int, count: int) -> str:
    """A word of some twenty messages, as a reference number is."""
    return f"kenmerk{number * 2_654_435_761 % max(count // 20, 1)}"


def vocabulary() -> list[str]:
    """Words of Dutch syllables, the commonest first; short ones are commoner."""
    chance = random.Random(2026)
    first = ("b", "d", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z", "br", "kl", "st", "sch", "tr")
    middle = ("a", "e", "i", "o", "u", "aa", "ee", "oe", "ij", "ui")
    syllables = [a + b + c for a in first for b in middle for c in ("", "n", "r", "s", "t", "k", "l")]
    made: dict[str, None] = {}
    while len(made) < VOCABULARY:
        size = min(1 + len(made) // 60, 2) + (len(made) > 400) * chance.choice((0, 1, 1, 2))
        made["".join(chance.choice(syllables) for _ in range(size))] = None
    return list(made)


class Language:
    """Draws words as people do: the n-th commonest is said 1/n as often as the commonest."""

    def __init__(self) -> None:
        self.words = vocabulary()
        self._weights = list(accumulate(1 / (rank + 2) for rank in range(VOCABULARY)))

    def text(self, chance: random.Random) -> str:
        length = max(int(chance.lognormvariate(2.3, 0.7)), 1)
        return " ".join(self.word(chance) for _ in range(min(length, 120)))

    def word(self, chance: random.Random) -> str:
        return self.words[bisect.bisect(self._weights, chance.random() * self._weights[-1])]


def vector(lexemes: dict[str, list[int]]) -> tuple[int, bytes]:
    """How many lexemes, and those as tsvector's binary form has them."""
    return len(lexemes), b"".join(
        word.encode() + b"\0" + struct.pack(f">H{len(at)}H", len(at), *at) for word, at in lexemes.items()
    )


def blind(index: BlindIndex, text: str, start: int = 0) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for place, word in enumerate(words(text), start + 1):
        for lexeme in index.lexemes(word):
            found.setdefault(lexeme, []).append(place)
    return found


@lru_cache(200_000)
def stems(word: str) -> tuple[str, ...]:
    return tuple({stemmer.stemWord(word) for stemmer in STEMMERS.values()})


def plain(text: str, start: int = 0) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for place, word in enumerate(words(text), start + 1):
        for stem in stems(word):
            found.setdefault(stem, []).append(place)
    return found


async def fill(kept: Archive, count: int, *, baseline: bool = False) -> float:
    """An archive of `count` messages (and as many in `bare`, with plain words); returns the seconds it took."""
    began = time.perf_counter()
    admin = await asyncpg.connect(kept.url)
    try:
        await admin.execute("ALTER SYSTEM SET max_wal_size = '8GB'")
        await admin.execute("SELECT pg_reload_conf()")
        await _rooms(kept)
        keys = await _keys(kept)
        if baseline:
            await admin.execute(BARE)
        indexes = await admin.fetch(INDEXES, list(TABLES)) if count > 50_000 else []
        for each in indexes:
            await admin.execute(
                f"ALTER TABLE {each['table']} DROP CONSTRAINT {each['key']}" if each["key"] else f"DROP INDEX {each['name']}"
            )
        for table in TABLES if indexes else ():
            await admin.execute(f"ALTER TABLE {table} SET UNLOGGED")
        _work(kept, keys, count, baseline=baseline)
        await admin.execute("SET maintenance_work_mem = '1500MB'")
        await admin.execute("SET max_parallel_maintenance_workers = 1")
        for each in indexes:
            key = f"ALTER TABLE {each['table']} ADD CONSTRAINT {each['key']} {each['key_made']}"
            await admin.execute(key if each["key"] else each["made"], timeout=3600)
        if baseline:
            await admin.execute("CREATE INDEX bare_words ON bare USING gin (words)", timeout=3600)
            await admin.execute("CREATE INDEX bare_time ON bare (sent_at DESC)", timeout=3600)
        if await admin.fetchval("SELECT to_regclass('conversation')"):
            await admin.execute(CONVERSATIONS, timeout=3600)
        await admin.execute("VACUUM (ANALYZE) record, message" + (", bare" if baseline else ""), timeout=3600)
        await admin.execute("CHECKPOINT", timeout=3600)
    finally:
        await admin.close()
    return time.perf_counter() - began


# What the triggers that were off while filling would have counted.
CONVERSATIONS = """
    UPDATE conversation AS c SET messages = m.messages, unreadable = m.unreadable, deleted = m.deleted, pruned = m.pruned,
           first_at = m.first_at, last_at = m.last_at
    FROM (SELECT org, room_id, count(*) AS messages, count(unreadable) AS unreadable, count(deleted_at) AS deleted,
                 count(*) FILTER (WHERE pruned) AS pruned, min(sent_at) AS first_at, max(sent_at) AS last_at
          FROM message GROUP BY 1, 2) AS m
    WHERE c.org = m.org AND c.room_id = m.room_id
"""


async def _rooms(kept: Archive) -> None:
    """The rooms, their names and who is in them, by the ledger's own door."""
    for number in range(ROOMS):
        room, rules = room_name(number), Rules("11")
        state = [
            ("m.room.create", "", sender_name(1), {"room_version": "11"}),
            ("m.room.name", "", sender_name(1), {"name": f"Zaal {number}"}),
        ]
        people = [0, 1, 2] if number < OFFICIAL_ROOMS else [1, 2]
        for user, name in ((sender_name(each), f"Ambtenaar {each}") for each in people):
            state.append(("m.room.member", user, user, {"membership": "join", "displayname": name}))
        arrivals = []
        for depth, (kind, key, sender, content) in enumerate(state, 1):
            event: dict[str, Any] = {
                "type": kind, "room_id": room, "state_key": key, "sender": sender, "content": content, "depth": depth,
                "origin_server_ts": int(BEGIN.timestamp() * 1000) - 1000, "prev_events": [], "auth_events": [], "hashes": {},
                "signatures": {},
            }  # fmt: skip
            event["hashes"] = {"sha256": content_hash(event)}
            arrivals.append(Arrival(room, event_id(event, rules), event, rules, Checks(True, True, (SERVER,), ())))
        async with tenant_tx(kept.pool, kept.vault.org) as tx:
            await tx.execute(
                "INSERT INTO room (org, room_id, version, membership, user_id) VALUES ($1, $2, '11', 'join', $3)",
                kept.vault.org, room, f"@archief:{SERVER}",
            )  # fmt: skip
            await append(tx, kept.vault, arrivals)
    async with tenant_tx(kept.pool, kept.vault.org) as tx:
        while await project_batch(tx, kept.vault, BlindIndex(kept.vault.search_key)):
            pass


async def _keys(kept: Archive) -> dict[tuple[str, Any], DataKey]:
    months = sorted({month_of(BEGIN + timedelta(days=day)) for day in range((END - BEGIN).days + 2)})
    keys = {}
    for number in range(ROOMS):
        async with tenant_tx(kept.pool, kept.vault.org) as tx:
            keys |= await kept.vault.keys_for(tx, {(room_name(number), month) for month in months})
    return keys


def _work(kept: Archive, keys: dict[tuple[str, Any], DataKey], count: int, *, baseline: bool) -> None:
    """Each worker does every second batch, so that what comes later stands further on in the tables."""
    context, bodies = multiprocessing.get_context("fork"), _bodies(kept, min(BODIES, max(count // 5, 1000)))
    workers = [context.Process(target=_worker, args=(kept, keys, bodies, count, number, baseline)) for number in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        if worker.exitcode:
            raise RuntimeError(f"filling failed ({worker.exitcode})")


def _bodies(kept: Archive, count: int) -> list[Body]:
    chance, language, index = random.Random(5), Language(), BlindIndex(kept.vault.search_key)
    made = []
    for number in range(count):
        text = language.text(chance)
        if link := number % 40 == 0:
            text += f" https://{SERVER}/{language.word(chance)}"
        length = len(words(text))
        made.append(Body(json.dumps(text).encode()[1:-1], length, vector(blind(index, text)), vector(plain(text)), link))
    return made


def _worker(*args: Any) -> None:
    try:
        asyncio.run(_copy(*args))
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        raise


async def _copy(kept: Archive, keys: Any, bodies: list[Body], count: int, worker: int, baseline: bool) -> None:
    connection = await asyncpg.connect(kept.url)
    await connection.execute("SET session_replication_role = replica; SET synchronous_commit = off")
    made = Rows(kept, keys, bodies, count, plain_too=baseline)
    for start in range(worker * BATCH, count, BATCH * WORKERS):
        records, messages, bare = made.batch(start, min(start + BATCH, count))
        await _send(connection, "record", RECORD, records)
        await _send(connection, "message", MESSAGE, messages)
        if baseline:
            await _send(connection, "bare", ("room_id", "event_id", "sent_at", "words"), bare)
    await connection.close()


async def _send(connection: Any, table: str, columns: tuple[str, ...], rows: list[bytes]) -> None:
    async def pieces() -> Any:
        yield HEAD
        yield b"".join(rows)
        yield TAIL

    await connection.copy_to_table(table, source=pieces(), columns=columns, format="binary", timeout=600)


class Rows:
    """Rows in Postgres' binary COPY format; the same for the same number, but for keys and ids that are drawn."""

    def __init__(self, kept: Archive, keys: Any, bodies: list[Body], count: int, *, plain_too: bool) -> None:
        self._org, self._index, self._keys, self._bodies, self._count = (
            kept.vault.org, BlindIndex(kept.vault.search_key), keys, bodies, count,
        )  # fmt: skip
        weights = list(accumulate(1 / (number + 3) for number in range(ROOMS)))
        drawn = [bisect.bisect(weights, (n + 0.5) / 4096 * weights[-1]) for n in range(4096)]
        rooms = [(room_name(n), field(room_name(n).encode()), self._fact(f"room {room_name(n)}")) for n in range(ROOMS)]
        self._rooms = [rooms[number] for number in drawn]
        self._people = [(field(sender_name(n).encode()), self._fact(f"sender {sender_name(n)}")) for n in range(SENDERS)]
        self._flags = {what: self._fact(f"has {what}") for what in facts.HAS}
        self._link, self._known_times = self._flags[facts.LINK], dict[int, bytes]()
        self._begin, self._old = int(BEGIN.timestamp() * 1000), int(OLD.timestamp() * 1000)
        self._span, self._plain_too = (END - BEGIN) / count / timedelta(milliseconds=1), plain_too
        self._months = dict[int, Any]()
        self._signed = field(struct.pack(">iiiii", 1, 0, 25, 1, 1) + field(SERVER.encode()))
        self._nobody = field(struct.pack(">iii", 0, 0, 25))
        self._head = struct.pack(">i", 4) + struct.pack(">i", self._org)

    def batch(self, first: int, end: int) -> tuple[list[bytes], list[bytes], list[bytes]]:
        records: list[bytes] = []
        messages: list[bytes] = []
        bare: list[bytes] = []
        for number in range(first, end):
            self._one(number, records, messages, bare)
        return records, messages, bare

    def _one(self, number: int, records: list[bytes], messages: list[bytes], bare: list[bytes]) -> None:
        digest = sha256(str(number).encode()).digest()
        chance = struct.unpack(">8I", digest)
        identity = "$" + urlsafe_b64encode(digest)[:43].decode()
        room, room_field, room_fact = self._rooms[chance[0] % 4096]
        sender_field, sender_fact = self._people[int(SENDERS * (chance[1] / 2**32) ** 2)]
        millis, dice = self._begin + int(self._span * number), chance[2] / 2**32
        body, kenmerk = self._bodies[chance[3] % len(self._bodies)], rare(number, self._count)
        tail = f" {kenmerk} {OLD_WORD}" if millis < self._old and dice < 0.3 else f" {kenmerk}"
        flags, edits, deleted, kind = (self._link if body.link else b""), 0, None, b"text"
        has, (size, data), (more, added) = int(body.link), body.blind, self._tail(tail, body.length)
        count, data = size + more, data + added
        content = b'{"msgtype":"m.text","body":"' + body.text + tail.encode() + b'"}'
        if dice > 0.97:
            name = f"verslag {kenmerk}.pdf"
            kind, content = b"file", json.dumps({"msgtype": "m.file", "body": name, "url": "mxc://x/y"}).encode()
            (count, data), flags, has = vector(blind(self._index, name)), self._flags[facts.FILE], 1
        elif dice > 0.95:
            flags, has, edits = flags + self._flags[facts.EDIT], has + 1, 1
            new = f"gewijzigd {kenmerk}"
            count, data = _joined(count, data, *vector(blind(self._index, new, body.length + tail.count(" ") + 2)))
        elif dice > 0.94:
            flags, has, deleted = flags + self._flags[facts.DELETION], has + 1, millis + 180_000
        depth = number // ROOMS + 10
        said = b'{"type":"m.room.message","content":' + content + b"}"
        self._record(records, room, room_field, identity, sender_field, millis, depth, None, said, number)
        if edits:
            edited = {"msgtype": "m.text", "body": f"* {new}", "m.new_content": {"msgtype": "m.text", "body": new}}
            said = json.dumps({"type": "m.room.message", "content": edited}).encode()
            edit = ("m.replace", identity)
            self._record(records, room, room_field, name_of(-number), sender_field, millis + 60_000, depth, edit, said, number)
        elif deleted:
            gone = ("m.redaction", identity)
            self._record(records, room, room_field, name_of(-number), sender_field, deleted, depth, gone, None, number)
        when = self._times(millis // 1000 // facts.UNIT)
        known = struct.pack(">i", facts.SIZES + 2 + has) + when + room_fact + sender_fact + flags
        identity_field = field(identity.encode())
        messages.append(
            struct.pack(">h", len(MESSAGE)) + self._head + room_field + identity_field + sender_field + field(kind)
            + instant(millis) + struct.pack(">iqii", 8, depth, 4, edits)
            + (instant(deleted) + sender_field if deleted else NONE + NONE)
            + field(struct.pack(">i", count) + data) + field(known)
        )  # fmt: skip
        if self._plain_too:
            size, data = body.plain
            words_too = tail.split()
            added = b"".join(
                word.encode() + b"\0" + struct.pack(">HH", 1, body.length + place) for place, word in enumerate(words_too, 1)
            )
            bare.append(
                struct.pack(">h", 4) + room_field + identity_field + instant(millis)
                + field(struct.pack(">i", size + len(words_too)) + data + added)
            )  # fmt: skip

    def _tail(self, tail: str, start: int) -> tuple[int, bytes]:
        """The lexemes of the words that are a message's own."""
        found = [(lexeme, place) for place, word in enumerate(tail.split(), start + 1) for lexeme in self._index.lexemes(word)]
        return len(found), b"".join(lexeme.encode() + b"\0" + struct.pack(">HH", 1, place) for lexeme, place in found)

    def _times(self, unit: int) -> bytes:
        if unit not in self._known_times:
            self._known_times[unit] = b"".join(
                self._fact(f"time {size} {unit // facts.STEP**size}") for size in range(facts.SIZES)
            )
        return self._known_times[unit]

    def _fact(self, what: str) -> bytes:
        return self._index.fact(what).encode() + b"\0\0\0"

    def _record(
        self, records: list[bytes], room: str, room_field: bytes, identity: str, sender: bytes, millis: int, depth: int,
        relation: tuple[str, str] | None, payload: bytes | None, number: int,
    ) -> None:  # fmt: skip
        day = millis // 86_400_000
        month = self._months.get(day) or self._months.setdefault(day, month_of(moment(millis)))
        key, place = self._keys[room, month], f"{self._org}|{room}|{identity}|"
        kind = "m.room.encrypted" if payload is not None else "m.room.redaction"
        related = f'"m.relates_to":{{"rel_type":"{relation[0]}","event_id":"{relation[1]}"}},' if relation and payload else ""
        redacts = f'"redacts":"{relation[1]}",' if relation and not payload else ""
        session = f"{number // 2000:043}" if payload is not None else ""
        event = (
            f'{{"content":{{{related}{redacts}"algorithm":"m.megolm.v1.aes-sha2","session_id":"{session}"}},"depth":{depth},'
            f'"origin_server_ts":{millis},"prev_events":[],"room_id":"{room}","type":"{kind}"}}'
        ).encode()
        noise = os.urandom(SALT)
        sealed = key.seal(noise + event, f"{place}event".encode())
        records.append(
            struct.pack(">h", len(RECORD)) + self._head + room_field + field(identity.encode()) + field(kind.encode()) + sender
            + instant(millis) + struct.pack(">iq", 8, depth)
            + (field(relation[0].encode()) + field(relation[1].encode()) if relation else NONE + NONE)
            + TRUE + TRUE + self._signed + self._nobody + (field(session.encode()) if session else NONE) + field(sealed)
            + field(noise)
            + (field(key.seal(payload, f"{place}payload".encode())) + field(b"m.room.message") + instant(millis)
               + struct.pack(">iq", 8, number % 100) if payload is not None else NONE * 4)
        )  # fmt: skip


def name_of(number: int) -> str:
    """The id of an event."""
    return "$" + urlsafe_b64encode(sha256(str(number).encode()).digest())[:43].decode()


def field(value: bytes) -> bytes:
    return struct.pack(">i", len(value)) + value


def instant(millis: int) -> bytes:
    """A moment in milliseconds, as Postgres has one."""
    return struct.pack(">iq", 8, (millis - EPOCH) * 1000)


def _joined(count: int, data: bytes, more: int, added: bytes) -> tuple[int, bytes]:
    """Two tsvectors as one: what stands in both has the places of both."""
    places: dict[bytes, list[int]] = {}
    for word, at in [*_read(count, data), *_read(more, added)]:
        places.setdefault(word, []).extend(at)
    return len(places), b"".join(word + b"\0" + struct.pack(f">H{len(at)}H", len(at), *at) for word, at in places.items())


def _read(count: int, data: bytes) -> Iterator[tuple[bytes, tuple[int, ...]]]:
    at = 0
    for _ in range(count):
        end = data.index(b"\0", at)
        size = struct.unpack_from(">H", data, end + 1)[0]
        yield data[at:end], struct.unpack_from(f">{size}H", data, end + 3)
        at = end + 3 + 2 * size
