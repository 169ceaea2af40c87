"""Messages: a conversation by time, or by what is new or changed; one message, its versions and its proof."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from aiohttp import web
from pydantic import BaseModel, Field

from archiver.export.jsonl import line
from archiver.ledger.canonical import nearest
from archiver.reading import feed
from archiver.reading.proof import proof
from archiver.reading.timeline import Cursor as Place
from archiver.reading.timeline import Entry
from archiver.web.api import cursor
from archiver.web.api.operation import Page, Request, operation
from archiver.web.api.problem import ApiProblem
from archiver.web.api.rooms import room
from archiver.web.api.scopes import Scope
from archiver.web.api.words import Cursor, EventId, Moment, RoomId, Text, at_most
from archiver.web.context import ARCHIVE
from archiver.web.looks import look

SUBJECT = "Messages"


class Version(BaseModel):
    """What a message said from a moment on."""

    event_id: Text
    sent_at: datetime
    body: Text
    deleted: bool = Field(description="This edit was itself deleted.")


class Deletion(BaseModel):
    """Who deleted a message."""

    by: Text
    at: datetime
    reason: Text | None
    by_timer: bool = Field(description="Nobody deleted it: its time was up on the network that it comes from.")


class Reaction(BaseModel):
    """Somebody's reaction."""

    event_id: Text
    key: Text
    sender: Text
    sent_at: datetime
    deleted: bool


class Vote(BaseModel):
    """What somebody voted."""

    event_id: Text
    sender: Text
    sent_at: datetime
    answers: list[Text]
    deleted: bool


class Contact(BaseModel):
    """Who a contact was on the other network, at that time."""

    name: Text | None
    phone: Text | None
    lid: Text | None
    user_id: Text | None
    username: Text | None


class Via(BaseModel):
    """How a message came from another network, or went there."""

    network: Text
    how: Text = Field(description="`contact`, `phone`, `sent` or `offered`.")
    author: Text
    history: bool
    relayed_for: Text | None
    relayed_through: Text | None
    identity: Contact | None


class Attachment(BaseModel):
    """A file that came with a message."""

    name: Text
    media_type: Text
    size: int | None
    state: Text = Field(description="`waiting`, `stored` or `failed`.")
    problem: Text | None
    scan: Text | None = Field(description="`waiting`, `clean` or `infected`; null when no virus scanner was set.")


class Said(BaseModel):
    """A message as people see it now, with all that became of it."""

    event_id: Text
    room_id: Text
    sender: Text
    sender_name: Text
    sent_at: datetime
    captured_at: datetime = Field(description="When it was in the archive.")
    type: Text = Field(description="The Matrix event type of what it says.")
    kind: Text = Field(description="`text`, `image`, `file`, `poll`, `call`, `unreadable`, …")
    body: Text = Field(description="What it says now.")
    network: Text
    via: Via | None
    reply_to: Text | None
    thread: Text | None
    versions: list[Version] = Field(description="The oldest first.")
    deleted: Deletion | None = Field(description="A deletion hides nothing here: the versions stay.")
    deleted_before_capture: bool
    unreadable: Text | None = Field(description="Why it can't be read.")
    doubts: list[Text] = Field(description="What speaks against believing it.")
    reactions: list[Reaction]
    votes: list[Vote]
    attachment: Attachment | None


class Timeline(Page):
    """A page of a conversation."""

    items: list[Said]


class Changes(BaseModel):
    """What is new or changed."""

    items: list[Said]
    next: str = Field(description="The cursor from which to ask for what comes after; also when there is nothing more yet.")
    more: bool = Field(description="There is more now; otherwise ask again later.")


class Checks(BaseModel):
    """What was found of an event when it came."""

    id_matches: bool = Field(description="The event id is the hash of this event.")
    content_matches: bool = Field(description="The content is what was sent; false on an authentic id: deleted before capture.")
    signed_by: list[Text] = Field(description="Homeservers whose signature was verified.")
    not_verified: list[Text] = Field(description="Named as signing, but their key is unknown or the signature wrong.")


class Proof(BaseModel):
    """The event itself, for whoever checks it for themselves."""

    room_id: Text
    event_id: Text
    event: str = Field(
        description="The signed event as canonical JSON, as it came from the homeserver (Matrix federation format)."
    )
    payload: str | None = Field(
        description="What it says once decrypted, as the sender's client wrote it; null if not encrypted."
    )
    captured_at: datetime
    checks: Checks
    doubts: list[Text]


class By(Request):
    """A stretch of a conversation."""

    room_id: RoomId
    sent_from: Moment | None = Field(default=None, description="Only what was sent then or later.")
    sent_until: Moment | None = Field(default=None, description="Only what was sent before then.")
    limit: at_most(200, 50) = 50  # type: ignore[valid-type]
    cursor: Cursor | None = None


class After(Request):
    """What came after a place."""

    room_id: RoomId
    limit: at_most(200, 50) = 50  # type: ignore[valid-type]
    cursor: Cursor | None = None


class OneMessage(Request):
    """A message."""

    room_id: RoomId
    event_id: EventId


@operation(
    "GET", "/rooms/{room_id}/messages", subject=SUBJECT, scope=Scope.MESSAGES, answered=Timeline, problems=("not-found", "cursor")
)
async def list_messages(request: web.Request, asked: By) -> Timeline:
    """A conversation by time.

    The newest message first, in the order in which people saw them. What comes into the archive while you page does not shift
    the pages; use the changes to follow a conversation.
    """
    archive, listing = request.app[ARCHIVE], f"messages {asked.room_id}"
    place = cursor.read_place(archive.vault, listing, asked.cursor) if asked.cursor else None
    if asked.sent_until is not None:
        end = Place(asked.sent_until, 0, "")
        place = end if place is None or place.sent_at > end.sent_at else place
    await look(request, "read", room_id=asked.room_id, before=place.event_id if place else None)
    async with room(request, asked.room_id) as (tx, found):
        entries, more = await feed.before(tx, archive.vault, found, place, asked.limit)
    if asked.sent_from is not None and (not entries or entries[-1].sent_at < asked.sent_from):
        entries, more = [entry for entry in entries if entry.sent_at >= asked.sent_from], None
    onward = cursor.write_place(archive.vault, listing, more) if more else None
    return Timeline(items=[said(entry) for entry in entries], next=onward)


@operation(
    "GET", "/rooms/{room_id}/changes", subject=SUBJECT, scope=Scope.MESSAGES, answered=Changes, problems=("not-found", "cursor")
)
async def list_changes(request: web.Request, asked: After) -> Changes:
    """What is new or changed in a conversation.

    In the archive's own order: a message comes when it is archived, and again when it is edited, deleted, reacted to, or can be
    read at last. Who asks again with `next` misses nothing, also of what was sent long ago and came late. After
    `griffier rebuild` everything comes once more. Not for officials: it would tell them what was done after they left.
    """
    archive, listing = request.app[ARCHIVE], f"changes {asked.room_id}"
    (after,) = cursor.read(archive.vault, listing, asked.cursor) if asked.cursor else (0,)
    await look(request, "read", room_id=asked.room_id, after=after)
    async with room(request, asked.room_id) as (tx, found):
        entries, last, more = await feed.changed(tx, archive.vault, found, after, asked.limit)
    return Changes(items=[said(entry) for entry in entries], next=cursor.write(archive.vault, listing, last), more=more)


@operation(
    "GET", "/rooms/{room_id}/messages/{event_id}", subject=SUBJECT, scope=Scope.MESSAGES, answered=Said, problems=("not-found",)
)
async def get_message(request: web.Request, asked: OneMessage) -> Said:
    """A message with all its versions."""
    archive = request.app[ARCHIVE]
    await look(request, "read", room_id=asked.room_id, event_id=asked.event_id)
    async with room(request, asked.room_id) as (tx, found):
        entry = await feed.one(tx, archive.vault, found, asked.event_id)
    if entry is None:
        raise ApiProblem("not-found")
    return said(entry)


@operation(
    "GET", "/rooms/{room_id}/messages/{event_id}/proof", subject=SUBJECT, scope=Scope.MESSAGES, answered=Proof,
    problems=("not-found",),
)  # fmt: skip
async def get_proof(request: web.Request, asked: OneMessage) -> Proof:
    """The original event.

    Also of an edit, a reaction or a deletion, by its own event id. Hash the event as the Matrix specification says to see that
    the id is its own.
    """
    archive = request.app[ARCHIVE]
    await look(request, "read", room_id=asked.room_id, event_id=asked.event_id, proof=1)
    async with room(request, asked.room_id) as (tx, _):
        found = await proof(tx, archive.vault, asked.room_id, asked.event_id)
    if found is None:
        raise ApiProblem("not-found")
    record = found.record
    return Proof(
        room_id=record.room_id,
        event_id=record.event_id,
        event=nearest(record.event).decode(),
        payload=record.payload.decode("utf-8", "replace") if record.payload is not None else None,
        captured_at=record.captured_at,
        checks=Checks(
            id_matches=record.id_matches, content_matches=record.content_matches, signed_by=list(record.signed_by),
            not_verified=list(record.unsigned_by),
        ),
        doubts=list(record.doubts),
    )  # fmt: skip


def said(entry: Entry) -> Said:
    """A message as the API shows it: as in the JSON Lines export."""
    told: dict[str, Any] = line(entry)
    attachment = told["attachment"]
    if attachment:
        scan = attachment.pop("scan")
        told["attachment"] = {**attachment, "scan": scan["result"] if scan else None}
    return Said.model_validate({name: told[name] for name in Said.model_fields})
