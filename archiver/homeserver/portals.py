"""Whose a room is that a bridge made: the same answer in the guard, which Synapse loads, and in capture. Imports nothing heavy.

A bridge makes its rooms itself, and says the first things in them before its official has accepted the invitation. So the guard
writes into the content of `m.room.create`, as `nl.griffier.bridge`, for whom the room is being made: the officials of a portal,
or nobody in particular for the room in which the bridge reports to its admins.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from archiver.homeserver.kinds import CREATE, State
from archiver.homeserver.scope import Scope, matches

MADE = "nl.griffier.bridge"
BRIDGE_STATE = ("m.bridge", "uk.half-shot.bridge")
OFFICIAL = "nl.griffier.official"


def made_for(maker: str, request: Mapping[str, Any], bridges: tuple[str, ...]) -> dict[str, Any] | None:
    """What a `createRoom` request of a bridge says of whose the room is; None when its maker is no bridge.

    A portal says in its first state which conversation it is, or has a ghost invited. What is neither is the bridge's own room.
    """
    if not matches(maker, bridges):
        return None
    invite, first = request.get("invite"), request.get("initial_state")
    invited = [user for user in invite if isinstance(user, str)] if isinstance(invite, list | tuple) else []
    events = [event for event in first if isinstance(event, Mapping)] if isinstance(first, list | tuple) else []
    told = [event.get("content") for event in events if event.get("type") in BRIDGE_STATE]
    people = {user for user in invited if not matches(user, bridges)}
    named = {content.get(OFFICIAL) for content in told if isinstance(content, Mapping)}
    creation = request.get("creation_content")
    space = isinstance(creation, Mapping) and creation.get("type") is not None
    if told or space or len(people) < len(invited):
        return {"officials": sorted(people | {user for user in named if isinstance(user, str)})}
    return {"management": True}


def in_scope(
    scope: Scope, maker: str, state: State, members: Iterable[str], kinds: Collection[str], bridges: tuple[str, ...]
) -> bool:
    """Whether a room is archived. A bridge's accounts are no officials; the rooms in which bridges report are always archived."""
    made = state.get(CREATE, {}).get(MADE) if matches(maker, bridges) else None
    made = made if isinstance(made, Mapping) else {}
    if made.get("management") is True:
        return True
    told = made.get("officials")
    officials = [user for user in told if isinstance(user, str)] if isinstance(told, list | tuple) else []
    return scope.covers([user for user in (*members, *officials) if not matches(user, bridges)], kinds)
