"""What an admin must do something about: raised once, shown until it is over (promise 8)."""

from __future__ import annotations

from typing import Any

from archiver.db import Connection
from archiver.ledger.canonical import column

# Kinds. The subject is the room or the account that it is about.
CANT_JOIN = "can't-join"
REMOVED = "removed"
NO_NOTICE = "no-notice"
CANARY = "canary"

RAISE = """
    INSERT INTO alarm (org, kind, subject, detail) VALUES ($1, $2, $3, $4)
    ON CONFLICT (org, kind, subject) DO UPDATE SET detail = excluded.detail
"""


async def sound(tx: Connection, org: int, kind: str, subject: str, detail: str) -> None:
    """Raise an alarm, or say anew what is the matter with it."""
    await tx.execute(RAISE, org, kind, column(subject), column(detail))


async def clear(tx: Connection, org: int, subject: str, *kinds: str) -> None:
    """End these alarms about a subject."""
    await tx.execute("DELETE FROM alarm WHERE org = $1 AND subject = $2 AND kind = ANY($3)", org, column(subject), kinds)


async def sounding(tx: Connection, org: int) -> list[dict[str, Any]]:
    """Every alarm, the oldest first."""
    rows = await tx.fetch("SELECT kind, subject, detail, raised_at FROM alarm WHERE org = $1 ORDER BY raised_at", org)
    return [dict(row) for row in rows]
