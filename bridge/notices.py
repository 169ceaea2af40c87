"""What the bot tells people in a conversation, in Dutch and English, in answer to what it is about; once a day of a kind."""

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime
from typing import Any

import asyncpg
from mautrix.errors import MatrixRequestError

from bridge.accounts import Accounts
from bridge.portal import Portals
from bridge.relay import column

log = logging.getLogger(__name__)

# What WhatsApp can't do.
TEXTS = {
    "edit": (
        "WhatsApp kan vanuit deze brug niets wijzigen: de nieuwe tekst is als antwoord verstuurd, de oude blijft daar zichtbaar",
        "WhatsApp can't edit from this bridge: the new text was sent as a reply, the old one stays visible there",
    ),
    "edited-file": (
        "WhatsApp kan een verstuurd bestand niet vervangen. Stuur het nieuwe als een nieuw bericht",
        "WhatsApp can't replace a file that was sent. Send the new one as a new message",
    ),
    "call": (
        "Bellen gaat niet via deze brug. Bel met de telefoon",
        "Calls don't go through this bridge. Call by phone",
    ),
    "poll": (
        "WhatsApp krijgt deze peiling als tekst te zien; stemmen kan daar niet",
        "WhatsApp is shown this poll as text; nobody can vote there",
    ),
    "vote": (
        "Stemmen op een peiling blijven in Matrix; WhatsApp krijgt ze niet",
        "Votes in a poll stay in Matrix; WhatsApp does not get them",
    ),
    "kind": (
        "Dit soort bericht kent WhatsApp niet; het is daar niet aangekomen",
        "WhatsApp has no such kind of message; it did not arrive there",
    ),
    "empty": (
        "Dit bericht heeft geen tekst die WhatsApp kan tonen; het is daar niet aangekomen",
        "This message has no text that WhatsApp can show; it did not arrive there",
    ),
    "place": (
        "De plaats in dit bericht is onleesbaar; het is niet bij WhatsApp aangekomen",
        "The place in this message can't be read; it did not reach WhatsApp",
    ),
    "no-emoji": (
        "WhatsApp kent alleen reacties van één emoji; deze is daar niet aangekomen",
        "WhatsApp only knows reactions of one emoji; this one did not arrive there",
    ),
    "unknown-target": (
        "Het bericht waar deze reactie over gaat staat niet bij WhatsApp; zij is daar niet aangekomen",
        "The message that this reaction is about is not at WhatsApp; it did not arrive there",
    ),
}


def two(told: str) -> tuple[str, str]:
    """Dutch and English of what is told in both; in both what is told in one."""
    dutch, _, english = told.partition(" · ")
    return dutch, english or dutch


class Notices:
    """The bot's notices in conversations."""

    def __init__(self, pool: asyncpg.Pool, accounts: Accounts, portals: Portals) -> None:
        self._pool = pool
        self._accounts = accounts
        self._portals = portals

    async def limit(self, room_id: str, about: str, kind: str) -> None:
        """Tell what WhatsApp can't do, in answer to the event that asked for it; once a day."""
        await self.once(room_id, about, kind, *TEXTS[kind])

    async def not_arrived(self, room_id: str, event_id: str, what: str, reason: str) -> None:
        """Tell that a message did not reach WhatsApp, and why, in both languages."""
        dutch, english = two(reason)
        await self.tell(
            room_id,
            event_id,
            f"not sent {what}",
            f"Dit bericht is niet bij WhatsApp aangekomen: {dutch}",
            f"This message did not reach WhatsApp: {english}",
        )

    async def once(self, room_id: str, about: str, kind: str, dutch: str, english: str) -> None:
        """Tell something that a room need not hear twice on a day."""
        if not await self.told(room_id, kind):
            await self.tell(room_id, about, f"{room_id} {kind} {datetime.now(UTC).date()}", dutch, english)
            await self.keep(room_id, kind)

    async def told(self, room_id: str, kind: str) -> bool:
        """Whether a room was told this today."""
        query = "SELECT EXISTS (SELECT FROM noticed WHERE room_id = $1 AND kind = $2 AND day = $3)"
        return bool(await self._pool.fetchval(query, room_id, column(kind), datetime.now(UTC).date()))

    async def keep(self, room_id: str, kind: str) -> None:
        """Remember that a room was told this today."""
        added = "INSERT INTO noticed (room_id, kind, day) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
        await self._pool.execute(added, room_id, column(kind), datetime.now(UTC).date())

    async def tell(
        self, room_id: str, about: str, what: str, dutch: str, english: str, more: dict[str, Any] | None = None
    ) -> str:
        """Say something in answer to an event, or to none; the same `what` once. Returns the event id, "" if it can't be said."""
        content: dict[str, Any] = {"msgtype": "m.notice", "body": f"{dutch}. · {english}.", **(more or {})}
        if about:
            content["m.relates_to"] = {"m.in_reply_to": {"event_id": about}}
        return await self.say(room_id, what, content)

    async def say(self, room_id: str, what: str, content: dict[str, Any], kind: str = "m.room.message") -> str:
        """Send an event as the bot; the same `what` once. A room that is gone is told nothing."""
        txn = "notice-" + hashlib.sha256(what.encode("utf-8", "replace")).hexdigest()[:32]
        try:
            return await self._portals.send(self._accounts.bot, room_id, content, txn, kind=kind)
        except MatrixRequestError as error:
            if error.http_status not in (403, 404):
                raise
            log.warning("A notice could not be posted in %s: %s", room_id, getattr(error, "errcode", ""))
            return ""
