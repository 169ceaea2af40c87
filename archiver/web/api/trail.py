"""The audit trail."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, Field

from archiver.db import tenant_tx
from archiver.ledger.canonical import column
from archiver.ledger.trail import Selection, acts
from archiver.web.api import cursor
from archiver.web.api.operation import Page, Request, operation
from archiver.web.api.scopes import Scope
from archiver.web.api.words import Cursor, Moment, Text, at_most
from archiver.web.context import ARCHIVE
from archiver.web.looks import look

LISTING = "audit"


class Act(BaseModel):
    """Something that somebody did."""

    audit_id: UUID
    at: datetime
    person: Text
    action: Text = Field(description="`read`, `search`, `file`, `sign in`, `grant role`, …")
    room_id: Text | None
    purpose: Text | None = Field(description="Why they looked, as they stated it.")
    case_number: Text | None
    detail: dict[str, Any] = Field(description="The rest, by the kind of act; never content.")


class Acts(Page):
    """A page of the trail."""

    items: list[Act]


class Which(Request):
    """Which acts."""

    person: Annotated[str, Field(max_length=255, description="Only of this person.")] | None = None
    action: Annotated[str, Field(max_length=100, description="Only of this kind.", examples=["read"])] | None = None
    room_id: Annotated[str, Field(max_length=255, description="Only of this conversation.")] | None = None
    purpose: Annotated[str, Field(max_length=800, description="Only under this purpose.")] | None = None
    case_number: Annotated[str, Field(max_length=255, description="Only in this case.")] | None = None
    at_from: Moment | None = Field(default=None, description="Only of then or later.")
    at_until: Moment | None = Field(default=None, description="Only of before then.")
    limit: at_most(1000, 100) = 100  # type: ignore[valid-type]
    cursor: Cursor | None = None


@operation("GET", "/audit", subject="Audit trail", scope=Scope.AUDIT, answered=Acts, problems=("cursor",))
async def list_acts(request: web.Request, asked: Which) -> Acts:
    """Who looked at, searched, exported or changed what.

    The newest act first. That you read this is in it too.
    """
    archive = request.app[ARCHIVE]
    before = UUID(cursor.read(archive.vault, LISTING, asked.cursor)[0]) if asked.cursor else None
    texts = asked.person, asked.action, asked.room_id, asked.purpose, asked.case_number
    person, action, room, why, case = (column(text, 800) if text else None for text in texts)
    chosen = Selection(person, action, asked.at_from, asked.at_until, room, why, case)
    told = {"person": person, "act": action, "room": room, "why": why, "case": case, "from": asked.at_from, "to": asked.at_until}
    await look(request, "read audit trail", **{name: str(value) for name, value in told.items() if value is not None})
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        found = await acts(tx, archive.vault.org, chosen, before, asked.limit + 1)
    page = found[: asked.limit]
    onward = cursor.write(archive.vault, LISTING, str(page[-1].audit_id)) if len(found) > len(page) else None
    items = [
        Act(
            audit_id=act.audit_id, at=act.at, person=act.actor, action=act.action, room_id=act.room_id, purpose=act.purpose,
            case_number=act.case_number, detail=act.detail,
        )
        for act in page
    ]  # fmt: skip
    return Acts(items=items, next=onward)
