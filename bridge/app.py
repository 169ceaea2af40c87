"""The bridge as a running thing: what WhatsApp calls, what Synapse calls, and the two relays between them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files

import aiohttp
import asyncpg
from aiohttp import web
from mautrix.crypto import PgCryptoStore
from mautrix.util.async_db import Database

from bridge.accounts import Accounts
from bridge.arriving import Arriving
from bridge.departing import Departing
from bridge.health import Health
from bridge.network.cloud import Cloud
from bridge.numbers import Numbers
from bridge.portal import Portals
from bridge.relay import INBOX, OUTBOX, Relay
from bridge.sealing import Seal
from bridge.settings import Bridge, SettingsError
from bridge.transactions import Transactions
from bridge.webhook import Webhook

log = logging.getLogger(__name__)

MAX_TRANSACTION = 64 * 1024 * 1024


async def run(settings: Bridge, stop: asyncio.Event) -> None:
    """Bridge until `stop` is set. Raises SettingsError when a secret is missing: an empty one would let everybody in."""
    for name in ("as_token", "hs_token", "app_secret", "verify_token"):
        if not getattr(settings, name).get_secret_value():
            raise SettingsError(f"bridge.{name} is not set. Set it, or bridge.{name}_file.")
    seal = Seal.load(settings.key_file)
    async with _opened(settings) as (pool, crypto, http):
        numbers, relay, accounts = Numbers(settings), Relay(pool, seal), Accounts(settings, crypto)
        cloud = Cloud(http, settings.graph_url, settings.graph_version, numbers.token, settings.media_max_bytes)
        portals = Portals(settings, pool, numbers, accounts)
        arriving = Arriving(settings, numbers, accounts, portals, relay, cloud)
        departing = Departing(numbers, accounts, portals, relay, cloud)
        outside = web.Application()
        outside.add_routes(Webhook(settings, cloud, relay).routes())
        outside.add_routes(Health(settings, pool, accounts, relay).routes())
        homeserver = web.Application(client_max_size=MAX_TRANSACTION)
        homeserver.add_routes(Transactions(settings, accounts, departing, relay).routes())
        try:
            await accounts.start()
            async with (
                _serving(outside, settings.webhook_host, settings.webhook_port),
                _serving(homeserver, settings.listen_host, settings.listen_port),
                asyncio.TaskGroup() as tasks,
            ):
                place = f"{settings.webhook_host}:{settings.webhook_port}{settings.webhook_path}"
                log.info("The bridge is ready: webhook on http://%s", place)
                tasks.create_task(relay.run(INBOX, arriving.carry, arriving.not_carried, stop))
                tasks.create_task(relay.run(OUTBOX, departing.carry, departing.not_sent, stop))
        finally:
            await accounts.close()


@asynccontextmanager
async def _opened(settings: Bridge) -> AsyncIterator[tuple[asyncpg.Pool, Database, aiohttp.ClientSession]]:
    url = settings.database_url.get_secret_value()
    crypto = Database.create(url, upgrade_table=PgCryptoStore.upgrade_table, log=logging.getLogger("mau.db"))
    async with asyncpg.create_pool(url, min_size=1, max_size=6) as pool, aiohttp.ClientSession() as http:
        for file in sorted((files("bridge") / "migrations").iterdir(), key=lambda file: file.name):
            await pool.execute(file.read_text())
        await crypto.start()
        try:
            yield pool, crypto, http
        finally:
            await crypto.stop()


@asynccontextmanager
async def _serving(app: web.Application, host: str, port: int) -> AsyncIterator[None]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()
