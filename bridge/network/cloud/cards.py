"""A contact that somebody shared: as people read it, and as a vCard (RFC 2426), which address books take in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bridge.network.cloud.delivery import objects
from bridge.network.cloud.parts import words


def text(card: dict[str, Any]) -> str:
    """The name, and a line for each way to reach them."""
    organisation = ", ".join(filter(None, (words(card.get("org"), name) for name in ("title", "department", "company"))))
    lines = [f"👤 {_name(card)}", organisation, *(value for _, _, value in _reached(card)), *map(_address, _addresses(card))]
    return "\n".join(filter(None, [*lines, words(card, "birthday")]))


def vcard(card: dict[str, Any]) -> str:
    """The contact as a vCard 3.0."""
    name = card.get("name")
    parts = [words(name, part) for part in ("last_name", "first_name", "middle_name", "prefix", "suffix")]
    lines = ["BEGIN:VCARD", "VERSION:3.0", f"N:{';'.join(map(_escaped, parts))}", f"FN:{_escaped(_name(card))}"]
    organisation = card.get("org")
    if company := words(organisation, "company"):
        lines.append(f"ORG:{_escaped(company)};{_escaped(words(organisation, 'department'))}")
    if title := words(organisation, "title"):
        lines.append(f"TITLE:{_escaped(title)}")
    lines += [f"{kind};TYPE={label}:{_escaped(value)}" if label else f"{kind}:{_escaped(value)}" for kind, label, value in _reached(card)]  # fmt: skip  # noqa: E501
    for place in _addresses(card):
        fields = [words(place, part) for part in ("street", "city", "state", "zip", "country")]
        lines.append(f"ADR:;;{';'.join(map(_escaped, fields))}")
    if birthday := words(card, "birthday"):
        lines.append(f"BDAY:{_escaped(birthday)}")
    return "\r\n".join([*lines, "END:VCARD", ""])


def _name(card: dict[str, Any]) -> str:
    name = card.get("name")
    whole = " ".join(filter(None, (words(name, part) for part in ("first_name", "middle_name", "last_name"))))
    return words(name, "formatted_name") or whole or words(card.get("org"), "company") or "?"


def _reached(card: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(vCard property, kind, value) of every number, address and page."""
    for listed, kind, names in (
        ("phones", "TEL", ("phone", "wa_id")),
        ("emails", "EMAIL", ("email",)),
        ("urls", "URL", ("url",)),
    ):
        for value in objects(card.get(listed)):
            if found := words(value, *names):
                label = "".join(letter for letter in words(value, "type").upper() if letter.isalnum())
                yield kind, label, found


def _addresses(card: dict[str, Any]) -> list[dict[str, Any]]:
    return list(objects(card.get("addresses")))


def _address(place: dict[str, Any]) -> str:
    return ", ".join(filter(None, (words(place, part) for part in ("street", "zip", "city", "state", "country"))))


def _escaped(value: str) -> str:
    for letter, written in (("\\", "\\\\"), (";", "\\;"), (",", "\\,"), ("\r\n", "\\n"), ("\n", "\\n"), ("\r", "\\n")):
        value = value.replace(letter, written)
    return value
