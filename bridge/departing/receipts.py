"""WhatsApp's ticks: what became of each message of an official's, and what the official has read, told to the other side."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import asyncpg
from mautrix.api import Method, Path
from mautrix.errors import MatrixRequestError

from bridge.accounts import Accounts
from bridge.departing.holding import Holding
from bridge.departing.notices import Notices
from bridge.departing.window import Window
from bridge.ghost import Account
from bridge.network import Named, Network, NetworkError, Receipt
from bridge.network.cloud.refusals import WINDOW_CLOSED
from bridge.portal.portal import Portal, Portals
from bridge.relay.relay import KEPT_DELIVERY, Relay, column

log = logging.getLogger(__name__)

STATUS = "com.beeper.message_send_status"
READ = "nl.griffier.read"  # in the outbox only: up to where an official has read
PATIENCE = 600.0  # seconds that telling so is tried for
# A message that was delivered after all did not fail; one that was read was delivered, whatever comes late.
ORDER = {"sent": 1, "failed": 2, "delivered": 3, "read": 4, "played": 5}
EVENT = "SELECT room_id, event_id, shown, part, parts FROM carried WHERE number_id = $1 AND message_id = $2"
STATE = "SELECT state FROM delivery WHERE number_id = $1 AND message_id = $2 AND recipient = $3"
KEEP = """
    INSERT INTO delivery (number_id, message_id, recipient, state, at) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (number_id, message_id, recipient) DO UPDATE SET state = excluded.state, at = excluded.at
"""
BEST = """
    SELECT delivery.state, delivery.at FROM delivery JOIN carried USING (number_id, message_id)
    WHERE carried.event_id = $1 AND delivery.state IN ('delivered', 'read', 'played') ORDER BY delivery.at
"""
CARRIED_AT = "SELECT min(carried_at) FROM carried WHERE event_id = $1"
# The newest thing that the other side had said when an event was there; and what it was told of before.
NEWEST = """
    SELECT message_id, carried_at FROM carried
    WHERE room_id = $1 AND heard AND carried_at <= $2
      AND carried_at > coalesce((SELECT carried_at FROM seen WHERE room_id = $1), '-infinity')
    ORDER BY carried_at DESC LIMIT 1
"""
REACTION = "SELECT target FROM reaction WHERE event_id = $1"
SEEN = """
    INSERT INTO seen (room_id, carried_at) VALUES ($1, $2)
    ON CONFLICT (room_id) DO UPDATE SET carried_at = greatest(seen.carried_at, excluded.carried_at)
"""

Ghost = Callable[[str, Named], Awaitable[Account | None]]
"""The account of somebody whom a number knows by these names; None for a stranger."""


def advances(before: str | None, now: str) -> bool:
    """Whether a state is further than the one before; states come out of order, and more than once."""
    return now in ORDER and ORDER[now] > ORDER.get(before or "", 0)


class Receipts:
    """What WhatsApp says of messages that it has."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        portals: Portals,
        relay: Relay,
        network: Network,
        notices: Notices,
        holding: Holding,
        window: Window,
        ghost: Ghost,
    ) -> None:
        self._pool = pool
        self._portals = portals
        self._relay = relay
        self._network = network
        self._notices = notices
        self._holding = holding
        self._window = window
        self._ghost = ghost

    async def take(self, receipt: Receipt) -> str:
        """Show how far a message got. Runs again after a crash without showing it twice. Raises MatrixRequestError."""
        row = await self._pool.fetchrow(EVENT, receipt.number_id, column(receipt.message_id))
        if row is None:
            return "kept"  # sent by another program that uses the number
        recipient = "" if receipt.group and receipt.state in ("sent", "failed") else column(receipt.recipient.address)
        before = await self._pool.fetchval(STATE, receipt.number_id, column(receipt.message_id), recipient)
        if not advances(before, receipt.state):
            return "done"
        if receipt.state != "sent" or row["part"] == row["parts"]:  # that it went is told once, when all of it has
            await self._show(receipt, row, recipient)
        await self._pool.execute(
            KEEP, receipt.number_id, column(receipt.message_id), recipient, receipt.state, receipt.at or datetime.now(UTC)
        )
        return "done"

    async def reached(self, event_id: str) -> list[tuple[str, datetime]] | None:
        """How far the messages of an event got, the first first: (delivered, read or played, when); None: not known any more."""
        at = await self._pool.fetchval(CARRIED_AT, column(event_id))
        if at is not None and at < datetime.now(UTC) - KEPT_DELIVERY:
            return None
        return [(row["state"], row["at"]) for row in await self._pool.fetch(BEST, column(event_id))]

    async def refused(self, portal: Portal, event_id: str, error: NetworkError) -> None:
        """Show on a message that WhatsApp refused it at once. Raises MatrixRequestError."""
        told = {"state": "failed", "at": _milliseconds(datetime.now(UTC)), "message_id": ""}  # of no recipient: it holds for all
        what = f"held status {event_id}" if error.code == WINDOW_CLOSED else f"refused {event_id}"
        await self._status(portal.room_id, event_id, what, told | {"code": error.code}, "", str(error))

    async def not_sent(self, room_id: str, event_id: str, reason: str) -> None:
        """Show on a message that it did not get to WhatsApp, unless that was told when WhatsApp refused it."""
        told = {"state": "failed", "at": _milliseconds(datetime.now(UTC))}
        await self._status(room_id, event_id, f"refused {event_id}", told, "", reason)

    async def stayed(self, room_id: str, event_id: str) -> None:
        """Tell of what an official said that it was not for WhatsApp: a command to the bridge, or withdrawn before it went."""
        told = {"state": "stayed", "at": _milliseconds(datetime.now(UTC))}
        await self._status(room_id, event_id, f"stayed {event_id}", told, "", "")

    async def _show(self, receipt: Receipt, row: Any, recipient: str) -> None:
        ghost = await self._ghost(receipt.number_id, receipt.recipient) if receipt.recipient.address else None
        told: dict[str, Any] = {
            "state": receipt.state,
            "at": _milliseconds(receipt.at or datetime.now(UTC)),
            "message_id": receipt.message_id,
            "recipient": receipt.recipient.address or receipt.group,
        }
        if row["parts"] > 1:
            told |= {"part": row["part"], "parts": row["parts"]}
        reason = ""
        if receipt.state == "failed":
            told["code"] = receipt.code or 0
            reason = self._network.explain(receipt.code or 131000)
            await self._failed(receipt, row, reason)
        what = f"status {receipt.message_id} {recipient} {receipt.state}"
        shown = row["shown"] or row["event_id"]  # of a template, what people see of it
        user = ghost.user_id if ghost is not None and receipt.state != "sent" else ""
        await self._status(row["room_id"], shown, what, told, user, reason)
        if receipt.state in ("read", "played") and ghost is not None and row["part"] == row["parts"]:
            await self._read(ghost, row["room_id"], shown)

    async def _failed(self, receipt: Receipt, row: Any, reason: str) -> None:
        """A message that WhatsApp took and then could not deliver."""
        portal = await self._portals.of(row["room_id"])
        if receipt.code == WINDOW_CLOSED and portal is not None:
            await self._window.shut(portal.number_id, portal.contact, receipt.at)
            await self._holding.explain(portal, row["event_id"])
            await self._relay.hold(row["event_id"])
            return
        target = await self._pool.fetchval(REACTION, row["event_id"])  # people see what a reaction is about, not the reaction
        about = (await self._relay.event_of(receipt.number_id, target) if target else None) or row["event_id"]
        await self._notices.not_arrived(row["room_id"], about, receipt.message_id, reason)

    async def _read(self, ghost: Account, room_id: str, event_id: str) -> None:
        try:
            await ghost.call(Method.POST, Path.v3.rooms[room_id].receipt["m.read"][event_id])
        except MatrixRequestError as error:
            if error.http_status not in (400, 403, 404):
                raise
            log.warning("A read receipt could not be set: %s", getattr(error, "errcode", ""))

    async def _status(self, room_id: str, event_id: str, what: str, told: dict[str, Any], user: str, reason: str) -> None:
        failed = told["state"] == "failed"
        again = told.get("code") == WINDOW_CLOSED  # with !send, once the other side has answered
        content: dict[str, Any] = {
            "m.relates_to": {"rel_type": "m.reference", "event_id": event_id},
            "network": self._network.name,
            "status": ("FAIL_RETRIABLE" if again else "FAIL_PERMANENT") if failed else "SUCCESS",
            "nl.griffier.delivery": told,
        }
        if failed:
            content |= {"message": reason, "reason": "m.foreign_network_error"}
        elif user:
            content["delivered_to_users"] = [user]
        await self._notices.say(room_id, what, content, kind=STATUS)


class Reading:
    """What an official has read, told to WhatsApp once."""

    def __init__(self, pool: asyncpg.Pool, network: Network, accounts: Accounts) -> None:
        self._pool = pool
        self._network = network
        self._accounts = accounts

    def told(self, ephemeral: Iterable[Any]) -> list[dict[str, Any]]:
        """The public read receipts among what a transaction brings, each as an item for the outbox."""
        found: list[dict[str, Any]] = []
        for part in ephemeral:
            content = part.get("content") if isinstance(part, dict) and part.get("type") == "m.receipt" else None
            for event_id, kinds in content.items() if isinstance(content, dict) else ():
                readers = kinds.get("m.read") if isinstance(kinds, dict) else None
                for user_id in readers if isinstance(readers, dict) else ():
                    room_id = str(part.get("room_id", ""))
                    key = f"{READ}|{room_id}|{event_id}|{user_id}"
                    content_of = {"event_id": event_id, "until": time.time() + PATIENCE}
                    found.append({"type": READ, "event_id": key, "room_id": room_id, "sender": user_id, "content": content_of})
        return found

    async def carry(self, portal: Portal, event_id: str, until: float) -> str:
        """Tell WhatsApp that everything up to an event was read; it can wait, but not past `until` (seconds since 1970).

        Raises NetworkError, which never says that anything else must wait with it.
        """
        at = await self._pool.fetchval(
            "SELECT carried_at FROM carried WHERE room_id = $1 AND event_id = $2", portal.room_id, event_id
        )
        newest = await self._pool.fetchrow(NEWEST, portal.room_id, at or await self._when(portal.room_id, event_id))
        if newest is None:
            return "kept"
        try:
            await self._network.mark_read(portal.number_id, newest["message_id"])
        except NetworkError as error:
            if not error.final and time.time() < until:
                raise NetworkError(str(error), final=False, after=error.after, code=error.code) from None
            # It is too old, or was deleted, or WhatsApp is away: nobody is helped by being told. What is read next says it too.
            return "kept"
        await self._pool.execute(SEEN, portal.room_id, newest["carried_at"])
        return "done"

    async def _when(self, room_id: str, event_id: str) -> datetime:
        """When an event that is no message of WhatsApp's was sent, a notice of ours for example."""
        try:
            event = await self._accounts.bot.call(Method.GET, Path.v3.rooms[room_id].event[event_id])
            return datetime.fromtimestamp(int(event["origin_server_ts"]) / 1000, UTC)
        except (MatrixRequestError, KeyError, ValueError, OverflowError, OSError):
            return datetime.fromtimestamp(0, UTC)


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
