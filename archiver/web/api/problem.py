"""Errors under /api: application/problem+json (RFC 9457), in the language that the caller reads."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from archiver.export.catalogue import translations
from archiver.web.api.kinds import KINDS, ROOT
from archiver.web.context import ARCHIVE
from archiver.web.failure import told

log = logging.getLogger(__name__)

API = "/api/"
CONTENT_TYPE = "application/problem+json"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


# What access.require calls the reasons why somebody may not.
REASONS = {"not_yours": "not-yours", "no_roles": "not-yours", "no_matrix_id": "no-account", "forged": "forged", "scope": "scope",
           "purpose": "purpose"}  # fmt: skip
BY_STATUS = {
    400: "unreadable", 401: "unauthenticated", 403: "not-yours", 404: "not-found", 405: "method", 409: "conflict",
    413: "too-large", 415: "media-type", 422: "invalid", 429: "too-many", 503: "unavailable",
}  # fmt: skip


class Fault(BaseModel):
    """What is wrong with one parameter or one member of the body."""

    place: str = Field(description="Where: `query`, `path` or `body`.")
    name: str = Field(description="The parameter, or the member as a dotted path; empty for the whole body.")
    code: str = Field(description="What is wrong, for programs.")
    detail: str = Field(description="What is wrong, for people. It never repeats what was sent.")


class Problem(BaseModel):
    """A problem as RFC 9457 describes it."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": f"{ROOT}/#problem-not-found",
                "title": "Niet gevonden",
                "status": 404,
                "detail": "Dit bestaat niet, of het is niet aan u om te zien.",
            }
        }
    )

    type: str = Field(description="Which problem it is: an address at which it is explained.")
    title: str = Field(description="The problem in a few words.")
    status: int = Field(description="The HTTP status.", ge=400, le=599)
    detail: str = Field(description="What to do about it.")
    errors: list[Fault] | None = Field(default=None, description="What is wrong with which parameter; of `invalid` only.")


class ApiProblem(Exception):  # noqa: N818 - it names what it is
    """Something that the caller is told of as a problem."""

    def __init__(self, name: str, detail: str = "", errors: Iterable[Fault] = ()) -> None:
        super().__init__(name)
        self.kind, self.detail, self.errors = KINDS[name], detail, tuple(errors)


def spoken(request: web.Request) -> str:
    """The language of the answer: the first of Dutch and English in Accept-Language, else the organisation's."""
    wishes = []
    for number, part in enumerate(request.headers.get("Accept-Language", "")[:200].split(",")):
        code, _, weight = part.strip().lower().partition(";")
        try:
            value = float(weight.strip().removeprefix("q=")) if weight else 1.0
        except ValueError:
            value = 0.0
        if code.partition("-")[0] in ("nl", "en") and value > 0:
            wishes.append((-value, number, code.partition("-")[0]))
    return min(wishes)[2] if wishes else request.app[ARCHIVE].settings.organisation.language


def answer(request: web.Request, name: str, detail: str = "", errors: Iterable[Fault] = ()) -> web.Response:
    """The problem as a response."""
    kind, code = KINDS[name], spoken(request)
    say = translations(code).gettext
    problem = Problem(
        type=kind.address, title=say(kind.title), status=kind.status, detail=say(detail or kind.detail),
        errors=[fault.model_copy(update={"detail": say(fault.detail)}) for fault in errors] or None,
    )  # fmt: skip
    headers = {"Content-Language": code}
    if kind.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="griffier"'
    text = json.dumps(problem.model_dump(exclude_none=True))
    return web.Response(body=text.encode(), status=kind.status, content_type=CONTENT_TYPE, headers=headers)


@web.middleware
async def explain(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error under /api as a problem; what went wrong inside goes to the log, without content."""
    if not request.path.startswith(API):
        return await handler(request)
    try:
        return await handler(request)
    except ApiProblem as problem:
        return answer(request, problem.kind.name, problem.detail, problem.errors)
    except web.HTTPException as error:
        found = answer(request, BY_STATUS.get(error.status, "failed" if error.status >= 500 else "unreadable"))
        if "Allow" in error.headers:
            found.headers["Allow"] = error.headers["Allow"]
        return found
    except Exception as error:
        log.error("An operation failed: %s: %s", request.method, told(error))  # noqa: TRY400 - never what it says
        return answer(request, "failed")
