"""What an official's event says, as far as WhatsApp can say it: read once, here (Matrix specification, "Instant messaging")."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import Any

from bridge.markup import plain, to_whatsapp

FILES = frozenset({"m.image", "m.file", "m.audio", "m.video"})
# What Matrix clients do among themselves: devices that verify each other, calls that ring and stop, typing in a poll.
AMONG_CLIENTS = ("m.key.verification.", "m.call.candidates", "m.call.answer", "m.call.hangup", "m.call.negotiate",
                 "m.call.select_answer", "m.call.reject", "m.call.sdp_stream_metadata_changed", "m.call.member",
                 "m.room_key", "com.beeper.", "nl.griffier.")  # fmt: skip
CALLS = ("m.call", "org.matrix.msc3401.call", "org.matrix.msc4075.", "m.rtc.")
POLLS = ("m.poll.start", "org.matrix.msc3381.poll.start")
COMMAND = re.compile(r"!(?:(sjabloon|template)(?:\s+(.*))?|(verstuur|send)\s*)\Z", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Said:
    """One event."""

    kind: str  # text, file, place, reaction, command, silent, cannot
    text: str = ""  # of a file, its caption; of a reaction, the emoji; of a command, what comes after it
    content: dict[str, Any] = field(default_factory=dict)  # of a file
    place: tuple[float, float] | None = None
    answers: str = ""  # the event that is answered, or reacted to
    edits: str = ""  # the event that this is the new text of
    notice: str = ""  # what of it WhatsApp can't do, as a key of bridge.notices.TEXTS
    command: str = ""  # template, send


def read(kind: str, content: dict[str, Any]) -> Said:
    """What an event says. `kind` and `content` are those within the encryption."""
    relation = _dict(content.get("m.relates_to"))
    if kind == "m.reaction":
        return _reaction(relation)
    if kind.startswith(AMONG_CLIENTS) or str(content.get("msgtype", "")).startswith("m.key."):
        return Said("silent")
    if kind.startswith(CALLS):
        return Said("cannot", notice="call")
    if kind in POLLS:
        return _poll(kind, content, relation)
    if kind.startswith(("m.poll.", "org.matrix.msc3381.poll.")):
        return Said("cannot", notice="vote")
    if kind not in ("m.room.message", "m.sticker"):
        return Said("cannot", notice="kind")
    if relation.get("rel_type") == "m.replace":
        return _edit(content, str(relation.get("event_id", "")))
    return _message(kind, content, _answers(relation))


def _message(kind: str, content: dict[str, Any], answers: str) -> Said:
    msgtype = str(content.get("msgtype"))
    if kind == "m.sticker":
        return Said("file", content=content, answers=answers)
    if msgtype == "m.notice":
        return Said("silent")  # what bots say is not said to people on WhatsApp, as the specification means notices
    if msgtype in FILES:
        name, body = content.get("filename"), content.get("body")
        captioned = isinstance(name, str) and isinstance(body, str) and name != body
        return Said("file", _text(content, bool(answers)) if captioned else "", content, answers=answers)
    if msgtype == "m.location":
        return _place(content, answers)
    text = _text(content, bool(answers))
    if found := COMMAND.match(text):
        command = "template" if found[1] else "send"
        return Said("command", (found[2] or "").strip(), answers=answers, command=command)
    if not text.strip():
        return Said("cannot", notice="empty")
    if msgtype == "m.emote":
        text = f"_{text}_" if "\n" not in text else text
    return Said("text", text, answers=answers)


def _edit(content: dict[str, Any], edits: str) -> Said:
    """The Cloud API can't edit: the new text goes as an answer to the old one."""
    new = _dict(content.get("m.new_content")) or content
    name, body = new.get("filename"), new.get("body")
    if new.get("msgtype") == "m.notice":
        return Said("silent")
    if str(new.get("msgtype")) in FILES and not (isinstance(name, str) and name != body):
        return Said("cannot", notice="edited-file")
    text = _text(new, False)
    return Said("text", f"✏️ {text}", edits=edits, notice="edit") if text.strip() else Said("cannot", notice="empty")


def _reaction(relation: dict[str, Any]) -> Said:
    target, key = str(relation.get("event_id", "")), relation.get("key")
    if not target or not isinstance(key, str):
        return Said("silent")
    return Said("reaction", key, answers=target) if emoji(key) else Said("cannot", answers=target, notice="no-emoji")


def _place(content: dict[str, Any], answers: str) -> Said:
    location = _dict(content.get("m.location")) or _dict(content.get("org.matrix.msc3488.location"))
    uri = content.get("geo_uri") or location.get("uri")
    place = geo(str(uri))
    if place is None:
        return Said("cannot", notice="place")
    return Said("place", plain(str(location.get("description") or "")), place=place, answers=answers)


def _poll(kind: str, content: dict[str, Any], relation: dict[str, Any]) -> Said:
    poll = _dict(content.get(kind)) or _dict(content.get("m.poll")) or _dict(content.get("org.matrix.msc3381.poll.start"))
    question = _words(poll.get("question"))
    given = poll.get("answers")
    answers = [_words(answer) for answer in given if isinstance(answer, dict)] if isinstance(given, list) else []
    if not question:
        return Said("cannot", notice="empty")
    lines = [f"📊 *{question}*", *(f"{number}. {answer}" for number, answer in enumerate(answers[:50], 1))]
    return Said("text", plain("\n".join(lines)), answers=_answers(relation), notice="poll")


def _words(part: Any) -> str:
    """The text of a part of a poll, however it is written (MSC3381, MSC1767)."""
    part = _dict(part)
    for name in ("body", "org.matrix.msc1767.text", "m.text"):
        value = part.get(name)
        if isinstance(value, list):
            value = next((item.get("body") for item in value if isinstance(item, dict)), None)
        if isinstance(value, str) and value.strip():
            return " ".join(value.split())
    return ""


def _answers(relation: dict[str, Any]) -> str:
    """The event that is answered: what it says so itself, or what its thread is about."""
    reply = _dict(relation.get("m.in_reply_to"))
    if relation.get("rel_type") == "m.thread" and (relation.get("is_falling_back") or not reply):
        return str(relation.get("event_id", ""))
    return str(reply.get("event_id", ""))


def _text(content: dict[str, Any], answers: bool) -> str:
    """The text as WhatsApp writes it, without the quoted lines that older clients put before a reply."""
    html, body = content.get("formatted_body"), content.get("body")
    if content.get("format") == "org.matrix.custom.html" and isinstance(html, str) and (told := to_whatsapp(html)).strip():
        return told
    text = plain(body) if isinstance(body, str) else ""
    return _without_quote(text) if answers else text


def _without_quote(body: str) -> str:
    lines = body.split("\n")
    if not re.match(r"> (\* )?<@", lines[0]):
        return body
    own = next((index for index, line in enumerate(lines) if not line.startswith(">")), 0)
    return "\n".join(lines[own:]).lstrip("\n") if own else body


def geo(uri: str) -> tuple[float, float] | None:
    """Latitude and longitude of a geo URI (RFC 5870)."""
    found = re.match(r"geo:(-?\d{1,3}(?:\.\d{1,20})?),(-?\d{1,3}(?:\.\d{1,20})?)(?:[,;].*)?\Z", uri)
    if found is None or abs(float(found[1])) > 90 or abs(float(found[2])) > 180:
        return None
    return float(found[1]), float(found[2])


def emoji(key: str) -> bool:
    """Whether a reaction is one emoji, and no text or picture of Matrix's."""
    if not 0 < len(key) <= 16 or any(letter.isalpha() or letter.isspace() for letter in key):
        return False
    return any(unicodedata.category(letter) in ("So", "Sk") or letter in "\u203c\u2049\u20e3\u3030\u303d" for letter in key) or (
        "\ufe0f" in key
    )


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
