"""What comes from WhatsApp, carried over into the room of its conversation."""

from __future__ import annotations

import hashlib
import json
import logging
from datetime import UTC, datetime
from typing import Any

from mautrix.api import Method, Path
from mautrix.errors import MatrixRequestError

from bridge import attachments
from bridge.accounts import Accounts, clean
from bridge.ghost import Account
from bridge.network import Incoming, Media, Network, NotUnderstood, NotYet
from bridge.numbers import Numbers
from bridge.portal import Portals, phone
from bridge.relay import Relay
from bridge.settings import Bridge

log = logging.getLogger(__name__)

SOURCE = "nl.griffier.source"
MAX_TEXT = 15_000  # characters of JSON: encryption adds a third, an edit holds its text twice, an event may be 64 KiB
NOT_CARRIED = (
    "Een WhatsApp-bericht van het soort “{kind}” kon niet worden overgebracht; het is wel bewaard. Vraag uw beheerder. · "
    "A WhatsApp message of type “{kind}” could not be carried over; it has been kept. Ask your admin."
)
UNSUPPORTED = (
    "WhatsApp-bericht van het soort “{kind}” kan hier niet worden getoond; het is wel bewaard. · "
    "A WhatsApp message of type “{kind}” can't be shown here; it has been kept."
)


class Arriving:
    """Carries changes over, one at a time in a conversation."""

    def __init__(
        self, settings: Bridge, numbers: Numbers, accounts: Accounts, portals: Portals, relay: Relay, network: Network
    ) -> None:
        self._settings = settings
        self._numbers = numbers
        self._accounts = accounts
        self._portals = portals
        self._relay = relay
        self._network = network

    async def carry(self, change: dict[str, Any]) -> str:
        """Carry one change over. Raises NotUnderstood, NotYet, NetworkError, MatrixRequestError."""
        incoming = self._network.read(change)
        if incoming is None:
            return "kept"
        if await self._relay.event_of(incoming.number_id, incoming.message_id):
            return "done"  # before a crash, all but the last step was done
        ghost = await self._accounts.ghost(incoming.contact, incoming.name)
        room_id = await self._portals.room(incoming.number_id, incoming.contact, incoming.name, ghost)
        # What was typed on the business phone itself is the official's; the bot says it, since we are not the official.
        sender = self._accounts.bot if incoming.from_us else ghost
        txn = "wa-" + hashlib.sha256(f"{incoming.number_id}|{incoming.message_id}".encode()).hexdigest()[:32]
        try:
            event_id = await self._say(sender, room_id, incoming, txn)
        except MatrixRequestError as error:
            if error.http_status not in (403, 404) or await self._portals.is_there(room_id):
                raise
            log.warning("The room %s is gone: its conversation goes on in a new one.", room_id)
            await self._portals.close(room_id)
            raise NotYet("de kamer bestaat niet meer · the room is gone") from None
        if event_id:
            await self._relay.carried(incoming.number_id, incoming.message_id, room_id, event_id)
        return "done"

    async def not_carried(self, change: dict[str, Any], reason: str) -> None:
        """Tell the people in the room that a WhatsApp message could not be shown, with what of its text there is."""
        try:
            incoming = self._network.read(change)
        except NotUnderstood:
            return  # no conversation can be told: it is kept in the inbox, and counted at /healthz
        if incoming is None:
            return
        notice = NOT_CARRIED.format(kind=incoming.network_type)
        text = f"{notice}\n{clean(incoming.text, 1000)}" if incoming.text else notice
        txn = "wa-not-" + hashlib.sha256(f"{incoming.number_id}|{incoming.message_id}".encode()).hexdigest()[:32]
        ghost = await self._accounts.ghost(incoming.contact, incoming.name)
        room_id = await self._portals.room(incoming.number_id, incoming.contact, incoming.name, ghost)
        content = {SOURCE: self._source(incoming), "msgtype": "m.notice", "body": text}
        event_id = await self._portals.send(ghost, room_id, content, txn)
        await self._relay.carried(incoming.number_id, incoming.message_id, room_id, event_id)

    async def _say(self, sender: Account, room_id: str, incoming: Incoming, txn: str) -> str:
        at = _milliseconds(incoming.sent_at or datetime.now(UTC))
        target = await self._relay.event_of(incoming.number_id, incoming.target) if incoming.target else None
        if target is None and incoming.kind in ("revoke", "reaction"):
            raise NotYet("het bericht waar dit over gaat is er niet · the message that this is about is not there")
        if incoming.kind == "revoke" and target is not None:
            where = Path.v3.rooms[room_id].redact[target][txn]
            answer = await sender.call(Method.PUT, where, {SOURCE: self._source(incoming)}, {"ts": str(at)})
            return str(answer["event_id"])
        if incoming.kind == "reaction":
            return await self._react(sender, room_id, incoming, target, txn, at)
        content = await self._content(sender, incoming)
        if incoming.kind == "edit" and target is not None:
            new = {key: value for key, value in content.items() if key != SOURCE}
            content |= {"body": f"* {content['body']}", "m.new_content": new}
            content["m.relates_to"] = {"rel_type": "m.replace", "event_id": target}
        elif incoming.reply_to and (answered := await self._relay.event_of(incoming.number_id, incoming.reply_to)):
            content["m.relates_to"] = {"m.in_reply_to": {"event_id": answered}}
        return await self._portals.send(sender, room_id, content, txn, at)

    async def _react(self, sender: Account, room_id: str, incoming: Incoming, target: str | None, txn: str, at: int) -> str:
        """Somebody has at most one reaction to a message: the one before is withdrawn, and so it is by an empty one."""
        place = incoming.number_id, incoming.target, sender.user_id
        before, event_id = await self._relay.reaction_of(*place), None
        if target is not None and incoming.text:
            relation = {"rel_type": "m.annotation", "event_id": target, "key": incoming.text}
            # Reactions go unencrypted, as in every client (specification, m.reaction): servers must count them.
            content = {"m.relates_to": relation, SOURCE: self._source(incoming)}
            event_id = await sender.send(room_id, "m.reaction", content, txn, at)
        if before is not None and before != event_id:
            where = Path.v3.rooms[room_id].redact[before][f"{txn}-before"]
            await sender.call(Method.PUT, where, {SOURCE: self._source(incoming)}, {"ts": str(at)})
        await self._relay.keep_reaction(*place, event_id)
        return event_id or ""

    async def _content(self, sender: Account, incoming: Incoming) -> dict[str, Any]:
        content: dict[str, Any] = {SOURCE: self._source(incoming)}
        if incoming.kind in ("text", "edit") and len(json.dumps(incoming.text)) > MAX_TEXT:
            # Matrix has a limit of 64 KiB for an event: the whole text goes along as a file.
            raw = incoming.text.encode("utf-8", "replace")
            return content | await self._upload(sender, Media("text/plain", "bericht.txt"), raw, f"{beginning(incoming.text)} …")
        if incoming.kind in ("text", "edit"):
            return content | {"msgtype": "m.text", "body": incoming.text}
        if incoming.kind == "media" and incoming.media is not None:
            data = await self._network.download(incoming.media, incoming.number_id)
            return content | await self._upload(sender, incoming.media, data, incoming.text)
        return content | {"msgtype": "m.notice", "body": UNSUPPORTED.format(kind=incoming.network_type)}

    def _source(self, incoming: Incoming) -> dict[str, Any]:
        """What the archive must know of the WhatsApp message (DESIGN section 2)."""
        raw = json.dumps(incoming.raw, sort_keys=True, separators=(",", ":")).encode()
        return {
            "network": self._network.name,
            "message_id": incoming.message_id,
            "sender": self._numbers.display(incoming.number_id) if incoming.from_us else phone(incoming.contact),
            "sent_at": _milliseconds(incoming.sent_at) if incoming.sent_at else None,
            "type": incoming.network_type,
            "raw_sha256": hashlib.sha256(raw).hexdigest(),
            "phone_number_id": incoming.number_id,
            "forwarded": incoming.forwarded,
        }

    async def _upload(self, sender: Account, media: Media, data: bytes, caption: str) -> dict[str, Any]:
        return await attachments.upload(sender, media, data, caption, encrypted=self._settings.encryption)


def beginning(text: str) -> str:
    """As much of a text as fits in an event: what is shown, and what search finds it by, of one that goes along as a file."""
    while len(json.dumps(text)) > MAX_TEXT:
        text = text[: len(text) * 3 // 4]
    return text


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
