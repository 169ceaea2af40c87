"""Who the officials are: what they held and when, with which account, devices and numbers. Days are days in the Netherlands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from archiver.db import Connection

ZONE = ZoneInfo("Europe/Amsterdam")
FIND = """
    SELECT official_id, name FROM official
    WHERE org = $1 AND NOT withdrawn AND ($2::uuid[] IS NULL OR official_id = ANY($2)) ORDER BY lower(name), official_id
"""
# What came first is shown first; of the same day, what lasts longest.
TERMS = """
    SELECT entry_id, official_id, matrix_id, function, unit, sole, from_day, until_day FROM term
    WHERE org = $1 AND official_id = ANY($2) AND NOT withdrawn ORDER BY from_day DESC, until_day DESC NULLS FIRST, entry_id
"""
DEVICES = """
    SELECT entry_id, official_id, label, kind, owner, from_day, until_day FROM device
    WHERE org = $1 AND official_id = ANY($2) AND NOT withdrawn ORDER BY from_day DESC, until_day DESC NULLS FIRST, entry_id
"""
CHANNELS = """
    SELECT entry_id, official_id, number, label, from_day, until_day FROM channel
    WHERE org = $1 AND official_id = ANY($2) AND NOT withdrawn ORDER BY from_day DESC, until_day DESC NULLS FIRST, entry_id
"""
OF_ACCOUNT = """
    SELECT official_id FROM term WHERE org = $1 AND matrix_id = $2 AND NOT withdrawn AND from_day <= $3
      AND (until_day IS NULL OR until_day >= $3) ORDER BY from_day DESC LIMIT 1
"""
OF_NUMBER = """
    SELECT official_id FROM channel WHERE org = $1 AND number = $2 AND NOT withdrawn AND from_day <= $3
      AND (until_day IS NULL OR until_day >= $3) ORDER BY from_day DESC LIMIT 1
"""
# One page of the list, each official once, with how many there are in all. `$3` is today: in office, formerly, still to come.
CHOOSE = """
    SELECT o.official_id, count(*) OVER () AS total FROM official AS o
    WHERE o.org = $1 AND NOT o.withdrawn
      AND ($2 = '' OR strpos(lower(o.name), lower($2)) > 0 OR EXISTS (
            SELECT FROM term AS t WHERE t.org = o.org AND t.official_id = o.official_id AND NOT t.withdrawn
              AND strpos(lower(t.matrix_id || ' ' || t.function || ' ' || t.unit), lower($2)) > 0) OR EXISTS (
            SELECT FROM channel AS c WHERE c.org = o.org AND c.official_id = o.official_id AND NOT c.withdrawn
              AND $6 <> '' AND strpos(c.number, $6) > 0))
      AND ($4 = 'all' OR ($4 = 'now') = EXISTS (
            SELECT FROM term AS t WHERE t.org = o.org AND t.official_id = o.official_id AND NOT t.withdrawn
              AND $3 >= t.from_day AND ($3 <= t.until_day OR t.until_day IS NULL)))
    ORDER BY lower(o.name), o.official_id LIMIT $5 OFFSET $7
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Something that was so from one day up to and including another; until further notice where there is none."""

    entry_id: UUID
    official_id: UUID
    from_day: date
    until_day: date | None

    def on(self, day: date) -> bool:
        """Whether it was so on a day."""
        return self.from_day <= day and (self.until_day is None or day <= self.until_day)


@dataclass(frozen=True, slots=True, kw_only=True)
class Term(Entry):
    """A function held, in a part of the organisation, with a Matrix account."""

    matrix_id: str
    function: str
    unit: str
    sole: bool  # one person at a time holds it


@dataclass(frozen=True, slots=True, kw_only=True)
class Device(Entry):
    """A device in use."""

    label: str
    kind: str  # phone, tablet, computer, other
    owner: str  # organisation, official


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel(Entry):
    """A phone number in use, as +31612345678."""

    number: str
    label: str


@dataclass(frozen=True, slots=True)
class Official:
    """A person, with all that is known of them, the latest first."""

    official_id: UUID
    name: str
    terms: tuple[Term, ...] = ()
    devices: tuple[Device, ...] = ()
    channels: tuple[Channel, ...] = ()

    @property
    def accounts(self) -> tuple[str, ...]:
        """Every Matrix account they ever had."""
        return tuple(dict.fromkeys(term.matrix_id for term in self.terms))

    def held(self, day: date) -> tuple[Term, ...]:
        """Their functions on a day."""
        return tuple(term for term in self.terms if term.on(day))


def day_of(moment: datetime) -> date:
    """The day in the Netherlands."""
    return moment.astimezone(ZONE).date()


async def officials(tx: Connection, org: int, chosen: Iterable[UUID] | None = None) -> list[Official]:
    """All officials, or these, by name; with their terms, devices and numbers."""
    wanted = list(chosen) if chosen is not None else None
    rows = await tx.fetch(FIND, org, wanted)
    ids = [row["official_id"] for row in rows]
    terms = _grouped(Term, await tx.fetch(TERMS, org, ids))
    devices = _grouped(Device, await tx.fetch(DEVICES, org, ids))
    channels = _grouped(Channel, await tx.fetch(CHANNELS, org, ids))
    return [
        Official(each, row["name"], tuple(terms[each]), tuple(devices[each]), tuple(channels[each]))
        for each, row in zip(ids, rows, strict=True)
    ]


async def official(tx: Connection, org: int, official_id: UUID) -> Official | None:
    """One official."""
    return next(iter(await officials(tx, org, [official_id])), None)


async def official_of(tx: Connection, org: int, matrix_id: str, at: datetime) -> Official | None:
    """Whose account it was at a moment."""
    found = await tx.fetchval(OF_ACCOUNT, org, matrix_id, day_of(at))
    return await official(tx, org, found) if found else None


async def official_with(tx: Connection, org: int, number: str, at: datetime) -> Official | None:
    """Whose number (+31612345678) it was at a moment."""
    found = await tx.fetchval(OF_NUMBER, org, number, day_of(at))
    return await official(tx, org, found) if found else None


async def choose(
    tx: Connection, org: int, words: str, when: str, today: date, limit: int, offset: int
) -> tuple[list[Official], int]:
    """A page of the officials whose name, account, function, unit or number holds `words`; and how many they are in all.

    `when` is all, now (in office today) or not (not in office today).
    """
    digits = "".join(letter for letter in words if letter.isdecimal())
    digits = digits.removeprefix("0") if len(digits) >= 4 else ""
    rows = await tx.fetch(CHOOSE, org, words, today, when, limit, digits, offset)
    found = await officials(tx, org, [row["official_id"] for row in rows])
    return found, rows[0]["total"] if rows else 0


def _grouped(kind: Any, rows: Iterable[Any]) -> dict[UUID, list[Any]]:
    found: dict[UUID, list[Any]] = defaultdict(list)
    for row in rows:
        found[row["official_id"]].append(kind(**row))
    return found
