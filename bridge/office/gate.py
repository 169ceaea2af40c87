"""What passes between the queues and those who carry: a paused number's messages wait, and each that passes is a sign of life."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from bridge.departing.outsiders import OUTSIDER
from bridge.departing.receipts import READ
from bridge.network import Held, NotUnderstood
from bridge.network.cloud.parts import number_of
from bridge.numbers import Numbers
from bridge.office.pulse import Pulse
from bridge.portal.portal import Portals
from bridge.relay.relay import Relay

Work = Callable[[dict[str, Any]], Awaitable[str]]
PAUSED = "het nummer is gepauzeerd · the number is paused"


class Gate:
    """Before and after each message that is carried over."""

    def __init__(self, numbers: Numbers, portals: Portals, relay: Relay, pulse: Pulse) -> None:
        self._numbers = numbers
        self._portals = portals
        self._relay = relay
        self._pulse = pulse

    def inward(self, carry: Work) -> Work:
        """Of WhatsApp: what comes for a paused number is kept until it is resumed."""

        async def through(change: dict[str, Any]) -> str:
            if self._numbers.paused(number_of(change)):
                raise Held(PAUSED)
            return await carry(change)

        return through

    def outward(self, carry: Work, waits: Callable[[dict[str, Any]], Awaitable[None]]) -> Work:
        """To WhatsApp: of a paused number it waits, in its order, until that is resumed; `waits` tells whoever said it.

        Who no longer speaks for the number is told so at once.
        """

        async def through(event: dict[str, Any]) -> str:
            portal = await self._portals.of(str(event.get("room_id")))
            if portal is not None and event.get("type") != OUTSIDER:
                if event.get("sender") not in self._numbers.officials(portal.number_id):
                    raise NotUnderstood("dit nummer is niet (meer) van u · this number is not yours (any more)")
                if self._numbers.paused(portal.number_id):
                    if event.get("type") == READ:
                        return "kept"  # what is read once it is resumed says it too
                    await waits(event)
                    raise Held(PAUSED)
            state = await carry(event)
            if state == "done" and portal is not None and await self._relay.message_of(str(event.get("event_id"))):
                self._pulse.sent(portal.number_id, datetime.now(UTC))
            return state

        return through
