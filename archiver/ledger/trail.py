"""The audit trail as it is read: newest first, by person, act and period, a page at a time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from archiver.db import Connection, Pool, tenant_tx

PAGE = 1000
# An id begins with its moment, so that a period is a stretch of the index; the clocks of two machines may differ by minutes.
FIND = """
    SELECT audit_id, at, actor, action, room_id, purpose, case_number, detail FROM audit
    WHERE org = $1 AND audit_id < $2 AND audit_id >= $3 AND at >= $4 AND at < $5
      AND ($6::text IS NULL OR actor = $6) AND ($7::text IS NULL OR action = $7)
      AND ($8::text IS NULL OR room_id = $8) AND ($9::text IS NULL OR purpose = $9) AND ($10::text IS NULL OR case_number = $10)
    ORDER BY audit_id DESC LIMIT $11
"""
ACTIONS = """
    WITH RECURSIVE each AS (
        (SELECT action FROM audit WHERE org = $1 ORDER BY action LIMIT 1)
        UNION ALL
        SELECT (SELECT action FROM audit WHERE org = $1 AND action > each.action ORDER BY action LIMIT 1) FROM each
        WHERE each.action IS NOT NULL)
    SELECT action FROM each WHERE action IS NOT NULL
"""
PURPOSES = """
    WITH RECURSIVE each AS (
        (SELECT purpose FROM audit WHERE org = $1 AND purpose IS NOT NULL ORDER BY purpose LIMIT 1)
        UNION ALL
        SELECT (SELECT purpose FROM audit WHERE org = $1 AND purpose > each.purpose ORDER BY purpose LIMIT 1) FROM each
        WHERE each.purpose IS NOT NULL)
    SELECT purpose FROM each WHERE purpose IS NOT NULL LIMIT 200
"""
SLACK = timedelta(minutes=10)
LATEST_ID = UUID(int=2**128 - 1)
EARLIEST, LATEST = datetime(1970, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Act:
    """Something that somebody did."""

    audit_id: UUID
    at: datetime
    actor: str
    action: str
    room_id: str | None
    detail: dict[str, Any]
    purpose: str | None = field(default=None, repr=False)
    case_number: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Selection:
    """Whose acts, of which kind, from when to before when, in which room, why and in which case; None is all."""

    actor: str | None = None
    action: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    room_id: str | None = None
    purpose: str | None = None
    case_number: str | None = None


async def acts(tx: Connection, org: int, chosen: Selection, before: UUID | None = None, limit: int = PAGE) -> list[Act]:
    """The newest acts of a selection, of before the act `before`."""
    start, end = chosen.start or EARLIEST, chosen.end or LATEST
    first = first_id(max(start, EARLIEST + SLACK) - SLACK)
    last = min(before or LATEST_ID, first_id(min(end, LATEST - SLACK) + SLACK))
    what = chosen.actor, chosen.action, chosen.room_id, chosen.purpose, chosen.case_number
    rows = await tx.fetch(FIND, org, last, first, start, end, *what, limit)
    return [Act(**(dict(row) | {"detail": json.loads(row["detail"])})) for row in rows]


async def every_act(pool: Pool, org: int, chosen: Selection) -> AsyncIterator[Act]:
    """All acts of a selection, the newest first; each page in a transaction of its own."""
    before: UUID | None = None
    while True:
        async with tenant_tx(pool, org) as tx:
            page = await acts(tx, org, chosen, before)
        for act in page:
            yield act
        if len(page) < PAGE:
            return
        before = page[-1].audit_id


async def actions(tx: Connection, org: int) -> list[str]:
    """The kinds of acts that there are."""
    return [row["action"] for row in await tx.fetch(ACTIONS, org)]


async def purposes(tx: Connection, org: int) -> list[str]:
    """Why people looked; at most 200."""
    return [row["purpose"] for row in await tx.fetch(PURPOSES, org)]


def first_id(moment: datetime) -> UUID:
    """The smallest UUID version 7 of a moment."""
    return UUID(int=max(int(moment.timestamp() * 1000), 0) << 80)
