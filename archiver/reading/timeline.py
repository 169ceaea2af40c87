"""A room read as a chat: messages in the order in which people saw them, a page at a time, in bounded memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from archiver.db import Connection, Pool, tenant_tx
from archiver.ledger.record import Record
from archiver.ledger.sealing import Vault
from archiver.reading.identity import Identities, Person, ghost, identities, person, together
from archiver.reading.message import Message
from archiver.reading.poll import Vote
from archiver.reading.project import fetch, messages
from archiver.reading.rooms import Room
from archiver.reading.via import CONTACT, OURS, Via, doubts, via

PAGE = 200
EARLIEST, LATEST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
FORWARD = """
    SELECT event_id, sent_at, depth FROM message
    WHERE org = $1 AND room_id = $2 AND (sent_at, depth, event_id) > ($3, $4, $5) AND sent_at >= $6 AND sent_at < $7
    ORDER BY sent_at, depth, event_id LIMIT $8
"""
BACKWARD = """
    SELECT event_id, sent_at, depth FROM message
    WHERE org = $1 AND room_id = $2 AND (sent_at, depth, event_id) < ($3, $4, $5)
    ORDER BY sent_at DESC, depth DESC, event_id DESC LIMIT $6
"""
CHANGED = """
    SELECT event_id, sent_at, depth, sequence FROM message
    WHERE org = $1 AND room_id = $2 AND sequence > $3 ORDER BY sequence LIMIT $4
"""
ONE = "SELECT event_id, sent_at, depth FROM message WHERE org = $1 AND room_id = $2 AND event_id = $3"
MEDIA = """
    SELECT event_id, state, address, size, problem, scan, scan_note, scanned_at FROM media
    WHERE org = $1 AND room_id = $2 AND part = 'file' AND event_id = ANY($3)
"""
# The latest word on signatures that could not be judged when their event came.
LATER = """
    SELECT DISTINCT ON (event_id) event_id, checked_at, signed_by, unsigned_by FROM later_check
    WHERE org = $1 AND room_id = $2 AND event_id = ANY($3) ORDER BY event_id, checked_at DESC
"""
READ = """
    SELECT event_id, user_id, thread, read_at FROM receipt
    WHERE org = $1 AND room_id = $2 AND event_id = ANY($3) ORDER BY read_at, user_id, thread
"""


@dataclass(frozen=True, slots=True)
class ReadBy:
    """Somebody who had read up to a message."""

    user_id: str
    at: datetime
    thread: str  # the thread's root, `main`, or empty: all threads


@dataclass(frozen=True, slots=True)
class LaterCheck:
    """What was found of a message's signatures after it came."""

    checked_at: datetime
    signed_by: tuple[str, ...]
    unsigned_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that came with a message."""

    name: str
    media_type: str
    size: int | None
    state: str  # waiting, stored, failed
    address: bytes | None
    problem: str | None = None  # why it is not there: too-large, altered, …
    scan: str | None = None  # waiting, clean, infected; None when no virus scanner was set as it came
    scan_note: str | None = None  # the scanner's word for what it found
    scanned_at: datetime | None = None

    @property
    def safe(self) -> bool:
        """Whether it may be shown and exported: not while a scanner has yet to see it, nor when that found something."""
        return self.scan in (None, "clean")


@dataclass(frozen=True, slots=True)
class Quote:
    """The message that a reply answers."""

    event_id: str
    sender_name: str
    body: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A message as it is shown or exported."""

    message: Message
    sender_name: str
    deleted_by_name: str | None
    quote: Quote | None
    attachment: Attachment | None
    reactions: tuple[tuple[str, tuple[str, ...]], ...]  # (emoji, names)
    withdrawn: tuple[tuple[str, str], ...]  # (emoji, name) of reactions taken back
    votes: tuple[tuple[str, Vote], ...] = ()  # (name, vote) in a poll
    later_check: LaterCheck | None = None
    read_by: tuple[ReadBy, ...] = ()
    via: Via | None = None  # how it came from another network, or went there
    doubts: tuple[str, ...] = ()  # what speaks against believing it

    @property
    def network(self) -> str:
        """Where it was written: matrix, or another network."""
        return self.via.network if self.via and self.via.how not in OURS else self.message.network

    @property
    def event_id(self) -> str:
        return self.message.record.event_id

    @property
    def sent_at(self) -> datetime:
        return self.message.record.sent_at

    @property
    def body(self) -> str:
        """What people see now; a reply without the quoted lines that older clients put before it."""
        return without_fallback(self.message.body) if self.message.reply_to else self.message.body


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a timeline."""

    sent_at: datetime
    depth: int
    event_id: str


def without_fallback(body: str) -> str:
    """A reply's own text (specification, "Rich replies": lines that start with `> ` quote the other message)."""
    lines = body.split("\n")
    at = next((index for index, line in enumerate(lines) if not line.startswith(">")), len(lines))
    if at == 0 or at == len(lines):
        return body
    return "\n".join(lines[at:]).lstrip("\n")


async def entries(
    pool: Pool, vault: Vault, room: Room, start: datetime | None = None, end: datetime | None = None
) -> AsyncIterator[Entry]:
    """Every message of a room sent from `start` to before `end`, the oldest first; each page in a transaction of its own."""
    cursor, names = Cursor(EARLIEST, 0, ""), Names(room)
    while True:
        async with tenant_tx(pool, vault.org) as tx:
            page = await tx.fetch(
                FORWARD,
                vault.org,
                room.room_id,
                cursor.sent_at,
                cursor.depth,
                cursor.event_id,
                start or EARLIEST,
                end or LATEST,
                PAGE,
            )
            shown = await _entries(tx, vault, names, page)
        for entry in shown:
            yield entry
        if len(page) < PAGE:
            return
        cursor = Cursor(page[-1]["sent_at"], page[-1]["depth"], page[-1]["event_id"])


async def page_before(
    tx: Connection, vault: Vault, room: Room, cursor: Cursor | None, size: int
) -> tuple[list[Entry], Cursor | None]:
    """The last `size` messages before a place, the oldest first, and the place to go on from (None at the beginning)."""
    place = cursor or Cursor(LATEST, 0, "")
    page = await tx.fetch(BACKWARD, vault.org, room.room_id, place.sent_at, place.depth, place.event_id, size)
    page = page[::-1]
    more = Cursor(page[0]["sent_at"], page[0]["depth"], page[0]["event_id"]) if len(page) == size else None
    return await _entries(tx, vault, Names(room), page), more


async def page_after(tx: Connection, vault: Vault, room: Room, sequence: int, size: int) -> tuple[list[Entry], int, bool]:
    """The first `size` messages that came or changed after a number, up to which number that is, and whether there are more.

    Not in the order of the conversation: an old message that is edited now comes last. A message that is here once more is as
    it is now.
    """
    page = await tx.fetch(CHANGED, vault.org, room.room_id, sequence, size)
    last = page[-1]["sequence"] if page else sequence
    return await _entries(tx, vault, Names(room), page), last, len(page) == size


async def one(tx: Connection, vault: Vault, room: Room, event_id: str) -> Entry | None:
    """A message of a room by its id."""
    page = await tx.fetch(ONE, vault.org, room.room_id, event_id)
    return next(iter(await _entries(tx, vault, Names(room), page)), None)


class Names:
    """Who the accounts of a room were at any time; read as they are needed."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self._known = Identities()
        self._read: set[str] = set()

    async def read(self, tx: Connection, vault: Vault, accounts: Iterable[str]) -> None:
        """Read the history of these accounts, once."""
        wanted = set(accounts) - self._read
        if wanted:
            self._known.add(await identities(tx, vault, self.room.room_id, wanted))
            self._read |= wanted

    def at(self, user_id: str, when: datetime) -> str:
        """What an account was called at a moment."""
        return self._known.at(user_id, when).name or self.room.names.get(user_id, user_id)

    def who(self, record: Record) -> Person:
        """Who sent something: what is said with it goes before what was known."""
        told = person(record, self.room.bridges)
        known = [self._known.at(record.sender, record.sent_at)]
        if record.sender in self.room.bridges:
            known.append(ghost(record.sender, {}))
        return together([told[2], *known] if told and told[0] == record.sender else known)

    def way(self, message: Message) -> Via | None:
        """How a message came or went."""
        return via(message, self.room, self.who(message.record)) if self.room.portal or message.source else None

    def author(self, message: Message, way: Via | None) -> str:
        """The name of whose words a message is."""
        record = message.record
        if way is not None and way.how == CONTACT and way.person and way.person.name:
            return way.person.name
        return self.at(way.author if way else record.sender, record.sent_at)


async def authors(tx: Connection, vault: Vault, rooms: dict[str, Room], found: Iterable[Message]) -> dict[str, str]:
    """Event id to the name of whose words a message is, for messages of any rooms."""
    names: dict[str, Names] = {}
    told = {}
    for message in found:
        record = message.record
        room = rooms.get(record.room_id)
        if room is not None:
            known = names.setdefault(record.room_id, Names(room))
            await known.read(tx, vault, _accounts(message, room))
            told[record.event_id] = known.author(message, known.way(message))
    return told


async def _entries(tx: Connection, vault: Vault, names: Names, page: list[Any]) -> list[Entry]:
    room, ids = names.room, [row["event_id"] for row in page]
    records = {record.event_id: record for record in await fetch(tx, vault, [(room.room_id, event_id) for event_id in ids])}
    composed = await messages(tx, vault, [records[event_id] for event_id in ids if event_id in records])
    wanted = {(room.room_id, message.reply_to) for message in composed if message.reply_to}
    answered = await messages(tx, vault, await fetch(tx, vault, wanted))
    await names.read(tx, vault, {user for message in (*composed, *answered) for user in _accounts(message, room)})
    quotes = {message.record.event_id: _quote(message, names) for message in answered}
    fillings = {message.filling.event_id: message.record.event_id for message in composed if message.filling}
    media = {
        fillings.get(row["event_id"], row["event_id"]): row
        for row in await tx.fetch(MEDIA, vault.org, room.room_id, [*ids, *fillings])
    }
    later = {
        row["event_id"]: LaterCheck(row["checked_at"], tuple(row["signed_by"]), tuple(row["unsigned_by"]))
        for row in await tx.fetch(LATER, vault.org, room.room_id, ids)
    }
    readers: dict[str, list[ReadBy]] = {}
    for row in await tx.fetch(READ, vault.org, room.room_id, ids):
        readers.setdefault(row["event_id"], []).append(ReadBy(row["user_id"], row["read_at"], row["thread"]))
    return [
        replace(
            entry(message, names, quotes, media.get(message.record.event_id)),
            later_check=later.get(message.record.event_id),
            read_by=tuple(readers.get(message.record.event_id, ())),
        )
        for message in composed
    ]


def _accounts(message: Message, room: Room) -> set[str]:
    """Whose names a message is shown with."""
    others = [*(reaction.sender for reaction in message.reactions), *(vote.sender for vote in message.votes)]
    official = message.source.get("official")
    told = [official] if isinstance(official, str) else []
    known = [room.portal.official] if room.portal and room.portal.official else []
    return {message.record.sender, *others, *([message.deletion.by] if message.deletion else []), *told, *known}


def _quote(message: Message, names: Names) -> Quote:
    return Quote(message.record.event_id, names.author(message, names.way(message)), without_fallback(message.body)[:200])


def entry(message: Message, names: Names, quotes: dict[str, Quote], media: Any) -> Entry:
    """A message with names instead of ids, and what it quotes."""
    by_key: dict[str, list[str]] = {}
    for reaction in message.reactions:
        if not reaction.deleted:
            by_key.setdefault(reaction.key, []).append(names.at(reaction.sender, reaction.sent_at))
    deletion, way = message.deletion, names.way(message)
    return Entry(
        message=message,
        sender_name=names.author(message, way),
        deleted_by_name=names.at(deletion.by, deletion.at) if deletion else None,
        quote=quotes.get(message.reply_to) if message.reply_to else None,
        attachment=_attachment(message, media),
        reactions=tuple((key, tuple(told)) for key, told in by_key.items()),
        votes=tuple((names.at(vote.sender, vote.sent_at), vote) for vote in message.votes),
        withdrawn=tuple((r.key, names.at(r.sender, r.sent_at)) for r in message.reactions if r.deleted),
        via=way,
        doubts=doubts(message, way, names.room),
    )


def _attachment(message: Message, media: Any) -> Attachment | None:
    if media is None:
        return None
    content = message.versions[0].content if message.versions else {}
    info = content.get("info")
    info = info if isinstance(info, dict) else {}
    name, kind = content.get("filename") or content.get("body"), info.get("mimetype")
    return Attachment(
        name=name if isinstance(name, str) and name else "bestand",
        media_type=kind if isinstance(kind, str) else "application/octet-stream",
        size=media["size"],
        state=media["state"],
        address=media["address"],
        problem=media["problem"],
        scan=media["scan"],
        scan_note=media["scan_note"],
        scanned_at=media["scanned_at"],
    )
