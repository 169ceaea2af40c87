"""A search as its form and its address carry it."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from typing import Any
from urllib.parse import urlencode

from archiver.export.catalogue import N_
from archiver.export.language import ZONE
from archiver.ledger.canonical import HostileJson, column, parse
from archiver.reading.facts import HAS
from archiver.reading.sweep import NEWEST, ORDERS, Match

NAMES = ("q", "sender", "official", "room", "network", "from", "to")
MAX_TEXT = 255
# What is wrong with a field: named beside it.
PROBLEMS = {
    "nothing": N_("Give at least one word that must occur, or choose a filter."),
    "only-not": N_("What begins at character %(at)s only says what must not occur. Add a word that must occur, or a filter."),
    "open-quote": N_("The quotation mark at character %(at)s is not closed."),
    "open-bracket": N_("The bracket at character %(at)s is not closed."),
    "close-bracket": N_("The closing bracket at character %(at)s has no opening bracket before it."),
    "empty-bracket": N_("There is nothing between the brackets at character %(at)s."),
    "dangling": N_("AND, OR, NOT or a minus at character %(at)s lacks a word beside it."),
    "too-long": N_("The query is too long: at most 1,000 characters."),
    "too-much": N_("The query is too complicated: at most 60 words, and brackets 20 deep."),
    "day": N_("This is not a day. Write it as 2026-03-31."),
    "order": N_("The last day is before the first."),
    "room": N_("No conversation goes by this name."),
    "sender": N_("Nobody in these conversations goes by this name."),
    "official": N_("There are no conversations of this account."),
}


class BadDay(ValueError):  # noqa: N818 - it names what is the matter
    """A day that can't be read: `field` is where it stands, `kind` what is wrong with it."""

    def __init__(self, field: str, kind: str = "day") -> None:
        super().__init__(field)
        self.field, self.kind = field, kind


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for, as it was written."""

    fields: dict[str, str]  # by NAMES; those that are empty are not there
    has: tuple[str, ...] = ()
    sort: str = NEWEST

    @property
    def words(self) -> str:
        return self.fields.get("q", "")

    @property
    def empty(self) -> bool:
        return not self.fields and not self.has

    @property
    def filters(self) -> list[str]:
        """The names of the filters that are used: what the audit trail keeps of them."""
        return [name for name in NAMES[1:] if name in self.fields] + [f"has {what}" for what in self.has]

    def pairs(self) -> list[tuple[str, str]]:
        """As a form or an address carries it."""
        told = [*self.fields.items(), *(("has", what) for what in self.has)]
        return told if self.sort == NEWEST else [*told, ("sort", self.sort)]

    def address(self, **more: str) -> str:
        return "/search?" + urlencode([*self.pairs(), *more.items()], errors="replace")

    def days(self) -> tuple[datetime | None, datetime | None]:
        """From the beginning of the first day to before the end of the last, in the Netherlands. Raises BadDay."""
        start, end = (_day(name, self.fields.get(name), more) for name, more in (("from", 0), ("to", 1)))
        if start and end and end <= start:
            raise BadDay("to", "order")
        return start, end


def asked_of(query: Any) -> Asked:
    """What an address or a form asks for; what it holds beside that is left out."""
    fields = {name: text for name in NAMES if (text := _text(query.get(name, ""), 2000 if name == "q" else MAX_TEXT))}
    given = query.getall("has", [])
    sort = query.get("sort", NEWEST)
    return Asked(fields, tuple(what for what in HAS if what in given), sort if sort in ORDERS else NEWEST)


def token(match: Match) -> str:
    """A place among what was found, as a link carries it."""
    return base64.urlsafe_b64encode(json.dumps(match.told()).encode()).decode()


def read_token(text: str | None) -> Match | None:
    """The place that a link names; one that was tampered with leads to the first page."""
    try:
        room_id, event_id, sent_at, rank, *window = parse(base64.urlsafe_b64decode(text or ""))
        return _match(room_id, event_id, sent_at, rank, _match(*window) if window else None)
    except (HostileJson, ValueError, TypeError, OverflowError):
        return None


def _match(room_id: object, event_id: object, sent_at: str, rank: str = "0", window: Match | None = None) -> Match:
    moment = datetime.fromisoformat(sent_at)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if not 1 < moment.year < 9999:
        raise ValueError(sent_at)
    return Match(column(str(room_id)), column(str(event_id)), moment, float(rank), window)


def _text(value: object, limit: int) -> str:
    return column(value.strip(), limit) if isinstance(value, str) else ""


def _day(name: str, written: str | None, more: int) -> datetime | None:
    if not written:
        return None
    try:
        chosen = date.fromisoformat(written)
        if not 1971 <= chosen.year <= 9000:
            raise BadDay(name)
        return datetime.combine(chosen + timedelta(days=more), clock(), ZONE)
    except ValueError:
        raise BadDay(name) from None
