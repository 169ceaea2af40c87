"""Interruptions: dated intervals in which a number was not covered, written down as they begin and told as they begin and end."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from bridge.numbers import Numbers
from bridge.relay import column

KEY = "nl.griffier.interruption"
BEGIN = """
    INSERT INTO interruption (id, number_id, cause, detail, began_at, official, display) VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (number_id, cause) WHERE ended_at IS NULL DO NOTHING
"""
# An interval ends no sooner than it began, whatever the clocks say.
END = """
    UPDATE interruption SET ended_at = greatest($3, began_at)
    WHERE number_id = $1 AND cause = $2 AND ended_at IS NULL RETURNING id
"""
PAST = """
    INSERT INTO interruption (id, number_id, cause, detail, began_at, ended_at, official, display)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""
COLUMNS = "id, number_id, cause, detail, began_at, ended_at, official, display, told"
OPEN = f"SELECT {COLUMNS} FROM interruption WHERE ended_at IS NULL ORDER BY began_at, id"  # noqa: S608 - our own constant
LATEST = f"""
    SELECT {COLUMNS} FROM interruption WHERE $1 = '' OR number_id = $1 ORDER BY began_at DESC, id LIMIT $2
"""  # noqa: S608
UNTOLD = f"""
    SELECT {COLUMNS} FROM interruption WHERE told = '' OR (told = 'began' AND ended_at IS NOT NULL) ORDER BY began_at, id LIMIT 50
"""  # noqa: S608
TOLD = "UPDATE interruption SET told = $2 WHERE id = $1"

CAUSES = {
    "webhook-silent": ("WhatsApp roept de webhook niet meer aan", "WhatsApp no longer calls the webhook"),
    "bridge-down": ("de brug stond stil", "the bridge was down"),
    "disconnected": ("WhatsApp heeft het nummer losgekoppeld", "WhatsApp has disconnected the number"),
    "paused": ("het nummer is gepauzeerd", "the number is paused"),
    "token-refused": ("WhatsApp weigert het toegangstoken", "WhatsApp refuses the access token"),
    "history-refused": ("de geschiedenis is niet gedeeld", "the history was not shared"),
    "not-connected": (
        "het nummer is bij WhatsApp niet met de brug verbonden",
        "at WhatsApp, the number is not connected to the bridge",
    ),
}


@dataclass(frozen=True, slots=True)
class Interruption:
    """One interval; `ended_at` is None while it lasts."""

    id: str
    number_id: str
    cause: str
    detail: str
    began_at: datetime
    ended_at: datetime | None
    official: str
    display: str
    told: str = ""

    def content(self) -> dict[str, Any]:
        """The notice in the management room: for people, and for the archive."""
        words = CAUSES.get(self.cause, (self.cause, self.cause))
        until = self.ended_at
        if until is None:
            dutch = f"⚠️ {self.display}: niet gedekt sinds {_moment(self.began_at)}: {words[0]}."
            english = f"{self.display}: not covered since {_moment(self.began_at)}: {words[1]}."
        else:
            dutch = f"✅ {self.display}: niet gedekt van {_moment(self.began_at)} tot {_moment(until)} ({words[0]})."
            english = f"{self.display}: not covered from {_moment(self.began_at)} to {_moment(until)} ({words[1]})."
        body = f"{dutch} · {english}" + (f"\n{self.detail}" if self.detail else "")
        return {
            "msgtype": "m.notice",
            "body": body,
            KEY: {
                "id": self.id,
                "network": "whatsapp",
                "number_id": self.number_id,
                "number": self.display,
                "official": self.official or None,
                "from": _milliseconds(self.began_at),
                "until": _milliseconds(until) if until else None,
                "cause": self.cause,
                "detail": self.detail,
            },
        }


class Interruptions:
    """All of them, in the bridge's database."""

    def __init__(self, pool: asyncpg.Pool, numbers: Numbers) -> None:
        self._pool = pool
        self._numbers = numbers

    async def begin(
        self, number_id: str, cause: str, at: datetime, detail: str = "", *, whose: tuple[str, str] | None = None
    ) -> bool:
        """A number is not covered from `at` on; returns whether that was news. One that lasts keeps the date it began at.

        `whose`: the official and the number as written, of one that is not ours.
        """
        official, display = whose or self._whose(number_id)
        done = await self._pool.execute(BEGIN, _new(), number_id, cause, column(detail)[:500], at, official, display)
        return bool(done.endswith(" 1"))

    async def end(self, number_id: str, cause: str, at: datetime) -> bool:
        """It is covered again; returns whether it was not."""
        return await self._pool.fetchval(END, number_id, cause, at) is not None

    async def past(self, number_id: str, cause: str, begin: datetime, end: datetime, detail: str = "") -> None:
        """An interval that is over when it is found out."""
        official, display = self._whose(number_id)
        await self._pool.execute(PAST, _new(), number_id, cause, column(detail)[:500], begin, max(begin, end), official, display)

    async def open(self) -> list[Interruption]:
        """Those that last, the oldest first."""
        return [Interruption(**row) for row in await self._pool.fetch(OPEN)]

    async def latest(self, number_id: str = "", limit: int = 100) -> list[Interruption]:
        """Of one number or of all, the newest first."""
        return [Interruption(**row) for row in await self._pool.fetch(LATEST, number_id, limit)]

    async def untold(self) -> list[Interruption]:
        """Those whose beginning or end has not been told yet."""
        return [Interruption(**row) for row in await self._pool.fetch(UNTOLD)]

    async def told(self, one: Interruption) -> None:
        """It has been told as it was."""
        await self._pool.execute(TOLD, one.id, "ended" if one.ended_at else "began")

    def _whose(self, number_id: str) -> tuple[str, str]:
        number = self._numbers.of(number_id)
        return (number.official if number else "", self._numbers.display(number_id))


def _new() -> str:
    return f"wa-{secrets.token_hex(8)}"


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _moment(at: datetime) -> str:
    """A moment as text: in the bridge's own time zone, named, since the notice is read for years."""
    return at.astimezone().strftime("%d-%m-%Y %H:%M:%S %Z")
