"""Which files WhatsApp takes, as what and how large: known before anything is sent (Meta: supported media types)."""

from __future__ import annotations

import mimetypes
import struct
from dataclasses import replace

from bridge.network import Media, NotUnderstood
from bridge.network.cloud.pictures import as_pdf

KB, MB = 1024, 1024 * 1024
IMAGES = frozenset({"image/jpeg", "image/png"})
AUDIO = frozenset({"audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg"})
VIDEO = frozenset({"video/mp4", "video/3gpp"})
LIMITS = {"image": 5 * MB, "audio": 16 * MB, "video": 16 * MB, "document": 100 * MB}
THINGS = {
    "image": ("de afbeelding", "the picture"),
    "audio": ("de geluidsopname", "the recording"),
    "video": ("de video", "the video"),
    "document": ("het bestand", "the file"),
}
STICKER, ANIMATED_STICKER = 100 * KB, 500 * KB
SAME = {"image/jpg": "image/jpeg", "audio/x-m4a": "audio/mp4", "audio/m4a": "audio/mp4", "audio/mp3": "audio/mpeg"}
UNKNOWN = frozenset({"", "application/octet-stream", "binary/octet-stream"})
CAPTION = 1024


def as_sent(media: Media, content: bytes) -> tuple[str, Media]:
    """As what a file goes (image, audio, video, document, sticker), and how it is described. Raises NotUnderstood.

    What is of a type that WhatsApp does not show goes as a document.
    """
    media = replace(media, media_type=_type(media, content))
    bare, size = media.media_type, len(content)
    if size == 0:
        raise NotUnderstood("het bestand is leeg · the file is empty")
    if bare == "image/webp" and size <= (ANIMATED_STICKER if animated(content) else STICKER):
        # WhatsApp takes WebP as stickers only; other pictures that are meant as stickers go as pictures.
        return "sticker", media
    kind = "image" if bare in IMAGES else "audio" if bare in AUDIO else "video" if bare in VIDEO else "document"
    if size > LIMITS[kind]:
        dutch, english = THINGS[kind]
        limit = LIMITS[kind] // MB
        raise NotUnderstood(
            f"{dutch} is {_megabytes(size)} MB en WhatsApp neemt ten hoogste {limit} MB aan. Maak het kleiner of deel een link · "
            f"{english} is {_megabytes(size)} MB and WhatsApp takes {limit} MB at most. Make it smaller or share a link"
        )
    # A voice message is Ogg with Opus, and nothing else.
    return kind, replace(media, voice=media.voice and kind == "audio" and bare == "audio/ogg", name=media.name or _name(bare))


def made_to_fit(media: Media, content: bytes) -> tuple[Media, bytes]:
    """A file as it can go: a picture that is too large to go as one goes as a document, unchanged on a page of a PDF."""
    bare = _type(media, content)
    if bare in IMAGES and len(content) > LIMITS["image"] and (page := as_pdf(content)) is not None:
        return replace(media, media_type="application/pdf", name=f"{media.name or 'foto'}.pdf"), page
    return media, content


def animated(content: bytes) -> bool:
    """Whether a WebP picture moves: the flag in its VP8X chunk (WebP container specification)."""
    return content[:4] == b"RIFF" and content[8:16] == b"WEBPVP8X" and len(content) > 20 and bool(content[20] & 2)


def _type(media: Media, content: bytes) -> str:
    """The type without its parameters; from the name, or the first bytes, where it was not told."""
    bare = media.media_type.partition(";")[0].strip().lower()
    bare = SAME.get(bare, bare)
    if bare in UNKNOWN:
        bare = mimetypes.guess_type(media.name)[0] or "application/octet-stream"
    if bare.startswith(("image/", "application/octet-stream")):
        bare = _seen(content) or bare
    if bare.startswith("text/") and bare not in ("text/vcard", "text/x-vcard"):
        return "text/plain"  # tables, pages and notes too: what else is text WhatsApp does not take
    return bare if len(bare) < 128 and bare.isascii() and bare.count("/") == 1 else "application/octet-stream"


def _seen(content: bytes) -> str:
    """What the first bytes say that it is: a picture that is not what it is called is refused by WhatsApp."""
    if content[:3] == b"\xff\xd8\xff":
        return "image/jpeg"
    if content[:8] == b"\x89PNG\r\n\x1a\n":
        return "image/png"
    if content[:6] in (b"GIF87a", b"GIF89a"):
        return "image/gif"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP" and len(content) >= 12:
        return "image/webp"
    if content[:5] == b"%PDF-":
        return "application/pdf"
    if len(content) >= 8 and struct.unpack(">4s", content[4:8])[0] == b"ftyp" and content[8:12] in (b"isom", b"mp42", b"mp41"):
        return "video/mp4"
    return ""


def _megabytes(size: int) -> str:
    return str(-(-size // MB))


def _name(media_type: str) -> str:
    return f"bestand{mimetypes.guess_extension(media_type) or ''}"
