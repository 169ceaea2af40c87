"""An operation of the API: declared once, and that declaration checks the requests and makes the OpenAPI document."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, TypeVar, get_type_hints
from uuid import UUID

import asyncpg
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from archiver.export.catalogue import N_
from archiver.ledger.canonical import HostileJson, parse
from archiver.web.api.kinds import ROOT
from archiver.web.api.problem import ApiProblem, Fault
from archiver.web.api.scopes import Scope

LARGEST = 64 * 1024  # bytes of a body
VERSION = "1.0.0"  # of the API
UNREACHABLE = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    TimeoutError,
)
# What pydantic finds, as people read it. What was sent is never repeated.
FAULTS = {
    "missing": N_("This is needed."),
    "extra_forbidden": N_("This is not known here."),
    "string_too_long": N_("This is too long."),
    "string_too_short": N_("This is too short."),
    "too_long": N_("There are too many."),
    "too_short": N_("There are too few."),
    "string_pattern_mismatch": N_("This does not have the form that is described."),
    "enum": N_("This is none of the values that there are."),
    "literal_error": N_("This is none of the values that there are."),
    "greater_than_equal": N_("This is too small."),
    "less_than_equal": N_("This is too large."),
    "repeated": N_("This is given more than once."),
}
OTHERWISE = N_("This is not as it is described.")

Asked = TypeVar("Asked", bound="Request")
Answer = BaseModel | web.StreamResponse
routes = web.RouteTableDef()


class Request(BaseModel):
    """What is asked: names in the path, `body` for the body, and the rest in the query."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Part(BaseModel):
    """A part of a body: unknown members are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Page(BaseModel):
    """What every list has beside its items."""

    next: str | None = Field(description="The cursor of the page after this one; null at the end.")


@dataclass(frozen=True, slots=True)
class Operation:
    """A method at a path."""

    method: str
    path: str  # without /api/v1
    name: str  # operationId
    summary: str
    about: str
    subject: str
    asked: type[Request]
    answered: type[BaseModel] | None  # None: a file, or nothing
    status: int
    scope: Scope | None  # None: for whoever has signed in
    problems: tuple[str, ...]  # beside those that any operation may have
    file: bool = False
    example: Any = None
    tried: dict[str, Any] | None = None  # examples of the parameters

    @property
    def in_path(self) -> tuple[str, ...]:
        return tuple(re.findall(r"\{(\w+)\}", self.path))

    @property
    def in_query(self) -> tuple[str, ...]:
        return tuple(name for name in self.asked.model_fields if name not in (*self.in_path, "body"))

    @property
    def body(self) -> type[BaseModel] | None:
        field = self.asked.model_fields.get("body")
        found = field.annotation if field else None
        return found if isinstance(found, type) and issubclass(found, BaseModel) else None


OPERATIONS: list[Operation] = []


def operation(
    method: str,
    path: str,
    *,
    subject: str,
    scope: Scope | None,
    answered: type[BaseModel] | None = None,
    status: int = 200,
    problems: tuple[str, ...] = (),
    file: bool = False,
    example: Any = None,
) -> Callable[[Callable[[web.Request, Asked], Awaitable[Answer | None]]], Callable[[web.Request], Awaitable[web.StreamResponse]]]:
    """Declare a function as an operation; the first line of its docstring is the summary, the rest says more."""

    def declare(
        function: Callable[[web.Request, Asked], Awaitable[Answer | None]],
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        model = list(get_type_hints(function).values())[1]
        summary, _, about = (function.__doc__ or "").strip().partition("\n")
        told = " ".join(about.split())
        made = Operation(
            method, path, function.__name__, summary.rstrip("."), told, subject, model, answered, status, scope, problems, file,
            example,
        )  # fmt: skip
        OPERATIONS.append(made)

        async def handle(request: web.Request) -> web.StreamResponse:
            values = await _read(request, made)
            try:
                given = await function(request, values)
            except UNREACHABLE:
                raise ApiProblem("unavailable") from None
            if isinstance(given, web.StreamResponse):
                response = given
            elif given is None:
                response = web.Response(status=made.status)
            else:
                response = respond(given, made.status)
                if (onward := getattr(given, "next", None)) is not None:
                    response.headers["Link"] = f'<{request.rel_url.update_query(cursor=onward)}>; rel="next"'
            response.headers["API-Version"] = VERSION
            return response

        handle.scope = scope  # type: ignore[attr-defined]  # what access.require asks of a token
        more = {"allow_head": False} if method == "GET" else {}
        routes.route(method, ROOT + path, **more)(handle)
        return handle

    return declare


def respond(answer: BaseModel, status: int = 200) -> web.Response:
    """A model as JSON. All in ASCII: whatever a message holds, no reader of JSON stumbles over it."""
    return web.Response(body=json.dumps(_plain(answer)).encode(), status=status, content_type="application/json")


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return {field.alias or name: _plain(getattr(value, name)) for name, field in type(value).model_fields.items()}
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(each) for each in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    return value.value if isinstance(value, Enum) else value


async def _read(request: web.Request, made: Operation) -> Any:
    """The request as the operation's model. Raises ApiProblem."""
    values: dict[str, Any] = dict(request.match_info)
    faults = []
    for name in set(request.query):
        if name in made.in_path or name == "body":
            faults.append(_fault("query", name, "extra_forbidden"))
        elif len(request.query.getall(name)) > 1:
            faults.append(_fault("query", name, "repeated"))
        else:
            values[name] = request.query[name]
    if made.body is not None:
        values["body"] = await _body(request)
    try:
        found = made.asked.model_validate(values)
    except ValidationError as error:
        for each in error.errors(include_input=False, include_context=False, include_url=False):
            first, *rest = map(str, each["loc"]) if each["loc"] else ("",)
            place = "body" if first == "body" else "path" if first in made.in_path else "query"
            faults.append(_fault(place, ".".join(rest) if place == "body" else first, each["type"]))
        faults = faults[:20]
    if faults:
        raise ApiProblem("invalid", errors=faults)
    return found


async def _body(request: web.Request) -> Any:
    if request.content_type != "application/json":
        raise ApiProblem("media-type")
    if (request.content_length or 0) > LARGEST:
        raise ApiProblem("too-large")
    raw = await request.read()
    if len(raw) > LARGEST:
        raise ApiProblem("too-large")
    try:
        return parse(raw)
    except HostileJson:
        raise ApiProblem("unreadable") from None


def _fault(place: str, name: str, code: str) -> Fault:
    return Fault(place=place, name=name[:200], code=code, detail=FAULTS.get(code, OTHERWISE))
