"""An HTTP listener: its TLS, and a limit to how long a caller may take to say what it wants."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.typedefs import Handler

from bridge.settings import Bridge, SettingsError

MAX_CONNECTIONS = 500  # that have not said anything yet


def tls(settings: Bridge) -> ssl.SSLContext | None:
    """The webhook's own TLS; None where a proxy in front has it. Raises SettingsError.

    With a client CA, callers must show a certificate of it (Meta: mutual TLS for webhooks).
    """
    if not settings.webhook_tls_certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.webhook_tls_certificate, settings.webhook_tls_key)
        if settings.webhook_tls_client_ca:
            context.load_verify_locations(settings.webhook_tls_client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"bridge.webhook_tls_…: a certificate or its key can't be read ({type(error).__name__}).") from None
    return context


@asynccontextmanager
async def serving(
    app: web.Application, host: str, port: int, *, context: ssl.SSLContext | None = None, patience: float | None = None
) -> AsyncIterator[None]:
    """Answer until the block ends. With `patience`, who sends no whole request line and headers in so many seconds is cut off."""
    silent: set[asyncio.BaseProtocol] = set()  # each for as long as its patience lasts

    @web.middleware
    async def spoken(request: web.Request, handler: Handler) -> web.StreamResponse:
        silent.discard(request.protocol)
        return await handler(request)

    if patience is not None:
        app.middlewares.append(spoken)
    # What of a body comes after its answer is listened to for two seconds, not for as long as it trickles.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2, keepalive_timeout=patience or 75.0, lingering_time=2.0)
    await runner.setup()
    try:
        if patience is None:
            await web.TCPSite(runner, host, port, ssl_context=context).start()
            yield
            return
        server = await _impatient(runner, host, port, context, patience, silent)
        try:
            yield
        finally:
            server.close()
    finally:
        await runner.cleanup()


async def _impatient(
    runner: web.AppRunner,
    host: str,
    port: int,
    context: ssl.SSLContext | None,
    patience: float,
    silent: set[asyncio.BaseProtocol],
) -> asyncio.Server:
    loop = asyncio.get_running_loop()

    def accept() -> asyncio.BaseProtocol:
        assert runner.server is not None  # noqa: S101 - set up above
        protocol = runner.server()
        silent.add(protocol)
        wait = 0.05 if len(silent) > MAX_CONNECTIONS else patience
        # A TLS handshake has a patience of its own, and is over or given up when the second look comes.
        loop.call_later(wait, _hang_up, protocol, silent, lambda: loop.call_later(patience, _hang_up, protocol, silent, None))
        return protocol

    if context is None:
        return await loop.create_server(accept, host, port, backlog=128)
    return await loop.create_server(
        accept, host, port, ssl=context, backlog=128, ssl_handshake_timeout=patience, ssl_shutdown_timeout=2.0
    )


def _hang_up(protocol: asyncio.BaseProtocol, silent: set[asyncio.BaseProtocol], later: Callable[[], object] | None) -> None:
    if protocol not in silent:
        return
    transport = getattr(protocol, "transport", None)
    if transport is None and later is not None:
        later()  # not connected yet
        return
    silent.discard(protocol)
    if transport is not None:
        transport.abort()
