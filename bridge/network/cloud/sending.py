"""What an official says as the Cloud API takes it (Meta: messages)."""

from __future__ import annotations

import re
from typing import Any

from bridge.network import NotUnderstood, Outgoing
from bridge.network.cloud.files import CAPTION

MAX_TEXT = 4096
USER_ID = re.compile(r"[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}")  # business-scoped (BSUID)
IN_GROUPS = frozenset({"text", "media", "template"})


def recipient(message: Outgoing) -> dict[str, str]:
    """To whom: a number as `to`, a person of whom only the user id is known as `recipient` (Meta: business-scoped user IDs)."""
    if message.group:
        return {"recipient_type": "group", "to": message.contact}
    name = "recipient" if USER_ID.fullmatch(message.contact) else "to"
    return {"recipient_type": "individual", name: message.contact}


def body(message: Outgoing, sent_as: str = "", media_id: str = "") -> dict[str, Any]:
    """The request's body; `sent_as` and `media_id` are those of the uploaded file, if there is one. Raises NotUnderstood."""
    if message.group and message.kind not in IN_GROUPS:
        raise NotUnderstood(
            "in WhatsApp-groepen kan de brug alleen tekst, bestanden en sjablonen versturen · "
            "in WhatsApp groups the bridge can send text, files and templates only"
        )
    told: dict[str, Any] = {"messaging_product": "whatsapp", **recipient(message), "biz_opaque_callback_data": message.key}
    if message.reply_to:
        told["context"] = {"message_id": message.reply_to}
    kind, part = _content(message, sent_as, media_id)
    return told | {"type": kind, kind: part}


def _content(message: Outgoing, sent_as: str, media_id: str) -> tuple[str, Any]:
    match message.kind:
        case "reaction":
            return "reaction", {"message_id": message.target, "emoji": message.text}
        case "place":
            latitude, longitude = message.place or (0.0, 0.0)
            place = {"latitude": latitude, "longitude": longitude}
            return "location", place | ({"name": message.text[:CAPTION]} if message.text else {})
        case "cards":
            return "contacts", list(message.cards)
        case "template" if message.template is not None:
            template: dict[str, Any] = {"name": message.template.name, "language": {"code": message.template.language}}
            if message.template.components:
                template["components"] = list(message.template.components)
            return "template", template
        case "media" if message.media is not None:
            part: dict[str, Any] = {"id": media_id}
            if message.text and sent_as in ("image", "video", "document"):
                part["caption"] = message.text
            if sent_as == "document":
                part["filename"] = message.media.name
            if message.media.voice:
                part["voice"] = True
            return sent_as, part
    # A preview where there is a link, as the WhatsApp app itself makes one.
    return "text", {"body": message.text, "preview_url": "https://" in message.text or "http://" in message.text}
