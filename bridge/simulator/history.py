"""Coexistence: the history and the contacts that a phone with the WhatsApp Business app hands over when it is onboarded.

A history is a list of threads `{"contact": wa_id, "messages": […]}`; a message `{"text": "…"}` or `{"type", "media": base64,
"mime_type", "caption"…}`, `"from_us": true` for the official's own, `"age": seconds` before the onboarding (or `"timestamp"`),
`"status"` (READ), `"id"`. What is older than 180 days is not handed over; files of more than 14 days come as a placeholder only.
"""

from __future__ import annotations

import base64
import secrets
from typing import Any

from bridge.simulator import bodies
from bridge.simulator.errors import GraphError
from bridge.simulator.media import WEBHOOK_DAYS
from bridge.simulator.webhook import Update, Webhook
from bridge.simulator.world import FILES, Message, Number, World, wamid

DAY = 86400
PHASES = ((0, 0, 1), (1, 1, 90), (2, 90, 180))  # phase, from and until which age in days
MEDIA_DAYS = 14


class History:
    """Hands histories over."""

    def __init__(self, world: World, webhook: Webhook) -> None:
        self._world = world
        self._webhook = webhook
        self.chunk = 500  # messages in one webhook

    def onboard(self, number: Number, body: dict[str, Any]) -> None:
        """A phone is linked: what it holds waits for POST /{phone}/smb_app_data, for 24 hours."""
        number.coexistence, number.onboarded, number.synced = True, self._world.now(), set()
        number.history = list(body.get("history", number.history))
        number.contacts = list(body.get("contacts", number.contacts))
        number.share_history = bool(body.get("share_history", True))
        self.chunk = max(1, int(body.get("chunk", self.chunk)))

    def sync(self, number: Number, kind: str) -> str:
        """POST /{phone}/smb_app_data; returns the id of the request. Raises GraphError."""
        if kind not in ("history", "smb_app_state_sync"):
            raise GraphError(100, "Param sync_type must be one of {HISTORY, SMB_APP_STATE_SYNC}.")
        if not number.coexistence:
            raise GraphError(100, "The phone number is not used with the WhatsApp Business app.")
        if kind in number.synced:
            raise GraphError(2593107)
        if number.onboarded and self._world.now() - number.onboarded > DAY:
            raise GraphError(2593108)
        number.synced.add(kind)
        if kind == "history":
            self.deliver(number)
        else:
            self.contacts(number, number.contacts)
        return secrets.token_hex(8)

    def contacts(self, number: Number, people: list[dict[str, Any]]) -> Update | None:
        """Tell the phone's contacts: `{"full_name", "first_name", "phone_number", "action"}`."""
        told = [self._contact(person) for person in people]
        if not told:
            return None
        return self._emit(number, "smb_app_state_sync", state_sync=told)

    def _contact(self, person: dict[str, Any]) -> dict[str, Any]:
        own = {name: person[name] for name in ("full_name", "first_name", "phone_number") if name in person}
        action = str(person.get("action", "add"))
        return {"type": "contact", "contact": own, "action": action, "metadata": {"timestamp": self._world.stamp()}}

    def deliver(self, number: Number) -> None:
        """Tell the whole history: three phases, in pieces, then the files."""
        if not number.share_history:
            self._emit(number, "history", history=[{"errors": [GraphError(2593109).told()]}])
            return
        now, files = self._world.now(), []
        for phase, start, end in PHASES:
            found: list[tuple[str, dict[str, Any]]] = []
            for thread in number.history:
                for message in thread.get("messages", []):
                    age = self._age(message, now)
                    if start * DAY <= age < end * DAY or (phase == 0 and age < 0):
                        told, media = self._message(number, str(thread["contact"]), message, now - age)
                        found.append((str(thread["contact"]), told))
                        files += [media] if media and age <= MEDIA_DAYS * DAY else []
            self._phase(number, phase, found)
        for media in files:
            self._emit(number, "history", messages=[media])

    def _phase(self, number: Number, phase: int, found: list[tuple[str, dict[str, Any]]]) -> None:
        pieces = [found[at : at + self.chunk] for at in range(0, len(found), self.chunk)] or [[]]
        for order, piece in enumerate(pieces, 1):
            threads: dict[str, list[dict[str, Any]]] = {}
            for contact, message in piece:
                threads.setdefault(contact, []).append(message)
            about = {"phase": phase, "chunk_order": order, "progress": int(100 * (phase + order / len(pieces)) / len(PHASES))}
            listed = [{"id": contact, "messages": messages} for contact, messages in threads.items()]
            self._emit(number, "history", history=[{"metadata": about, "threads": listed}])

    def _age(self, message: dict[str, Any], now: float) -> float:
        return now - float(message["timestamp"]) if "timestamp" in message else float(message.get("age", 0))

    def _message(
        self, number: Number, contact: str, message: dict[str, Any], at: float
    ) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """A message as history tells it, and how its file is told after it."""
        ours, kind = bool(message.get("from_us")), str(message.get("type", "text"))
        own_id = str(message.get("id") or wamid(contact, outgoing=ours))
        told = {"from": number.digits, "to": contact} if ours else {"from": contact}
        told |= {"id": own_id, "timestamp": str(int(at))}
        context = {"history_context": {"status": str(message.get("status", "READ"))}}
        person = self._world.meet(contact)
        shown = Message(own_id, number.id, person.wa_id, "" if ours else contact, at, kind, {}, "history", status="read")
        if kind in FILES:
            more: dict[str, Any] = {
                name: message[name] for name in ("caption", "filename", "voice", "animated") if name in message
            }
            content = base64.b64decode(message.get("media", ""))
            account = self._world.account_of(number.id)
            media_type = str(message.get("mime_type", "application/octet-stream"))
            media_id = self._world.keep(content, media_type, str(message.get("filename", "")), account, WEBHOOK_DAYS)
            file = bodies.file(self._world, media_id, more, hexadecimal=True)
            shown.content = file
            self._world.add(shown)
            return {**told, "type": "media_placeholder", **context}, {**told, "type": kind, kind: file}
        shown.content = {"body": str(message["text"])} if kind == "text" else dict(message.get(kind, {}))
        self._world.add(shown)
        return {**told, "type": kind, kind: shown.content, **context}, None

    def _emit(self, number: Number, field: str, **parts: Any) -> Update:
        return self._webhook.emit(self._world.account_of(number.id), field, bodies.value(number, **parts))
