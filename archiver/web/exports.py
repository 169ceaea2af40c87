"""The pages for exports: ask for one, see how far it is, stop it, take it."""

from __future__ import annotations

import asyncio
from datetime import date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from aiohttp import web

from archiver.db import tenant_tx
from archiver.export import EXPORTERS
from archiver.export.catalogue import LANGUAGES
from archiver.export.language import ZONE
from archiver.ledger.audit import note
from archiver.ledger.canonical import column
from archiver.ledger.sealing import SealingError
from archiver.ledger.stream import opened
from archiver.reading import rooms as room_list
from archiver.reading.conversations import Choice, conversations
from archiver.web import jobs
from archiver.web.access import reading
from archiver.web.context import ARCHIVE, language
from archiver.web.exporting import MOST_ROOMS
from archiver.web.jobs import Job, TooMany
from archiver.web.render import render
from archiver.web.workshop import Workshop, result_context, result_path

routes = web.RouteTableDef()
LISTED = 200  # conversations to choose from; any other is chosen on its own page
NAMED = 3  # conversations that an export is called by
WORKSHOP = web.AppKey("workshop", Workshop)


@routes.get("/exports")
async def show(request: web.Request) -> web.StreamResponse:
    """What this person asked for, and the form for a new one; `room` chooses a conversation beforehand."""
    chosen: dict[str, Any] = {name: column(request.query.get(name, ""), 64) for name in ("from", "to")}
    chosen |= {"rooms": request.query.getall("room", []), "format": column(request.query.get("format", "html"), 64)}
    return await _page(request, chosen, {})


@routes.post("/exports")
async def ask(request: web.Request) -> web.StreamResponse:
    """Ask for an export; it is made in the background."""
    archive, form = request.app[ARCHIVE], await request.post()
    chosen: dict[str, Any] = {name: column(_field(form, name), 64) for name in ("from", "to", "format")}
    chosen["rooms"] = list(dict.fromkeys(each for each in form.getall("room", []) if isinstance(each, str)))
    asked, problems = _judged(chosen, language(request).code)
    async with reading(request) as tx:
        there = {each for each in asked["rooms"] if column(each) == each and await room_list.rooms(tx, archive.vault, each)}
    if there != set(asked["rooms"]):
        raise web.HTTPNotFound
    if not problems:
        try:
            await begin(request, asked)
        except TooMany:
            problems = {"": "too_many"}
    if problems:
        return await _page(request, chosen, problems, 409 if "" in problems else 400)
    raise web.HTTPSeeOther("/exports")


async def begin(request: web.Request, asked: dict[str, Any]) -> UUID:
    """Have an export made, and write down that it was asked for; returns the job. Raises TooMany.

    `asked`: rooms, format, start and end (ISO 8601, or None), language.
    """
    archive = request.app[ARCHIVE]
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        most = archive.settings.web.jobs.per_person
        job_id = await jobs.start(tx, archive.vault, request["actor"], "export", asked, most)
        for room_id in asked["rooms"]:
            told = {"format": asked["format"], "start": asked["start"], "end": asked["end"], "job": str(job_id)}
            await note(tx, archive.vault.org, request["actor"], "ask for export", room_id=room_id, **told)
    request.app[WORKSHOP].wake()
    return job_id


@routes.get("/exports/{job_id}/state")
async def state(request: web.Request) -> web.StreamResponse:
    """How far an export is, as a part of the page that asks for it by itself: it opens nothing, and is no look of a person."""
    return render(request, "job.html", job=await _job(request), file_name=file_name, apart=True)


@routes.post("/exports/{job_id}/cancel")
async def cancel(request: web.Request) -> web.StreamResponse:
    """Stop an export that waits or runs."""
    archive, job = request.app[ARCHIVE], await _job(request)
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        await jobs.cancel(tx, archive.vault.org, job.person, job.job_id)
    raise web.HTTPSeeOther("/exports")


@routes.get("/exports/{job_id}/download")
async def download(request: web.Request) -> web.StreamResponse:
    """The result, to who asked for it."""
    return await send(request, await _job(request))


async def send(request: web.Request, job: Job) -> web.StreamResponse:
    """The result of a job, opened a chunk at a time. Raises HTTPNotFound."""
    archive = request.app[ARCHIVE]
    if job.state != "done" or job.wrapped_key is None:
        raise web.HTTPNotFound
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        for room_id in job.arguments(archive.vault)["rooms"]:
            await note(tx, archive.vault.org, job.person, "download export", room_id=room_id, job=str(job.job_id))
    context = result_context(archive, job)
    try:
        key = archive.vault.unwrap(job.wrapped_key, context)
        chunks = opened(result_path(archive, job.job_id, job.attempt), key, context.encode())
        chunk = await asyncio.to_thread(next, chunks, None)  # what is gone or damaged is so before anything is promised
    except SealingError:
        raise web.HTTPNotFound from None
    response = web.StreamResponse(
        headers={
            "Content-Type": job.media_type or "application/octet-stream",
            "Content-Disposition": f'attachment; filename="{file_name(job)}"',
            "Content-Length": str(job.size),
            "Content-Security-Policy": "default-src 'none'; sandbox",
        }
    )
    await response.prepare(request)
    while chunk is not None:
        await response.write(chunk)
        chunk = await asyncio.to_thread(next, chunks, None)
    await response.write_eof()
    return response


def file_name(job: Job) -> str:
    """What the file is called: nothing of what is in it."""
    return f"export-{job.created_at.astimezone(ZONE):%Y-%m-%d-%H%M}-{str(job.job_id)[-4:]}{job.suffix}"


async def _page(
    request: web.Request, chosen: dict[str, Any], problems: dict[str, str], status: int = 200
) -> web.Response:  # fmt: skip
    archive, say = request.app[ARCHIVE], language(request)
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        await note(tx, archive.vault.org, request["actor"], "list exports")
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        mine = await jobs.of(tx, archive.vault.org, request["actor"])
        await jobs.see(tx, archive.vault.org, request["actor"])
    shown = [(job, _rooms(archive, job)) for job in mine]
    before = [column(each) for each in chosen["rooms"][:MOST_ROOMS]]
    named = tuple(dict.fromkeys([*before, *(each for _, of in shown for each in of[:NAMED])]))
    async with reading(request) as tx:
        latest = await conversations(tx, archive.vault, Choice(), None, LISTED)
        others = await conversations(tx, archive.vault, Choice(rooms=named), None, len(named)) if named else None
    names = {each.room_id: each.name for each in (*latest.headlines, *(others.headlines if others else ()))}
    listed = dict.fromkeys([*(each for each in before if each in names), *(each.room_id for each in latest.headlines)])
    texts = {
        "none": say.gettext("Choose at least one conversation."),
        "many": say.ngettext("Choose at most %(num)d conversation.", "Choose at most %(num)d conversations.", MOST_ROOMS)
        % {"num": MOST_ROOMS},
        "day": say.gettext("Write the day as 2026-03-31."),
        "empty": say.gettext("The period is empty: its last day is before its first."),
        "format": say.gettext("Choose a format."),
        "too_many": say.gettext("You have as many exports waiting as one person may. Wait until one is ready, or cancel one."),
    }
    told = {name: texts[kind] for name, kind in problems.items()}
    request["ended_jobs"] = (0, 0)
    return render(
        request, "exports.html", status, rooms=[(each, names[each]) for each in listed], more=latest.later is not None,
        jobs=[(job, [names.get(each, each) for each in of]) for job, of in shown], chosen=chosen, problems=told,
        busy=any(job.open for job in mine), formats=list(EXPORTERS), file_name=file_name,
    )  # fmt: skip


def _rooms(archive: Any, job: Job) -> list[str]:
    try:
        return list(job.arguments(archive.vault).get("rooms", []))
    except SealingError:
        return []


async def _job(request: web.Request) -> Job:
    archive = request.app[ARCHIVE]
    try:
        job_id = UUID(request.match_info["job_id"])
    except ValueError:
        raise web.HTTPNotFound from None
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        found = await jobs.one(tx, archive.vault.org, request["actor"], job_id)
    if found is None or found.kind != "export":
        raise web.HTTPNotFound
    return found


def _judged(chosen: dict[str, Any], code: str) -> tuple[dict[str, Any], dict[str, str]]:
    """What the job is asked, and what is wrong by field."""
    problems, days = {}, {}
    for name in ("from", "to"):
        try:
            days[name] = _day(chosen[name])
        except ValueError:
            days[name], problems[name] = None, "day"
    if days["from"] and days["to"] and days["to"] < days["from"]:
        problems["to"] = "empty"
    if not chosen["rooms"]:
        problems["rooms"] = "none"
    elif len(chosen["rooms"]) > MOST_ROOMS:
        problems["rooms"] = "many"
    if chosen["format"] not in EXPORTERS:
        problems["format"] = "format"
    start, end = (
        datetime.combine(day + timedelta(days=more), time(), ZONE).isoformat() if day else None
        for day, more in ((days["from"], 0), (days["to"], 1))
    )
    asked = {"rooms": chosen["rooms"][: MOST_ROOMS + 1], "format": chosen["format"], "start": start, "end": end}
    return asked | {"language": code if code in LANGUAGES else "nl"}, problems


def _day(text: str) -> date | None:
    day = date.fromisoformat(text) if text else None
    if day and not 1971 <= day.year <= 9000:
        raise ValueError("no such day")
    return day


def _field(form: Any, name: str) -> str:
    value = form.get(name, "")
    return value.strip() if isinstance(value, str) else ""
