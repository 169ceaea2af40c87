"""The guard: a Synapse module that seats the archiver in every room while the room is being made (DESIGN D16).

Synapse loads it; it imports nothing of Griffier's and nothing heavy. In homeserver.yaml:

    modules:
      - module: archiver.homeserver.guard.Guard
        config:
          archiver: "@archief:rijk.example"
"""

from __future__ import annotations

import logging
from typing import Any

from synapse.module_api import ModuleApi, errors

log = logging.getLogger(__name__)

REFUSAL = (
    "Dit gesprek wordt gearchiveerd; het archief kan er niet uit worden verwijderd. Vraag uw beheerder om een uitzondering. · "
    "This conversation is archived; the archive can't be removed from it. Ask your admin for an exception."
)


class Guard:
    """Invites and joins the archiver, and refuses its removal."""

    def __init__(self, config: dict[str, Any], api: ModuleApi) -> None:
        self._api = api
        self._archiver: str = config["archiver"]
        api.register_third_party_rules_callbacks(check_event_allowed=self.check_event_allowed)

    @staticmethod
    def parse_config(config: dict[str, Any]) -> dict[str, Any]:
        """Check the module's configuration when Synapse starts."""
        archiver = config.get("archiver")
        if not isinstance(archiver, str) or not archiver.startswith("@") or ":" not in archiver:
            raise ValueError("modules: archiver.homeserver.guard.Guard needs 'archiver', for example @archief:rijk.example")
        return config

    async def check_event_allowed(self, event: Any, state: Any) -> tuple[bool, dict[str, Any] | None]:
        """Seat the archiver while a room is being made, and refuse whatever would take it out again.

        Synapse tells modules of new events only after the fact (`on_new_event` is not waited for); this it waits for. So the
        archiver is a member before the room's power levels exist, before `createRoom` returns, and before any message.
        """
        if event.type == "m.room.power_levels" and event.state_key == "" and self._api.is_mine(event.sender):
            seated = state.get(("m.room.member", self._archiver))
            if seated is None or seated.content.get("membership") != "join":
                await self._seat(event.sender, event.room_id)
        aimed = event.type == "m.room.member" and event.state_key == self._archiver and event.sender != self._archiver
        if aimed and event.content.get("membership") in ("leave", "ban"):
            raise errors.SynapseError(403, REFUSAL, "M_FORBIDDEN")
        return True, None

    async def _seat(self, inviter: str, room_id: str) -> None:
        if inviter == self._archiver:
            return
        try:
            await self._api.update_room_membership(inviter, self._archiver, room_id, "invite")
            await self._api.update_room_membership(self._archiver, self._archiver, room_id, "join")
        except Exception:
            # A room without the archiver is loud (the archive shows it as not covered); no room at all would be worse.
            log.exception("The archiver could not be seated in %s", room_id)
