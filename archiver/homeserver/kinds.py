"""What kind of room a room is: the same answer in the guard, which Synapse loads, and in capture. Imports nothing.

A room that is made here says so itself: the guard writes its kind into the content of `m.room.create`, as `nl.griffier.kind`.
Nothing else lasts: `is_direct` stands in an invitation (Client-Server API, `m.room.member`), and who joins replaces it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

KIND = "nl.griffier.kind"
CREATE = ("m.room.create", "")
RULES = ("m.room.join_rules", "")
UPGRADES = 20  # as many rooms are followed back

State = Mapping[tuple[str, str], Mapping[str, Any]]
"""The contents of a room's state events, by type and state key."""


def asked_for(request: Mapping[str, Any]) -> str:
    """The kind of room that a `createRoom` request makes."""
    preset = request.get("preset") or ("public_chat" if request.get("visibility") == "public" else "private_chat")
    rule: object = "public" if preset == "public_chat" else "invite"
    first = request.get("initial_state")
    for event in first if isinstance(first, list) else ():
        if isinstance(event, Mapping) and (event.get("type"), event.get("state_key", "")) == RULES:
            content = event.get("content")
            rule = content.get("join_rule") if isinstance(content, Mapping) else rule
    if rule == "public":
        return "public"
    return "direct" if request.get("is_direct") is True else "private"


async def kinds(state: State, archivers: Collection[str], read: Callable[[str], Awaitable[State]]) -> frozenset[str]:
    """What a room may be: one kind, or private and direct both where nothing tells them apart (a small older room).

    `read` gives the state of another room: an upgraded room is what the room was that it replaces.
    """
    rule = state.get(RULES, {}).get("join_rule")
    people = 0
    for _ in range(UPGRADES):
        people = max(people, _people(state, archivers))
        told, before = _told(state), _replaces(state)
        if told is None and before is not None:
            state = await read(before)
            continue
        if told == "public" and rule not in (None, "public"):
            told = "private"
        if told is not None:
            return frozenset({told})
        break
    return frozenset({"private"}) if people > 2 else frozenset({"private", "direct"})


def _told(state: State) -> str | None:
    made = state.get(CREATE, {}).get(KIND)
    rule = state.get(RULES, {}).get("join_rule", made)
    if rule == "public":
        return "public"
    if made in ("private", "public", "direct"):
        return "direct" if made == "direct" else "private"
    members = (content for (kind, _), content in state.items() if kind == "m.room.member")
    return "direct" if any(content.get("is_direct") is True for content in members) else None


def _replaces(state: State) -> str | None:
    before = state.get(CREATE, {}).get("predecessor")
    room_id = before.get("room_id") if isinstance(before, Mapping) else None
    return room_id if isinstance(room_id, str) else None


def _people(state: State, archivers: Collection[str]) -> int:
    members = ((key, content) for (kind, key), content in state.items() if kind == "m.room.member" and key not in archivers)
    return sum(content.get("membership") in ("join", "invite") for _, content in members)
