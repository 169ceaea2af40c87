"""Whether the archive captures."""

from __future__ import annotations

from datetime import datetime

from aiohttp import web
from pydantic import BaseModel, Field

from archiver.capture.standing import standings, whole
from archiver.db import tenant_tx
from archiver.ledger.alarm import sounding
from archiver.web.api.operation import Request, operation
from archiver.web.api.scopes import Scope
from archiver.web.api.words import Text
from archiver.web.context import ARCHIVE


class Seat(BaseModel):
    """An archiver's account."""

    user_id: Text
    capturing: bool
    reasons: list[Text] = Field(description="Why it does not capture.")
    signed: bool = Field(description="The homeserver shows its device as cross-signed.")
    seen_at: datetime | None = Field(description="The last committed sync.")


class Alarm(BaseModel):
    """What an admin must do something about."""

    kind: Text
    subject: Text
    detail: Text
    raised_at: datetime


class Health(BaseModel):
    """The archive's state."""

    capturing: bool
    seats: list[Seat]
    alarms: list[Alarm]


class All(Request):
    """No more than that."""


@operation("GET", "/health", subject="Health", scope=Scope.HEALTH, answered=Health)
async def get_health(request: web.Request, _: All) -> Health:
    """Whether everything is captured, and what is wrong."""
    archive = request.app[ARCHIVE]
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        seats = await standings(tx, archive.settings)
        alarms = await sounding(tx, archive.vault.org)
    return Health(
        capturing=whole(seats),
        seats=[
            Seat(
                user_id=seat.user_id,
                capturing=seat.capturing,
                reasons=list(seat.reasons),
                signed=seat.signed,
                seen_at=seat.seen_at,
            )
            for seat in seats
        ],
        alarms=[Alarm(**alarm) for alarm in alarms],
    )
