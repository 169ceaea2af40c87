"""The guard: a Synapse module that seats the archiver in every room in scope while the room is being made (DESIGN D16).

Synapse loads it; it imports nothing heavy. In homeserver.yaml:

    modules:
      - module: archiver.homeserver.guard.Guard
        config:
          archiver: "@archief:rijk.example"       # or a list, to share the rooms among several
          scope:                                  # everything, unless said otherwise
            officials: ["@*:rijk.example"]
            except_officials: ["@or-*:rijk.example"]
            kinds: [private, public, direct]

It keeps nothing and looks nothing up: what it checks is in the event and the state that Synapse hands it. Only a room's first
power levels cost an invitation and a join; where an official joins a room that has no archiver, that is done in the background.
Every Synapse worker must load it: it checks where an event is made, and acts in the background where Synapse runs such tasks.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from synapse.module_api import ModuleApi, errors

from archiver.homeserver.scope import Scope, share

log = logging.getLogger(__name__)

REMOVAL = (
    "Dit gesprek wordt gearchiveerd; het archief kan er niet uit worden verwijderd. Vraag uw beheerder om een uitzondering. · "
    "This conversation is archived; the archive can't be removed from it. Ask your admin for an exception."
)
SILENCING = (
    "Het archief moet in dit gesprek kunnen melden dat het wordt gearchiveerd: geef {archiver} ten minste niveau {needed}. · "
    "The archive must be able to say in this conversation that it is archived: give {archiver} at least level {needed}."
)
FUNCTIONAL = "io.element.functional_members"  # MSC4171: members that don't count for the name of a direct chat


class Guard:
    """Invites and joins the archiver, and refuses what would take it out again or silence it."""

    def __init__(self, config: dict[str, Any], api: ModuleApi) -> None:
        self._api = api
        self._archivers, self._scope = _read(config)
        api.register_third_party_rules_callbacks(check_event_allowed=self.check_event_allowed)
        if api.should_run_background_tasks():  # every worker hears of every new event; one of them acts on it
            api.register_third_party_rules_callbacks(on_new_event=self.on_new_event)

    @staticmethod
    def parse_config(config: dict[str, Any]) -> dict[str, Any]:
        """Check the module's configuration when Synapse starts. Raises ValueError."""
        _read(config)
        return config

    async def check_event_allowed(self, event: Any, state: Any) -> tuple[bool, dict[str, Any] | None]:
        """Seat the archiver while a room is being made, and refuse whatever would take it out again.

        Synapse tells modules of new events only after the fact (`on_new_event` is not waited for); this it waits for. So the
        archiver is a member before the room's power levels exist, before `createRoom` returns, and before any message.
        """
        if event.type == "m.room.power_levels" and event.state_key == "":
            if ("m.room.power_levels", "") not in state:
                await self._seat(event.sender, event.room_id, state)
            elif ("m.room.tombstone", "") in state:
                pass  # the room goes on elsewhere: a homeserver that upgrades it has everybody fall silent here
            elif (seated := self._seated(state)) is not None and _level(event.content, seated) < _needed(event.content):
                text = SILENCING.format(archiver=seated, needed=_needed(event.content))
                raise errors.SynapseError(403, text, "M_FORBIDDEN")
        aimed = event.type == "m.room.member" and event.state_key in self._archivers and event.sender != event.state_key
        if aimed and event.content.get("membership") in ("leave", "ban"):
            raise errors.SynapseError(403, REMOVAL, "M_FORBIDDEN")
        return True, None

    async def on_new_event(self, event: Any, state: Any) -> None:
        """Seat the archiver where an official has joined a room that has none, and let it speak in a room that was just made."""
        seated = self._seated(state)
        if event.type == "m.room.member" and event.content.get("membership") == "join":
            if seated is None and ("m.room.power_levels", "") in state:
                self._api.run_as_background_process("griffier_seat", self._seat, event.state_key, event.room_id, state)
        elif event.type == "m.room.power_levels" and seated and _level(event.content, seated) < _needed(event.content):
            self._api.run_as_background_process("griffier_voice", self._give_voice, event, seated)

    async def _give_voice(self, event: Any, archiver: str) -> None:
        """Give the archiver the level that a message needs, in the name of whoever set the levels."""
        users = event.content.get("users")
        users = {**(users if isinstance(users, Mapping) else {}), archiver: _needed(event.content)}
        told = {"type": event.type, "room_id": event.room_id, "sender": event.sender, "state_key": ""}
        try:
            await self._api.create_and_send_event_into_room({**told, "content": {**event.content, "users": users}})
        except Exception:
            log.exception("The archiver %s could not be given a voice in %s", archiver, event.room_id)

    def _seated(self, state: Any) -> str | None:
        for archiver in self._archivers:
            member = state.get(("m.room.member", archiver))
            if member is not None and member.content.get("membership") == "join":
                return archiver
        return None

    async def _seat(self, inviter: str, room_id: str, state: Any) -> str | None:
        """Have the archiver invited by `inviter` and joined, where the room is in scope; returns who was seated."""
        if not self._api.is_mine(inviter) or inviter in self._archivers or self._seated(state) is not None:
            return None
        if not self._scope.covers([inviter, *_members(state)], _kind(state)):
            return None
        archiver = share(room_id, self._archivers)
        try:
            await self._api.update_room_membership(inviter, archiver, room_id, "invite")
            await self._api.update_room_membership(archiver, archiver, room_id, "join")
        except Exception:
            # A room without the archiver is loud (capture raises an alarm for it); no room at all would be worse.
            log.exception("The archiver %s could not be seated in %s", archiver, room_id)
            return None
        try:
            await self._mark(inviter, room_id, archiver, state)
        except Exception:  # only the name of a direct chat depends on it
            log.warning("The archiver could not be marked as a service member in %s", room_id)
        return archiver

    async def _mark(self, sender: str, room_id: str, archiver: str, state: Any) -> None:
        """Name the archiver as a service member, so that clients leave it out of a direct chat's name."""
        known = state.get((FUNCTIONAL, ""))
        members = known.content.get("service_members") if known is not None else None
        others = [member for member in members if isinstance(member, str)] if isinstance(members, list | tuple) else []
        content = {"service_members": [*others, archiver]}
        event = {"type": FUNCTIONAL, "room_id": room_id, "sender": sender, "state_key": "", "content": content}
        await self._api.create_and_send_event_into_room(event)


def _read(config: Mapping[str, Any]) -> tuple[tuple[str, ...], Scope]:
    told = config.get("archiver")
    archivers = tuple(told) if isinstance(told, list) else (told,)
    if not archivers or not all(isinstance(one, str) and one.startswith("@") and ":" in one for one in archivers):
        raise ValueError("modules: archiver.homeserver.guard.Guard needs 'archiver', for example @archief:rijk.example")
    return tuple(sorted(archivers)), Scope.read(config.get("scope") or {})


def _members(state: Any) -> list[str]:
    return [key for (kind, key), event in state.items() if kind == "m.room.member" and event.content.get("membership") == "join"]


def _kind(state: Any) -> str:
    """What kind of room it is, by the state there is so far."""
    rules = state.get(("m.room.join_rules", ""))
    if rules is not None and rules.content.get("join_rule") == "public":
        return "public"
    direct = any(kind == "m.room.member" and event.content.get("is_direct") is True for (kind, _), event in state.items())
    return "direct" if direct else "private"


def _needed(levels: Mapping[str, Any]) -> int:
    """The level that a message needs, encrypted or not."""
    events = levels.get("events")
    default = _number(levels.get("events_default"), 0)
    by_kind = events if isinstance(events, Mapping) else {}
    named = [_number(by_kind.get(kind), default) for kind in ("m.room.message", "m.room.encrypted")]
    return max(named, default=default)


def _level(levels: Mapping[str, Any], user_id: str) -> int:
    users = levels.get("users")
    default = _number(levels.get("users_default"), 0)
    return _number(users.get(user_id), default) if isinstance(users, Mapping) else default


def _number(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise
