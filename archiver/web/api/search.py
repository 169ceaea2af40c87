"""Search in messages."""

from __future__ import annotations

from typing import Annotated, Literal

from aiohttp import web
from pydantic import BaseModel, Field

from archiver.export.catalogue import translations
from archiver.reading import rooms as room_list
from archiver.reading.progress import progress
from archiver.reading.query import UnclearQuery
from archiver.reading.scope import NotKnown, scope
from archiver.reading.search import COUNTED, Match, search
from archiver.reading.timeline import authors
from archiver.web.access import reading
from archiver.web.api import cursor
from archiver.web.api.operation import Page, Request, operation
from archiver.web.api.problem import ApiProblem, Fault, spoken
from archiver.web.api.scopes import Scope
from archiver.web.api.words import Cursor, Moment, RoomId, Text, at_most, moment_of
from archiver.web.asked import PROBLEMS
from archiver.web.context import ARCHIVE
from archiver.web.looks import look


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


class Indexing(BaseModel):
    """The search index is being made anew: what has not been done can't be found yet."""

    searchable: int = Field(description="So many events have been done.")
    total: int


class Hits(Page):
    """A page of what was found."""

    total: int | None = Field(description="How many there are; counting stops at 1,000. Null on a later page.", ge=0, le=COUNTED)
    more_than: bool = Field(description="There are more than `total`.")
    further: str | None = Field(
        description="The cursor to look further back with: there was no time to, or it is older than the newest 1,000 that were "
        "put in order of relevance."
    )
    indexing: Indexing | None = Field(description="Null when all messages can be found.")
    items: list[Hit]


class Query(Request):
    """What to look for."""

    q: Annotated[
        str,
        Field(
            max_length=300,
            description='Words, all of which must occur; `OR`, `NOT word` or `-word`, brackets, and `"a phrase"`.',
            examples=["stikstof -ontwerp"],
        ),
    ] = ""
    room_id: RoomId | None = None
    sender: Annotated[str, Field(max_length=255, description="A Matrix id, or part of a name.")] = ""
    official: Annotated[str, Field(max_length=255, description="A Matrix id, in whose conversations to search.")] = ""
    network: Annotated[str, Field(max_length=100, description="Of the conversation.", examples=["whatsapp"])] = ""
    has: Literal["file", "link", "edit", "deletion"] | None = Field(default=None, description="What the message has.")
    sent_from: Moment | None = Field(default=None, description="Only what was sent then or later.")
    sent_until: Moment | None = Field(default=None, description="Only what was sent before then.")
    order: Literal["newest", "oldest", "relevance"] = Field(default="newest", description="What comes first.")
    limit: at_most(100, 25) = 25  # type: ignore[valid-type]
    cursor: Cursor | None = None


@operation("GET", "/search", subject="Search", scope=Scope.SEARCH, answered=Hits, problems=("query", "cursor", "not-found"))
async def search_messages(request: web.Request, asked: Query) -> Hits:
    """Search in all messages that you may see.

    Finds what was ever said: earlier versions and deleted messages too, by the stems of Dutch and English words. Without
    words, all that the filters let by.
    """
    archive, visitor = request.app[ARCHIVE], request["visitor"]
    vault, listing = archive.vault, f"search {asked.order}"
    after = _place(cursor.read(vault, listing, asked.cursor)) if asked.cursor else None
    written = {name: getattr(asked, name).strip().replace("\0", "") for name in ("sender", "official", "network")}
    filters = sorted(name for name in asked.model_fields_set if name not in ("q", "limit", "cursor"))
    told = {"filters": ", ".join(filters)} if filters else {}
    await look(request, "search", room_id=asked.room_id, words=len(asked.q.split()), **told)
    try:
        async with reading(request) as tx:
            has = frozenset({asked.has} if asked.has else ())
            start, end = asked.sent_from, asked.sent_until
            chosen = await scope(tx, vault, room=asked.room_id or "", **written, start=start, end=end, has=has)
            member = None if visitor.reads_everything else visitor.matrix_id
            query = asked.q.replace("\0", " ")
            found = await search(tx, vault, query, chosen, order=asked.order, after=after, limit=asked.limit, member=member)
            left = await progress(tx, vault.org)
            shown = {hit.message.record.room_id for hit in found.hits}
            rooms = {room_id: room for room_id in shown for room in await room_list.rooms(tx, vault, room_id)}
            said_by = await authors(tx, vault, rooms, [hit.message for hit in found.hits])
    except UnclearQuery as problem:
        text = translations(spoken(request)).gettext(PROBLEMS[problem.kind]) % {"at": problem.at}
        raise ApiProblem("query", errors=[Fault(place="query", name="q", code=problem.kind, detail=text)]) from None
    except NotKnown:
        raise ApiProblem("not-found") from None
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
    onward, further = (cursor.write(vault, listing, *each.told()) if each else None for each in (found.following, found.further))
    indexing = Indexing(searchable=left.done, total=left.total) if left else None
    return Hits(items=hits, total=found.total, more_than=found.more_than, next=onward, further=further, indexing=indexing)


def _place(parts: tuple[str, ...]) -> Match:
    room_id, event_id, sent_at, rank, *window = parts
    newest = Match(window[0], window[1], moment_of(window[2])) if window else None
    return Match(room_id, event_id, moment_of(sent_at), float(rank), newest)
