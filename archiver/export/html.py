"""HTML: one file that reads as the chat did, without scripts, without anything from elsewhere."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from jinja2 import BaseLoader, Environment, PackageLoader, StrictUndefined

from archiver.export.catalogue import translations
from archiver.export.happened import isolated, sentence
from archiver.export.language import Language
from archiver.export.transcript import Sink, Transcript
from archiver.reading.happening import Happening
from archiver.reading.timeline import Attachment, Entry

INLINE_LIMIT = 10_000_000  # bytes of one file; larger ones are named, not included
TOTAL_LIMIT = 200_000_000  # bytes of files in one export: browsers must still be able to open it
PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
FILMS = frozenset({"video/mp4", "video/webm", "video/ogg"})
SOUNDS = frozenset({"audio/ogg", "audio/mpeg", "audio/mp4", "audio/wav", "audio/x-wav", "audio/webm", "audio/aac"})

SHOWN_AS = {"picture": PICTURES, "sound": SOUNDS, "film": FILMS}


def environment_of(loader: BaseLoader, code: str) -> Environment:
    """Templates in a language; everything is escaped unless it is a template's own markup."""
    made = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    made.install_gettext_translations(translations(code), newstyle=True)  # type: ignore[attr-defined]
    made.filters["plain"] = plain
    return made


def plain(text: str) -> str:
    """Text as a page may hold it: what HTML has no place for is shown as the replacement character."""
    return "".join("\N{REPLACEMENT CHARACTER}" if letter == "\0" or "\ud800" <= letter <= "\udfff" else letter for letter in text)


@dataclass(frozen=True, slots=True)
class Shown:
    """How an attachment is shown: where its bytes are (None: not here), and as what."""

    attachment: Attachment
    url: str | None
    how: str  # picture, sound, film, file
    warning: str | None = None  # where an infected file's warning is


def how(media_type: str) -> str:
    """What a browser may do with this type by itself; everything else is for downloading."""
    plain = media_type.partition(";")[0].strip().lower()
    return next((name for name, types in SHOWN_AS.items() if plain in types), "file")


class Html:
    """A self-contained page."""

    name, suffix, media_type = "html", ".html", "text/html"

    async def write(self, transcript: Transcript, out: Sink) -> int:
        """Write head, messages one by one, and tail: memory does not grow with the room."""
        language = Language(transcript.language)
        pages = environment_of(PackageLoader("archiver.export"), language.code)
        out.write(pages.get_template("head.html").render(t=transcript, room=transcript.room, say=language))
        said, happened = pages.get_template("message.html"), pages.get_template("happening.html")
        count, total, day = 0, 0, ""
        async for entry in transcript:
            today = language.day(entry.sent_at)
            new_day, day = today if today != day else "", today
            if isinstance(entry, Happening):
                told = sentence(entry, language, isolated)
                out.write(happened.render(entry=entry, told=told, say=language, new_day=new_day))
                continue
            shown, total = await self._shown(transcript, entry, total)
            out.write(said.render(entry=entry, shown=shown, say=language, new_day=new_day, keep_open=True))
            count += 1
        out.write(pages.get_template("tail.html").render(count=count, say=language))
        return count

    async def _shown(self, transcript: Transcript, entry: Entry, total: int) -> tuple[Shown | None, int]:
        attachment = entry.attachment
        if attachment is None:
            return None, total
        kind = how(attachment.media_type)
        if not attachment.safe or (attachment.size or 0) > INLINE_LIMIT or total > TOTAL_LIMIT:
            return Shown(attachment, None, kind), total
        content = await transcript.file(attachment)
        if content is None:
            return Shown(attachment, None, kind), total
        # A type that a page could run as script is never given as such.
        media_type = attachment.media_type if kind != "file" else "application/octet-stream"
        return Shown(attachment, f"data:{media_type};base64,{base64.b64encode(content).decode()}", kind), total + len(content)
