"""Which words in an official's name are the bridge's own: what they typed on the phone, which is at WhatsApp already."""

from __future__ import annotations

from typing import Any

from mautrix.types import RoomID, SessionID

from bridge.accounts import Accounts
from bridge.network import NotUnderstood, NotYet
from bridge.relay.relay import Relay

# Anybody's client can write these: they are a reason to look whether we said it, and no proof that we did.
MARKS = frozenset({"nl.griffier.source", "fi.mau.double_puppet_source"})
NOT_OURS = (
    "het is gemerkt als een bericht van de telefoon, maar de brug heeft het niet geplaatst · "
    "it is marked as a message of the phone, but the bridge did not post it"
)


class Own:
    """Tells the bridge's own words from those of a client that writes its marks."""

    def __init__(self, relay: Relay, accounts: Accounts, *, puppets: bool) -> None:
        self.puppets = puppets  # whether the bridge speaks as officials at all
        self._relay = relay
        self._accounts = accounts

    async def said(self, event: dict[str, Any], content: Any) -> bool:
        """Whether the bridge said this. Raises NotUnderstood when it is marked and not ours, NotYet while that is not known."""
        if not isinstance(content, dict) or MARKS.isdisjoint(content):
            return False
        if event["type"] == "m.room.redaction":
            return self.puppets
        if await self._relay.message_of(event["event_id"]) is not None or (self.puppets and await self._sealed(event)):
            return True
        if not self.puppets:
            raise NotUnderstood(NOT_OURS)
        raise NotYet(NOT_OURS, awaits=event["event_id"])  # it may come before we have noted it

    async def _sealed(self, event: dict[str, Any]) -> bool:
        """Whether the key is that of our device in the official's name."""
        if event["type"] != "m.room.encrypted":
            return False
        place = RoomID(event["room_id"]), SessionID(str(event["content"].get("session_id")))
        session = await self._accounts.bot.store.get_group_session(*place)
        ours = (await self._accounts.official(event["sender"])).olm.account
        return session is not None and ours is not None and session.sender_key == ours.identity_key
