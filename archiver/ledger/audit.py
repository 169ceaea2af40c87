"""The audit trail: who looked at, searched, exported or changed what, and why (promise 5). Never content."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from uuid import UUID

from archiver.db import Connection

ADD = """
    INSERT INTO audit (org, audit_id, actor, action, room_id, detail, purpose, case_number)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""


@dataclass(frozen=True, slots=True)
class Purpose:
    """Why somebody looks, and in which case. Written in the trail; kept out of every representation, so out of logs."""

    text: str = field(repr=False)
    case_number: str | None = field(default=None, repr=False)


@dataclass(slots=True)
class Doing:
    """What is being done now: under which purpose, and whether it has been written down yet."""

    purpose: Purpose | None = None
    noted: bool = False


# Each request and each job has its own: no page has to hand a purpose on to its note, so none can forget to.
_doing: ContextVar[Doing | None] = ContextVar("doing", default=None)


@contextmanager
def doing(purpose: Purpose | None) -> Iterator[Doing]:
    """Everything that is noted within is noted with this purpose."""
    made = Doing(purpose)
    token = _doing.set(made)
    try:
        yield made
    finally:
        _doing.reset(token)


def purpose_now() -> Purpose | None:
    """The purpose of what is being done."""
    now = _doing.get()
    return now.purpose if now else None


async def note(
    tx: Connection,
    org: int,
    actor: str,
    action: str,
    *,
    room_id: str | None = None,
    **detail: str | int | dict[str, list[str]] | None,
) -> None:
    """Write down a look at content. Commit this before the content is shown."""
    now = _doing.get()
    why, case = (now.purpose.text, now.purpose.case_number) if now and now.purpose else (None, None)
    await tx.execute(ADD, org, uuid7(), actor, action, room_id, json.dumps(detail), why, case)
    if now:
        now.noted = True


_last = 0  # the newest time that was given out, in 4,096ths of a millisecond


def uuid7() -> UUID:
    """A UUID version 7: each of this process after the one before it (RFC 9562 section 6.2, methods 1 and 3)."""
    global _last  # noqa: PLW0603 - what makes them rise is what was given out before
    _last = max(_last + 1, time.time_ns() * 4096 // 1_000_000)
    value = (_last >> 12 << 80) | (0x7 << 76) | ((_last & 0xFFF) << 64) | (0x2 << 62)
    return UUID(int=value | int.from_bytes(os.urandom(8)) >> 2)
