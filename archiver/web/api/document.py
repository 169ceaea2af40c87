"""The OpenAPI 3.1 document, made from the operations as they are declared."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from archiver.web.access import shows_content
from archiver.web.api import (  # noqa: F401 - each declares its operations
    channels,
    exports,
    files,
    health,
    messages,
    people,
    rooms,
    search,
    trail,
)
from archiver.web.api.kinds import KINDS, ROOT
from archiver.web.api.operation import OPERATIONS, VERSION, Operation
from archiver.web.api.problem import CONTENT_TYPE, Problem
from archiver.web.api.scopes import ABOUT
from archiver.web.purpose import PURPOSE_HEADERS

JsonSchema = dict[str, Any]
REF = "#/components/schemas/{model}"
# Asked of readers who see everything, where the organisation wants it.
PURPOSE: tuple[JsonSchema, ...] = (
    {
        "name": PURPOSE_HEADERS[0],
        "in": "header",
        "required": False,
        "description": "Why you read this, if your organisation asks. Written in the audit trail.",
        "schema": {"type": "string", "minLength": 2, "maxLength": 200},
        "example": "Archiefbeheer",
    },
    {
        "name": PURPOSE_HEADERS[1],
        "in": "header",
        "required": False,
        "description": "In which case, if your organisation asks.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 64},
        "example": "2026-0017",
    },
)
# In the order in which they are told.
SUBJECTS = (
    "You", "Conversations", "Messages", "Search", "Exports", "Channels", "Audit trail", "People and roles", "Health",
)  # fmt: skip
COMMON = ("unauthenticated", "not-yours", "scope", "no-account", "apart", "too-many", "failed", "unavailable")
ABOUT_API = """\
The same abilities as the pages of the archive, for programs, under the same rules: who you are decides what you see, what \
you look at is in the audit trail before you see it, and what is in the archive can't be changed here.

**Access.** Make a personal access token on the page `/tokens` and send it as `Authorization: Bearer griffier_pat_…`. A token \
has scopes, ends within a year, and never opens more than your present roles do. A browser's session works too, for what only \
reads.

**Errors** are `application/problem+json` (RFC 9457), in Dutch or English by `Accept-Language`.

**Lists** come in pages: `next` is the cursor of the page after this one, and the `Link` header its address. Cursors are \
opaque and keep their place while the archive grows.

**Limits.** `RateLimit` and `RateLimit-Policy` say how many requests are left; after 429, wait as long as `Retry-After` says.

**Versions.** The header `API-Version` gives the full version. Within `v1`, members may be added and none change or go."""
LIMITS = {
    "RateLimit-Policy": ("How many requests a minute there are.", '"token";q=300;w=60'),
    "RateLimit": ("How many are left, and after how many seconds there is another.", '"token";r=299;t=1'),
}


@cache
def document() -> JsonSchema:
    """The document, without the servers."""
    models = {(model, mode) for each in OPERATIONS for model, mode in _models(each)}
    models.add((Problem, "serialization"))
    ordered = sorted(models, key=lambda pair: (pair[0].__name__, pair[1]))
    refs, defined = models_json_schema(ordered, ref_template=REF)  # type: ignore[arg-type]
    schemas = defined["$defs"]
    paths: dict[str, JsonSchema] = {}
    for each in OPERATIONS:
        paths.setdefault(ROOT + each.path, {})[each.method.lower()] = _operation(each, refs)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Griffier",
            "version": VERSION,
            "summary": "The archive of a government's chats.",
            "description": ABOUT_API,
            "license": {"name": "EUPL-1.2", "identifier": "EUPL-1.2"},
            "contact": {"name": "The administrator of your archive", "url": "https://example.invalid/see-your-organisation"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": subject} for subject in SUBJECTS],
        "security": [{"token": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {name: _problem(name) for name in KINDS},
            "headers": {
                name: {"description": about, "schema": {"type": "string"}, "example": example}
                for name, (about, example) in LIMITS.items()
            },
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "griffier_pat_…",
                    "description": "A personal access token. Scopes: "
                    + "; ".join(f"`{scope}` ({about[0].lower()}{about[1:]})" for scope, about in ABOUT.items())
                    + ".",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "__Host-griffier",
                    "description": "The session of a browser that has signed in; for what only reads, unless the header "
                    "`Griffier-Form-Token` holds the token of one of its forms.",
                },
            },
        },
    }


@cache
def text() -> bytes:
    """The document as JSON."""
    return json.dumps(document(), ensure_ascii=True, indent=1).encode()


def responses(each: Operation) -> tuple[str, ...]:
    """The problems that an operation may answer with, by name."""
    needs_role = each.scope is not None
    common = [name for name in COMMON if needs_role or name not in ("not-yours", "scope", "no-account", "apart")]
    writing = ["forged"] if each.method != "GET" else []
    body = ["unreadable", "too-large", "media-type"] if each.body is not None else []
    content = ["purpose"] if shows_content(each.method, ROOT + each.path) else []
    return tuple(name for name in KINDS if name in (*common, *writing, *body, *content, "invalid", *each.problems))


def _models(each: Operation) -> list[tuple[type[BaseModel], str]]:
    found: list[tuple[type[BaseModel], str]] = [(each.asked, "validation")]
    if each.answered is not None:
        found.append((each.answered, "serialization"))
    if each.body is not None:
        found.append((each.body, "validation"))
    return found


def _operation(each: Operation, refs: Any) -> JsonSchema:
    asked = each.asked.model_json_schema(ref_template=REF)
    made: JsonSchema = {
        "operationId": each.name,
        "summary": each.summary,
        "tags": [each.subject],
        "description": " ".join(
            part for part in (each.about, f"Scope: `{each.scope}`." if each.scope else "For whoever has signed in.") if part
        ),
        "parameters": [
            *(_parameter(name, "path", asked) for name in each.in_path),
            *(_parameter(name, "query", asked) for name in each.in_query),
            *(PURPOSE if shows_content(each.method, ROOT + each.path) else ()),
        ],
        "responses": {str(each.status): _good(each, refs), **_bad(each)},
    }
    if each.body is not None:
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": dict(refs[each.body, "validation"])}}}
    return made


def _parameter(name: str, place: str, asked: JsonSchema) -> JsonSchema:
    schema = dict(asked["properties"][name])
    schema.pop("title", None)
    options = schema.pop("anyOf", None)
    if options is not None:  # a parameter that is left out is no null
        (only,) = [option for option in options if option.get("type") != "null"]
        schema = {**only, **schema}
        if schema.get("default", 0) is None:
            del schema["default"]
    about, examples = schema.pop("description", ""), schema.pop("examples", None)
    made: JsonSchema = {"name": name, "in": place, "required": name in asked.get("required", ()), "schema": schema}
    if about:
        made["description"] = about
    if examples:
        made["example"] = examples[0]
    return made


def _good(each: Operation, refs: Any) -> JsonSchema:
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in LIMITS}
    made: JsonSchema = {"description": each.summary + ".", "headers": headers}
    if each.file:
        made["content"] = {"application/octet-stream": {"schema": {}}}
    elif each.answered is not None:
        made["content"] = {"application/json": {"schema": dict(refs[each.answered, "serialization"])}}
    return made


def _bad(each: Operation) -> JsonSchema:
    by_status: dict[int, list[str]] = {}
    for name in responses(each):
        by_status.setdefault(KINDS[name].status, []).append(name)
    made: JsonSchema = {}
    for status, names in by_status.items():
        if len(names) == 1:
            made[str(status)] = {"$ref": f"#/components/responses/{names[0]}"}
        else:
            merged = _problem(names[0])
            merged["description"] = " ".join(f"`{name}`: {KINDS[name].title}." for name in names)
            made[str(status)] = merged
    return made


def _problem(name: str) -> JsonSchema:
    kind = KINDS[name]
    example = {"type": kind.address, "title": kind.title, "status": kind.status, "detail": kind.detail}
    if name == "invalid":
        fault = {"place": "query", "name": "limit", "code": "less_than_equal", "detail": "This is too large."}
        example["errors"] = [fault]
    made: JsonSchema = {
        "description": f"{kind.title}. {kind.detail}",
        "content": {CONTENT_TYPE: {"schema": {"$ref": REF.format(model="Problem")}, "example": example}},
    }
    if kind.status == 401:
        made["headers"] = {"WWW-Authenticate": {"description": "How to authenticate.", "schema": {"type": "string"}}}
    if kind.status == 429:
        made["headers"] = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}}
    return made
