"""What the archive holds of one official, for their own page: how much of what, from where, and who looked at it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from archiver.db import Connection
from archiver.ledger.sealing import Vault
from archiver.reading.channels import Channel, channels
from archiver.reading.interruption import interruptions
from archiver.reading.membership import STILL_AT, Period
from archiver.reading.rooms import rooms

MONTHS_SHOWN = 36
LOOKS_SHOWN = 100
SEARCHES_READ = 5_000  # the newest searches of everybody, among which those are looked for that showed something of theirs
# Room by room, so that each is counted along its own index; row-level security leaves what they could see.
MONTHS = f"""
    SELECT month, sum(messages)::bigint AS messages, sum(mine)::bigint AS mine
    FROM (SELECT DISTINCT room_id FROM membership WHERE org = $1) AS of_them,
         LATERAL (SELECT date_trunc('month', sent_at AT TIME ZONE 'Europe/Amsterdam')::date AS month, count(*) AS messages,
                         count(*) FILTER (WHERE sender = $2) AS mine
                  FROM message WHERE message.org = $1 AND message.room_id = of_them.room_id GROUP BY 1) AS counted
    GROUP BY month ORDER BY month DESC LIMIT {MONTHS_SHOWN}
"""  # noqa: S608 - a constant only
FILES = """
    SELECT count(*) AS files, coalesce(sum(size), 0)::bigint AS bytes
    FROM (SELECT DISTINCT room_id FROM membership WHERE org = $1) AS of_them
    JOIN media ON media.org = $1 AND media.room_id = of_them.room_id
    WHERE part = 'file' AND state = 'stored'
"""
PERIODS = """
    SELECT room_id, from_depth, from_at, until_depth, until_at FROM membership WHERE org = $1 ORDER BY room_id, from_at
"""
DEVICES = """
    SELECT DISTINCT ON (device_id) device_id, cross_signed, seen_at FROM sender_device
    WHERE org = $1 AND user_id = $2 ORDER BY device_id, seen_at DESC LIMIT 100
"""
CARRIED = "SELECT room_id FROM conversation WHERE org = $1 AND official = $2"
# A day and a role, and how often: not who it was, nor at what hour.
LOOKS = f"""
    SELECT day, role, action, room_id, count(*) AS times FROM (
        SELECT (at AT TIME ZONE 'Europe/Amsterdam')::date AS day, detail->>'role' AS role, action, room_id FROM audit
        WHERE org = $1 AND room_id = ANY($2) AND actor <> $3 AND action = ANY($4)
          AND audit_id >= $5
        UNION ALL
        SELECT (at AT TIME ZONE 'Europe/Amsterdam')::date, detail->>'role', action, room
        FROM (SELECT * FROM audit WHERE org = $1 AND action = 'search results' AND audit_id >= $5
              ORDER BY audit_id DESC LIMIT {SEARCHES_READ}) AS searched,
             LATERAL unnest($2::text[]) AS room
        WHERE actor <> $3 AND detail->'shown' ? room) AS looked
    GROUP BY day, role, action, room_id ORDER BY day DESC, room_id, action LIMIT {LOOKS_SHOWN}
"""  # noqa: S608 - constants only
LOOKING = ("read", "file", "proof", "proof download", "export")


@dataclass(frozen=True, slots=True)
class Month:
    """What was said in their conversations in a month."""

    month: date
    messages: int
    mine: int  # sent by their own account


@dataclass(frozen=True, slots=True)
class OwnDevice:
    """A device from which the archive received keys of theirs."""

    device_id: str
    cross_signed: bool
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Look:
    """That somebody of a role looked at a conversation on a day."""

    day: date
    role: str | None
    action: str
    room_id: str
    times: int


@dataclass(frozen=True, slots=True)
class Own:
    """Of one official."""

    months: tuple[Month, ...]
    files: int
    file_bytes: int
    periods: dict[str, tuple[Period, ...]]  # by room, in which they were
    devices: tuple[OwnDevice, ...]
    channels: tuple[Channel, ...]


async def own(tx: Connection, vault: Vault, user_id: str) -> Own:
    """What an official may know of themselves; `tx` shows what they may see (archiver.reading.membership.reader_tx)."""
    periods: dict[str, list[Period]] = {}
    for row in await tx.fetch(PERIODS, vault.org):
        periods.setdefault(row["room_id"], []).append(Period(**row))
    files = await tx.fetchrow(FILES, vault.org)
    carried = [row["room_id"] for row in await tx.fetch(CARRIED, vault.org, user_id)]
    told = await interruptions(tx, vault.org)
    found = channels(await rooms(tx, vault, carried) if carried else [], [each for each in told if each.official == user_id])
    return Own(
        months=tuple(Month(row["month"], row["messages"], row["mine"]) for row in await tx.fetch(MONTHS, vault.org, user_id)),
        files=files["files"],
        file_bytes=files["bytes"],
        periods={room: tuple(of_room) for room, of_room in periods.items()},
        devices=tuple(OwnDevice(**row) for row in await tx.fetch(DEVICES, vault.org, user_id)),
        channels=tuple(found),
    )


async def looks(tx: Connection, org: int, found: Own, person: str, since: Any) -> list[Look]:
    """Who looked at these conversations since an act's id, but for themselves; by one who may read the trail."""
    return [Look(**row) for row in await tx.fetch(LOOKS, org, list(found.periods), person, list(LOOKING), since)]


def still(period: Period) -> bool:
    """Whether they are in the room now."""
    return period.until_at >= STILL_AT
