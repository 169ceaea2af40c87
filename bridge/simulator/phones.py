"""The phones: what a contact does on theirs, and what the official does in the WhatsApp Business app on the business phone."""

from __future__ import annotations

import base64
from typing import Any

from bridge.simulator import bodies
from bridge.simulator.errors import GraphError
from bridge.simulator.media import WEBHOOK_DAYS
from bridge.simulator.receipts import Receipts
from bridge.simulator.sending import Sending
from bridge.simulator.webhook import Update, Webhook
from bridge.simulator.world import FILES, Account, Contact, Message, Number, World, digits, wamid

EDITABLE, REVOCABLE = 15 * 60, 2 * 86400  # seconds after sending
FILE_FIELDS = ("caption", "filename", "voice", "animated")
CONTEXT_MARKS = ("forwarded", "frequently_forwarded")


class NotPossibleError(Exception):
    """What WhatsApp doesn't let a phone do; the message says why."""


class Phones:
    """Carries out what people do on their phones, and tells businesses."""

    def __init__(self, world: World, webhook: Webhook, receipts: Receipts, sending: Sending) -> None:
        self._world = world
        self._webhook = webhook
        self._receipts = receipts
        self._sending = sending

    # A contact's phone.

    def send(self, person: Contact, number: Number, body: dict[str, Any]) -> tuple[str, Update]:
        """A contact sends; `body` as docs/simulator.md has it. Raises NotPossibleError, KeyError or ValueError."""
        account = self._world.account_of(number.id)
        if name := body.get("name"):
            person.name = str(name)
        group_id = str(body.get("group_id", ""))
        if group_id and person.wa_id not in self._world.group(group_id).participants:
            raise NotPossibleError("They are not in that group.")
        kind = str(body.get("type", "text"))
        part = self._part(account, kind, body)
        chat = group_id or person.wa_id
        message_id = str(body.get("id") or wamid(self._shown(person, account), outgoing=False))
        at = float(body.get("timestamp") or int(self._world.now()))
        message: dict[str, Any] = {**bodies.sender(person, account.portfolio)}
        if group_id:
            message["group_id"] = group_id
        message |= {"id": message_id, "timestamp": str(int(at)), "type": kind, kind: part}
        if kind == "unsupported":
            message |= self._unsupported(part, body)
        if context := self._context(number, body):
            message["context"] = context
        message |= {name: body[name] for name in ("referral", "errors") if name in body}
        message |= body.get("raw", {})
        person.seen = True
        person.wrote_at[number.id] = max(person.wrote_at.get(number.id, 0), self._world.now())
        if kind == "reaction":
            self._sending.react(part, person.wa_id)
        elif kind not in ("edit", "revoke"):
            self._show(message_id, number, chat, person.wa_id, kind, part, "contact", context)
        update = self._tell(account, number, person, message)
        if message_id in self._world.messages:
            self._webhook.soon(self._arrives(self._world.messages[message_id], update))
        return message_id, update

    async def _arrives(self, message: Message, update: Update) -> None:
        """One tick when it left the phone, two when the business took it; blue comes when the business says it was read."""
        message.status = message.status or "sent"
        await update.done.wait()
        if update.taken and message.status == "sent":
            message.status = "delivered"
            self._world.changed(message.chat)

    def _shown(self, person: Contact, account: Account) -> str:
        return person.bsuid(account.portfolio) if person.hidden else person.wa_id

    def _part(self, account: Account, kind: str, body: dict[str, Any]) -> Any:
        """What a message of a kind holds; a file is stored first."""
        if kind == "text":
            return {"body": str(body["text"])} if not isinstance(body["text"], dict) else body["text"]
        if kind not in FILES or "media" not in body:
            return body.get(kind, {})
        content = base64.b64decode(body["media"])
        media_type = str(body.get("mime_type", "application/octet-stream"))
        media_id = self._world.keep(content, media_type, str(body.get("filename", "")), account, WEBHOOK_DAYS)
        return bodies.file(self._world, media_id, {name: body[name] for name in FILE_FIELDS if name in body})

    def _context(self, number: Number, body: dict[str, Any]) -> dict[str, Any]:
        given = body.get("context", {})
        if isinstance(given, str):
            target = self._world.messages.get(given)
            given = {"from": (target.sender if target else "") or number.digits, "id": given}
        return dict(given) | {name: True for name in CONTEXT_MARKS if body.get(name)}

    def _unsupported(self, part: Any, body: dict[str, Any]) -> dict[str, Any]:
        told: dict[str, Any] = {"errors": [GraphError(int(body.get("code", 131051))).told()]}
        return told | ({"unsupported": part} if part else {})

    def _show(
        self, message_id: str, number: Number, chat: str, who: str, kind: str, part: Any, via: str, context: dict[str, Any]
    ) -> None:
        content = part if isinstance(part, dict) else {"contacts": part}
        forwarded = any(context.get(mark) for mark in CONTEXT_MARKS)
        at = self._world.now()
        reply = str(context.get("id", ""))
        made = Message(message_id, number.id, chat, who, at, kind, content, via, reply_to=reply, forwarded=forwarded)
        self._world.add(made)

    def _tell(self, account: Account, number: Number, person: Contact, message: dict[str, Any]) -> Update:
        # A system message has no contacts.
        known = {} if message["type"] == "system" else {"contacts": [bodies.contact(person, account.portfolio)]}
        value = bodies.value(number, **known, messages=[message])
        return self._webhook.emit(account, "messages", value)

    def edit(self, person: Contact, message_id: str, text: str, *, anyhow: bool = False) -> Update | None:
        """A contact edits a text or a caption within fifteen minutes; without coexistence, and in groups, not how is told."""
        message = self._own(person.wa_id, message_id)
        self._in_time(message, EDITABLE, anyhow)
        part = self._edited(message, text)
        number = self._world.number(message.number_id)
        if not number.coexistence or message.chat in self._world.groups:
            return self.send(person, number, {"type": "unsupported", "unsupported": {"type": "edit"}, **self._where(message)})[1]
        inner = {"context": {"id": "M0"}, "type": message.type, message.type: part}
        told = {"original_message_id": message_id, "message": inner}
        return self.send(person, number, {"type": "edit", "edit": told, **self._where(message)})[1]

    def revoke(self, person: Contact, message_id: str, *, anyhow: bool = False) -> Update | None:
        """A contact deletes for everyone, within two days; without coexistence, and in groups, nothing at all is told."""
        message = self._own(person.wa_id, message_id)
        self._in_time(message, REVOCABLE, anyhow)
        self._revoked(message)
        number = self._world.number(message.number_id)
        if not number.coexistence or message.chat in self._world.groups:
            return None
        told = {"original_message_id": message_id}
        return self.send(person, number, {"type": "revoke", "revoke": told, **self._where(message)})[1]

    def _where(self, message: Message) -> dict[str, Any]:
        return {"group_id": message.chat} if message.chat in self._world.groups else {}

    async def read(self, person: Contact, chat: str, number_id: str, state: str = "read") -> int:
        """A contact's phone shows (or gets, or plays) what came from the business; returns how many messages that changed."""
        changed = 0
        for message in self._world.chat(number_id, chat):
            if message.sender or message.via == "history" or message.status in ("failed", state, "played"):
                continue
            if message.via == "app":  # the official's own phone shows it; the API tells nobody
                message.status = state
                self._world.changed(chat)
                continue
            if state == "played" and message.type != "audio":
                continue
            changed += 1
            await self._receipts.report(message, state, who=person)
        return changed

    def tap(self, person: Contact, message_id: str, choice: str) -> Update:
        """A contact taps a button or picks a row of a list; `choice` is its id, its text, or its place."""
        message = self._message(message_id)
        number = self._world.number(message.number_id)
        reply = {"context": message_id}
        if message.type == "template":
            account = self._world.account_of(number.id)
            texts = [
                str(button.get("text", ""))
                for template in account.templates
                if template.name == message.content.get("name")
                for component in template.components
                for button in component.get("buttons", [])
            ]
            text = _chosen([{"id": one, "title": one} for one in texts], choice)["title"]
            return self.send(person, number, {"type": "button", "button": {"payload": text, "text": text}, **reply})[1]
        action = message.content.get("action", {})
        if rows := [row for section in action.get("sections", []) for row in section.get("rows", [])]:
            told: dict[str, Any] = {"type": "list_reply", "list_reply": _chosen(rows, choice)}
        else:
            told = {"type": "button_reply", "button_reply": _chosen([one["reply"] for one in action.get("buttons", [])], choice)}
        return self.send(person, number, {"type": "interactive", "interactive": told, **reply})[1]

    def change_number(self, person: Contact, new: str) -> None:
        """A contact takes another number with them: their id for businesses changes too, and each they wrote to is told."""
        old, before = person.wa_id, {one.id: person.bsuid(one.portfolio) for one in self._world.accounts}
        if digits(new) in self._world.contacts:
            raise NotPossibleError("That number is somebody else's already.")
        del self._world.contacts[old]
        person.wa_id, person.user_id = digits(new), ""
        self._world.contacts[person.wa_id] = person
        self._world.rename(old, person.wa_id)
        for number_id in person.wrote_at:
            account, number = self._world.account_of(number_id), self._world.number(number_id)
            told = {"type": "user_changed_number", "user_id": person.bsuid(account.portfolio)}
            told |= {} if person.hidden else {"wa_id": person.wa_id}
            was, became = (before[account.id], told["user_id"]) if person.hidden else (old, person.wa_id)
            told["body"] = f"User {person.name or old} changed from {was} to {became}"
            sender = {"from_user_id": before[account.id]} | ({} if person.hidden else {"from": old})
            message_id = wamid(was, outgoing=False)
            system = {**sender, "id": message_id, "timestamp": self._world.stamp(), "type": "system", "system": told}
            self._webhook.emit(account, "messages", bodies.value(number, messages=[system]))
        self._world.changed(person.wa_id)

    # The business phone.

    def echo(self, number: Number, body: dict[str, Any]) -> tuple[str, Update]:
        """The official sends from the WhatsApp Business app; `to` is the contact."""
        if not number.coexistence:
            raise NotPossibleError("This number is not used with the WhatsApp Business app.")
        account, person = self._world.account_of(number.id), self._world.meet(str(body["to"]))
        kind = str(body.get("type", "text"))
        part = self._part(account, kind, body)
        message_id = str(body.get("id") or wamid(self._shown(person, account), outgoing=True))
        told: dict[str, Any] = {"from": number.digits, **bodies.receiver(person, account.portfolio), "id": message_id}
        told |= {"timestamp": str(int(float(body.get("timestamp") or self._world.now()))), "type": kind, kind: part}
        if context := self._context(number, body):
            told["context"] = context
        if kind == "reaction":
            self._sending.react(part, "")
        elif kind not in ("edit", "revoke"):
            self._show(message_id, number, person.wa_id, "", kind, part, "app", context)
            self._world.messages[message_id].status = "delivered"
        value = bodies.value(number, message_echoes=[told])
        return message_id, self._webhook.emit(account, "smb_message_echoes", value)

    def echo_edit(self, number: Number, message_id: str, text: str, *, anyhow: bool = False) -> Update:
        """The official edits a message in the app."""
        message = self._own("", message_id)
        self._in_time(message, EDITABLE, anyhow)
        inner = {"context": {"id": "M0"}, "type": message.type, message.type: self._edited(message, text)}
        told = {"original_message_id": message_id, "message": inner}
        return self.echo(number, {"to": message.chat, "type": "edit", "edit": told})[1]

    def echo_revoke(self, number: Number, message_id: str, *, anyhow: bool = False) -> Update:
        """The official deletes a message for everyone in the app."""
        message = self._own("", message_id)
        self._in_time(message, REVOCABLE, anyhow)
        self._revoked(message)
        told = {"original_message_id": message_id}
        return self.echo(number, {"to": message.chat, "type": "revoke", "revoke": told})[1]

    # Both.

    def _message(self, message_id: str) -> Message:
        if message_id not in self._world.messages:
            raise NotPossibleError("There is no such message.")
        return self._world.messages[message_id]

    def _own(self, who: str, message_id: str) -> Message:
        message = self._message(message_id)
        if message.sender != who:
            raise NotPossibleError("That message is somebody else's.")
        if message.revoked:
            raise NotPossibleError("That message has been deleted.")
        return message

    def _in_time(self, message: Message, limit: int, anyhow: bool) -> None:
        if self._world.now() - message.at > limit and not anyhow:
            raise NotPossibleError(f"WhatsApp allows that for {limit // 60} minutes after sending.")

    def _edited(self, message: Message, text: str) -> dict[str, Any]:
        """The message's content with another text or caption."""
        if message.type == "text":
            part = {"body": text}
        elif message.type in ("image", "video", "document"):
            part = {name: inner for name, inner in message.content.items() if name != "url"} | {"caption": text}
        else:
            raise NotPossibleError("Only a text or a caption can be edited.")
        message.content, message.edited = part, True
        self._world.changed(message.chat)
        return part

    def _revoked(self, message: Message) -> None:
        message.revoked, message.content = True, {}
        message.reactions.clear()
        self._world.changed(message.chat)


def _chosen(options: list[dict[str, Any]], choice: str) -> dict[str, Any]:
    for place, option in enumerate(options):
        if choice in (str(option.get("id")), str(option.get("title")), str(place)):
            return {name: option[name] for name in ("id", "title", "description") if name in option}
    raise NotPossibleError("That message has no such button.")
