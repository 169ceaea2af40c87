"""The API for developers: the document, and a page made from it."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web
from markupsafe import Markup, escape

from archiver.web.api.document import document, text
from archiver.web.api.kinds import KINDS
from archiver.web.api.operation import VERSION
from archiver.web.api.scopes import ABOUT
from archiver.web.render import render

routes = web.RouteTableDef()


@routes.get("/api/v1/openapi.json")
async def openapi(_: web.Request) -> web.Response:
    """The OpenAPI document; there is nothing in it that is anybody's."""
    return web.Response(body=text(), content_type="application/json", headers={"API-Version": VERSION})


@routes.get("/api/v1/")
async def page(request: web.Request) -> web.Response:
    """The document, for people to read."""
    made = document()
    subjects = [(tag["name"], [each for each in _operations(made) if each["subject"] == tag["name"]]) for tag in made["tags"]]
    schemas = sorted(made["components"]["schemas"].items())
    told: dict[str, Any] = {"subjects": subjects, "schemas": schemas, "kinds": KINDS.values(), "scopes": ABOUT}
    return render(request, "api.html", about=made["info"], kind=kind, marked=marked, **told)


def _operations(made: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for path, methods in made["paths"].items():
        for method, each in methods.items():
            body = each.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            found.append(
                {
                    "id": each["operationId"],
                    "method": method.upper(),
                    "path": path,
                    "summary": each["summary"],
                    "subject": each["tags"][0],
                    "about": each["description"],
                    "parameters": each["parameters"],
                    "body": kind(body) if body else None,
                    "answers": [_answer(made, status, answer) for status, answer in each["responses"].items()],
                }
            )
    return found


def _answer(made: dict[str, Any], status: str, answer: dict[str, Any]) -> tuple[str, str, str | None]:
    if "$ref" in answer:
        answer = made["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    content = next(iter(answer.get("content", {}).values()), None)
    return status, answer["description"], kind(content["schema"]) if content else None


def marked(text: str) -> Markup:
    """The document's text as a page shows it: `code` and **emphasis**."""
    found = str(escape(text))
    found = re.sub(r"`([^`]+)`", r"<code>\1</code>", found)
    return Markup(re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", found))  # noqa: S704 - escaped above


def kind(schema: dict[str, Any]) -> str:
    """A schema in a few words: the name of a model, or a kind of value."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(kind(option) for option in schema["anyOf"]))
    if "enum" in schema:
        return " | ".join(f'"{value}"' for value in schema["enum"])
    if "const" in schema:
        return f'"{schema["const"]}"'
    if schema.get("type") == "array":
        return f"[{kind(schema.get('items', {}))}]"
    return str(schema.get("format") or schema.get("type") or "any")
