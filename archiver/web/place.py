"""A place in a conversation, written in a link."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

from archiver.ledger.canonical import HostileJson, parse
from archiver.ledger.record import Record
from archiver.reading.timeline import Cursor


def place(cursor: Cursor) -> str:
    """A place as a link carries it."""
    value = [cursor.sent_at.isoformat(), cursor.depth, cursor.event_id]
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def place_after(record: Record) -> str:
    """The place just after a message, so that the page before it ends with that message and what was said soon after."""
    return place(Cursor(record.sent_at + timedelta(hours=1), 0, ""))


def read_place(token: str | None) -> Cursor | None:
    """The place that a link names; a link that was tampered with leads to the newest page."""
    if not token:
        return None
    try:
        sent_at, depth, event_id = parse(base64.urlsafe_b64decode(token))
        moment = datetime.fromisoformat(sent_at)
        return Cursor(moment if moment.tzinfo else moment.replace(tzinfo=UTC), min(max(int(depth), 0), 2**62), str(event_id))
    except (HostileJson, ValueError, TypeError, OverflowError):
        return None
