"""Times in which a bridge did not cover a number: kept as the bridge tells them, shown wherever the conversation is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from archiver.db import Connection
from archiver.ledger.canonical import JsonObject, column, usable
from archiver.ledger.claims import INTERRUPTION
from archiver.ledger.record import Record, moment
from archiver.reading.portal import Portal, digits

CAUSES = ("webhook-silent", "bridge-down", "disconnected", "paused", "token-refused", "history-refused", "not-connected")

# The latest word stands; an end that was told stays told. In whatever order the words come, they add up to the same row.
KEEP = """
    INSERT INTO interruption AS known (org, told_by, interruption_id, network, number_id, number, official, from_at, until_at,
                                       cause, told_at, room_id, event_id)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
    ON CONFLICT (org, told_by, interruption_id) DO UPDATE SET
        (network, number_id, number, official, from_at, cause, told_at, room_id, event_id) = (
            SELECT w.* FROM (VALUES
                (excluded.network, excluded.number_id, excluded.number, excluded.official, excluded.from_at, excluded.cause,
                 excluded.told_at, excluded.room_id, excluded.event_id),
                (known.network, known.number_id, known.number, known.official, known.from_at, known.cause,
                 known.told_at, known.room_id, known.event_id))
                AS w (network, number_id, number, official, from_at, cause, told_at, room_id, event_id)
            ORDER BY w.told_at DESC, w.event_id DESC LIMIT 1),
        until_at = greatest(known.until_at, excluded.until_at)
"""
FIND = """
    SELECT told_by, interruption_id, network, number_id, number, official, from_at, until_at, cause, room_id, event_id
    FROM interruption WHERE org = $1 ORDER BY from_at DESC, told_by, interruption_id LIMIT 2000
"""


@dataclass(frozen=True, slots=True)
class Interruption:
    """A time that is not covered, by the word of a bridge."""

    told_by: str
    interruption_id: str
    network: str
    number_id: str | None
    number: str | None
    official: str | None
    from_at: datetime
    until_at: datetime | None  # None while it lasts
    cause: str
    room_id: str
    event_id: str

    def concerns(self, portal: Portal) -> bool:
        """Whether a conversation's number was not covered. What names no number concerns every number of its bridge."""
        if self.told_by != portal.told_by or self.network != portal.network:
            return False
        if self.number and portal.receiver:
            return digits(self.number) == digits(portal.receiver)
        if self.official and portal.official:
            return self.official == portal.official
        return True

    def overlaps(self, start: datetime | None, end: datetime | None) -> bool:
        """Whether some of it lies in a period; None is open on that side."""
        return (end is None or self.from_at < end) and (start is None or self.until_at is None or self.until_at >= start)

    def to_json(self) -> JsonObject:
        """For programs."""
        return {
            "id": self.interruption_id, "told_by": self.told_by, "network": self.network, "number_id": self.number_id,
            "number": self.number, "official": self.official, "from": self.from_at.isoformat(),
            "until": self.until_at.isoformat() if self.until_at else None, "cause": self.cause, "room_id": self.room_id,
            "event_id": self.event_id,
        }  # fmt: skip


async def keep(tx: Connection, org: int, records: Iterable[Record]) -> None:
    """Note what a bridge's notices say; `records` are those of believed bridges that hold such a word."""
    rows = [row for record in records if (row := _row(org, record)) is not None]
    if rows:
        await tx.executemany(KEEP, rows)


async def interruptions(tx: Connection, org: int) -> list[Interruption]:
    """The last 2,000, the newest first."""
    return [Interruption(**dict(row)) for row in await tx.fetch(FIND, org)]


def _row(org: int, record: Record) -> tuple[Any, ...] | None:
    told = record.content.get(INTERRUPTION)
    identity = told.get("id") if isinstance(told, dict) else None
    if not isinstance(told, dict) or not usable(identity):
        return None
    cause, start, end = _text(told.get("cause")), told.get("from"), told.get("until")
    return (
        org, record.sender, identity, _text(told.get("network")) or "?", _text(told.get("number_id")), _text(told.get("number")),
        _text(told.get("official")), moment(start) if _number(start) else record.sent_at, moment(end) if _number(end) else None,
        cause if cause in CAUSES else "other", record.sent_at, record.room_id, record.event_id,
    )  # fmt: skip


def _text(told: object) -> str | None:
    return column(told, 255) or None if isinstance(told, str) else None


def _number(told: object) -> bool:
    return isinstance(told, int | float) and not isinstance(told, bool)
