"""People in a conversation's room who don't speak for its number: told once a day that what they say there stays there."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from bridge.accounts import Accounts
from bridge.departing.notices import Notices
from bridge.departing.opening import UNREADABLE, Opening
from bridge.departing.said import read
from bridge.network import NotUnderstood, NotYet
from bridge.numbers import Numbers
from bridge.portal.portal import Portal

OUTSIDER = "nl.griffier.outsider"  # in the outbox only: somebody said something who does not speak for the number
PATIENCE = 60.0  # seconds that the key of what they said is waited for
SAID = ("m.room.message", "m.room.encrypted")


class Outsiders:
    """Tells them, so that nobody thinks that a contact has read what never left the room."""

    def __init__(self, numbers: Numbers, accounts: Accounts, opening: Opening, notices: Notices) -> None:
        self._numbers = numbers
        self._accounts = accounts
        self._opening = opening
        self._notices = notices

    def told(self, events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """What people said among the events of a transaction, each as an item for the outbox that holds no message up."""
        return [
            {
                "type": OUTSIDER,
                "event_id": f"{OUTSIDER}|{event.get('event_id')}",
                "room_id": str(event.get("room_id")),
                "sender": event.get("sender"),
                "content": {"event": event, "until": time.time() + PATIENCE},
            }
            for event in events
            if event.get("type") in SAID and "state_key" not in event and not self._accounts.is_ours(str(event.get("sender")))
        ]

    async def wanted(self, portal: Portal, sender: str) -> bool:
        """Whether somebody is to be told: neither an official of the number, now or before, nor told today."""
        number = portal.number_id
        if sender in self._numbers.officials(number) or sender in self._numbers.once_officials(number):
            return False
        return not await self._notices.told(portal.room_id, _kind(sender))

    async def carry(self, portal: Portal, item: dict[str, Any]) -> str:
        """Tell whoever said something; programs talk in notices, and are not to be answered."""
        event, sender = item["content"]["event"], str(item["sender"])
        if not await self.wanted(portal, sender):
            return "kept"
        silent = False
        try:
            silent = read(*await self._opening.opened(event)).kind == "silent"
        except NotYet:
            if time.time() < float(item["content"]["until"]):
                raise
        except (NotUnderstood, *UNREADABLE):
            pass  # whatever it is, it did not go
        if not silent:
            await self._notices.once(
                portal.room_id,
                str(event["event_id"]),
                _kind(sender),
                f"Wat {sender} hier schrijft gaat niet naar WhatsApp: alleen wie voor het nummer spreekt kan dat. Een beheerder"
                " kan u als collega toevoegen",
                f"What {sender} writes here does not go to WhatsApp: only who speaks for the number can do that. An admin can add"
                " you as a colleague",
            )
        return "kept"


def _kind(sender: str) -> str:
    return f"outsider {sender}"
