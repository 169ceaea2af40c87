"""Cursors: where a list goes on. Opaque to callers, and sealed with a mark, so that nobody makes one up."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from datetime import datetime
from typing import Any

from archiver.ledger.canonical import HostileJson, parse
from archiver.ledger.sealing import Vault
from archiver.reading.timeline import Cursor
from archiver.web.api.problem import ApiProblem

MARK = 16  # bytes


def write(vault: Vault, listing: str, *place: str | int) -> str:
    """A cursor of a list: `listing` names it, with whatever else the place belongs to."""
    body = json.dumps(place).encode()
    return base64.urlsafe_b64encode(_mark(vault, listing, body) + body).decode().rstrip("=")


def read(vault: Vault, listing: str, cursor: str) -> tuple[Any, ...]:
    """The place that a cursor of this list holds. Raises ApiProblem."""
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        if hmac.compare_digest(raw[:MARK], _mark(vault, listing, raw[MARK:])):
            return tuple(parse(raw[MARK:]))
    except (binascii.Error, ValueError, HostileJson):
        pass
    raise ApiProblem("cursor")


def write_place(vault: Vault, listing: str, place: Cursor) -> str:
    """A place in a timeline."""
    return write(vault, listing, place.sent_at.isoformat(), place.depth, place.event_id)


def read_place(vault: Vault, listing: str, cursor: str) -> Cursor:
    """The place in a timeline. Raises ApiProblem."""
    sent_at, depth, event_id = read(vault, listing, cursor)
    return Cursor(datetime.fromisoformat(sent_at), depth, event_id)


def _mark(vault: Vault, listing: str, body: bytes) -> bytes:
    key = hmac.digest(vault.search_key, b"griffier cursor", hashlib.sha256)
    return hmac.digest(key, f"{vault.org}|{listing}|".encode() + body, hashlib.sha256)[:MARK]
