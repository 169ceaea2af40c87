"""What an official says as the Cloud API takes it (Meta: messages)."""

from __future__ import annotations

from typing import Any

from bridge.network import Outgoing


def body(message: Outgoing, media_id: str) -> dict[str, Any]:
    """The request's body; `media_id` is that of the uploaded file, if there is one."""
    told: dict[str, Any] = {"messaging_product": "whatsapp", "recipient_type": "individual", "to": message.contact}
    told["biz_opaque_callback_data"] = message.key
    if message.reply_to:
        told["context"] = {"message_id": message.reply_to}
    if message.kind == "reaction":
        return told | {"type": "reaction", "reaction": {"message_id": message.target, "emoji": message.text}}
    if message.media is None:
        return told | {"type": "text", "text": {"body": message.text, "preview_url": False}}
    kind = message.media.media_type.partition("/")[0]
    kind = kind if kind in ("image", "audio", "video") else "document"
    part: dict[str, Any] = {"id": media_id}
    if message.text and kind != "audio":
        part["caption"] = message.text
    if kind == "document":
        part["filename"] = message.media.name
    return told | {"type": kind, kind: part}
