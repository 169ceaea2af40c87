"""Style and scripts: each under an address with its content's hash, so that browsers keep it and never show an old one."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path, PurePosixPath

from aiohttp import web

routes = web.RouteTableDef()

TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
COMPONENTS = "vendor/rijkshuisstijl-community-components-css-12.0.0/index.css"
HTMX = "vendor/htmx-2.0.11/htmx.min.js"
# All there is: the name in its address, and the files of which it is made, in `static` or, with a colon, in another package.
MADE_OF: dict[str, tuple[str, ...]] = {
    "components.css": (COMPONENTS,),
    "style.css": ("archiver.export:templates/style.css", "tokens.css", "pages.css"),
    "htmx.js": (HTMX,),
    "page.js": ("page.js", "reading.js"),
    "icon.svg": ("icon.svg",),
}
YEAR = 365 * 24 * 3600  # seconds


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is sent."""

    name: str
    media_type: str
    body: bytes = field(repr=False)
    packed: bytes = field(repr=False)  # by gzip

    @property
    def file(self) -> str:
        """Its name with the hash of its content: `style.0a1b2c3d4e5f.css`."""
        name = PurePosixPath(self.name)
        return f"{name.stem}.{hashlib.sha256(self.body).hexdigest()[:12]}{name.suffix}"


THEME = web.AppKey("theme", Asset)  # the organisation's own tokens, where it has them


def _read(path: str) -> bytes:
    package, _, rest = path.rpartition(":")
    return (files(package or "archiver.web") / (rest if package else f"static/{rest}")).read_bytes()


@cache
def assets() -> dict[str, Asset]:
    """Every asset by its name."""
    made = {}
    for name, parts in MADE_OF.items():
        body = b"\n".join(map(_read, parts))
        made[name] = Asset(name, TYPES[PurePosixPath(name).suffix], body, gzip.compress(body, mtime=0))
    return made


@cache
def _by_file() -> dict[str, Asset]:
    return {asset.file: asset for asset in assets().values()}


def theme(path: Path) -> Asset:
    """An organisation's own style sheet. Raises OSError."""
    body = path.read_bytes()
    return Asset("theme.css", TYPES[".css"], body, gzip.compress(body, mtime=0))


def address(name: str) -> str:
    """Where a page finds an asset. Raises KeyError for one that is not there."""
    return f"/static/{assets()[name].file}"


@routes.get("/static/{file}")
async def asset(request: web.Request) -> web.Response:
    """A file of the list above, by its name with its hash; nothing else is found here."""
    own, file = request.app.get(THEME), request.match_info["file"]
    found = own if own and own.file == file else _by_file().get(file)
    if found is None:
        raise web.HTTPNotFound
    headers = {"Cache-Control": f"public, max-age={YEAR}, immutable", "Vary": "Accept-Encoding"}
    packed = "gzip" in request.headers.get("Accept-Encoding", "")
    if packed:
        headers["Content-Encoding"] = "gzip"
    return web.Response(
        body=found.packed if packed else found.body, content_type=found.media_type, charset="utf-8", headers=headers
    )
