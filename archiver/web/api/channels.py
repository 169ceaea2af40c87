"""Numbers on other networks."""

from __future__ import annotations

from datetime import datetime

from aiohttp import web
from pydantic import BaseModel, Field

from archiver.db import tenant_tx
from archiver.reading import interruption
from archiver.reading.channels import carried, channels
from archiver.web.api.operation import Request, operation
from archiver.web.api.scopes import Scope
from archiver.web.api.words import Text
from archiver.web.context import ARCHIVE
from archiver.web.looks import look


class Interruption(BaseModel):
    """A time that was not covered."""

    since: datetime
    until: datetime | None = Field(description="Null while it lasts.")
    cause: Text


class Channel(BaseModel):
    """A number through which officials are reached."""

    network: Text
    number: Text | None
    officials: list[Text]
    told_by: Text = Field(description="The bridge that carries it.")
    rooms: int
    messages: int
    last_at: datetime | None
    interruptions: list[Interruption] = Field(description="The newest first.")


class Channels(BaseModel):
    """Every number that a bridge names."""

    items: list[Channel] = Field(description="Those that are not covered now first.")


class All(Request):
    """No more than that."""


@operation("GET", "/channels", subject="Channels", scope=Scope.CHANNELS, answered=Channels)
async def list_channels(request: web.Request, _: All) -> Channels:
    """The numbers on other networks, and when they were not covered."""
    archive = request.app[ARCHIVE]
    await look(request, "list channels")
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        found = channels(await carried(tx, archive.vault), await interruption.interruptions(tx, archive.vault.org))
    return Channels(
        items=[
            Channel(
                network=each.network, number=each.number, officials=list(each.officials), told_by=each.told_by, rooms=each.rooms,
                messages=each.messages, last_at=each.last_at,
                interruptions=[_interruption(one) for one in each.interruptions],
            )
            for each in found
        ]
    )  # fmt: skip


def _interruption(each: interruption.Interruption) -> Interruption:
    return Interruption(since=each.from_at, until=each.until_at, cause=each.cause)
