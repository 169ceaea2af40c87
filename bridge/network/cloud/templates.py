"""Approved templates: what they say, what has to be filled in, how they go out (Meta: message templates)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bridge.network import Filled, NotUnderstood
from bridge.network.cloud.delivery import objects

VARIABLE = re.compile(r"\{\{\s*([A-Za-z0-9_]{1,64})\s*\}\}")
KINDS = frozenset({"HEADER", "BODY", "FOOTER", "BUTTONS"})
BUTTONS = frozenset({"QUICK_REPLY", "URL", "PHONE_NUMBER"})
FIELDS = "name,language,status,category,parameter_format,components"


@dataclass(frozen=True, slots=True)
class Part:
    """A part with variables in it: the header, the body, or the address behind a button."""

    kind: str  # header, body, button
    text: str
    index: int = 0  # of the button

    @property
    def variables(self) -> list[str]:
        return list(dict.fromkeys(VARIABLE.findall(self.text)))


@dataclass(frozen=True, slots=True)
class Template:
    """A template in one language."""

    name: str
    language: str
    category: str
    parts: tuple[Part, ...]
    footer: str = ""
    buttons: tuple[str, ...] = ()
    named: bool = False

    @property
    def variables(self) -> list[tuple[Part, str]]:
        """What has to be filled in, in the order in which it is asked for."""
        return [(part, name) for part in self.parts for name in part.variables]

    @property
    def shown(self) -> str:
        """The text with its variables as they stand."""
        return self._written({})

    def rendered(self, values: Sequence[str]) -> str:
        """The text as the receiver sees it."""
        return self._written(dict(zip(((part.kind, part.index, name) for part, name in self.variables), values, strict=True)))

    def filled(self, values: Sequence[str]) -> Filled:
        """As it goes to WhatsApp. Raises NotUnderstood when the values can't be those of this template."""
        if len(values) != len(self.variables):
            raise NotUnderstood(
                f"dit sjabloon vraagt {len(self.variables)} waarden en kreeg er {len(values)}; scheid ze met | · "
                f"this template asks for {len(self.variables)} values and got {len(values)}; put | between them"
            )
        if any(not value or re.search(r"[\n\t\r]| {5}", value) for value in values):
            raise NotUnderstood(
                "een waarde mag niet leeg zijn en geen nieuwe regels of tabs bevatten · "
                "a value may not be empty, and may hold no new lines or tabs"
            )
        given, components = list(values), []
        for part in self.parts:
            names = part.variables
            own, given = given[: len(names)], given[len(names) :]
            if not own:
                continue
            parameters = [
                {"type": "text", **({"parameter_name": name} if self.named and part.kind != "button" else {}), "text": value}
                for name, value in zip(names, own, strict=True)
            ]
            place = {"sub_type": "url", "index": str(part.index)} if part.kind == "button" else {}
            components.append({"type": part.kind, **place, "parameters": parameters})
        return Filled(self.name, self.language, tuple(components))

    def _written(self, values: dict[tuple[str, int, str], str]) -> str:
        def text(part: Part) -> str:
            return VARIABLE.sub(lambda found: values.get((part.kind, part.index, found[1]), found[0]), part.text)

        lines = [f"*{text(part)}*" if part.kind == "header" else text(part) for part in self.parts if part.kind != "button"]
        if self.footer:
            lines.append(f"_{self.footer}_")
        addresses = {part.index: text(part) for part in self.parts if part.kind == "button"}
        lines += [f"[{label}]{f' {addresses[place]}' if place in addresses else ''}" for place, label in enumerate(self.buttons)]
        return "\n".join(lines)


def read(told: dict[str, Any]) -> Template | None:
    """A template as Meta lists it; None for one that can't be sent from a chat: not approved, with a file, or for signing in."""
    name, language, category = told.get("name"), told.get("language"), str(told.get("category", ""))
    components = {str(component.get("type", "")).upper(): component for component in objects(told.get("components"))}
    if told.get("status") != "APPROVED" or category == "AUTHENTICATION" or not {"BODY"} <= set(components) <= KINDS:
        return None
    if not isinstance(name, str) or not isinstance(language, str):
        return None
    header = components.get("HEADER", {})
    buttons = list(objects(components.get("BUTTONS", {}).get("buttons")))
    if str(header.get("format", "TEXT")).upper() != "TEXT" or any(
        str(one.get("type", "")).upper() not in BUTTONS for one in buttons
    ):
        return None  # it needs a file, a product, a form or a code
    parts = [Part("header", str(header.get("text", "")))] if header else []
    parts.append(Part("body", str(components["BODY"].get("text", ""))))
    addresses = enumerate(str(button.get("url", "")) for button in buttons)
    parts += [Part("button", url, index) for index, url in addresses if VARIABLE.search(url)]
    return Template(
        name,
        language,
        category,
        tuple(parts),
        str(components.get("FOOTER", {}).get("text", "")),
        tuple(str(button.get("text", "")) for button in buttons),
        str(told.get("parameter_format", "")).upper() == "NAMED",
    )


def in_order(templates: Sequence[Template]) -> list[Template]:
    """Dutch first, then English, then the rest; by name."""

    def place(template: Template) -> tuple[int, str, str]:
        language = template.language.partition("_")[0].lower()
        return {"nl": 0, "en": 1}.get(language, 2), template.name, template.language

    return sorted(templates, key=place)
