"""Search in messages."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, Field

from archiver.reading import rooms as room_list
from archiver.reading.search import as_shown, search
from archiver.reading.timeline import authors
from archiver.reading.words import NothingToSearch
from archiver.web.access import reading
from archiver.web.api.operation import Request, look, operation
from archiver.web.api.problem import ApiProblem
from archiver.web.api.scopes import Scope
from archiver.web.api.words import Moment, RoomId, Text, at_most
from archiver.web.context import ARCHIVE


class Hit(BaseModel):
    """A message that was found."""

    room_id: Text
    room_name: Text
    event_id: Text
    sender: Text
    sender_name: Text
    sent_at: Moment
    kind: Text
    snippet: Text = Field(description="The text around the words.")
    deleted: bool


class Hits(BaseModel):
    """What was found."""

    total: int = Field(description="How many there are; counting stops at 1,000.", ge=0, le=1000)
    items: list[Hit] = Field(description="The newest first.")


class Query(Request):
    """What to look for."""

    q: Annotated[
        str,
        Field(
            min_length=1,
            max_length=300,
            description='Words, all of which must occur; `OR`, `NOT word` or `-word`, and `"a phrase"`.',
            examples=["stikstof -ontwerp"],
        ),
    ]
    room_id: RoomId | None = None
    limit: at_most(100, 50) = 50  # type: ignore[valid-type]


@operation("GET", "/search", subject="Search", scope=Scope.SEARCH, answered=Hits, problems=("nothing-to-search",))
async def search_messages(request: web.Request, asked: Query) -> Hits:
    """Search in all messages that you may see.

    Finds what was ever said: earlier versions and deleted messages too, by the stems of Dutch and English words.
    """
    archive = request.app[ARCHIVE]
    await look(request, "search", room_id=asked.room_id, words=len(asked.q.split()))
    try:
        async with reading(request) as tx:
            found = await search(tx, archive.vault, asked.q, asked.room_id, asked.limit)
            if not request["visitor"].reads_everything:
                found = await as_shown(tx, archive.vault, asked.q, found)
            shown = {hit.message.record.room_id for hit in found.hits}
            rooms = {room_id: room for room_id in shown for room in await room_list.rooms(tx, archive.vault, room_id)}
            said_by = await authors(tx, archive.vault, rooms, [hit.message for hit in found.hits])
    except NothingToSearch:
        raise ApiProblem("nothing-to-search") from None
    await look(request, "search results", shown=found.shown())
    hits = []
    for hit in found.hits:
        record = hit.message.record
        known = rooms.get(record.room_id)
        hits.append(
            Hit(
                room_id=record.room_id, room_name=known.name if known else record.room_id, event_id=record.event_id,
                sender=record.sender, sender_name=said_by.get(record.event_id, record.sender), sent_at=record.sent_at,
                kind=hit.message.kind, snippet=hit.snippet, deleted=hit.message.deletion is not None,
            )
        )  # fmt: skip
    return Hits(total=min(found.total, 1000), items=hits)
