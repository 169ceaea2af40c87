"""What went wrong as a page, in the reader's language, that says what to do next."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from archiver.export.catalogue import N_
from archiver.web.context import language
from archiver.web.failure import told
from archiver.web.render import render

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
API = "/api/"  # it answers machines, in its own way
# What is told of each status: what it is, and what to do.
TOLD: dict[int, tuple[str, str]] = {
    400: (N_("This address can't be read"), N_("Go back and follow the link again, or start at the first page.")),
    401: (N_("Sign in first"), N_("You are not signed in, or your session has ended. Sign in and try again.")),
    403: (N_("No access"), N_("You may not open this. If you need it for your work, ask the administrator.")),
    404: (
        N_("Not found"),
        N_("What you look for is not there, or not for you. Check the address, or look for it from the first page."),
    ),
    405: (N_("This can't be done here"), N_("This page can't be used in that way. Go back and use its buttons.")),
    409: (N_("This can't be done now"), N_("Something changed meanwhile. Load the page again and look how it stands.")),
    413: (N_("This is too large"), N_("Send a smaller file or a shorter text. Nothing was saved.")),
    429: (N_("Too much at once"), N_("Wait a minute and try again.")),
    500: (
        N_("Something went wrong"),
        N_("Try again in a few minutes. If it stays, tell the administrator the time: the log names the cause."),
    ),
    503: (N_("Not available now"), N_("Try again in a few minutes.")),
}  # fmt: skip
OWN_WORDS = (400, 409)  # where who raised it tells better what to do
KEPT = ("Allow", "Retry-After", "WWW-Authenticate", "Location")  # of an error's own headers


@web.middleware
async def explain(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors as pages; what went wrong inside goes to the log, without content."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400 or request.path.startswith(API):
            raise
        return _page(request, error)
    except Exception as error:
        log.error("A page failed: %s %s: %s", request.method, _route(request), told(error))  # noqa: TRY400 - never what it says
        if request.path.startswith(API):
            raise web.HTTPInternalServerError from None
        return _page(request, web.HTTPInternalServerError())


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource else ""


def _page(request: web.Request, error: web.HTTPException) -> web.Response:
    gettext = language(request).gettext
    title, advice = TOLD.get(error.status) or TOLD[500 if error.status > 500 else 400]
    own = error.text if error.status in OWN_WORDS and error.text != f"{error.status}: {error.reason}" else ""
    response = render(request, "problem.html", error.status, problem=gettext(title), advice=own or gettext(advice))
    response.headers.update({name: value for name in KEPT if (value := error.headers.get(name)) is not None})
    return response
