"""Exports, made in the background."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from aiohttp import web
from pydantic import AfterValidator, BaseModel, Field, JsonValue

from archiver.db import tenant_tx
from archiver.export import EXPORTERS
from archiver.ledger.sealing import SealingError
from archiver.reading import rooms as room_list
from archiver.web import exports, jobs
from archiver.web.access import reading
from archiver.web.api.operation import Part, Request, operation
from archiver.web.api.problem import ApiProblem
from archiver.web.api.scopes import Scope
from archiver.web.api.words import Moment, RoomId, Text
from archiver.web.context import ARCHIVE, Archive
from archiver.web.exporting import MOST_ROOMS
from archiver.web.jobs import Job, TooMany
from archiver.web.looks import look

SUBJECT = "Exports"


class Export(BaseModel):
    """An export that you asked for."""

    export_id: UUID
    state: Text = Field(description="`waiting`, `running`, `done`, `failed`, `cancelled` or `expired`.")
    rooms: list[Text]
    format: Text
    done: int = Field(description="Messages written.")
    total: int | None
    created_at: datetime
    ended_at: datetime | None
    until: datetime | None = Field(description="Until when the file can be had.")
    problem: Text | None = Field(description="Why it failed.")
    media_type: Text | None
    size: int | None = Field(description="Of the file, in bytes.")


class Exports(BaseModel):
    """What you asked for; at most 100."""

    items: list[Export] = Field(description="The newest first.")


def _format(name: str) -> str:
    if name not in EXPORTERS:
        raise ValueError("no such format")
    return name


Format = Annotated[
    str,
    AfterValidator(_format),
    Field(description="In which form.", json_schema_extra={"enum": list[JsonValue](EXPORTERS)}),
]


class Wish(Part):
    """What to export."""

    rooms: Annotated[list[RoomId], Field(min_length=1, max_length=MOST_ROOMS)]
    format: Format
    sent_from: Moment | None = Field(default=None, description="Only what was sent then or later.")
    sent_until: Moment | None = Field(default=None, description="Only what was sent before then.")
    language: Literal["nl", "en"] = Field(default="nl", description="Of the words around the messages.")


class Ask(Request):
    """Ask for an export."""

    body: Wish


class One(Request):
    """An export."""

    export_id: UUID


class All(Request):
    """No more than that."""


@operation("GET", "/exports", subject=SUBJECT, scope=Scope.EXPORTS, answered=Exports)
async def list_exports(request: web.Request, _: All) -> Exports:
    """The exports that you asked for."""
    archive = request.app[ARCHIVE]
    await look(request, "list exports")
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        mine = await jobs.of(tx, archive.vault.org, request["actor"])
    return Exports(items=[_export(archive, job) for job in mine if job.kind == "export"])


@operation(
    "POST",
    "/exports",
    subject=SUBJECT,
    scope=Scope.EXPORTS,
    answered=Export,
    status=202,
    problems=("not-found", "too-many-exports"),
)
async def ask_export(request: web.Request, asked: Ask) -> Export:
    """Ask for an export of conversations.

    It is made in the background; ask for it until its state is `done`, then download the file.
    """
    archive, wish = request.app[ARCHIVE], asked.body
    rooms = list(dict.fromkeys(wish.rooms))
    async with reading(request) as tx:
        for room_id in rooms:
            if not await room_list.rooms(tx, archive.vault, room_id):
                raise ApiProblem("not-found")
    start, end = (each.isoformat() if each else None for each in (wish.sent_from, wish.sent_until))
    arguments = {"rooms": rooms, "format": wish.format, "start": start, "end": end, "language": wish.language}
    try:
        job_id = await exports.begin(request, arguments)
    except TooMany:
        raise ApiProblem("too-many-exports") from None
    return _export(archive, await _job(request, job_id))


@operation("GET", "/exports/{export_id}", subject=SUBJECT, scope=Scope.EXPORTS, answered=Export, problems=("not-found",))
async def get_export(request: web.Request, asked: One) -> Export:
    """How far an export is."""
    await look(request, "list exports")
    return _export(request.app[ARCHIVE], await _job(request, asked.export_id))


@operation("DELETE", "/exports/{export_id}", subject=SUBJECT, scope=Scope.EXPORTS, status=204, problems=("not-found", "conflict"))
async def cancel_export(request: web.Request, asked: One) -> None:
    """Cancel an export that waits or runs."""
    archive, job = request.app[ARCHIVE], await _job(request, asked.export_id)
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        if not await jobs.cancel(tx, archive.vault.org, job.person, job.job_id):
            raise ApiProblem("conflict")


@operation("GET", "/exports/{export_id}/file", subject=SUBJECT, scope=Scope.EXPORTS, file=True, problems=("not-found",))
async def get_export_file(request: web.Request, asked: One) -> web.StreamResponse:
    """The file of an export that is done."""
    return await exports.send(request, await _job(request, asked.export_id))


async def _job(request: web.Request, export_id: UUID) -> Job:
    archive = request.app[ARCHIVE]
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        return _there(await jobs.one(tx, archive.vault.org, request["actor"], export_id))


def _there(job: Job | None) -> Job:
    if job is None or job.kind != "export":
        raise ApiProblem("not-found")
    return job


def _export(archive: Archive, job: Job) -> Export:
    try:
        asked = job.arguments(archive.vault)
    except SealingError:
        asked = {}
    return Export(
        export_id=job.job_id, state=job.state, rooms=asked.get("rooms", []), format=asked.get("format", "?"), done=job.done,
        total=job.total, created_at=job.created_at, ended_at=job.ended_at, until=job.until, problem=job.problem,
        media_type=job.media_type, size=job.size,
    )  # fmt: skip
