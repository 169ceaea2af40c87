"""A portal: one WhatsApp conversation and its Matrix room."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, cast

import asyncpg
from mautrix.api import Method, Path
from mautrix.crypto.attachments import decrypt_attachment, encrypt_attachment
from mautrix.errors import DecryptionError, MatrixRequestError
from mautrix.types import JSON, EncryptedEvent, EncryptedFile, SerializerError

from bridge.ghost import Account
from bridge.network import Incoming, Media, Network, NotUnderstood, NotYet, Outgoing
from bridge.relay import Relay
from bridge.settings import Bridge

log = logging.getLogger(__name__)

SOURCE = "nl.griffier.source"
FIND = "SELECT room_id FROM portal WHERE number_id = $1 AND contact = $2 AND closed_at IS NULL"
CLOSE = "UPDATE portal SET closed_at = now() WHERE room_id = $1"
ADD = "INSERT INTO portal (room_id, number_id, contact, encrypted) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"
BY_ROOM = "SELECT number_id, contact, encrypted FROM portal WHERE room_id = $1"
MSGTYPES = {"image": "m.image", "audio": "m.audio", "video": "m.video"}
MAX_TEXT = 15_000  # characters of JSON: encryption adds a third, an edit holds its text twice, an event may be 64 KiB
NOT_CARRIED = (
    "Een WhatsApp-bericht van het soort “{kind}” kon niet worden overgebracht; het is wel bewaard. Vraag uw beheerder. · "
    "A WhatsApp message of type “{kind}” could not be carried over; it has been kept. Ask your admin."
)
UNSUPPORTED = (
    "WhatsApp-bericht van het soort “{kind}” kan hier niet worden getoond; het is wel bewaard. · "
    "A WhatsApp message of type “{kind}” can't be shown here; it has been kept."
)

GetGhost = Callable[[str, str], Awaitable[Account]]


class Portals:
    """All conversations: carries messages over, both ways."""

    def __init__(
        self, settings: Bridge, pool: asyncpg.Pool, relay: Relay, network: Network, bot: Account, ghost: GetGhost
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._relay = relay
        self._network = network
        self._bot = bot
        self._ghost = ghost
        self._making = asyncio.Lock()

    # From WhatsApp into Matrix.

    async def carry_in(self, change: dict[str, Any]) -> str:
        """Carry one change over. Raises NotUnderstood, NotYet, NetworkError, MatrixRequestError."""
        incoming = self._network.read(change)
        if incoming is None:
            return "kept"
        if await self._relay.event_of(incoming.number_id, incoming.message_id):
            return "done"  # before a crash, all but the last step was done
        ghost = await self._ghost(incoming.contact, incoming.name)
        room_id = await self._room(incoming, ghost)
        # What was typed on the business phone itself is the official's; the bot says it, since we are not the official.
        sender = self._bot if incoming.from_us else ghost
        txn = "wa-" + hashlib.sha256(f"{incoming.number_id}|{incoming.message_id}".encode()).hexdigest()[:32]
        try:
            event_id = await self._say(sender, room_id, incoming, txn)
        except MatrixRequestError as error:
            if error.http_status not in (403, 404) or await self._is_there(room_id):
                raise
            log.warning("The room %s is gone: its conversation goes on in a new one.", room_id)
            await self._pool.execute(CLOSE, room_id)
            raise NotYet("de kamer bestaat niet meer · the room is gone") from None
        if event_id:
            await self._relay.carried(incoming.number_id, incoming.message_id, room_id, event_id)
        return "done"

    async def _is_there(self, room_id: str) -> bool:
        """Whether the bot is still in the room."""
        joined = await self._bot.call(Method.GET, Path.v3.joined_rooms)
        return room_id in joined.get("joined_rooms", [])

    async def not_carried_in(self, change: dict[str, Any], reason: str) -> None:
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
        ghost = await self._ghost(incoming.contact, incoming.name)
        room_id = await self._room(incoming, ghost)
        content = {SOURCE: self._source(incoming), "msgtype": "m.notice", "body": text}
        event_id = await self._send(ghost, room_id, content, txn)
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
        return await self._send(sender, room_id, content, txn, at)

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

    async def _send(self, sender: Account, room_id: str, content: dict[str, Any], txn: str, at: int | None = None) -> str:
        kind = "m.room.message"
        if self._settings.encryption:
            members = await self._members(room_id)
            kind, content = "m.room.encrypted", await sender.encrypt(room_id, kind, content, members)
        return await sender.send(room_id, kind, content, txn, at)

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

    async def _upload(self, sender: Account, media: Media, data: bytes, caption: str) -> dict[str, Any]:
        plain_type = media.media_type.partition(";")[0].strip()
        content: dict[str, Any] = {
            "msgtype": MSGTYPES.get(plain_type.partition("/")[0], "m.file"),
            "body": caption or media.name,
            "filename": media.name,
            "info": {"mimetype": plain_type, "size": len(data)},
        }
        if media.voice:
            content["org.matrix.msc3245.voice"] = {}
        if self._settings.encryption:
            data, file = encrypt_attachment(data)
            file.url = await sender.client.upload_media(data, mime_type="application/octet-stream", filename="bestand")
            content["file"] = file.serialize()
        else:
            content["url"] = await sender.client.upload_media(data, mime_type=plain_type, filename=media.name)
        return content

    def _source(self, incoming: Incoming) -> dict[str, Any]:
        """What the archive must know of the WhatsApp message (DESIGN section 2)."""
        raw = json.dumps(incoming.raw, sort_keys=True, separators=(",", ":")).encode()
        return {
            "network": self._network.name,
            "message_id": incoming.message_id,
            "sender": self._number(incoming.number_id) if incoming.from_us else _phone(incoming.contact),
            "sent_at": _milliseconds(incoming.sent_at) if incoming.sent_at else None,
            "type": incoming.network_type,
            "raw_sha256": hashlib.sha256(raw).hexdigest(),
            "phone_number_id": incoming.number_id,
            "forwarded": incoming.forwarded,
        }

    def _number(self, number_id: str) -> str:
        return next((number.display_phone_number for number in self._settings.numbers if number.id == number_id), number_id)

    async def _room(self, incoming: Incoming, ghost: Account) -> str:
        async with self._making:
            room_id: str | None = await self._pool.fetchval(FIND, incoming.number_id, incoming.contact)
            if room_id is None:
                room_id = await self._make(incoming, ghost)
        return room_id

    async def _make(self, incoming: Incoming, ghost: Account) -> str:
        number = next((number for number in self._settings.numbers if number.id == incoming.number_id), None)
        if number is None:
            raise NotUnderstood(f"the number {incoming.number_id} is not configured: add it to bridge.numbers")
        name = clean(incoming.name, 100) or _phone(incoming.contact)
        bridge = {
            "bridgebot": self._settings.bot,
            "creator": self._settings.bot,
            "protocol": {"id": "whatsapp", "displayname": "WhatsApp", "external_url": "https://www.whatsapp.com"},
            "channel": {
                "id": f"{incoming.contact}@s.whatsapp.net", "displayname": name, "fi.mau.receiver": number.display_phone_number,
            },
        }  # fmt: skip
        key = f"{self._settings.server_name}/{self._settings.appservice_id}"
        state = [{"type": kind, "state_key": key, "content": bridge} for kind in ("m.bridge", "uk.half-shot.bridge")]
        if self._settings.encryption:
            state.append({"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}})
        body = {
            "preset": "private_chat",
            "visibility": "private",
            "name": f"{name} (WhatsApp)",
            "invite": [number.official, ghost.user_id],
            "initial_state": state,
            "power_level_content_override": {"users": {self._settings.bot: 100, ghost.user_id: 50}},
        }
        # From room version 12 on the creator's power is implied, and may not be written down.
        body["room_version"] = "11"
        answer = await self._bot.call(Method.POST, Path.v3.createRoom, body)
        room_id = str(answer["room_id"])
        await ghost.call(Method.POST, Path.v3.rooms[room_id].join)
        await self._pool.execute(ADD, room_id, incoming.number_id, incoming.contact, self._settings.encryption)
        return room_id

    async def _members(self, room_id: str) -> list[str]:
        """Everyone who is in the room or invited to it: who is invited may read what was said meanwhile."""
        answer = await self._bot.call(Method.GET, Path.v3.rooms[room_id].members)
        chunk = answer.get("chunk", [])
        return sorted(event["state_key"] for event in chunk if event.get("content", {}).get("membership") in ("join", "invite"))

    # From Matrix out to WhatsApp.

    async def wanted(self, event: dict[str, Any]) -> bool:
        """Whether an event is something an official said in a portal."""
        if "state_key" in event or event.get("type") not in ("m.room.message", "m.room.encrypted", "m.reaction", "m.sticker"):
            return False
        portal = await self._pool.fetchrow(BY_ROOM, event.get("room_id"))
        if portal is None:
            return False
        officials = {number.official for number in self._settings.numbers if number.id == portal["number_id"]}
        return event.get("sender") in officials

    async def carry_out(self, event: dict[str, Any]) -> str:
        """Send an official's message to WhatsApp. Raises NetworkError, NotUnderstood, NotYet."""
        if await self._relay.message_of(event["event_id"]):
            return "done"  # before a crash, all but the last step was done
        portal = await self._pool.fetchrow(BY_ROOM, event["room_id"])
        kind, content = event["type"], event.get("content", {})
        if kind == "m.room.encrypted":
            try:
                decrypted = await self._bot.olm.decrypt_megolm_event(EncryptedEvent.deserialize(cast("JSON", event)))
                kind, content = str(decrypted.type), decrypted.content.serialize()
            except DecryptionError as error:
                raise NotYet(f"het kan niet worden gelezen · it can't be read ({type(error).__name__})") from None
            except (SerializerError, KeyError, TypeError, AttributeError, RecursionError):
                raise NotUnderstood("de inhoud is onleesbaar · the content can't be understood") from None
        try:
            message = await self._outgoing(portal["contact"], kind, content, event["event_id"])
        except (SerializerError, DecryptionError, KeyError, TypeError, AttributeError, RecursionError):
            raise NotUnderstood("de inhoud is onleesbaar · the content can't be understood") from None
        if message is None:
            return "kept"
        message_id = await self._network.send(portal["number_id"], message)
        await self._relay.carried(portal["number_id"], message_id, event["room_id"], event["event_id"])
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
            await self._send(self._bot, event["room_id"], content, txn)
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
            media, data = await self._media(content)
            caption = body if content.get("filename") and content["filename"] != body else ""
            return Outgoing(contact, "media", caption, media, data, reply_to=reply_to or "", key=event_id)
        return Outgoing(contact, "text", _without_quote(body) if answered else body, reply_to=reply_to or "", key=event_id)

    async def _media(self, content: dict[str, Any]) -> tuple[Media, bytes]:
        file, info = content.get("file"), content.get("info")
        url = file["url"] if isinstance(file, dict) else content["url"]
        data = await self._bot.client.download_media(url)
        if isinstance(file, dict):
            described = EncryptedFile.deserialize(cast("JSON", file))
            data = decrypt_attachment(data, described.key.key, described.hashes["sha256"], described.iv)
        kind = info.get("mimetype") if isinstance(info, dict) else None
        name = str(content.get("filename") or content.get("body") or "bestand")
        return Media(str(kind or "application/octet-stream"), name), data


def clean(text: str, length: int) -> str:
    """Text from outside as a name or a notice may hold it."""
    return "".join(letter for letter in text if letter.isprintable() or letter == "\n")[:length].strip()


def beginning(text: str) -> str:
    """As much of a text as fits in an event: what is shown, and what search finds it by, of one that goes along as a file."""
    while len(json.dumps(text)) > MAX_TEXT:
        text = text[: len(text) * 3 // 4]
    return text


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _phone(contact: str) -> str:
    return f"+{contact}" if contact.isdecimal() else contact


def _without_quote(body: str) -> str:
    """A reply's own text, without the quoted lines that older clients put before it."""
    lines = body.split("\n")
    if not re.match(r"> (\* )?<@", lines[0]):
        return body
    own = next((index for index, line in enumerate(lines) if not line.startswith(">")), 0)
    return "\n".join(lines[own:]).lstrip("\n") if own else body
