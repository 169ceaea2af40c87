"""When somebody was in which room, and a transaction that shows them only that."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from archiver.db import Connection, Pool, as_organisation, tenant_tx
from archiver.ledger.record import COLUMNS, Record, unseal
from archiver.ledger.sealing import Vault

STILL_DEPTH, STILL_AT = 2**63 - 1, datetime(9999, 12, 31, tzinfo=UTC)
OWN = f"""
    SELECT {COLUMNS} FROM record WHERE org = $1 AND type = 'm.room.member' AND state_key = $2 ORDER BY depth, event_id
"""  # noqa: S608 - constants only
FORGET = "DELETE FROM membership WHERE org = $1 AND user_id = $2"
KEEP = """
    INSERT INTO membership (org, user_id, room_id, from_depth, from_at, until_depth, until_at)
    SELECT $1, $2, * FROM unnest($3::text[], $4::bigint[], $5::timestamptz[], $6::bigint[], $7::timestamptz[])
    ON CONFLICT DO NOTHING
"""
# Two pages of one person at once would each put back what the other took away.
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtextextended('griffier member|' || $1::integer || '|' || $2::text, 0))"
# From here on the transaction has fewer rights (migration 13); it can't go back to more.
AS_OFFICIAL = "SET LOCAL ROLE griffier_official"
LIMITED = "SELECT current_user = 'griffier_official'"
# What they could see of a room, the newest first and no more than `most`: each period is a stretch of the index, so that what was
# said before they came and after they left is not even looked at. A deletion that came after they left is none.
SEEN_MESSAGES = """
    SELECT seen.* FROM membership AS m, LATERAL (
        SELECT sender, sent_at, unreadable, pruned,
               deleted_at IS NOT NULL AND EXISTS (
                   SELECT FROM membership AS p WHERE p.org = message.org AND p.room_id = message.room_id
                   AND message.deleted_at BETWEEN p.from_at AND p.until_at) AS deleted
        FROM message
        WHERE message.org = m.org AND message.room_id = m.room_id AND message.sent_at BETWEEN m.from_at AND m.until_at
          AND message.depth BETWEEN m.from_depth AND m.until_depth
        ORDER BY message.sent_at DESC, message.depth DESC, message.event_id DESC LIMIT {most}) AS seen
    WHERE m.org = {org} AND m.room_id = {room} ORDER BY seen.sent_at DESC LIMIT {most}
"""
FIRST_SEEN, LAST_SEEN = (
    f"""
    SELECT {of_all}(seen.sent_at) FROM membership AS m, LATERAL (
        SELECT sent_at FROM message
        WHERE message.org = m.org AND message.room_id = m.room_id AND message.sent_at BETWEEN m.from_at AND m.until_at
        ORDER BY message.sent_at {way}, message.depth {way}, message.event_id {way} LIMIT 1) AS seen
    WHERE m.org = {{org}} AND m.room_id = {{room}}
    """  # noqa: S608 - constants only
    for of_all, way in (("min", "ASC"), ("max", "DESC"))
)
BOUNDS = "SELECT min(from_at) AS first, max(until_at) AS last FROM membership WHERE org = $1 AND room_id = ANY($2)"


@dataclass(frozen=True, slots=True)
class Period:
    """From a join to what ended it, both included. Depth is what the room agreed on, time what people know it by."""

    room_id: str
    from_depth: int
    from_at: datetime
    until_depth: int = STILL_DEPTH
    until_at: datetime = STILL_AT


def periods(records: Iterable[Record], user_id: str) -> list[Period]:
    """The periods in which `user_id` was a member, from their membership events. Pure.

    A join counts only if it is their own and its id is authentic; whatever else follows it ends it.
    """
    by_room: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_room[record.room_id].append(record)
    found = []
    for room_id, events in by_room.items():
        began: Record | None = None
        for record in sorted(events, key=lambda each: (each.depth, each.sent_at, each.event_id)):
            joined = record.content.get("membership") == "join"
            if joined and began is None and record.sender == user_id and record.id_matches:
                began = record
            elif not joined and began is not None:
                found.append(Period(room_id, began.depth, began.sent_at, record.depth, record.sent_at))
                began = None
        if began is not None:
            found.append(Period(room_id, began.depth, began.sent_at))
    return found


async def refresh(tx: Connection, vault: Vault, user_id: str) -> list[Period]:
    """Make somebody's periods anew from the ledger."""
    await tx.execute(ONE_AT_A_TIME, vault.org, user_id)
    found = periods(await unseal(tx, vault, await tx.fetch(OWN, vault.org, user_id)), user_id)
    await tx.execute(FORGET, vault.org, user_id)
    columns = [
        [getattr(each, name) for each in found] for name in ("room_id", "from_depth", "from_at", "until_depth", "until_at")
    ]
    await tx.execute(KEEP, vault.org, user_id, *columns)
    return found


@asynccontextmanager
async def reader_tx(pool: Pool, vault: Vault, user_id: str) -> AsyncIterator[Connection]:
    """A transaction that shows what this official could see as a member: the database itself holds back the rest."""
    async with tenant_tx(pool, vault.org) as tx:
        await refresh(tx, vault, user_id)
    async with pool.acquire() as connection, connection.transaction(readonly=True):
        await connection.execute(as_organisation(vault.org))
        await connection.execute("SELECT set_config('griffier.reader', $1, true)", user_id)
        await connection.execute(AS_OFFICIAL)
        yield connection


async def bounds(tx: Connection, org: int, rooms: Sequence[str]) -> tuple[datetime, datetime]:
    """Between which moments lies all that this official could see of these rooms: from, and to before."""
    [row] = await tx.fetch(BOUNDS, org, rooms)
    return (row["first"], row["last"] + timedelta(microseconds=1)) if row["first"] else (STILL_AT, STILL_AT)


async def limited(tx: Connection) -> bool:
    """Whether this transaction shows what an official could see, and no more."""
    return bool(await tx.fetchval(LIMITED))
