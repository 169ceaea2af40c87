"""A place in a conversation or in the list of conversations, written in a link; what was tampered with is no place."""

from __future__ import annotations

import base64
import json
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from archiver.export.language import ZONE
from archiver.ledger.canonical import HostileJson, column, parse
from archiver.reading.conversations import Place
from archiver.reading.timeline import Cursor

LONGEST = 2_000  # characters of a link's place


class NoPlace(ValueError):  # noqa: N818 - it names what is the matter
    """A link that does not say a place."""


class NoDay(ValueError):  # noqa: N818 - it names what is the matter
    """What should be a day and can't be read as one."""


def place(cursor: Cursor) -> str:
    """A place as a link carries it."""
    return _written([cursor.sent_at.isoformat(), cursor.depth, cursor.event_id])


def read_place(token: str | None) -> Cursor | None:
    """The place that a link names; None where it names none. Raises NoPlace."""
    if not token:
        return None
    try:
        sent_at, depth, event_id = _read(token)
        return Cursor(_moment(sent_at), min(max(int(depth), -1), 2**62), column(str(event_id)))
    except (ValueError, TypeError, OverflowError):
        raise NoPlace from None


def place_in_list(at: Place, sort: str) -> str:
    """Where a page of the list begins, as a link carries it."""
    value = at.value.isoformat() if isinstance(at.value, datetime) else at.value
    return _written([sort, value, at.room_id, at.back])


def read_place_in_list(token: str | None, sort: str) -> Place | None:
    """Where a page of the list begins, for the order that it was made for. Raises NoPlace."""
    if not token:
        return None
    try:
        made_for, value, room_id, back = _read(token)
        if made_for != sort or not isinstance(back, bool):
            raise NoPlace
        where = min(max(int(value), 0), 2**62) if sort == "largest" else _moment(value)
        return Place(where, column(str(room_id)), back)
    except (ValueError, TypeError, OverflowError):
        raise NoPlace from None


def day(text: str | None, more: int = 0) -> datetime | None:
    """The moment at which a day begins in the Netherlands, `more` days later; None where none is said. Raises NoDay."""
    told = (text or "").strip()
    if not told:
        return None
    try:
        chosen = date.fromisoformat(told)
    except ValueError:
        raise NoDay from None
    if not 1971 <= chosen.year <= 9000:
        raise NoDay
    return datetime.combine(chosen + timedelta(days=more), time(), ZONE)


def _written(value: list[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def _read(token: str) -> list[Any]:
    if len(token) > LONGEST:
        raise NoPlace
    try:
        value = parse(base64.b64decode(token, altchars=b"-_", validate=True))
    except (HostileJson, ValueError):
        raise NoPlace from None
    if not isinstance(value, list):
        raise NoPlace
    return value


def _moment(text: Any) -> datetime:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
