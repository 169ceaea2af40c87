"""What a room shows: its messages with names, quotes and files, and what happened beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from archiver.db import Connection
from archiver.ledger.record import Record
from archiver.ledger.sealing import Vault
from archiver.reading.happening import Happening, accounts, happenings
from archiver.reading.identity import Identities, Person, ghost, identities, person, together
from archiver.reading.message import Message
from archiver.reading.poll import Vote
from archiver.reading.project import fetch, messages
from archiver.reading.rooms import Room
from archiver.reading.via import CONTACT, OURS, Via, doubts, via

THREADS = """
    SELECT root, replies, last_at FROM unnest($3::text[]) AS wanted (root),
           LATERAL (SELECT count(*) AS replies, max(sent_at) AS last_at FROM (
               SELECT sent_at FROM message WHERE org = $1 AND room_id = $2 AND thread = root
               ORDER BY sent_at DESC, depth DESC, event_id DESC LIMIT 1000) AS newest) AS told
    WHERE replies > 0
"""
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
    thread_root: Quote | None = None  # what the thread that it is in began with
    replies: int = 0  # in the thread that it began; counted up to 1,000
    last_reply_at: datetime | None = None

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


Row = Entry | Happening


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


async def rows(tx: Connection, vault: Vault, names: Names, page: Sequence[Any]) -> list[Row]:
    """What these places show."""
    found: dict[str, Row] = {
        each.event_id: each for each in await _entries(tx, vault, names, [row for row in page if row["said"]])
    }
    states = [(names.room.room_id, row["event_id"]) for row in page if not row["said"]]
    changes = await happenings(tx, vault, await fetch(tx, vault, states))
    await names.read(tx, vault, accounts(changes))
    for each in changes:
        found[each.event_id] = replace(each, names={user: names.at(user, each.sent_at) for user in each.accounts()})
    return [found[row["event_id"]] for row in page if row["event_id"] in found]


async def _entries(tx: Connection, vault: Vault, names: Names, page: Sequence[Any]) -> list[Entry]:
    room, ids = names.room, [row["event_id"] for row in page]
    records = {record.event_id: record for record in await fetch(tx, vault, [(room.room_id, event_id) for event_id in ids])}
    composed = await messages(tx, vault, [records[event_id] for event_id in ids if event_id in records])
    wanted = {(room.room_id, other) for message in composed for other in (message.reply_to, message.thread) if other}
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
    threads = {row["root"]: row for row in await tx.fetch(THREADS, vault.org, room.room_id, ids)}
    return [
        replace(
            entry(message, names, quotes, media.get(message.record.event_id)),
            replies=threads[message.record.event_id]["replies"] if message.record.event_id in threads else 0,
            last_reply_at=threads[message.record.event_id]["last_at"] if message.record.event_id in threads else None,
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
        thread_root=quotes.get(message.thread) if message.thread else None,
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
