"""Templates to answers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any
from urllib.parse import quote

from aiohttp import web
from jinja2 import ChoiceLoader, Environment, PackageLoader
from yarl import URL

from archiver.export.html import environment_of
from archiver.web.assets import THEME, address
from archiver.web.context import ARCHIVE, language, language_cookie


@cache
def environment(code: str) -> Environment:
    """The pages' templates in a language, and those they share with the exports."""
    loader = ChoiceLoader([PackageLoader("archiver.web"), PackageLoader("archiver.export")])
    made = environment_of(loader, code)
    made.globals["asset"] = address
    made.filters["part"] = lambda text: quote(text, safe="")
    return made


def present(path: str, menu: Sequence[str]) -> str:
    """The address in the menu under which a page falls; conversations fall under the list of them."""
    above = [each for each in menu if path == each or path.startswith(each.rstrip("/") + "/")]
    nearest = max(above, key=len, default="")
    return nearest if nearest != "/" or path == "/" or path.startswith("/rooms/") else ""


def render(request: web.Request, template: str, status: int = 200, **values: Any) -> web.Response:
    """A page in the language of the reader, with the way to the other language."""
    say = language(request)
    # What a form was answered with has no address of its own.
    here = request.rel_url if request.method in ("GET", "HEAD") else URL("/")
    other = here.update_query(lang="en" if say.code == "nl" else "nl")
    menu = request.get("menu", ())
    frame = {"say": say, "other_language": str(other), "visitor": request.get("visitor"), "menu": menu}
    frame |= {"here": request.path, "address": str(here), "present": present(request.path, [path for path, _ in menu])}
    own = request.app.get(THEME)
    frame["theme"] = f"/static/{own.file}" if own else ""
    frame["ended_jobs"] = request.get("ended_jobs", (0, 0))
    text = environment(say.code).get_template(template).render(frame | values)
    response = web.Response(body=text.encode("utf-8", "replace"), status=status, content_type="text/html", charset="utf-8")
    if request.query.get("lang") in ("nl", "en"):
        name = language_cookie(request.app[ARCHIVE].settings)
        kept = {"max_age": 365 * 24 * 3600, "httponly": True, "samesite": "Strict", "secure": name.startswith("__Host-")}
        response.set_cookie(name, say.code, **kept)  # type: ignore[arg-type]
    return response
