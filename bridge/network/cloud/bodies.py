"""What each type of message says, in words that people can read (Meta: webhooks, messages; business app echoes; history).

Every function takes the whole message and gives the fields of `Incoming` that it tells; None when the type's own part has another
form than we know. Whatever the words do not hold is marked `whole=False`: the payload then goes along.
"""

from __future__ import annotations

import json
import math
import mimetypes
import re
from collections.abc import Callable, Iterator
from typing import Any

from bridge.network import Media, Named, Point
from bridge.network.cloud import cards
from bridge.network.cloud.delivery import objects
from bridge.network.cloud.parts import File, Problem, known, words

Fields = dict[str, Any] | None

FILES = {"image": "image", "audio": "audio", "video": "video", "document": "document", "sticker": "sticker", "voice": "audio"}
UNSUPPORTED = {
    "edit": (
        "Een bericht is bewerkt; WhatsApp geeft de nieuwe tekst niet door. · "
        "A message was edited; WhatsApp does not pass on the new text."
    ),
    "revoke": "Een bericht is verwijderd; WhatsApp zegt niet welk. · A message was deleted; WhatsApp does not say which.",
    "poll": "Een peiling, die WhatsApp niet doorgeeft. · A poll, which WhatsApp does not pass on.",
    "view_once": (
        "Een bericht dat eenmaal bekeken kan worden; het is alleen op de telefoon te zien. · "
        "A view-once message; it can only be seen on the phone."
    ),
}
IDENTITY = (
    "🔑 De beveiligingscode van dit contact is veranderd: een ander toestel, of opnieuw geïnstalleerd. · "
    "The security code of this contact has changed: another device, or reinstalled."
)
DEVICE = (
    "Een bericht dat WhatsApp niet doorgeeft: het eerste van een nieuw gesprek, of van een apparaat dat het niet ondersteunt. "
    "Kijk op de telefoon. · A message that WhatsApp does not pass on: the first of a new conversation, or from a device that it "
    "does not support. Look on the phone."
)


def text(item: dict[str, Any]) -> Fields:
    part = item.get("text")
    body = part.get("body") if isinstance(part, dict) else None
    if not isinstance(body, str):
        return None
    return {"kind": "text", "text": body, "mentions": mentions(item)}


def file(item: dict[str, Any]) -> Fields:
    kind = FILES[item["type"]]
    part = known(File, item.get(item["type"]))
    if part is None or not part.id:
        return None
    name = part.filename or f"{kind}{_suffix(part.mime_type)}"
    media = Media(
        part.mime_type, name, part.id, part.sha256, part.voice or item["type"] == "voice", part.url,
        sticker=kind == "sticker", animated=part.animated, size=max(part.file_size, 0),
    )  # fmt: skip
    told = {"kind": "media", "text": part.caption, "media": media, "mentions": mentions(item)}
    return told | ({"view_once": True} if part.view_once else {})


def location(item: dict[str, Any]) -> Fields:
    part = item.get(item["type"])
    if not isinstance(part, dict):
        return None
    live = item["type"] == "live_location" or bool(part.get("live"))
    label = "📍 Live locatie · Live location" if live else "📍"
    lines = [label, *filter(None, (words(part, "name"), words(part, "address"), words(part, "caption"), words(part, "url")))]
    place = _place(part, live)
    lines.append(f"{words(part, 'latitude') or '?'}, {words(part, 'longitude') or '?'}")
    if place is None:
        return {"kind": "text", "text": "\n".join(lines), "whole": False}
    told = set(part) <= {"latitude", "longitude", "name", "address", "url"}
    return {"kind": "place", "text": "\n".join(lines), "place": place, "whole": told}


def contacts(item: dict[str, Any]) -> Fields:
    people = list(objects(item.get("contacts")))
    if not people:
        return None
    shown = "\n\n".join(map(cards.text, people))
    return {"kind": "cards", "text": shown, "cards": "".join(map(cards.vcard, people)), "whole": False}


def reaction(item: dict[str, Any]) -> Fields:
    part = item.get("reaction")
    target = words(part, "message_id")
    return {"kind": "reaction", "text": words(part, "emoji"), "target": target} if target else None


def revoke(item: dict[str, Any]) -> Fields:
    target = words(item.get("revoke"), "original_message_id", "message_id")
    return {"kind": "revoke", "target": target} if target else None


def edit(item: dict[str, Any]) -> Fields:
    part = item.get("edit")
    inner = part.get("message") if isinstance(part, dict) else None
    target = words(part, "original_message_id", "message_id")
    if not isinstance(inner, dict) or not target:
        return None
    kind = inner.get("type")
    kind = kind if isinstance(kind, str) else next((name for name in ("text", *FILES) if name in inner), "")
    told = READERS[kind](inner | {"type": kind}) if kind in READERS and kind not in ("edit", "revoke", "reaction") else None
    if told is None:
        return None
    return told | {"kind": "edit", "target": target}


def button(item: dict[str, Any]) -> Fields:
    part = item.get("button")
    label = words(part, "text", "payload")
    return {"kind": "text", "text": f"🔘 {label}", "whole": False} if label else None


def interactive(item: dict[str, Any]) -> Fields:
    part = item.get("interactive")
    if not isinstance(part, dict):
        return None
    kind = words(part, "type")
    reply = part.get(kind)
    reply = reply if isinstance(reply, dict) else {}
    if kind in ("button_reply", "list_reply"):
        lines = [f"🔘 {words(reply, 'title', 'id')}", words(reply, "description")]
    elif kind == "nfm_reply":
        lines = ["📝 Formulier ingevuld · Form filled in", words(reply, "body"), *_form(reply.get("response_json"))]
    elif kind == "call_permission_reply":
        given = words(reply, "response") == "accept"
        lines = [
            "📞 Toestemming om te bellen: gegeven · Permission to call: given"
            if given
            else "📞 Toestemming om te bellen: geweigerd · Permission to call: refused"
        ]
    else:
        lines = list(_question(part))
    shown = "\n".join(filter(None, lines))
    return {"kind": "text", "text": shown, "whole": False} if shown else None


def order(item: dict[str, Any]) -> Fields:
    part = item.get("order")
    if not isinstance(part, dict):
        return None
    lines = ["🛒 Bestelling · Order", words(part, "text")]
    for product in objects(part.get("product_items")):
        price = " ".join(filter(None, (words(product, "item_price"), words(product, "currency"))))
        lines.append(f"{words(product, 'quantity') or '?'} × {words(product, 'product_retailer_id') or '?'} à {price or '?'}")
    return {"kind": "text", "text": "\n".join(filter(None, lines)), "whole": False}


def template(item: dict[str, Any]) -> Fields:
    """A template message that was sent to them, as history and echoes show it."""
    part = item.get("template")
    if not isinstance(part, dict):
        return None
    lines = [f"📋 Sjabloon · Template: {words(part, 'name') or '?'}", words(part, "body", "text")]
    for component in objects(part.get("components")):
        lines.append(words(component, "text"))
        lines += [words(value, "text", "payload") for value in objects(component.get("parameters"))]
        lines += [f"🔘 {words(value, 'text')}" for value in objects(component.get("buttons"))]
    return {"kind": "text", "text": "\n".join(filter(None, lines)), "whole": False}


def poll(item: dict[str, Any]) -> Fields:
    part = item.get(item["type"])
    question = words(part, "name", "question", "title")
    if not question or not isinstance(part, dict):
        return None
    options = part.get("options")
    labels = [
        option if isinstance(option, str) else words(option, "name", "title", "option_name", "text")
        for option in (options if isinstance(options, list) else [])
    ]
    return {"kind": "text", "text": "\n".join([f"📊 {question}", *(f"◻ {label}" for label in labels if label)]), "whole": False}


def system(item: dict[str, Any]) -> Fields:
    part = item.get("system")
    if not isinstance(part, dict):
        return None
    kind, body = words(part, "type"), words(part, "body")
    if "number" in kind or "user_id" in kind or "bsuid" in kind:
        moved = Named(
            wa_id=words(part, "wa_id", "new_wa_id").lstrip("+"),
            user_id=words(part, "user_id", "new_user_id"),
            parent_user_id=words(part, "parent_user_id"),
            username=words(part, "username"),
        )
        if moved.address:
            return {"kind": "moved", "text": body, "moved": moved, "whole": False}
    if "identity" in kind:
        return {"kind": "notice", "text": IDENTITY, "whole": False}
    shown = f"ℹ️ {body}" if body else f"ℹ️ WhatsApp: {kind or '?'}"
    return {"kind": "notice", "text": shown, "whole": False}


def request_welcome(_: dict[str, Any]) -> Fields:
    told = "👋 Heeft het gesprek geopend, en nog niets gezegd. · Has opened the conversation, and has said nothing yet."
    return {"kind": "notice", "text": told, "whole": False}


def media_placeholder(_: dict[str, Any]) -> Fields:
    return {"kind": "missing", "text": "Een bestand · A file", "whole": False}


def unsupported(item: dict[str, Any]) -> Fields:
    kind = words(item.get("unsupported"), "type")
    problem = next((found for found in map(_problem, objects(item.get("errors"))) if found), None)
    told = UNSUPPORTED.get(kind, "")
    if not told and problem is not None and problem.code == 131060:
        told = DEVICE
    shown: dict[str, Any] = {"kind": "unsupported", "text": told, "view_once": kind == "view_once", "whole": False}
    return shown | {"network_type": f"unsupported: {kind}" if kind else "unsupported"}


READERS: dict[str, Callable[[dict[str, Any]], Fields]] = {
    "text": text, **dict.fromkeys(FILES, file), "location": location, "live_location": location, "contacts": contacts,
    "reaction": reaction, "revoke": revoke, "edit": edit, "button": button, "interactive": interactive, "order": order,
    "template": template, "poll": poll, "poll_creation": poll, "system": system, "request_welcome": request_welcome,
    "media_placeholder": media_placeholder, "unsupported": unsupported, "unknown": unsupported,
}  # fmt: skip


def mentions(item: dict[str, Any]) -> tuple[str, ...]:
    """Who is mentioned, as far as it is said; numbers that are written out after an @ are looked at too."""
    found: list[str] = []
    for part in (item.get("text"), item.get("context"), item):
        listed = part.get("mentions", part.get("mentioned")) if isinstance(part, dict) else None
        named = listed if isinstance(listed, list) else []
        found += [mention if isinstance(mention, str) else words(mention, "wa_id", "user_id") for mention in named]
    for part in (item.get("text"), item.get(str(item.get("type")))):
        found += re.findall(r"@(\d{8,15})\b", words(part, "body", "caption"))
    return tuple(dict.fromkeys(mention.lstrip("+@") for mention in found if mention))


def _problem(value: dict[str, Any]) -> Problem | None:
    return known(Problem, value)


def _place(part: dict[str, Any], live: bool) -> Point | None:
    try:
        latitude, longitude = float(part["latitude"]), float(part["longitude"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    if not (math.isfinite(latitude) and math.isfinite(longitude) and abs(latitude) <= 90 and abs(longitude) <= 180):
        return None
    return Point(latitude, longitude, live)


def _form(answer: Any) -> Iterator[str]:
    """What was filled in: a line for each field."""
    try:
        fields = json.loads(answer) if isinstance(answer, str) else answer
    except (ValueError, RecursionError):
        fields = None
    for name, value in fields.items() if isinstance(fields, dict) else ():
        if name != "flow_token" and isinstance(value, str | int | float | list):
            yield f"{name}: {', '.join(map(str, value)) if isinstance(value, list) else value}"


def _question(part: dict[str, Any]) -> Iterator[str]:
    """A message with buttons or a list, as a business sends it."""
    yield words(part.get("header"), "text")
    yield words(part.get("body"), "text")
    yield words(part.get("footer"), "text")
    action = part.get("action")
    if not isinstance(action, dict):
        return
    for choice in objects(action.get("buttons")):
        yield f"🔘 {words(choice.get('reply'), 'title') or words(choice, 'title')}"
    for section in objects(action.get("sections")):
        yield words(section, "title")
        for row in objects(section.get("rows")):
            yield f"🔘 {words(row, 'title')}"
    parameters = action.get("parameters")
    yield " ".join(filter(None, (words(parameters, "display_text"), words(parameters, "url"))))


def _suffix(media_type: str) -> str:
    return mimetypes.guess_extension(media_type.partition(";")[0].strip()) or ""
