"""Power levels, as far as a message depends on them: the same answer in the guard and in capture. Imports nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def needed(levels: Mapping[str, Any]) -> int:
    """The level that a message needs, encrypted or not."""
    events = levels.get("events")
    default = _number(levels.get("events_default"), 0)
    by_kind = events if isinstance(events, Mapping) else {}
    named = [_number(by_kind.get(kind), default) for kind in ("m.room.message", "m.room.encrypted")]
    return max(named, default=default)


def level(levels: Mapping[str, Any], user_id: str) -> int:
    """The level that this account has."""
    users = levels.get("users")
    default = _number(levels.get("users_default"), 0)
    return _number(users.get(user_id), default) if isinstance(users, Mapping) else default


def heard(levels: Mapping[str, Any], user_id: str) -> bool:
    """Whether this account may send a message."""
    return level(levels, user_id) >= needed(levels)


def _number(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise
