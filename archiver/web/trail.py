"""The audit trail for auditors: a page, and the same as CSV."""

from __future__ import annotations

import csv
import io
import json
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from aiohttp import web

from archiver.db import tenant_tx
from archiver.export.language import ZONE
from archiver.ledger.audit import note
from archiver.ledger.canonical import column
from archiver.ledger.chain import CHECK, Head, verify
from archiver.ledger.trail import Act, Selection, actions, acts, every_act, purposes
from archiver.web.context import ARCHIVE, language
from archiver.web.render import render

routes = web.RouteTableDef()

SHOWN = 100
HEADER = ("at", "actor", "action", "room_id", "detail", "audit_id", "purpose", "case_number")
FILTERS = ("person", "action", "from", "to", "room", "purpose", "case")
CHECKED = 100_000  # links that the page goes through: some seconds; the command goes through all of them
# What a spreadsheet would take for a formula (OWASP, "CSV injection").
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@routes.get("/audit")
async def show(request: web.Request) -> web.StreamResponse:
    """A page of the trail."""
    archive, query = request.app[ARCHIVE], request.query
    try:
        chosen, before = selection(query), UUID(query["before"]) if query.get("before") else None
    except ValueError:
        return render(request, "trail.html", 400, problem=True, query=query, found=[], kinds=[], whys=[], older=None, filters="")
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        await note(tx, archive.vault.org, request["actor"], "read audit trail", **_told(query))
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        found = await acts(tx, archive.vault.org, chosen, before, SHOWN + 1)
        kinds, whys = await actions(tx, archive.vault.org), await purposes(tx, archive.vault.org)
    filters = {name: query[name] for name in FILTERS if query.get(name)}
    older = "?" + urlencode({**filters, "before": str(found[SHOWN - 1].audit_id)}) if len(found) > SHOWN else None
    shown = [(act, details(act)) for act in found[:SHOWN]]
    return render(
        request, "trail.html", problem=False, query=query, found=shown, kinds=kinds, whys=whys, older=older,
        filters=urlencode(filters),
    )  # fmt: skip


@routes.get("/audit.csv")
async def download(request: web.Request) -> web.StreamResponse:
    """The trail, or the part of it that is chosen, as CSV (RFC 4180; UTF-8; times in UTC)."""
    archive = request.app[ARCHIVE]
    try:
        chosen = selection(request.query)
    except ValueError:
        raise web.HTTPBadRequest(text=language(request).gettext("The date can't be read. Write it as 2026-03-31.")) from None
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        await note(tx, archive.vault.org, request["actor"], "export audit trail", **_told(request.query))
    response = web.StreamResponse(
        headers={"Content-Type": "text/csv; charset=utf-8", "Content-Disposition": 'attachment; filename="auditspoor.csv"'}
    )
    await response.prepare(request)
    await response.write(line(HEADER))
    async for act in every_act(archive.pool, archive.vault.org, chosen):
        await response.write(
            line(
                (
                    act.at.isoformat(), act.actor, act.action, act.room_id or "",
                    json.dumps(act.detail, ensure_ascii=False, sort_keys=True), str(act.audit_id),
                    act.purpose or "", act.case_number or "",
                )
            )
        )  # fmt: skip
    await response.write_eof()
    return response


@routes.get("/audit/chain")
async def intact(request: web.Request) -> web.StreamResponse:
    """Whether the trail is as it was written: its newest links are made again and compared."""
    archive, text = request.app[ARCHIVE], request.query.get("known", "").strip()
    try:
        known = Head.read(text) if text else None
    except ValueError:
        return render(request, "chain.html", 400, verdict=None, known=None, text=text[:100])
    verdict = await verify(archive.pool, archive.vault, CHECKED, known)
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        link, problem, late = verdict.link.hex(), verdict.problem or None, verdict.late or None
        org, by = archive.vault.org, request["actor"]
        await note(tx, org, by, CHECK, number=verdict.number, link=link, problem=problem, late=late)
    return render(request, "chain.html", verdict=verdict, known=known, text=text)


def selection(query: Any) -> Selection:
    """The filters of an address; days are those of the Netherlands. Raises ValueError."""

    def day(name: str, more: int) -> datetime | None:
        text = query.get(name, "").strip()
        if not text:
            return None
        chosen = date.fromisoformat(text)
        if not 1971 <= chosen.year <= 9000:
            raise ValueError("no such day")
        return datetime.combine(chosen + timedelta(days=more), time(), ZONE)

    names = ("person", "action", "room", "purpose", "case")
    person, action, room, why, case = (column(query.get(name, "").strip(), 800) or None for name in names)
    return Selection(person, action, day("from", 0), day("to", 1), room, why, case)


def details(act: Act) -> str:
    """The rest of an act, in a line."""
    return "; ".join(f"{name}: {_short(value)}" for name, value in act.detail.items() if value is not None)


def line(cells: tuple[str, ...]) -> bytes:
    """A line of CSV that no spreadsheet calculates with."""
    out = io.StringIO()
    csv.writer(out).writerow([f"'{cell}" if cell.startswith(FORMULA) else cell for cell in cells])
    return out.getvalue().encode("utf-8", "replace")


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{room} ({len(events) if isinstance(events, list) else 1})" for room, events in value.items())
    return str(value)


def _told(query: Any) -> dict[str, str]:
    names = {"person": "person", "action": "act", "from": "from", "to": "to", "room": "room", "purpose": "why", "case": "case"}
    return {told: column(query[name], 255) for name, told in names.items() if query.get(name)}
