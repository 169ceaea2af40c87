"""The canary's rounds: what one found, how it is judged, and what they add up to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from archiver.db import Connection
from archiver.ledger.audit import uuid7

MESSAGE, EDIT, FILE, DELETION = PARTS = ("message", "edit", "file", "deletion")
OVERDUE_AFTER = 3  # rounds that did not come
KEEP_DAYS = 90

# What the ledger, the reading view and the store of files hold of each part. A part is there from when it can be read.
LOOK = """
    SELECT r.event_id, r.sent_at, greatest(r.captured_at, r.opened_at, f.stored_at) AS arrived_at,
           r.id_matches, r.content_matches, cardinality(r.signed_by) > 0 AND cardinality(r.unsigned_by) = 0 AS signed,
           r.unreadable, r.doubts, f.state AS file_state, f.problem AS file_problem,
           m.event_id IS NOT NULL AND m.unreadable IS NULL AS shown,
           coalesce(m.edits, 0) > 0 AS edited, m.deleted_at IS NOT NULL AS deleted
    FROM record AS r
    LEFT JOIN media AS f ON f.org = r.org AND f.room_id = r.room_id AND f.event_id = r.event_id AND f.part = 'file'
    LEFT JOIN message AS m ON m.org = r.org AND m.room_id = r.room_id AND m.event_id = coalesce(r.relates_to, r.event_id)
    WHERE r.org = $1 AND r.room_id = $2 AND r.event_id = ANY($3)
"""
KEEP = """
    INSERT INTO canary_round (org, round_id, started_at, room_id, heard, message_ms, edit_ms, file_ms, deletion_ms, lacking)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
PRUNE = f"DELETE FROM canary_round WHERE org = $1 AND started_at < now() - interval '{KEEP_DAYS} days'"  # noqa: S608 - a constant
LAST_ROOM = "SELECT room_id FROM canary_round WHERE org = $1 AND room_id IS NOT NULL ORDER BY started_at DESC LIMIT 1"
LAST_END = "SELECT ended_at FROM canary_round WHERE org = $1 ORDER BY started_at DESC LIMIT 1"
LAST = "SELECT * FROM canary_round WHERE org = $1 ORDER BY started_at DESC LIMIT 1"
DAY = """
    SELECT part, count(*) AS expected, count(ms) AS arrived,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) AS p50, percentile_cont(0.95) WITHIN GROUP (ORDER BY ms) AS p95
    FROM canary_round
    CROSS JOIN LATERAL (VALUES ('message', message_ms), ('edit', edit_ms), ('file', file_ms), ('deletion', deletion_ms))
        AS parts (part, ms)
    WHERE org = $1 AND started_at > now() - interval '24 hours' GROUP BY part
"""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What the archive holds of a part; times are those of the homeserver and of the archive."""

    sent_at: datetime
    arrived_at: datetime
    id_matches: bool
    content_matches: bool
    signed: bool
    unreadable: str | None
    doubts: tuple[str, ...]
    file_state: str | None
    file_problem: str | None
    shown: bool
    edited: bool
    deleted: bool

    @property
    def milliseconds(self) -> int:
        """How long it took; 0 when the clocks differ by more than that."""
        return max(0, round((self.arrived_at - self.sent_at).total_seconds() * 1000))


def lacks(part: str, seen: Sighting | None) -> str | None:
    """Why a part can't be counted as archived; None when it can."""
    if seen is None:
        return "it is not in the archive"
    if not seen.id_matches:
        return "its event id is not its hash"
    if not seen.content_matches:
        return "its content is not what its hash says"
    if not seen.signed:
        return "its server's signature could not be checked"
    if seen.unreadable:
        return f"it can't be read: {seen.unreadable}"
    if seen.doubts:
        return f"it is in doubt: {', '.join(seen.doubts)}"
    if part == FILE and seen.file_state != "stored":
        return f"the file is {seen.file_state or 'not noticed'}" + (f": {seen.file_problem}" if seen.file_problem else "")
    shows = {EDIT: seen.edited, DELETION: seen.deleted}.get(part, seen.shown)
    return None if shows else "the reading view does not show it"


async def look(tx: Connection, org: int, room_id: str, sent: Mapping[str, str]) -> dict[str, Sighting]:
    """What the archive holds of these parts (part to event id)."""
    part_of = {event_id: part for part, event_id in sent.items()}
    found = {}
    for row in await tx.fetch(LOOK, org, room_id, list(part_of)):
        values = dict(row) | {"doubts": tuple(row["doubts"])}
        part = part_of[values.pop("event_id")]
        found[part] = Sighting(**values)
    return found


@dataclass(frozen=True, slots=True)
class Round:
    """A round that has ended. Each part is in `took` (milliseconds) or in `lacking` (why it did not arrive)."""

    started_at: datetime
    room_id: str | None
    heard: bool
    took: dict[str, int] = field(default_factory=dict)
    lacking: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return set(self.took) == set(PARTS)

    def to_json(self) -> dict[str, Any]:
        return {
            "started_at": self.started_at.isoformat(), "room_id": self.room_id, "complete": self.complete, "heard": self.heard,
            "latency_ms": {part: self.took.get(part) for part in PARTS}, "lacking": self.lacking,
        }  # fmt: skip


async def keep(tx: Connection, org: int, done: Round) -> None:
    """Note a round, and throw away what is of long ago."""
    took = [done.took.get(part) for part in PARTS]
    await tx.execute(KEEP, org, uuid7(), done.started_at, done.room_id, done.heard, *took, json.dumps(done.lacking))
    await tx.execute(PRUNE, org)


async def last_room(tx: Connection, org: int) -> str | None:
    """The room of the last round that had one."""
    room_id: str | None = await tx.fetchval(LAST_ROOM, org)
    return room_id


async def last_end(tx: Connection, org: int) -> datetime | None:
    """When the last round ended."""
    ended_at: datetime | None = await tx.fetchval(LAST_END, org)
    return ended_at


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from when the homeserver took a part until it could be read in the archive."""

    last: int | None
    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """The last round, and those of the last 24 hours together."""

    last: Round
    ended_at: datetime
    expected: int  # parts: four in each round, sent or not
    arrived: int
    latency: dict[str, Latency]

    @property
    def completeness(self) -> float:
        return self.arrived / self.expected if self.expected else 0.0

    def overdue(self, every: float, now: datetime) -> bool:
        """Whether rounds that should have come did not; `every` in minutes, 0 where the canary is off."""
        return is_overdue(self.ended_at, every, now)

    def to_json(self, every: float, now: datetime) -> dict[str, Any]:
        """For `griffier status --json`."""
        return {
            "every_minutes": every,
            "overdue": self.overdue(every, now),
            "last": self.last.to_json() | {"ended_at": self.ended_at.isoformat()},
            "last_24_hours": {"expected": self.expected, "arrived": self.arrived, "completeness": self.completeness},
            "latency_ms": {part: asdict(latency) for part, latency in self.latency.items()},
        }

    def lines(self, every: float, now: datetime) -> Iterator[str]:
        """For `griffier status`."""
        state = "complete" if self.last.complete else "INCOMPLETE"
        state += "" if self.last.heard else ", not heard by its receiver"
        late = ", OVERDUE" if self.overdue(every, now) else "" if every else ", off"
        yield f"last round {self.ended_at:%Y-%m-%d %H:%M:%S %Z}: {state}{late}"
        for part, why in self.last.lacking.items():
            yield f"  {part}: {why}"
        yield f"in 24 hours {self.arrived} of {self.expected} parts arrived ({self.completeness:.1%})"
        for part, latency in self.latency.items():
            told = (("last", latency.last), ("p50", latency.p50), ("p95", latency.p95))
            numbers = [f"{name} {value:.0f} ms" for name, value in told if value is not None]
            yield f"{part}: {', '.join(numbers) or 'never arrived in 24 hours'}"


def is_overdue(since: datetime, every: float, now: datetime) -> bool:
    """Whether no round has come since then for three times as long as there is between two; `every` in minutes, 0 is off."""
    return every > 0 and now - since > timedelta(minutes=every * OVERDUE_AFTER)


async def summary(tx: Connection, org: int) -> Summary | None:
    """What the rounds add up to; None when there has been none."""
    row = await tx.fetchrow(LAST, org)
    if row is None:
        return None
    took = {part: row[f"{part}_ms"] for part in PARTS if row[f"{part}_ms"] is not None}
    last = Round(row["started_at"], row["room_id"], row["heard"], took, json.loads(row["lacking"]))
    day = {each["part"]: each for each in await tx.fetch(DAY, org)}
    return Summary(
        last=last,
        ended_at=row["ended_at"],
        expected=sum(each["expected"] for each in day.values()),
        arrived=sum(each["arrived"] for each in day.values()),
        latency={
            part: Latency(took.get(part), day[part]["p50"] if part in day else None, day[part]["p95"] if part in day else None)
            for part in PARTS
        },
    )
