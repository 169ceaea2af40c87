"""The web application: assembled here, started and stopped here."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web, web_response

from archiver.db import connect, require_current, tenant_tx
from archiver.ledger.files import FileStore
from archiver.ledger.sealing import FileKey, Vault
from archiver.settings import Settings
from archiver.web import (
    access,
    asking,
    assets,
    chat,
    conversations,
    errors,
    exports,
    health,
    own,
    pages,
    people,
    proof,
    saved,
    search,
    sign_in,
    trail,
)
from archiver.web.admin import pages as admin
from archiver.web.api import bearer, operation, problem, token_page
from archiver.web.api import page as api
from archiver.web.context import ARCHIVE, Archive, public_url
from archiver.web.exporting import export
from archiver.web.workshop import Workshop

log = logging.getLogger(__name__)

# Every module with pages, one a line.
MODULES = (
    api,
    asking,
    assets,
    chat,
    conversations,
    exports,
    health,
    operation,
    own,
    pages,
    people,
    proof,
    saved,
    search,
    sign_in,
    token_page,
    trail,
    admin,
)

SERVER = "griffier"
# What is no HTTP at all aiohttp answers by itself, past `set_headers`, and would tell its version.
web_response.SERVER_SOFTWARE = SERVER  # type: ignore[attr-defined]
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; "
    "media-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


async def set_headers(request: web.Request, response: web.StreamResponse) -> None:
    """The same protection on every answer, errors too."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = SERVER
    if public_url(request.app[ARCHIVE].settings).startswith("https:"):
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000; includeSubDomains")


def application(archive: Archive) -> web.Application:
    """The application around an opened archive."""
    app = web.Application(middlewares=[errors.explain, bearer.hold_back, problem.explain, access.require])
    app[ARCHIVE] = archive
    if archive.settings.web.theme:
        app[assets.THEME] = assets.theme(archive.settings.web.theme)
    app[health.GAUGES] = health.Gauges(archive)
    app.cleanup_ctx.append(sign_in.provider_of)
    app.cleanup_ctx.append(bearer.limits_of)
    app[exports.WORKSHOP] = Workshop(archive, {"export": export})
    app.on_response_prepare.append(set_headers)
    for module in MODULES:
        app.add_routes(module.routes)
    return app


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set. Raises DatabaseError, SchemaError, SealingError, OSError when it can't start."""
    async with connect(settings.database.url.get_secret_value(), settings.database.pool_size) as pool:
        await require_current(pool)
        async with tenant_tx(pool, settings.organisation.id) as tx:
            vault = await Vault.open(tx, settings.organisation.id, FileKey.load(settings.keys))
        archive = Archive(settings, pool, vault, FileStore(settings.files))
        app = application(archive)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=3)
        await runner.setup()
        working = asyncio.create_task(app[exports.WORKSHOP].run(stop))
        try:
            await web.TCPSite(runner, settings.web.host, settings.web.port).start()
            log.info("The web application answers on http://%s:%d", settings.web.host, settings.web.port)
            await stop.wait()
        finally:
            stop.set()
            await runner.cleanup()
            await working
