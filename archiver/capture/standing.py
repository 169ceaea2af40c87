"""Whether the archive captures, now (promise 8): what each seat says of itself, and whether a living process still drives it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from archiver.capture.locks import is_held
from archiver.db import Connection
from archiver.settings import Settings

# A process that died has let go of the seat's lock (archiver.capture.seat); one that is frozen no longer says that it lives.
SEATS = f"""
    SELECT user_id, device_id, state, capturing, seen_at, signed_at IS NOT NULL AS signed,
           coalesce(alive_at > now() - interval '10 seconds', false) AS alive,
           coalesce(seen_at > now() - interval '1 minute', false) AS fresh,
           EXISTS (SELECT FROM pg_locks WHERE {is_held("'griffier seat|' || org || '|' || user_id")}) AS driven
    FROM seat WHERE org = $1 ORDER BY user_id
"""  # noqa: S608
NEVER_STARTED = "it was never started"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a seat is doing."""

    user_id: str
    device_id: str | None
    signed: bool  # the homeserver shows the device as cross-signed
    seen_at: datetime | None  # the last committed sync
    reasons: tuple[str, ...]  # why nothing is being captured; empty while it is

    @property
    def capturing(self) -> bool:
        return not self.reasons

    @property
    def state(self) -> str:
        return "; ".join(self.reasons) or "capturing"


async def standings(tx: Connection, settings: Settings) -> list[Standing]:
    """Every seat of the organisation; also of the archivers that the settings name and that were never started."""
    org, archivers = settings.organisation.id, (settings.archiver.user_id, *settings.archiver.together_with)
    rows = await tx.fetch(SEATS, org)
    missing = {user_id for user_id in archivers if user_id} - {row["user_id"] for row in rows}
    found = [Standing(user_id, None, False, None, (NEVER_STARTED,)) for user_id in sorted(missing)]
    for row in rows:
        checks = (
            (row["driven"], "no process drives it" if row["state"] in ("capturing", "starting") else f"it is {row['state']}"),
            (row["alive"] or not row["driven"], "the process that drives it is frozen"),
            (row["signed"], "the homeserver does not show its device as cross-signed"),
            (row["capturing"] or not row["driven"], f"it is {row['state']}"),
            (row["fresh"] or not row["driven"], "no sync has been committed for a minute"),
        )
        reasons = tuple(dict.fromkeys(reason for good, reason in checks if not good))
        found.append(Standing(row["user_id"], row["device_id"], row["signed"], row["seen_at"], reasons))
    return found


def whole(found: Sequence[Standing]) -> bool:
    """Whether every seat captures, and there is one."""
    return bool(found) and all(seat.capturing for seat in found)
