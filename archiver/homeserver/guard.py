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
          bridges: ["@whatsappbot:rijk.example", "@whatsapp_*:rijk.example"]    # whose own accounts are no officials

It keeps nothing: what it checks is in the event and the state that Synapse hands it, and the kind of a room in the room's own
`m.room.create`. Only a room's first power levels cost an invitation and a join (and, where not every kind is in scope, an
upgraded room a look at the one it replaces); where an official joins a room that has no archiver, that is done in the background.
Every Synapse worker must load it: it checks where an event is made, and acts in the background where Synapse runs such tasks.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from synapse.module_api import ModuleApi, errors

from archiver.homeserver.kinds import CREATE, KIND, RULES, State, asked_for, kinds
from archiver.homeserver.levels import heard, needed
from archiver.homeserver.portals import MADE, in_scope, made_for
from archiver.homeserver.scope import Scope, matches, share

log = logging.getLogger(__name__)

REMOVAL = (
    "Dit gesprek wordt gearchiveerd; het archief kan er niet uit worden verwijderd. Vraag uw beheerder om een uitzondering. · "
    "This conversation is archived; the archive can't be removed from it. Ask your admin for an exception."
)
SILENCING = (
    "Het archief moet in dit gesprek kunnen melden dat het wordt gearchiveerd: geef {archiver} ten minste niveau {needed}. · "
    "The archive must be able to say in this conversation that it is archived: give {archiver} at least level {needed}."
)
LEVELS = ("m.room.power_levels", "")
FUNCTIONAL = "io.element.functional_members"  # MSC4171: members that don't count for the name of a direct chat


class Guard:
    """Invites and joins the archiver, and refuses what would take it out again or silence it."""

    def __init__(self, config: dict[str, Any], api: ModuleApi) -> None:
        self._api = api
        self._archivers, self._scope, self._bridges = _read(config)
        api.register_third_party_rules_callbacks(on_create_room=self.on_create_room, check_event_allowed=self.check_event_allowed)
        if api.should_run_background_tasks():  # every worker hears of every new event; one of them acts on it
            api.register_third_party_rules_callbacks(on_new_event=self.on_new_event)

    @staticmethod
    def parse_config(config: dict[str, Any]) -> dict[str, Any]:
        """Check the module's configuration when Synapse starts. Raises ValueError."""
        _read(config)
        return config

    async def on_create_room(self, requester: Any, request: dict[str, Any], is_requester_admin: bool) -> None:
        """Have a room say from its first event on what kind it is, and for whom a bridge makes it.

        Its join rules, its invitations and what a bridge says of it come after its power levels.
        """
        content = request.setdefault("creation_content", {})
        if isinstance(content, dict):  # else Synapse refuses it
            content[KIND] = asked_for(request)
            content.pop(MADE, None)
            made = made_for(requester.user.to_string(), request, self._bridges) if self._bridges else None
            if made is not None:
                content[MADE] = made

    async def check_event_allowed(self, event: Any, state: Any) -> tuple[bool, dict[str, Any] | None]:
        """Seat the archiver while a room is being made, and refuse whatever would take it out again.

        Synapse tells modules of new events only after the fact (`on_new_event` is not waited for); this it waits for. So the
        archiver is a member before the room's power levels exist, before `createRoom` returns, and before any message.
        """
        if _is(event, LEVELS):
            if LEVELS not in state:
                await self._seat(event.sender, event.room_id, state)
            elif (seated := self._seated(state)) is not None and _silences(event, state, seated):
                text = SILENCING.format(archiver=seated, needed=needed(event.content))
                raise errors.SynapseError(403, text, "M_FORBIDDEN")
        aimed = event.type == "m.room.member" and event.state_key in self._archivers and event.sender != event.state_key
        if aimed and event.content.get("membership") in ("leave", "ban") and not _unbans(event, state):
            raise errors.SynapseError(403, REMOVAL, "M_FORBIDDEN")
        return True, None

    async def on_new_event(self, event: Any, state: Any) -> None:
        """Seat the archiver where an official joins or opens a room that has none, and let it speak where it has no voice."""
        seated = self._seated(state)
        joins = event.type == "m.room.member" and event.content.get("membership") == "join"
        if joins or _is(event, RULES):
            if seated is None and LEVELS in state:
                official = event.state_key if joins else event.sender
                self._api.run_as_background_process("griffier_seat", self._seat, official, event.room_id, state)
        elif _is(event, LEVELS) and seated and not heard(event.content, seated):
            self._api.run_as_background_process("griffier_voice", self._give_voice, event, seated)

    async def _give_voice(self, event: Any, archiver: str) -> None:
        """Give the archiver the level that a message needs, in the name of whoever set the levels."""
        users = event.content.get("users")
        users = {**(users if isinstance(users, Mapping) else {}), archiver: needed(event.content)}
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
        told, kinds_ = _contents(state), await self._kinds(state)
        if not in_scope(self._scope, _maker(state), told, [inviter, *_members(state)], kinds_, self._bridges):
            return None
        maker = _maker(state)
        if self._api.is_mine(maker) and matches(maker, self._bridges):
            inviter = maker  # nobody else may invite to a bridge's room
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

    async def _kinds(self, state: Any) -> frozenset[str]:
        if self._scope.every_kind:
            return frozenset()
        return await kinds(_contents(state), self._archivers, self._state_of)

    async def _state_of(self, room_id: str) -> State:
        try:
            return _contents(await self._api.get_room_state(room_id, [CREATE, RULES, ("m.room.member", None)]))
        except Exception:  # a room must be made all the same
            log.warning("What kind of room %s was is not known here", room_id)
            return {}

    async def _mark(self, sender: str, room_id: str, archiver: str, state: Any) -> None:
        """Name the archiver as a service member, so that clients leave it out of a direct chat's name."""
        known = state.get((FUNCTIONAL, ""))
        members = known.content.get("service_members") if known is not None else None
        others = [member for member in members if isinstance(member, str)] if isinstance(members, list | tuple) else []
        content = {"service_members": [*others, archiver]}
        event = {"type": FUNCTIONAL, "room_id": room_id, "sender": sender, "state_key": "", "content": content}
        await self._api.create_and_send_event_into_room(event)


def _read(config: Mapping[str, Any]) -> tuple[tuple[str, ...], Scope, tuple[str, ...]]:
    told = config.get("archiver")
    archivers = tuple(told) if isinstance(told, list) else (told,)
    if not archivers or not all(isinstance(one, str) and one.startswith("@") and ":" in one for one in archivers):
        raise ValueError("modules: archiver.homeserver.guard.Guard needs 'archiver', for example @archief:rijk.example")
    bridges = config.get("bridges") or []
    if not isinstance(bridges, list) or not all(isinstance(one, str) for one in bridges):
        raise ValueError("modules: archiver.homeserver.guard.Guard: 'bridges' must be a list of accounts or patterns")
    return tuple(sorted(archivers)), Scope.read(config.get("scope") or {}), tuple(bridges)


def _members(state: Any) -> list[str]:
    return [key for (kind, key), event in state.items() if kind == "m.room.member" and event.content.get("membership") == "join"]


def _maker(state: Any) -> str:
    create = state.get(CREATE)
    return str(create.sender) if create is not None else ""


def _is(event: Any, what: tuple[str, str]) -> bool:
    return bool(event.type == what[0] and event.is_state() and event.state_key == what[1])


def _contents(state: Any) -> State:
    return {key: event.content for key, event in state.items()}


def _silences(event: Any, state: Any, archiver: str) -> bool:
    """Whether these levels take the archiver's voice. Where it had none before, it is given one after."""
    if heard(event.content, archiver) or not heard(state[LEVELS].content, archiver):
        return False
    # A homeserver that upgrades a room has everybody fall silent in it, and copies its levels to the new one as the last thing.
    # Either must not fail halfway; in the new one the archiver gets its voice after.
    return ("m.room.tombstone", "") not in state and "predecessor" not in state[CREATE].content


def _unbans(event: Any, state: Any) -> bool:
    """Whether this lets the archiver in again, after a ban of before the guard or of another homeserver."""
    member = state.get(("m.room.member", event.state_key))
    return event.content.get("membership") == "leave" and member is not None and member.content.get("membership") == "ban"
