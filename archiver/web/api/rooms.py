"""Conversations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import BaseModel, Field

from archiver.db import Connection, tenant_tx
from archiver.ledger.canonical import column
from archiver.reading import rooms as room_list
from archiver.reading.conversations import Choice, Place, conversations, see_to
from archiver.reading.rooms import Room
from archiver.web.access import reading
from archiver.web.api import cursor
from archiver.web.api.operation import Page, Request, operation
from archiver.web.api.problem import ApiProblem
from archiver.web.api.scopes import Scope
from archiver.web.api.words import Cursor, Moment, RoomId, Text, at_most, moment_of
from archiver.web.context import ARCHIVE
from archiver.web.looks import look

SUBJECT = "Conversations"
State = Annotated[
    Literal["complete", "incomplete", "fetching", "unreadable", "deleted", "not-captured"],
    Field(description="Only those that stand so: nothing is missing, something is, history is being fetched, …"),
]


class Portal(BaseModel):
    """The conversation on another network that a room is, by the word of its bridge."""

    network: Text
    channel: Text | None = Field(description="The network's own id of the conversation.")
    channel_name: Text | None
    group: bool
    number: Text | None = Field(description="Our number in it.")
    official: Text | None = Field(description="Whose number that is: a Matrix id.")
    told_by: Text = Field(description="The bridge's account.")


class Gap(BaseModel):
    """An event that should be there and is not."""

    event_id: Text
    cause: Text | None = Field(description="Why it can't be had; null while it is being asked for.")
    before: datetime | None = Field(description="When the first event was sent that points at it.")


class Completeness(BaseModel):
    """What the room's event graph shows."""

    closed_up_to: Text | None = Field(description="The newest event before which nothing is missing.")
    closed_at: datetime | None
    missing: int = Field(description="Events that should be there and are not.", ge=0)
    gaps: list[Gap] = Field(description="The first 50 of those.")
    began_before: bool = Field(description="The conversation goes on to before the archiver was in it.")
    fetching: bool = Field(description="History is still being fetched.")


class Conversation(BaseModel):
    """A room."""

    room_id: Text
    name: Text
    network: Text = Field(description="`matrix`, or the network from which a bridge carries it over.")
    portal: Portal | None
    encrypted: bool
    archived: bool = Field(description="The archiver is a member now.")
    notice_shown: bool = Field(description="The server showed the notice that this room is archived.")
    members: list[Text] = Field(description="Matrix ids.")
    left: list[Text] = Field(description="Who were members before.")
    names: dict[Text, Text] = Field(description="Matrix id to the name that they have in the room.")
    created_at: datetime | None
    messages: int
    more_than: bool = Field(description="There are more than `messages`: an official's own are counted to 1,000.")
    first_at: datetime | None
    last_at: datetime | None
    unreadable: int
    deleted: int
    deleted_before_capture: int
    completeness: Completeness


class Conversations(Page):
    """A page of the list."""

    items: list[Conversation]


class Which(Request):
    """Filters of the list."""

    network: Annotated[str, Field(max_length=100, description="Only of this network.", examples=["whatsapp"])] | None = None
    official: Annotated[str, Field(max_length=255, description="Only in which this Matrix id is or was.")] | None = None
    active_from: Moment | None = Field(default=None, description="Only with a message of then or later.")
    active_until: Moment | None = Field(default=None, description="Only with a message of before then.")
    state: State | None = None
    sort: Literal["latest", "earliest", "largest"] = Field(default="latest", description="What comes first.")
    limit: at_most(200, 50) = 50  # type: ignore[valid-type]
    cursor: Cursor | None = None


class One(Request):
    """A room."""

    room_id: RoomId


@operation(
    "GET", "/rooms", subject=SUBJECT, scope=Scope.ROOMS, answered=Conversations, problems=("cursor",),
)  # fmt: skip
async def list_rooms(request: web.Request, asked: Which) -> Conversations:
    """The conversations that you may see.

    The one with the latest message first, unless sorted otherwise.
    """
    archive, listing = request.app[ARCHIVE], f"rooms {asked.sort}"
    place = _place(cursor.read(archive.vault, listing, asked.cursor), asked.sort) if asked.cursor else None
    official, network = (column(text, 255) if text else None for text in (asked.official, asked.network))
    choice = Choice(official, network, asked.active_from, asked.active_until, asked.state, asked.sort)
    filters = {name: value for name in ("official", "network", "state") if (value := getattr(choice, name))}
    await look(request, "list rooms", **filters)
    if request["visitor"].reads_everything:
        async with tenant_tx(archive.pool, archive.vault.org) as tx:
            await see_to(tx, archive.vault, choice)
    async with reading(request) as tx:
        listed = await conversations(tx, archive.vault, choice, place, asked.limit)
        wanted = [each.room_id for each in listed.headlines]
        found = {room.room_id: room for room in await room_list.rooms(tx, archive.vault, wanted)} if wanted else {}
    onward = None
    if listed.later:
        value = listed.later.value
        value = value.isoformat() if isinstance(value, datetime) else value
        onward = cursor.write(archive.vault, listing, value, listed.later.room_id)
    return Conversations(items=[_conversation(found[each]) for each in wanted if each in found], next=onward)


@operation("GET", "/rooms/{room_id}", subject=SUBJECT, scope=Scope.ROOMS, answered=Conversation, problems=("not-found",))
async def get_room(request: web.Request, asked: One) -> Conversation:
    """A conversation."""
    await look(request, "list rooms", room_id=asked.room_id)
    async with room(request, asked.room_id) as (_, found):
        return _conversation(found)


@asynccontextmanager
async def room(request: web.Request, room_id: str) -> AsyncIterator[tuple[Connection, Room]]:
    """A transaction that shows what the caller may see, and the room in it. Raises ApiProblem."""
    archive = request.app[ARCHIVE]
    async with reading(request) as tx:
        found = await room_list.rooms(tx, archive.vault, room_id)
        if not found:
            raise ApiProblem("not-found")
        yield tx, found[0]


def _place(parts: tuple[Any, ...], sort: str) -> Place:
    value, room_id = parts
    return Place(value if sort == "largest" else moment_of(value), room_id)


def _conversation(room: Room) -> Conversation:
    portal, known = room.portal, room.completeness
    return Conversation(
        room_id=room.room_id,
        name=room.name,
        network=room.network,
        portal=Portal(
            network=portal.network, channel=portal.channel, channel_name=portal.channel_name, group=portal.group,
            number=portal.receiver, official=portal.official, told_by=portal.told_by,
        ) if portal else None,
        encrypted=room.encrypted,
        archived=room.seated,
        notice_shown=room.noticed,
        members=list(room.members),
        left=list(room.left),
        names=room.names,
        created_at=room.created_at,
        messages=room.messages,
        more_than=not room.counted_all,
        first_at=room.first_at,
        last_at=room.last_at,
        unreadable=room.unreadable,
        deleted=room.deleted,
        deleted_before_capture=room.pruned,
        completeness=Completeness(
            closed_up_to=known.closed_up_to,
            closed_at=known.closed_at,
            missing=known.holes,
            gaps=[Gap(event_id=gap.event_id, cause=gap.cause, before=gap.before_at) for gap in known.shown],
            began_before=known.unseen,
            fetching=room.fetching,
        ),
    )  # fmt: skip
