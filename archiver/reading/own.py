"""What the archive holds of one official, for their own page: how much of what, from where, and who looked at it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from archiver.db import Connection
from archiver.ledger.sealing import Vault
from archiver.reading.channels import Channel, channels
from archiver.reading.interruption import interruptions
from archiver.reading.membership import SEEN_MESSAGES, STILL_AT, Period
from archiver.reading.rooms import rooms

MONTHS_SHOWN = 36
LOOKS_SHOWN = 100
SEARCHES_READ = 5_000  # the newest searches of everybody, among which those are looked for that showed something of theirs
COUNTED, COUNTED_IN_EACH = 50_000, 1_000  # messages in all their conversations together, and at least in each
FILES_COUNTED = 10_000
# So many of the newest of each conversation, and back to the moment to which all of them are counted.
MONTHS = f"""
    WITH seen AS MATERIALIZED (
        SELECT mine.room_id, newest.sender, newest.sent_at
        FROM (SELECT DISTINCT org, room_id FROM membership WHERE org = $1) AS mine,
             LATERAL ({SEEN_MESSAGES.format(org="mine.org", room="mine.room_id", most="$3::bigint")}) AS newest),
    stopped AS (
        SELECT max(at) AS at FROM (SELECT min(sent_at) AS at FROM seen GROUP BY room_id HAVING count(*) >= $3) AS of_each)
    SELECT date_trunc('month', sent_at AT TIME ZONE 'Europe/Amsterdam')::date AS month, count(*) AS messages,
           count(*) FILTER (WHERE sender = $2) AS mine, stopped.at AS since
    FROM seen, stopped WHERE stopped.at IS NULL OR sent_at >= stopped.at
    GROUP BY month, stopped.at ORDER BY month DESC LIMIT {MONTHS_SHOWN}
"""  # noqa: S608 - constants only
FILES = f"""
    SELECT count(*) AS files, coalesce(sum(size), 0)::bigint AS bytes FROM (
        SELECT media.size FROM (SELECT DISTINCT room_id FROM membership WHERE org = $1) AS of_them
        JOIN media ON media.org = $1 AND media.room_id = of_them.room_id
        WHERE part = 'file' AND state = 'stored' LIMIT {FILES_COUNTED + 1}) AS stored
"""  # noqa: S608 - a constant only
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
    since: datetime | None  # from when on the messages are counted; None: from the first
    files: int
    more_files: bool  # there are more than `files`, which is where counting stopped
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
    most = max(COUNTED // max(len(periods), 1), COUNTED_IN_EACH)
    months = await tx.fetch(MONTHS, vault.org, user_id, most + 1)
    found = channels(await rooms(tx, vault, carried) if carried else [], [each for each in told if each.official == user_id])
    return Own(
        months=tuple(Month(row["month"], row["messages"], row["mine"]) for row in months),
        since=months[0]["since"] if months else None,
        files=min(files["files"], FILES_COUNTED),
        more_files=files["files"] > FILES_COUNTED,
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
