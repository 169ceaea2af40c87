"""Templates to answers."""

from __future__ import annotations

from functools import cache
from typing import Any
from urllib.parse import quote

from aiohttp import web
from jinja2 import ChoiceLoader, Environment, PackageLoader
from yarl import URL

from archiver.export.html import environment_of
from archiver.web.context import ARCHIVE, language, language_cookie
from archiver.web.place import place_after


@cache
def environment(code: str) -> Environment:
    """The pages' templates in a language, and those they share with the exports."""
    loader = ChoiceLoader([PackageLoader("archiver.web"), PackageLoader("archiver.export")])
    made = environment_of(loader, code)
    made.filters["part"] = lambda text: quote(text, safe="")
    made.filters["after"] = lambda hit: place_after(hit.message.record)
    return made


def render(request: web.Request, template: str, status: int = 200, **values: Any) -> web.Response:
    """A page in the language of the reader, with the way to the other language."""
    say = language(request)
    # What a form was answered with has no address of its own.
    here = request.rel_url if request.method in ("GET", "HEAD") else URL("/")
    other = here.update_query(lang="en" if say.code == "nl" else "nl")
    visitor, ended = request.get("visitor"), request.get("ended_jobs", 0)
    known = {"visitor": visitor, "menu": request.get("menu", ()), "here": str(here), "ended_jobs": ended}
    page = environment(say.code).get_template(template)
    text = page.render(say=say, other_language=str(other), **known, **values)
    response = web.Response(body=text.encode("utf-8", "replace"), status=status, content_type="text/html", charset="utf-8")
    if request.query.get("lang") in ("nl", "en"):
        name = language_cookie(request.app[ARCHIVE].settings)
        kept = {"max_age": 365 * 24 * 3600, "httponly": True, "samesite": "Strict", "secure": name.startswith("__Host-")}
        response.set_cookie(name, say.code, **kept)  # type: ignore[arg-type]
    return response
