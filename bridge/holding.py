"""Messages that WhatsApp's window shuts out: kept here, with what can be sent instead, until the other side answers."""

from __future__ import annotations

from bridge.network import Incoming, NetworkError, NotUnderstood
from bridge.notices import Notices, two
from bridge.portal import Portal
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

    def __init__(self, relay: Relay, notices: Notices, offers: Offers, window: Window) -> None:
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

    async def heard(self, incoming: Incoming, room_id: str) -> None:
        """The other side said something: the window is open, and whoever has messages waiting is told."""
        await self._window.heard(incoming)
        if incoming.from_us or incoming.history or not (waiting := await self._relay.held(room_id)):
            return
        await self._notices.once(
            room_id,
            "",
            f"answered {incoming.message_id}",
            f"Er is weer een bericht van de andere kant. {waiting} wachtende berichten kunnen nu worden verstuurd: typ !verstuur",
            f"The other side has written again. {waiting} waiting messages can be sent now: type !send",
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
