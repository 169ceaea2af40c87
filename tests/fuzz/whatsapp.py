"""Hostile webhook deliveries: Meta's own bodies, bent at random, among messages that nothing is wrong with."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bridge.network import Incoming, NotUnderstood
from bridge.network.cloud import Cloud, parse
from tests.fuzz.hostile import Hostile, copied

SECRET = "app-geheim"
NUMBER = "106540352242922"
CLOUD = Cloud(None, "http://127.0.0.1:1", "v25.0", str, 1000)  # type: ignore[arg-type] - reads only, calls nobody
FILE = {
    "id": "1003383421387256",
    "mime_type": "image/jpeg",
    "sha256": "SfInY0gGKTsJ+oYS1uMHDVZ5kx3eRJkVZWHwWCjs4P0=",
    "caption": "zie",
}
CONTEXT = {"from": "15550783881", "id": "wamid.EERDER"}
CONTACTS = [{"name": {"formatted_name": "Lucia"}, "phones": [{"phone": "+1 983", "wa_id": "1983", "type": "MOBILE"}]}]
# One body of each documented type (Meta: webhooks, messages), without what all of them have.
KINDS: dict[str, dict[str, Any]] = {
    "text": {"text": {"body": "dag"}, "context": CONTEXT},
    "image": {"image": FILE},
    "video": {"video": FILE | {"mime_type": "video/mp4"}},
    "audio": {"audio": FILE | {"mime_type": "audio/ogg; codecs=opus", "voice": True}},
    "document": {"document": FILE | {"filename": "nota.pdf", "mime_type": "application/pdf"}},
    "sticker": {"sticker": FILE | {"mime_type": "image/webp", "animated": True}},
    "location": {"location": {"latitude": 52.08, "longitude": 4.31, "name": "Binnenhof", "address": "Den Haag"}},
    "contacts": {"contacts": CONTACTS},
    "reaction": {"reaction": {"message_id": "wamid.EERDER", "emoji": "👍"}},
    "button": {"button": {"payload": "ja", "text": "Ja"}, "context": CONTEXT},
    "interactive": {"interactive": {"type": "button_reply", "button_reply": {"id": "a", "title": "Akkoord"}}},
    "order": {"order": {"catalog_id": "1", "product_items": [{"product_retailer_id": "x", "quantity": 2, "item_price": 30}]}},
    "system": {"system": {"body": "User changed", "wa_id": "12195555358", "type": "user_changed_number"}},
    "unsupported": {"errors": [{"code": 131051, "title": "Message type unknown"}], "unsupported": {"type": "edit"}},
    "edit": {"edit": {"original_message_id": "wamid.EERDER", "message": {"type": "text", "text": {"body": "beter"}}}},
    "revoke": {"revoke": {"original_message_id": "wamid.EERDER"}},
}  # fmt: skip
OTHERS: list[dict[str, Any]] = [
    {"field": "messages", "value": {"statuses": [
        {"id": "wamid.UIT", "status": "delivered", "timestamp": "1764000000", "recipient_id": "31612345678",
         "biz_opaque_callback_data": "$gebeurtenis", "errors": [{"code": 131047, "title": "Re-engagement message"}]}]}},
    {"field": "messages", "value": {"errors": [{"code": 130429, "title": "Rate limit hit", "error_data": {"details": "x"}}]}},
    {"field": "smb_message_echoes", "value": {"message_echoes": [
        {"from": "15550783881", "to": "31612345678", "id": "wamid.ECHO", "timestamp": "1764000000", "type": "text",
         "text": {"body": "van de telefoon"}}]}},
    {"field": "history", "value": {"history": [{"metadata": {"phase": 0, "chunk_order": 1, "progress": 55}, "threads": [
        {"id": "31612345678", "messages": [
            {"from": "15550783881", "to": "31612345678", "id": "wamid.OUD", "timestamp": "1739230955", "type": "text",
             "text": {"body": "vroeger"}, "history_context": {"status": "READ"}}]}]}]}},
    {"field": "smb_app_state_sync", "value": {"state_sync": [
        {"type": "contact", "contact": {"full_name": "P", "phone_number": "316"}, "action": "add"}]}},
    {"field": "group_participants_update", "value": {"groups": [
        {"timestamp": "1", "group_id": "g", "type": "group_participants_add", "added_participants": [{"wa_id": 316}]}]}},
    {"field": "account_update", "value": {"event": "PARTNER_REMOVED", "disconnection_info": {"reason": "CHANGE_NUMBER"}}},
]  # fmt: skip


def signature(raw: bytes, secret: str = SECRET) -> str:
    """What Meta puts in X-Hub-Signature-256."""
    return "sha256=" + hmac.digest(secret.encode(), raw, hashlib.sha256).hex()


def message(kind: str, number: int) -> dict[str, Any]:
    """A message of a documented type."""
    bare = {"from": f"3161{number % 50:07}", "id": f"wamid.{number}", "timestamp": "1764000000", "type": kind}
    return bare | copied(KINDS[kind])


def value(**lists: Any) -> dict[str, Any]:
    """A change's value for our number."""
    metadata = {"display_phone_number": "31970102", "phone_number_id": NUMBER}
    contacts = [{"profile": {"name": "Inwoner"}, "wa_id": "31610000001", "user_id": "NL.1349"}]
    return {"messaging_product": "whatsapp", "metadata": metadata, "contacts": contacts, **lists}


def bodies() -> list[dict[str, Any]]:
    """A delivery of every kind, as Meta makes it."""
    changes = [{"field": "messages", "value": value(messages=[message(kind, n)])} for n, kind in enumerate(KINDS)]
    changes += [{"field": other["field"], "value": value(**copied(other["value"]))} for other in OTHERS]
    return [{"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]} for change in changes]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery, and what must come of it."""

    raw: bytes
    header: str | None
    signed: bool  # whether the header is the one that belongs to these bytes
    whole: bool  # whether it can be read: its good messages must be kept
    good: dict[str, str] = field(default_factory=dict)  # messages that nothing is wrong with: their texts by id


class Deliveries:
    """Makes them; the same seed makes the same."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._hostile = Hostile(chance)
        self._count = 0

    def next(self) -> Delivery:
        """Good messages between hostile ones, in the same list, in other changes and in other entries."""
        good: dict[str, str] = {}
        body = {"object": "whatsapp_business_account", "entry": self._mixed(lambda: self._entry(good), self._bent_entry)}
        if not any(isinstance(entry, dict) and entry.get("goed") for entry in body["entry"]):
            body["entry"].append(self._entry(good))
        if self._chance.random() < 0.2:
            body[self._hostile.text()] = self._hostile.junk()
        raw = json.dumps(body, ensure_ascii=self._chance.random() < 0.8).encode("utf-8", "surrogatepass")
        whole = True
        if self._chance.random() < 0.05:
            raw, whole = self._hostile.torn(raw), False
        header = signature(raw)
        if self._chance.random() < 0.15:
            forged = self._forged(raw, header)
            return Delivery(raw, forged, signed=forged == header, whole=whole, good=good)
        return Delivery(raw, header, signed=True, whole=whole, good=good)

    def _entry(self, good: dict[str, str]) -> dict[str, Any]:
        changes = self._mixed(lambda: self._change(good), self._bent_change)
        return {"id": "1", "goed": True, "changes": [*changes, self._change(good)]}

    def _change(self, good: dict[str, str]) -> dict[str, Any]:
        def fine() -> dict[str, Any]:
            self._count += 1
            one = message("text", self._count) | {"id": f"wamid.goed{self._count}"}
            one["text"] = {"body": f"goed {self._count}"}
            good[one["id"]] = one["text"]["body"]
            return one

        def bent() -> Any:
            self._count += 1
            return self._bent(message(self._chance.choice(list(KINDS)), self._count))

        return {"field": "messages", "value": value(messages=[*self._mixed(fine, bent), fine()])}

    def _bent_change(self) -> Any:
        other = self._chance.choice(OTHERS)
        return self._bent({"field": other["field"], "value": value(**copied(other["value"]))})

    def _bent_entry(self) -> Any:
        return self._bent(self._chance.choice(bodies())["entry"][0])

    def _mixed(self, fine: Callable[[], Any], bent: Callable[[], Any]) -> list[Any]:
        return [self._chance.choice((fine, bent, bent))() for _ in range(self._chance.choice((0, 1, 1, 2)))]

    def _bent(self, what: Any) -> Any:
        for _ in range(self._chance.choice((1, 1, 2, 4))):
            what = self._hostile.bend(what)
        return what

    def _forged(self, raw: bytes, header: str) -> str | None:
        at = self._chance.randrange(7, len(header))
        flipped = header[:at] + self._chance.choice("0123456789abcdef") + header[at + 1 :]
        return self._chance.choice(
            (
                None, "", "sha256=", flipped, header[:-1], header + "0", header[7:], header.upper(), header.replace("256", "1"),
                signature(raw, "ander geheim"), signature(raw + b" "), signature(raw, ""), signature(b""),
                "sha256=é" + header[8:],
            )
        )  # fmt: skip


def take(raw: bytes) -> list[Incoming]:
    """A delivery as far as it needs no database; what of it concerns a conversation. Raises at what the handler lets through."""
    try:
        body, _ = parse(raw)
        changes = list(CLOUD.split(dict(body)))
    except (ValueError, TypeError, RecursionError):
        return []  # refused, and kept as it came
    found = []
    for key, conversation, change in changes:
        assert isinstance(key, str)
        assert isinstance(conversation, str)
        if (incoming := read(json.loads(json.dumps(change)))) is not None:
            found.append(incoming)
    return found


def read(change: dict[str, Any]) -> Incoming | None:
    """What a change that was kept says; None when it can't be understood, which is told."""
    CLOUD.told(change)
    try:
        told = CLOUD.read(change)
    except NotUnderstood:
        return None
    return told if isinstance(told, Incoming) else None
