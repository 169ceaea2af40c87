"""Messages that WhatsApp's window shuts out: kept here, with what can be sent instead, until the other side answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bridge.lanes import GiveUp, Work
from bridge.network import Incoming, NetworkError, NotUnderstood, Told
from bridge.notices import Notices, two
from bridge.portal import Portal, Portals
from bridge.relay import Relay
from bridge.templates import Offers
from bridge.window import Window

WAITS = (
    "Dit bericht is niet verstuurd: het laatste bericht van de andere kant is meer dan 24 uur oud, en dan staat WhatsApp alleen"
    " goedgekeurde sjablonen toe. Het wacht hier; na een antwoord gaat het met !verstuur alsnog · "
    "This message was not sent: the last message of the other side is more than 24 hours old, and WhatsApp then allows approved"
    " templates only. It waits here; after an answer !send sends it after all"
)


class Holding:
    """What waits for the window, in each conversation."""

    def __init__(self, portals: Portals, relay: Relay, notices: Notices, offers: Offers, window: Window) -> None:
        self._portals = portals
        self._relay = relay
        self._notices = notices
        self._offers = offers
        self._window = window

    async def explain(self, portal: Portal, event_id: str) -> None:
        """Tell why a message waits, and once a day which templates can be sent instead."""
        key = f"offer {portal.room_id}"
        if not await self._notices.told(portal.room_id, key):
            try:
                await self._offers.offer(portal, event_id, two(WAITS))
            except (NetworkError, NotUnderstood) as error:
                (dutch, english), (why, reason) = two(WAITS), two(str(error))
                dutch, english = f"{dutch}. De lijst van sjablonen is er niet: {why}", f"{english}. There is no list: {reason}"
                await self._notices.tell(portal.room_id, event_id, f"held {event_id}", dutch, english)
                return
            await self._notices.keep(portal.room_id, key)
        else:
            await self._notices.tell(portal.room_id, event_id, f"held {event_id}", *two(WAITS))

    async def heard(self, incoming: Incoming) -> None:
        """The other side said something that is in its room: the window is open, and whoever has messages waiting is told."""
        if incoming.from_us or incoming.history:
            return
        place = await self._relay.place_of(incoming.number_id, incoming.message_id)
        portal = await self._portals.of(place[0]) if place is not None else None
        if portal is None:
            return
        await self._window.heard(incoming, portal.contact)
        if waiting := await self._relay.held(portal.room_id):
            await self._notices.once(
                portal.room_id,
                "",
                f"answered {incoming.message_id}",
                f"Er is weer een bericht van de andere kant. Om de {waiting} wachtende berichten nu te versturen: typ !verstuur",
                f"The other side has written again. To send the {waiting} waiting messages now: type !send",
            )

    async def release(self, portal: Portal, about: str) -> None:
        """Send what waits, as an official asks."""
        if await self._window.closed(portal.number_id, portal.contact) and await self._relay.held(portal.room_id):
            await self.explain(portal, about)
            return
        sent = await self._relay.release(portal.room_id)
        await self._notices.tell(
            portal.room_id,
            about,
            f"released {about}",
            f"{sent} wachtende berichten worden verstuurd" if sent else "Er wachten hier geen berichten",
            f"{sent} waiting messages are being sent" if sent else "No messages are waiting here",
        )


def heard_in(carry: Work, read: Callable[[dict[str, Any]], Told], holding: Holding) -> Work:
    """Carry changes over, and hear in those that were that the other side said something."""

    async def work(change: dict[str, Any]) -> str:
        state = await carry(change)
        if state == "done":
            await _hear(change, read, holding)
        return state

    return work


def heard_after(give_up: GiveUp, read: Callable[[dict[str, Any]], Told], holding: Holding) -> GiveUp:
    """Give changes up, and hear even so that the other side said something."""

    async def work(change: dict[str, Any], reason: str) -> None:
        await give_up(change, reason)
        await _hear(change, read, holding)

    return work


async def _hear(change: dict[str, Any], read: Callable[[dict[str, Any]], Told], holding: Holding) -> None:
    try:
        said = read(change) if change.get("kind") == "messages" else None
    except NotUnderstood:
        return
    if isinstance(said, Incoming):
        await holding.heard(said)
