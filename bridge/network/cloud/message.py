"""One change of a delivery as what it says: parsed once, here; what is unknown is kept (Meta: webhooks, messages)."""

from __future__ import annotations

import json
import mimetypes
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from bridge.network import Incoming, Media, NotUnderstood
from bridge.network.cloud.delivery import objects

CONTACT = re.compile(r"[0-9A-Za-z._:+@-]{1,128}")


class Loose(BaseModel):
    """A part of Meta's JSON: unknown fields are kept, since new ones come without warning."""

    model_config = ConfigDict(extra="allow", coerce_numbers_to_str=True)


class Text(Loose):
    body: str = ""


class File(Loose):
    id: str = ""
    mime_type: str = "application/octet-stream"
    sha256: str = ""
    caption: str = ""
    filename: str = ""
    voice: bool = False


class Reaction(Loose):
    message_id: str
    emoji: str = ""


class Context(Loose):
    id: str = ""
    forwarded: bool = False
    frequently_forwarded: bool = False


class Message(Loose):
    """One message. Only these three are always there."""

    id: str
    timestamp: int
    type: str
    # `from` is absent for people with a user name whom we have not met (BSUID): then only `from_user_id` is there.
    from_user_id: str = ""
    to: str = ""
    to_user_id: str = ""
    text: Text | None = None
    image: File | None = None
    audio: File | None = None
    video: File | None = None
    document: File | None = None
    sticker: File | None = None
    reaction: Reaction | None = None
    context: Context | None = None

    @property
    def sender(self) -> str:
        return str((self.model_extra or {}).get("from") or self.from_user_id)


def read(change: dict[str, Any]) -> Incoming | None:
    """What a change says; None when it concerns no conversation. Raises NotUnderstood."""
    kind, item = change.get("kind"), change.get("item")
    if kind not in ("messages", "message_echoes"):
        return None
    if not isinstance(item, dict):
        raise NotUnderstood("what stands among the messages is none")
    message = _message(item)
    metadata = change["value"].get("metadata")
    number = str(metadata.get("phone_number_id", "")) if isinstance(metadata, dict) else ""
    from_us = kind == "message_echoes"
    contact = (message.to or message.to_user_id) if from_us else message.sender
    if not number or not CONTACT.fullmatch(contact):
        raise NotUnderstood("the message names no number, or no contact that could be one")
    context = message.context or Context()
    return _content(
        message,
        Incoming(
            number_id=number,
            contact=contact,
            message_id=message.id,
            sent_at=_time(message.timestamp),
            kind="unsupported",
            network_type=message.type,
            reply_to=context.id,
            name=_name(change["value"], contact),
            forwarded=context.forwarded or context.frequently_forwarded,
            from_us=from_us,
            raw=item,
        ),
    )


def _content(message: Message, bare: Incoming) -> Incoming:
    kind = message.type
    extra = message.model_extra or {}
    file = getattr(message, kind, None) if kind in ("image", "audio", "video", "document", "sticker") else None
    if kind == "text" and message.text is not None:
        return replace(bare, kind="text", text=message.text.body)
    if isinstance(file, File) and file.id:
        name = file.filename or f"{kind}{_suffix(file.mime_type)}"
        media = Media(file.mime_type, name, file.id, file.sha256, file.voice)
        return replace(bare, kind="media", text=file.caption, media=media)
    if kind == "reaction" and message.reaction is not None:
        return replace(bare, kind="reaction", text=message.reaction.emoji, target=message.reaction.message_id)
    if kind == "revoke" and isinstance(extra.get("revoke"), dict):
        return replace(bare, kind="revoke", target=str(extra["revoke"].get("original_message_id", "")))
    if kind == "edit" and isinstance(extra.get("edit"), dict):
        inner = extra["edit"].get("message")
        text = inner.get("text") if isinstance(inner, dict) else None
        body = text.get("body") if isinstance(text, dict) else None
        if isinstance(body, str):
            return replace(bare, kind="edit", text=body, target=str(extra["edit"].get("original_message_id", "")))
    if kind == "location" and isinstance(extra.get("location"), dict):
        place = extra["location"]
        parts = [str(place[name]) for name in ("name", "address") if place.get(name)]
        return replace(bare, kind="text", text="\n".join(["📍", *parts, f"{place.get('latitude')}, {place.get('longitude')}"]))
    if kind in ("button", "interactive"):
        told = json.dumps(extra.get(kind, {}), ensure_ascii=False)
        return replace(bare, kind="text", text=told)
    return bare


def _message(item: dict[str, Any]) -> Message:
    """A message; where a part of it has another form than we know, its text if that is there, and else that it came."""
    try:
        return Message.model_validate(item)
    except ValidationError:
        bare = {
            name: item[name] for name in ("id", "timestamp", "type", "from", "from_user_id", "to", "to_user_id") if name in item
        }
    text = item.get("text")
    body = text.get("body") if isinstance(text, dict) else None
    try:
        return Message.model_validate(bare | ({"text": {"body": body}} if isinstance(body, str) else {}))
    except ValidationError as error:
        fields = ", ".join(sorted({".".join(map(str, part["loc"])) for part in error.errors()}))
        raise NotUnderstood(f"the message can't be understood: {fields}") from None


def _time(seconds: int) -> datetime | None:
    """WhatsApp's own time; None for one that can't be, since the message itself is there all the same."""
    if not 0 <= seconds < 4_102_444_800:  # the year 2100
        return None
    return datetime.fromtimestamp(seconds, UTC)


def _name(value: dict[str, Any], contact: str) -> str:
    for other in objects(value.get("contacts")):
        profile = other.get("profile")
        if contact in (str(other.get("wa_id")), str(other.get("user_id"))) and isinstance(profile, dict):
            return str(profile.get("name", ""))
    return ""


def _suffix(media_type: str) -> str:
    return mimetypes.guess_extension(media_type.partition(";")[0].strip()) or ""
