"""How far WhatsApp is in telling what was said before a number was connected: told once for each phase, and once at the end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from bridge.network import HistoryProgress
from bridge.numbers import Numbers

# Pieces come out of order, and twice. A number that is connected anew after a while has a history that is told anew.
NOTE = """
    INSERT INTO history_import (number_id, phase, percent) VALUES ($1, $2, $3)
    ON CONFLICT (number_id, phase) DO UPDATE SET
        percent = CASE WHEN history_import.at < now() - interval '7 days' THEN excluded.percent
                       ELSE greatest(history_import.percent, excluded.percent) END,
        began_at = CASE WHEN history_import.at < now() - interval '7 days' THEN now() ELSE history_import.began_at END,
        told = CASE WHEN history_import.at < now() - interval '7 days' THEN '' ELSE history_import.told END,
        at = now()
"""
COLUMNS = "number_id, phase, percent, began_at, at"
UNTOLD = f"""
    SELECT {COLUMNS} FROM history_import WHERE told = '' OR (told = 'began' AND percent >= 100)
    ORDER BY began_at, number_id, phase LIMIT 50
"""  # noqa: S608 - our own constant, here and below
TOLD = "UPDATE history_import SET told = $3 WHERE number_id = $1 AND phase = $2"
OF = f"SELECT {COLUMNS} FROM history_import WHERE number_id = $1 ORDER BY phase"  # noqa: S608
PERIODS = (
    ("de laatste dag", "the last day"),
    ("tot 90 dagen terug", "up to 90 days back"),
    ("tot 180 dagen terug", "up to 180 days back"),
)


@dataclass(frozen=True, slots=True)
class Phase:
    """One part of a number's history (Meta: history webhook); `percent` is of the whole history."""

    number_id: str
    phase: int
    percent: int
    began_at: datetime
    at: datetime

    @property
    def whole(self) -> bool:
        """Whether all has been told."""
        return self.percent >= 100

    def content(self, display: str) -> dict[str, Any]:
        """The notice in the management room."""
        dutch, english = (
            PERIODS[self.phase] if self.phase < len(PERIODS) else (f"deel {self.phase + 1}", f"part {self.phase + 1}")
        )
        if self.whole:
            body = f"📜 {display}: WhatsApp heeft de hele geschiedenis verteld. · WhatsApp has told the whole history."
        else:
            body = (
                f"📜 {display}: WhatsApp vertelt de geschiedenis, {dutch} ({self.percent}%). · "
                f"WhatsApp is telling the history, {english} ({self.percent}%)."
            )
        return {"msgtype": "m.notice", "body": body}


class Imports:
    """Every number's, in the bridge's database."""

    def __init__(self, pool: asyncpg.Pool, numbers: Numbers) -> None:
        self._pool = pool
        self._numbers = numbers

    async def note(self, progress: HistoryProgress) -> str:
        """WhatsApp tells how far it is."""
        if self._numbers.of(progress.number_id) is None:
            return "kept"
        await self._pool.execute(NOTE, progress.number_id, min(progress.phase, 1000), min(progress.percent, 100))
        return "done"

    async def of(self, number_id: str) -> list[Phase]:
        """A number's phases, in their order."""
        return [Phase(**row) for row in await self._pool.fetch(OF, number_id)]

    async def untold(self) -> list[tuple[Phase, str]]:
        """Phases of which the beginning or the end has not been told yet, with the number as people write it."""
        found = [Phase(**row) for row in await self._pool.fetch(UNTOLD)]
        return [(phase, self._numbers.display(phase.number_id)) for phase in found]

    async def told(self, phase: Phase) -> None:
        """It has been told as it was."""
        await self._pool.execute(TOLD, phase.number_id, phase.phase, "whole" if phase.whole else "began")
