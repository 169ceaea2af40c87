"""A vCard as WhatsApp's contacts (RFC 2426 and 6350; Meta: contacts messages). What can't be read as one stays a file."""

from __future__ import annotations

import quopri
import re
from typing import Any

MAX_BYTES, MAX_CARDS = 256 * 1024, 257  # Meta: 257 contacts in a message at most
TYPES = frozenset({"text/vcard", "text/x-vcard", "text/directory"})
LINE = re.compile(r"(?:[A-Za-z0-9-]+\.)?([A-Za-z0-9-]+)((?:;[^:]*)?):(.*)", re.DOTALL)


def contacts(content: bytes) -> tuple[dict[str, Any], ...]:
    """The contacts of a vCard file; none when it is no such file, or one of them has no name."""
    if len(content) > MAX_BYTES:
        return ()
    lines = re.sub(r"\r?\n[ \t]", "", content.decode("utf-8", "replace")).splitlines()
    cards: list[list[str]] = []
    within = False
    for line in lines:
        match line.strip().upper():
            case "BEGIN:VCARD":
                within = True
                cards.append([])
            case "END:VCARD":
                within = False
            case _ if within:
                cards[-1].append(line)
    if within or not 0 < len(cards) <= MAX_CARDS:
        return ()
    made = [_contact(card) for card in cards]
    return tuple(made) if all(made) else ()


def _contact(card: list[str]) -> dict[str, Any]:
    told: dict[str, Any] = {"name": {}, "phones": [], "emails": [], "urls": [], "addresses": []}
    for line in card:
        found = LINE.fullmatch(line.strip())
        if found is None:
            continue
        name, parameters, value = found[1].upper(), found[2], found[3]
        if "QUOTED-PRINTABLE" in parameters.upper():
            value = quopri.decodestring(value.encode("utf-8", "replace")).decode("utf-8", "replace")
        _line(told, name, _kind(parameters), value)
    whole = told["name"].get("formatted_name") or " ".join(
        filter(None, (told["name"].get(part) for part in ("first_name", "last_name")))
    )
    if not whole:
        return {}
    told["name"]["formatted_name"] = whole[:500]
    # WhatsApp asks for one more part than the whole name.
    if not set(told["name"]) - {"formatted_name"}:
        told["name"]["first_name"] = whole[:500]
    return {name: part for name, part in told.items() if part}


def _line(told: dict[str, Any], name: str, kind: str, value: str) -> None:
    parts = [_plain(part) for part in re.split(r"(?<!\\);", value)]
    first = parts[0]
    if not first and name not in ("N", "ADR"):
        return
    match name:
        case "FN":
            told["name"]["formatted_name"] = _plain(value)
        case "ORG":
            told["org"] = told.get("org", {}) | {"company": first}
        case "TITLE":
            told["org"] = told.get("org", {}) | {"title": _plain(value)}
        case "BDAY" if re.fullmatch(r"\d{4}-\d\d-\d\d", value):
            told["birthday"] = value
        case _:
            _reached(told, name, kind, value, parts)


def _reached(told: dict[str, Any], name: str, kind: str, value: str, parts: list[str]) -> None:
    match name:
        case "N":
            names = ("last_name", "first_name", "middle_name", "prefix", "suffix")
            told["name"] |= {part: text for part, text in zip(names, parts, strict=False) if text}
        case "TEL":
            told["phones"].append({"phone": _plain(value).removeprefix("tel:")} | ({"type": kind} if kind else {}))
        case "EMAIL":
            told["emails"].append({"email": _plain(value)} | ({"type": kind} if kind else {}))
        case "URL":
            told["urls"].append({"url": _plain(value)})
        case "ADR":
            fields = ("street", "city", "state", "zip", "country")
            address = {part: text for part, text in zip(fields, parts[2:], strict=False) if text}
            told["addresses"] += [address] if address else []


def _kind(parameters: str) -> str:
    """HOME, WORK, CELL, …, of the parameters."""
    kinds = re.findall(r"(?:TYPE=)?([A-Za-z]+)", parameters.replace("TYPE=", ""), re.IGNORECASE)
    known = [kind.upper() for kind in kinds if kind.upper() in ("HOME", "WORK", "CELL", "MAIN", "IPHONE", "MOBILE")]
    return known[0] if known else ""


def _plain(value: str) -> str:
    return re.sub(r"\\([\\;,nN])", lambda found: "\n" if found[1] in "nN" else found[1], value).strip()[:1000]
