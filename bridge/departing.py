"""What an official says in a portal, sent to WhatsApp."""

from __future__ import annotations

import hashlib
import logging
import re
from typing import Any, cast

from mautrix.errors import DecryptionError, MatrixRequestError
from mautrix.types import JSON, EncryptedEvent, SerializerError

from bridge import attachments
from bridge.accounts import Accounts
from bridge.network import Network, NotUnderstood, NotYet, Outgoing
from bridge.numbers import Numbers
from bridge.portal import Portals
from bridge.relay import Relay

log = logging.getLogger(__name__)


class Departing:
    """Carries events over, one at a time in a room."""

    def __init__(self, numbers: Numbers, accounts: Accounts, portals: Portals, relay: Relay, network: Network) -> None:
        self._numbers = numbers
        self._accounts = accounts
        self._portals = portals
        self._relay = relay
        self._network = network

    async def wanted(self, event: dict[str, Any]) -> bool:
        """Whether an event is something an official said in a portal."""
        if "state_key" in event or event.get("type") not in ("m.room.message", "m.room.encrypted", "m.reaction", "m.sticker"):
            return False
        portal = await self._portals.of(str(event.get("room_id")))
        if portal is None:
            return False
        return event.get("sender") in self._numbers.officials(portal.number_id)

    async def carry(self, event: dict[str, Any]) -> str:
        """Send an official's message to WhatsApp. Raises NetworkError, NotUnderstood, NotYet."""
        if await self._relay.message_of(event["event_id"]):
            return "done"  # before a crash, all but the last step was done
        portal = await self._portals.of(event["room_id"])
        if portal is None:
            raise NotUnderstood("deze kamer is geen WhatsApp-gesprek · this room is no WhatsApp conversation")
        kind, content = event["type"], event.get("content", {})
        if kind == "m.room.encrypted":
            try:
                decrypted = await self._accounts.bot.olm.decrypt_megolm_event(EncryptedEvent.deserialize(cast("JSON", event)))
                kind, content = str(decrypted.type), decrypted.content.serialize()
            except DecryptionError as error:
                raise NotYet(f"het kan niet worden gelezen · it can't be read ({type(error).__name__})") from None
            except (SerializerError, KeyError, TypeError, AttributeError, RecursionError):
                raise NotUnderstood("de inhoud is onleesbaar · the content can't be understood") from None
        try:
            message = await self._outgoing(portal.contact, kind, content, event["event_id"])
        except (SerializerError, DecryptionError, KeyError, TypeError, AttributeError, RecursionError):
            raise NotUnderstood("de inhoud is onleesbaar · the content can't be understood") from None
        if message is None:
            return "kept"
        message_id = await self._network.send(portal.number_id, message)
        await self._relay.carried(portal.number_id, message_id, event["room_id"], event["event_id"])
        return "done"

    async def not_sent(self, event: dict[str, Any], reason: str) -> None:
        """Tell the people in the room that a message did not reach WhatsApp."""
        text = (
            f"Dit bericht is niet bij WhatsApp aangekomen: {reason}. Probeer het opnieuw of vraag uw beheerder. · "
            f"This message did not reach WhatsApp: {reason}. Try again, or ask your admin."
        )
        content = {"msgtype": "m.notice", "body": text, "m.relates_to": {"m.in_reply_to": {"event_id": event["event_id"]}}}
        txn = "not-sent-" + hashlib.sha256(event["event_id"].encode()).hexdigest()[:32]
        try:
            await self._portals.send(self._accounts.bot, event["room_id"], content, txn)
        except MatrixRequestError as error:
            log.warning("The notice of a message not sent could not be posted in %s: %s", event["room_id"], error)

    async def _outgoing(self, contact: str, kind: str, content: dict[str, Any], event_id: str) -> Outgoing | None:
        relation = content.get("m.relates_to")
        relation = relation if isinstance(relation, dict) else {}
        if kind == "m.reaction":
            target = await self._relay.message_of(str(relation.get("event_id", "")))
            return Outgoing(contact, "reaction", str(relation.get("key", "")), target=target, key=event_id) if target else None
        if str(content.get("msgtype", "")).startswith("m.key."):
            return None  # devices that verify each other
        if kind not in ("m.room.message", "m.sticker"):
            raise NotUnderstood("dit soort bericht kent WhatsApp niet · WhatsApp has no such kind of message")
        body = str(content.get("body", ""))
        reply = relation.get("m.in_reply_to")
        answered = str(reply.get("event_id", "")) if isinstance(reply, dict) else ""
        if relation.get("rel_type") == "m.replace":
            # The Cloud API can't edit: the new text goes as an answer to the old one.
            new = content.get("m.new_content")
            body = "✏️ " + str(new.get("body", "") if isinstance(new, dict) else body)
            answered = str(relation.get("event_id", ""))
        reply_to = await self._relay.message_of(answered) if answered else None
        is_file = kind == "m.sticker" or content.get("msgtype") in ("m.image", "m.file", "m.audio", "m.video")
        if is_file and not content.get("url") and not content.get("file"):
            raise NotUnderstood("de bijlage ontbreekt · the attachment is not there")
        if is_file:
            media, data = await attachments.download(self._accounts.bot, content)
            caption = body if content.get("filename") and content["filename"] != body else ""
            return Outgoing(contact, "media", caption, media, data, reply_to=reply_to or "", key=event_id)
        return Outgoing(contact, "text", _without_quote(body) if answered else body, reply_to=reply_to or "", key=event_id)


def _without_quote(body: str) -> str:
    """A reply's own text, without the quoted lines that older clients put before it."""
    lines = body.split("\n")
    if not re.match(r"> (\* )?<@", lines[0]):
        return body
    own = next((index for index, line in enumerate(lines) if not line.startswith(">")), 0)
    return "\n".join(lines[own:]).lstrip("\n") if own else body
