"""Who is in a room: asked once, and again when the homeserver tells of a change."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from mautrix.api import Method, Path

from bridge.ghost import Account

KNOWN = 5000  # rooms remembered
LIFE = 60.0  # seconds that an answer is believed, should a change not be told


class Members:
    """Everyone who is in a room or invited to it: who is invited may read what was said meanwhile."""

    def __init__(self, bot: Account) -> None:
        self._bot = bot
        self._known: dict[str, tuple[float, list[str]]] = {}
        self._changes = 0
        self.on_change: Callable[[str], None] = _nobody

    async def of(self, room_id: str) -> list[str]:
        """Their Matrix accounts. Raises MatrixRequestError."""
        until, members = self._known.get(room_id, (0.0, []))
        if time.monotonic() < until:
            return members
        before = self._changes
        answer = await self._bot.call(Method.GET, Path.v3.rooms[room_id].members)
        members = sorted(event["state_key"] for event in answer.get("chunk", []) if _is_there(event))
        if before == self._changes:  # else the answer may be of before the change
            self._known.pop(room_id, None)
            if len(self._known) >= KNOWN:
                del self._known[next(iter(self._known))]
            self._known[room_id] = time.monotonic() + LIFE, members
        return members

    def changed(self, room_id: str) -> None:
        """Somebody comes or goes: what is known of the room is asked for again."""
        self._changes += 1
        self._known.pop(room_id, None)
        self.on_change(room_id)


def _nobody(room_id: str) -> None:
    """Nobody else has to know."""


def _is_there(event: dict[str, Any]) -> bool:
    return event.get("content", {}).get("membership") in ("join", "invite")
