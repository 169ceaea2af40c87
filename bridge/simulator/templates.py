"""Message templates: which there are, and whether what is sent fits."""

from __future__ import annotations

import re
from typing import Any

from bridge.simulator.errors import GraphError
from bridge.simulator.world import Account, Template

PLACE = re.compile(r"\{\{\s*(\w+)\s*\}\}")


def samples() -> list[Template]:
    """What an account has at the start."""
    body = "Goedendag {{1}}, u had contact met het ministerie. Mogen wij u hierover nog een bericht sturen?"
    date = "Uw afspraak met {{1}} is op {{2}}. Tot dan!"
    english = "Good day {{1}}, you were in touch with the ministry. May we send you another message about this?"
    buttons = {"type": "BUTTONS", "buttons": [{"type": "QUICK_REPLY", "text": "Ja"}, {"type": "QUICK_REPLY", "text": "Nee"}]}
    return [
        _text("gesprek_hervatten", "nl", body, buttons),
        _text("gesprek_hervatten", "en", english),
        _text("afspraak", "nl", date),
        _text("hello_world", "en_US", "Welcome and congratulations!!"),
        Template("nog_in_beoordeling", "nl", [{"type": "BODY", "text": "Nog niet goedgekeurd."}], status="PENDING"),
    ]


def _text(name: str, language: str, body: str, *more: dict[str, Any]) -> Template:
    return Template(name, language, [{"type": "BODY", "text": body}, *more])


def listed(template: Template) -> dict[str, Any]:
    """A template as Graph lists it."""
    own = {"name": template.name, "parameter_format": "POSITIONAL", "language": template.language}
    return own | {"status": template.status, "category": template.category, "components": template.components, "id": template.id}


def filled(account: Account, sent: dict[str, Any]) -> tuple[Template, str]:
    """The template that is sent and its text. Raises GraphError as Meta would refuse it."""
    name, language = str(sent.get("name", "")), sent.get("language")
    if not name or not isinstance(language, dict) or not language.get("code"):
        raise GraphError(131008, "template['name'] and template['language']['code'] are required.")
    found = [one for one in account.templates if one.name == name and one.language == language["code"]]
    if not found:
        raise GraphError(132001, f"template name ({name}) does not exist in {language['code']}")
    if found[0].status == "PAUSED":
        raise GraphError(132015)
    if found[0].status == "DISABLED":
        raise GraphError(132016)
    if found[0].status != "APPROVED":
        raise GraphError(132001, f"template name ({name}) is not approved in {language['code']}")
    given = {str(part.get("type", "")).upper(): part for part in sent.get("components", []) if isinstance(part, dict)}
    text = ""
    for component in found[0].components:
        kind = str(component.get("type", "")).upper()
        if kind in ("HEADER", "BODY"):
            part = _part(component, given.get(kind, {}).get("parameters", []))
            text = f"{text}\n{part}".strip()
    return found[0], text


def _part(component: dict[str, Any], parameters: list[dict[str, Any]]) -> str:
    kind, text = str(component["type"]).lower(), str(component.get("text", ""))
    places = list(dict.fromkeys(PLACE.findall(text)))
    media = kind == "header" and component.get("format", "TEXT") != "TEXT"
    wanted = 1 if media else len(places)
    if len(parameters) != wanted:
        told = f"{kind}: number of localizable_params ({len(parameters)}) does not match the expected number of params ({wanted})"
        raise GraphError(132000, told)
    if media:
        expected = str(component["format"]).lower()
        if parameters[0].get("type") != expected:
            raise GraphError(
                132012, f"header: Format mismatch, expected {expected.upper()}, received {parameters[0].get('type')}"
            )
        return f"[{expected}]"
    values = dict(zip(places, parameters, strict=True))
    named = {str(one["parameter_name"]): one for one in parameters if "parameter_name" in one}
    if named and set(named) != set(places):
        raise GraphError(132012, f"{kind}: the names of the parameters differ")
    return PLACE.sub(lambda place: _shown((named or values)[place[1]]), text)


def _shown(parameter: dict[str, Any]) -> str:
    inner = parameter.get(str(parameter.get("type", "text")), "")
    return str(inner.get("fallback_value", inner.get("filename", ""))) if isinstance(inner, dict) else str(inner)
