"""The audit trail: who looked at, searched, exported or changed what (promise 5). Never content."""

from __future__ import annotations

import json
import os
import time
from uuid import UUID

from archiver.db import Connection

ADD = "INSERT INTO audit (org, audit_id, actor, action, room_id, detail) VALUES ($1, $2, $3, $4, $5, $6)"


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
    await tx.execute(ADD, org, uuid7(), actor, action, room_id, json.dumps(detail))


def uuid7() -> UUID:
    """A UUID version 7 (RFC 9562): time-ordered, so that inserts stay at the end of an index."""
    millis = time.time_ns() // 1_000_000
    value = (millis << 80) | (0x7 << 76) | (int.from_bytes(os.urandom(10)) & ((1 << 76) - 1))
    return UUID(int=value & ~(0x3 << 62) | (0x2 << 62))
