"""WhatsApp Business Cloud API: our own thin client (DESIGN D12), after Meta's documentation of webhooks and messages."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import mimetypes
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
from pydantic import BaseModel, ConfigDict, ValidationError

from bridge.network import Incoming, Media, NetworkError, NotUnderstood, Outgoing

MEDIA_HOSTS = frozenset({"graph.facebook.com", "lookaside.fbsbx.com"})
# Errors after which the same request can succeed later (Meta: error codes): a busy server, a limit, or our account's, not the
# message's, fault (190, 10, 200 to 299: the token; 368: a block that ends).
PASSING = frozenset({1, 2, 4, 3, 10, 190, 368, 80007, 130429, 131016, 131048, 131056, 131057, 133016})
TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|\Z)|[{}\[\]]', re.DOTALL)
CONTACT = re.compile(r"[0-9A-Za-z._:+@-]{1,128}")
MAX_DEPTH = 64  # of objects and lists in a delivery; Meta's own go to about ten
OWN_LISTS = ("messages", "message_echoes", "statuses", "errors")


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


def canonical(value: Any) -> bytes:
    """The same JSON for the same value, however it was written."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def signature_ok(secret: str, body: bytes, header: str | None) -> bool:
    """Whether X-Hub-Signature-256 belongs to these exact bytes."""
    expected = "sha256=" + hmac.digest(secret.encode(), body, hashlib.sha256).hex()
    return bool(secret) and hmac.compare_digest(expected.encode(), (header or "").encode("utf-8", "replace"))


def parse(raw: bytes) -> tuple[Any, bool]:
    """A delivery as JSON, and whether something too deep or too large to be read had to be left out of it.

    What one message holds must not keep its neighbours from being read: a value nested deeper than MAX_DEPTH becomes null, a
    number of thousands of digits a text. Raises ValueError when it is no JSON.
    """
    shallow, cut = _shallow(raw)
    try:
        text = shallow.decode()
    except UnicodeDecodeError:
        text, cut = shallow.decode("utf-8", "replace"), True
    return json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < 100 else digits), cut


def _shallow(raw: bytes) -> tuple[bytes, bool]:
    """JSON with everything below MAX_DEPTH replaced by null; told in one pass, whatever the nesting."""
    kept, depth, start, cut = [], 0, 0, False
    for token in TOKEN.finditer(raw):
        if token[0] in (b"{", b"["):
            depth += 1
            if depth == MAX_DEPTH + 1:
                kept += [raw[start : token.start()], b"null"]
                cut = True
        elif token[0] in (b"}", b"]"):
            depth -= 1
            if depth == MAX_DEPTH:
                start = token.end()
    if depth > MAX_DEPTH:
        raise ValueError("it ends too early")
    kept.append(raw[start:])
    return b"".join(kept), cut


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    yield from (part for part in value if isinstance(part, dict)) if isinstance(value, list) else ()


class Cloud:
    """The Cloud API behind one access token."""

    name = "whatsapp"

    def __init__(self, http: aiohttp.ClientSession, url: str, version: str, token: str, limit: int) -> None:
        self._http = http
        self._base = f"{url.rstrip('/')}/{version}"
        self._hosts = MEDIA_HOSTS | {urlsplit(url).hostname or ""}
        self._token = token
        self._limit = limit

    def split(self, body: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Every single change of a delivery, before anything of it is parsed: one bad message spoils no other."""
        for entry in _objects(body.get("entry")):
            for change in _objects(entry.get("changes")):
                value = change.get("value")
                if not isinstance(value, dict):
                    yield self._whole(change)
                    continue
                rest = {name: part for name, part in value.items() if name not in OWN_LISTS}
                found = False
                for kind in OWN_LISTS:
                    items = value.get(kind, [])
                    for item in items if isinstance(items, list) else [items]:
                        found = True
                        yield self._single(change.get("field"), kind, rest, item)
                if not found:
                    yield self._whole(change)

    def _whole(self, change: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
        single = {"field": change.get("field"), "kind": "other", "value": change.get("value")}
        return "other|" + hashlib.sha256(canonical(single)).hexdigest(), "", single

    def _single(self, field: Any, kind: str, rest: dict[str, Any], item: Any) -> tuple[str, str, dict[str, Any]]:
        single = {"field": field, "kind": kind, "value": rest, "item": item}
        metadata = rest.get("metadata")
        number = str(metadata.get("phone_number_id", "")) if isinstance(metadata, dict) else ""
        if not isinstance(item, dict):
            return "odd|" + hashlib.sha256(canonical(single)).hexdigest(), number, single
        if kind in ("messages", "message_echoes") and isinstance(item.get("id"), str):
            # A delivery can hold a thousand messages: each keeps its own contact, not everybody's.
            names = {str(item.get(name)) for name in ("from", "from_user_id", "to", "to_user_id")}
            own = [c for c in _objects(rest.get("contacts")) if names & {str(c.get("wa_id")), str(c.get("user_id"))}]
            single["value"] = rest | {"contacts": own}
            other = item.get("to") if kind == "message_echoes" else item.get("from") or item.get("from_user_id")
            return f"message|{number}|{item['id']}", f"{number}|{other}", single
        if kind == "statuses":
            parts = [
                str(item.get(name, "")) for name in ("id", "status", "recipient_participant_id", "recipient_id", "timestamp")
            ]
            return "status|" + "|".join(parts), f"{number}|status", single
        return f"{kind}|" + hashlib.sha256(canonical(single)).hexdigest(), number, single

    def read(self, change: dict[str, Any]) -> Incoming | None:
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
        return self._content(
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

    def _content(self, message: Message, bare: Incoming) -> Incoming:
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
            return replace(
                bare, kind="text", text="\n".join(["📍", *parts, f"{place.get('latitude')}, {place.get('longitude')}"])
            )
        if kind in ("button", "interactive"):
            told = json.dumps(extra.get(kind, {}), ensure_ascii=False)
            return replace(bare, kind="text", text=told)
        return bare

    async def download(self, media: Media, number_id: str) -> bytes:
        told = await self._request("GET", f"{self._base}/{quote(media.media_id, safe='')}", params={"phone_number_id": number_id})
        url = str(told.get("url", ""))
        # The token goes to Meta's hosts and to nobody else.
        if urlsplit(url).hostname not in self._hosts:
            raise NetworkError("the network gave an address for the file that is not its own", final=True)
        try:
            async with self._http.get(url, headers=self._headers(), timeout=aiohttp.ClientTimeout(total=300)) as response:
                if response.status != 200:
                    raise NetworkError(f"the file could not be fetched (HTTP {response.status})", final=False)
                content = bytearray()
                async for chunk in response.content.iter_chunked(1 << 16):
                    content += chunk
                    if len(content) > self._limit:
                        raise NetworkError("the file is larger than bridge.media_max_bytes", final=True)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NetworkError(f"the file could not be fetched ({type(error).__name__})", final=False) from None
        digest = hashlib.sha256(content).digest()
        if media.sha256 and media.sha256 not in (digest.hex(), base64.b64encode(digest).decode()):
            raise NetworkError("the file is not the one that was announced (its SHA-256 differs)", final=False)
        return bytes(content)

    async def send(self, number_id: str, message: Outgoing) -> str:
        body: dict[str, Any] = {"messaging_product": "whatsapp", "recipient_type": "individual", "to": message.contact}
        body["biz_opaque_callback_data"] = message.key
        if message.reply_to:
            body["context"] = {"message_id": message.reply_to}
        if message.kind == "reaction":
            body |= {"type": "reaction", "reaction": {"message_id": message.target, "emoji": message.text}}
        elif message.media is not None:
            media_id = await self._upload(number_id, message.media, message.content)
            kind = message.media.media_type.partition("/")[0]
            kind = kind if kind in ("image", "audio", "video") else "document"
            part: dict[str, Any] = {"id": media_id}
            if message.text and kind != "audio":
                part["caption"] = message.text
            if kind == "document":
                part["filename"] = message.media.name
            body |= {"type": kind, kind: part}
        else:
            body |= {"type": "text", "text": {"body": message.text, "preview_url": False}}
        answer = await self._request("POST", f"{self._base}/{number_id}/messages", json_body=body)
        try:
            return str(answer["messages"][0]["id"])
        except (KeyError, IndexError, TypeError):
            raise NetworkError("the network's answer names no message", final=False) from None

    async def _upload(self, number_id: str, media: Media, content: bytes) -> str:
        form = aiohttp.FormData()
        form.add_field("messaging_product", "whatsapp")
        form.add_field("file", content, filename=media.name or "bestand", content_type=media.media_type)
        answer = await self._request("POST", f"{self._base}/{number_id}/media", data=form)
        return str(answer.get("id", ""))

    async def _request(
        self, method: str, url: str, *, json_body: Any = None, data: Any = None, params: dict[str, str] | None = None
    ) -> dict[str, Any]:
        timeout = aiohttp.ClientTimeout(total=120)
        try:
            async with self._http.request(
                method, url, json=json_body, data=data, params=params, headers=self._headers(), timeout=timeout
            ) as response:
                answer = json.loads(await response.read())
        except (aiohttp.ClientError, TimeoutError, ValueError, RecursionError) as error:
            raise NetworkError(f"WhatsApp does not answer ({type(error).__name__})", final=False) from None
        problem = answer.get("error") if isinstance(answer, dict) else {"code": 0, "message": "no JSON object"}
        if problem:
            code = problem.get("code") if isinstance(problem, dict) else None
            told = problem.get("message") if isinstance(problem, dict) else problem
            passing = code in PASSING or (isinstance(code, int) and 200 <= code < 300) or response.status in (401, 403, 429)
            raise NetworkError(f"WhatsApp refused: {told} ({code})", final=not passing and response.status < 500)
        return dict(answer)

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}


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
    for other in _objects(value.get("contacts")):
        profile = other.get("profile")
        if contact in (str(other.get("wa_id")), str(other.get("user_id"))) and isinstance(profile, dict):
            return str(profile.get("name", ""))
    return ""


def _suffix(media_type: str) -> str:
    return mimetypes.guess_extension(media_type.partition(";")[0].strip()) or ""
