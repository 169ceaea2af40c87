"""What was said on WhatsApp as the content of a Matrix event. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from html import escape
from typing import Any

from bridge.formatting import plain, to_html
from bridge.network import Incoming, Named

SOURCE = "nl.griffier.source"
MISSING_FILE = "nl.griffier.missing_file"
PROFILE = "com.beeper.per_message_profile"  # MSC4144
MAX_TEXT = 15_000  # characters of JSON: encryption adds a third, an edit holds its text twice, an event may be 64 KiB
MAX_PAYLOAD = 12_000  # characters of JSON of WhatsApp's own message; a larger one goes along as a file
UNSUPPORTED = (
    "WhatsApp-bericht van het soort “{kind}” kan hier niet worden getoond; het is wel bewaard. · "
    "A WhatsApp message of type “{kind}” can't be shown here; it has been kept."
)
FORWARDED = "↷ Doorgestuurd · Forwarded"
FORWARDED_OFTEN = "↷ Vaak doorgestuurd · Forwarded many times"
VIEW_ONCE = "① Eenmaal te bekijken · View once"
NO_ORIGINAL = "↩ Antwoord op een bericht dat hier niet is · Reply to a message that is not here"
EDITED = "✏️ Bewerkt · Edited"
EDITED_ALONE = "✏️ Bewerkt; het oorspronkelijke bericht is hier niet · Edited; the original message is not here"
MISSING = {
    "history": "Het bestand is van voor de koppeling en nog niet ontvangen. · "
    "The file is from before the number was connected, and has not been received yet.",
    "waiting": "Het bestand kon nog niet worden opgehaald; dat wordt opnieuw geprobeerd. · "
    "The file could not be fetched yet; it is being tried again.",
    "given-up": "Het bestand kon niet worden opgehaald. · The file could not be fetched.",
}


@dataclass(frozen=True, slots=True)
class Words:
    """What a message says: plain, and as HTML when that differs."""

    text: str
    html: str | None = None

    @classmethod
    def of(cls, text: str) -> Words:
        """As WhatsApp formats it."""
        return cls(text, to_html(text) if len(text) <= MAX_TEXT else None)

    def under(self, line: str, attributes: str = "") -> Words:
        """With a line above it."""
        html = f"<p{attributes}><em>{escape(line, quote=False)}</em></p>{self._html()}"
        return Words(f"{line}\n{self.text}" if self.text else line, html)

    def above(self, line: str) -> Words:
        """With a line under it."""
        html = f"{self._html()}<p><em>{escape(line, quote=False)}</em></p>"
        return Words(f"{self.text}\n{line}" if self.text else line, html)

    def said_by(self, name: str) -> Words:
        """With who says it, for clients that don't know profiles of single messages (MSC4144, fallback)."""
        html = f"<strong data-mx-profile-fallback>{escape(name, quote=False)}: </strong>{self._html()}"
        return Words(f"{name}: {self.text}", html)

    def mentioning(self, people: Mapping[str, tuple[str, str]]) -> Words:
        """With pills in place of the numbers of people who are known: number or id to (Matrix id, name)."""
        html = self._html()
        for number, (user_id, name) in people.items():
            pill = f'<a href="https://matrix.to/#/{escape(user_id)}">{escape(name, quote=False)}</a>'
            html = html.replace(f"@{escape(number, quote=False)}", pill)
        return Words(self.text, html) if html != self._html() else self

    def content(self) -> dict[str, Any]:
        """As the fields of an event's content; the HTML is left out where the event would become too large."""
        if self.html is None or len(json.dumps(self.text)) + len(json.dumps(self.html)) > MAX_TEXT:
            return {"body": self.text}
        return {"body": self.text, "format": "org.matrix.custom.html", "formatted_body": self.html}

    def _html(self) -> str:
        return plain(self.text) if self.html is None else self.html


def words(incoming: Incoming, people: Mapping[str, tuple[str, str]], *, reply_lost: bool = False, speaker: str = "") -> Words:
    """Everything that is to be read of a message, with what its sender's phone shows around it."""
    text = moved(incoming.person, incoming.moved) if incoming.moved is not None else incoming.text
    if incoming.kind in ("unsupported", "missing") and not text:
        text = UNSUPPORTED.format(kind=incoming.network_type)
    said = Words.of(text).mentioning(people) if people else Words.of(text)
    for line in incoming.beside:
        said = said.above(line)
    if incoming.view_once and incoming.kind != "unsupported":
        said = said.under(VIEW_ONCE)
    if reply_lost:
        said = said.under(NO_ORIGINAL)
    if incoming.forwarded:
        said = said.under(FORWARDED_OFTEN if incoming.forwarded_often else FORWARDED, " data-mx-forwarded-notice")
    return said.said_by(speaker) if speaker else said


def message(incoming: Incoming, said: Words) -> tuple[str, dict[str, Any]]:
    """(event type, content) of a message without a file."""
    if incoming.place is not None:
        geo = f"geo:{_degrees(incoming.place.latitude)},{_degrees(incoming.place.longitude)}"
        place = {"uri": geo, "description": incoming.text}
        asset = {"type": "m.self" if incoming.place.live else "m.pin"}
        located = {"msgtype": "m.location", "body": said.text, "geo_uri": geo}
        return "m.room.message", located | {"org.matrix.msc3488.location": place, "org.matrix.msc3488.asset": asset}
    notice = incoming.kind in ("notice", "moved", "missing", "unsupported")
    content: dict[str, Any] = {"msgtype": "m.notice" if notice else "m.text", **said.content()}
    if incoming.preview is not None:
        preview = {"og:title": incoming.preview.title, "og:description": incoming.preview.text, "og:url": incoming.preview.url}
        content["com.beeper.linkpreviews"] = [
            {"matched_url": incoming.preview.url} | {name: value for name, value in preview.items() if value}
        ]
    return "m.room.message", content


def with_file(incoming: Incoming, said: Words, file: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """(event type, content) of a message with a file, whose own fields are `file`: url or file, info, filename, msgtype."""
    caption = said.content() if said.text else {"body": file.get("filename", "")}
    content = file | caption
    if incoming.media is not None and incoming.media.sticker:
        content.pop("msgtype", None)
        return "m.sticker", content
    return "m.room.message", content


def missing(incoming: Incoming, said: Words, state: str, reason: str = "") -> dict[str, Any]:
    """The content in place of a file that is not there: what is known of it, and why it is missing."""
    media = incoming.media
    label = f"📎 {media.name}{f' ({_size(media.size)})' if media.size else ''}" if media is not None else "📎"
    shown = Words(said.text, said.html) if said.text and incoming.kind != "missing" else Words("")
    told = f"{label}: {MISSING[state]}" + (f" ({reason})" if reason else "")
    about = {"state": state, "name": media.name if media else "", "size": media.size if media else 0}
    return {"msgtype": "m.notice", **shown.under(told).content(), MISSING_FILE: about}


def replacing(content: dict[str, Any], target: str, *, filled: bool = False) -> dict[str, Any]:
    """The content of an edit; `filled` when it is no change of what was said, but what could not be shown before."""
    outside = (SOURCE, PROFILE)
    new = {name: value for name, value in content.items() if name != SOURCE}
    edit = {name: value for name, value in content.items() if name not in ("formatted_body", "format", *outside)}
    edit |= {name: content[name] for name in outside if name in content}
    edit |= {"body": f"* {content.get('body', '')}", "m.new_content": new}
    edit["m.relates_to"] = {"rel_type": "m.replace", "event_id": target}
    return edit | ({"com.beeper.dont_render_edited": True} if filled else {})


def source(
    incoming: Incoming,
    network: str,
    number: str,
    official: str,
    *,
    sender: str,
    name: str = "",
    user_id: str = "",
    username: str = "",
) -> dict[str, Any]:
    """What the archive must know of the WhatsApp message (DESIGN section 2). What is unknown is left out."""
    told = {
        "network": network,
        "message_id": incoming.message_id,
        "sender": sender,
        "sender_id": user_id,
        "sender_name": name,
        "username": username,
        "sent_at": milliseconds(incoming.sent_at) if incoming.sent_at else None,
        "type": incoming.network_type,
        "raw_sha256": hashlib.sha256(raw(incoming)).hexdigest(),
        "phone_number_id": incoming.number_id,
        "number": number,
        "official": official,
        "group": incoming.group,
        "forwarded_often": incoming.forwarded_often or None,
        "from_phone": incoming.from_us or None,
        "history": incoming.history or None,
        "expires_after": incoming.expires_after,
        "view_once": incoming.view_once or None,
        "payload": None if incoming.whole or too_large(incoming) else incoming.raw,
    }
    return {name: value for name, value in told.items() if value not in (None, "")} | {"forwarded": incoming.forwarded}


def raw(incoming: Incoming) -> bytes:
    """WhatsApp's own message, always written the same way."""
    return json.dumps(incoming.raw, sort_keys=True, separators=(",", ":")).encode()


def too_large(incoming: Incoming) -> bool:
    """Whether WhatsApp's own message goes along as a file, since an event can't hold it."""
    return not incoming.whole and len(raw(incoming)) > MAX_PAYLOAD


def shortened(said: Words) -> Words | None:
    """The beginning of a text that does not fit in an event; None when it fits."""
    return Words(f"{beginning(said.text)} …") if len(json.dumps(said.text)) > MAX_TEXT else None


def beginning(text: str) -> str:
    """As much of a text as fits in an event: what is shown, and what search finds it by, of one that goes along as a file."""
    while len(json.dumps(text)) > MAX_TEXT:
        text = text[: len(text) * 3 // 4]
    return text


def without_original(incoming: Incoming) -> Incoming:
    """An edit, a deletion or a reaction whose message is not here, as a message that says so itself."""
    if incoming.kind == "edit":
        kind = "media" if incoming.media is not None else "place" if incoming.place is not None else "text"
        return replace(incoming, kind=kind, beside=(*incoming.beside, EDITED_ALONE), whole=False)
    if incoming.kind == "revoke":
        text = "🗑 Heeft een bericht verwijderd dat hier niet is. · Deleted a message that is not here."
    elif incoming.text:
        text = f"Reageerde met {incoming.text} op een bericht dat hier niet is. · Reacted with {incoming.text} to a message that is not here."  # noqa: E501
    else:
        text = "Nam een reactie terug op een bericht dat hier niet is. · Took back a reaction to a message that is not here."
    return replace(incoming, kind="notice", text=text, whole=False)


def moved(before: Named, after: Named) -> str:
    """That somebody has another number or id from now on."""
    was, now = before.shown, after.shown
    return (
        f"☎ Heeft een ander nummer: {was} → {now}. Het gesprek gaat hier verder. · "
        f"Has another number: {was} → {now}. The conversation goes on here."
    )


def milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _degrees(value: float) -> str:
    return f"{value:.8f}".rstrip("0").rstrip(".")


def _size(count: int) -> str:
    return f"{count / 1_000_000:.1f} MB" if count >= 1_000_000 else f"{max(1, count // 1000)} kB"
