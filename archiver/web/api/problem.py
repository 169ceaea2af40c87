"""Errors under /api: application/problem+json (RFC 9457), in the language that the caller reads."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from archiver.export.catalogue import translations
from archiver.web.context import ARCHIVE

log = logging.getLogger(__name__)

API = "/api/"
ROOT = "/api/v1"
CONTENT_TYPE = "application/problem+json"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A problem that callers can tell apart; its texts are English here, and translated."""

    name: str
    status: int
    title: str
    detail: str

    @property
    def address(self) -> str:
        """The problem's `type`: where the page for developers explains it."""
        return f"{ROOT}/#problem-{self.name}"


KINDS = {
    kind.name: kind
    for kind in (
        Kind("unreadable", 400, "The request can't be read",
             "The body is not JSON, or the request line or a header is malformed."),
        Kind("unauthenticated", 401, "Not signed in",
             "Give a personal access token: 'Authorization: Bearer griffier_pat_…'. A token that has expired, was revoked or is "
             "mistyped counts as none."),
        Kind("not-yours", 403, "Not within your role",
             "Your role gives no access to this. That this was refused is recorded."),
        Kind("scope", 403, "Not within the token's scopes",
             "The token was not made for this. Make one with the scope that this operation names."),
        Kind("no-account", 403, "No chat account known",
             "Which chat account is yours is not known, so neither which conversations. Ask the administrator to add it to your role."),
        Kind("apart", 403, "Roles that exclude each other",
             "You have two roles that may not go together. Ask the administrator to take one of them back."),
        Kind("forged", 403, "A session is not enough for this",
             "What changes something takes a personal access token, or a session with its form token in the header "
             "'Griffier-Form-Token'."),
        Kind("purpose", 403, "No purpose given",
             "The organisation asks for what purpose content is opened. Say so in the header 'Griffier-Purpose', and the case in "
             "'Griffier-Case'."),
        Kind("infected", 403, "The file is infected",
             "The virus scanner found harmful software in this file. Ask with 'despite=infected' if you must have it."),
        Kind("not-found", 404, "Not found", "There is no such thing, or it is not yours to see."),
        Kind("method", 405, "No such method", "This address does not know this method; the header 'Allow' names those it knows."),
        Kind("conflict", 409, "Not possible now", "What is there now stands in the way of this."),
        Kind("not-scanned", 409, "Not scanned yet", "The virus scanner has not seen this file yet. Try again in a minute."),
        Kind("too-large", 413, "Too large", "The body is larger than an operation takes."),
        Kind("media-type", 415, "Not JSON", "The body must be sent as 'application/json'."),
        Kind("invalid", 422, "Invalid request", "Parameters or body are not as the OpenAPI document describes them."),
        Kind("cursor", 422, "Invalid cursor",
             "The cursor is not one that this list gave. Begin again without one."),
        Kind("nothing-to-search", 422, "Nothing to search for",
             "The query holds no word that can be searched for. Give at least one word that must occur."),
        Kind("too-many", 429, "Too many requests", "Wait as many seconds as 'Retry-After' says."),
        Kind("failed", 500, "Something went wrong", "The administrator finds the cause in the log."),
        Kind("unavailable", 503, "Not available now", "The archive's database can't be reached. Try again in a minute."),
    )
}  # fmt: skip
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
                "type": f"{ROOT}/#problem-not-found", "title": "Niet gevonden", "status": 404,
                "detail": "Dit bestaat niet, of het is niet aan u om te zien.",
            }  # fmt: skip
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
    except Exception:
        log.exception("An operation failed: %s", request.method)
        return answer(request, "failed")
