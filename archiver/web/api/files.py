"""Files that came with messages."""

from __future__ import annotations

from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field

from archiver.web.api.operation import Request, operation
from archiver.web.api.problem import ApiProblem
from archiver.web.api.rooms import room
from archiver.web.api.scopes import Scope
from archiver.web.api.words import EventId, RoomId
from archiver.web.context import ARCHIVE
from archiver.web.given import NotGiven, given
from archiver.web.looks import look


class Which(Request):
    """Which file."""

    room_id: RoomId
    event_id: EventId
    despite: (
        Annotated[Literal["infected"], Field(description="Give it although the virus scanner found harmful software in it.")]
        | None
    ) = None


@operation(
    "GET", "/rooms/{room_id}/messages/{event_id}/file", subject="Messages", scope=Scope.FILES, file=True,
    problems=("infected", "not-found", "not-scanned"),
)  # fmt: skip
async def get_file(request: web.Request, asked: Which) -> web.Response:
    """The file that came with a message.

    Its name and media type are in the message; what a sender calls a file is no reason to believe it, so it is always a download.
    """
    archive = request.app[ARCHIVE]
    told = {"despite": asked.despite} if asked.despite else {}
    await look(request, "file", room_id=asked.room_id, event_id=asked.event_id, **told)
    async with room(request, asked.room_id) as (tx, found):
        try:
            content, _ = await given(tx, archive, found.room_id, asked.event_id, despite=asked.despite is not None)
        except NotGiven as problem:
            raise ApiProblem(problem.kind) from None
    headers = {"Content-Disposition": "attachment", "Content-Security-Policy": "default-src 'none'; sandbox"}
    return web.Response(body=content, content_type="application/octet-stream", headers=headers)
