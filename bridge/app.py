"""The bridge as a running thing: the webhook that WhatsApp calls, the application service that Synapse calls, the two relays."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any, cast

import aiohttp
import asyncpg
from aiohttp import web
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from mautrix.crypto import PgCryptoStore
from mautrix.types import JSON, DeviceLists, DeviceOTKCount
from mautrix.util.async_db import Database

from bridge.ghost import Account
from bridge.network.cloud import Cloud, parse, signature_ok
from bridge.portal import Portals, clean
from bridge.relay import INBOX, OUTBOX, Pace, Relay
from bridge.sealing import Seal
from bridge.settings import Bridge, SettingsError

log = logging.getLogger(__name__)

MAX_WEBHOOK = 3 * 1024 * 1024  # Meta: a delivery is at most 3 MB
MAX_TRANSACTION = 64 * 1024 * 1024


class App:
    """Everything the bridge holds while it runs."""

    def __init__(self, settings: Bridge, pool: asyncpg.Pool, crypto: Database, http: aiohttp.ClientSession, seal: Seal) -> None:
        self.settings = settings
        self.pool = pool
        pace = Pace(settings.conversations_at_once, settings.wait_for_status_seconds, settings.keep_done_days)
        self.relay = Relay(pool, seal, pace)
        self._crypto = crypto
        self._pickle_key = pickle_key(settings)
        self._accounts: dict[str, Account] = {}
        self.bot = self._account(settings.bot)
        network = Cloud(
            http, settings.graph_url, settings.graph_version, settings.access_token.get_secret_value(), settings.media_max_bytes
        )
        self.network = network
        self.portals = Portals(settings, pool, self.relay, network, self.bot, self.ghost)
        self.signed = False

    def _account(self, user_id: str) -> Account:
        token = self.settings.as_token.get_secret_value()
        account = Account(user_id, self.settings.homeserver_url, token, self._crypto, self._pickle_key)
        self._accounts[user_id] = account
        return account

    async def ghost(self, contact: str, name: str) -> Account:
        """The account of a contact, made when it first speaks."""
        user_id = self.settings.ghost(localpart(contact))
        if user_id not in self._accounts:
            account = self._account(user_id)
            try:
                await account.register(f"{clean(name, 100) or '+' + contact} (WA)")
                if self.settings.encryption:
                    await account.start_encryption()
            except BaseException:
                del self._accounts[user_id]
                await account.close()
                raise
        return self._accounts[user_id]

    async def start(self) -> None:
        """Sign in as the bot and make its device ready."""
        await self.bot.register("WhatsApp-brug")
        if self.settings.encryption:
            self.signed = await self.bot.start_encryption()

    async def close(self) -> None:
        """Close every account's connection."""
        for account in self._accounts.values():
            await account.close()

    # What WhatsApp calls.

    async def handshake(self, request: web.Request) -> web.Response:
        """Meta's question whether this webhook is ours."""
        token = self.settings.verify_token.get_secret_value()
        given = request.query.get("hub.verify_token", "")
        if not token or not hmac.compare_digest(given.encode("utf-8", "replace"), token.encode()):
            return _problem(403, "the verify token is wrong: set bridge.verify_token to the one given to Meta")
        return web.Response(text=request.query.get("hub.challenge", ""))

    async def webhook(self, request: web.Request) -> web.Response:
        """A delivery: checked, split, committed, and only then acknowledged."""
        raw = await request.content.read(MAX_WEBHOOK + 1)
        while len(raw) <= MAX_WEBHOOK and (more := await request.content.read(MAX_WEBHOOK + 1 - len(raw))):
            raw += more
        if len(raw) > MAX_WEBHOOK:
            log.warning("A webhook delivery of more than %d bytes was refused.", MAX_WEBHOOK)
            return _problem(413, f"a delivery may be {MAX_WEBHOOK} bytes")
        if not signature_ok(self.settings.app_secret.get_secret_value(), raw, request.headers.get("X-Hub-Signature-256")):
            log.warning("A webhook delivery with a wrong or no signature was refused (%d bytes).", len(raw))
            return _problem(401, "the signature X-Hub-Signature-256 is missing or wrong")
        try:
            body, cut = parse(raw)
            changes = list(self.network.split(dict(body)))
        except (ValueError, TypeError, RecursionError) as error:
            log.warning(
                "A signed webhook delivery can't be read (%s, %d bytes); kept as it came.", type(error).__name__, len(raw)
            )
            await self.relay.reject(raw, type(error).__name__)
            return _problem(400, "the delivery is not a JSON object that can be read; it has been kept")
        if not changes:
            log.warning("A signed webhook delivery holds no changes (%d bytes); kept as it came.", len(raw))
            await self.relay.reject(raw, "no changes")
            return _problem(400, "the delivery holds no entry with changes; it has been kept")
        if cut:
            log.warning(
                "A signed webhook delivery is nested too deeply in places; what can be read is carried over, all of it kept."
            )
            await self.relay.reject(raw, "nested too deeply")
        await self.relay.take_in(changes)
        return web.json_response({"received": len(changes)})

    async def healthy(self, request: web.Request) -> web.Response:
        """Whether the bridge can carry messages."""
        try:
            await self.pool.fetchval("SELECT 1", timeout=3)
            await asyncio.wait_for(self.bot.client.whoami(), 5)
        except Exception as error:
            return web.json_response({"status": f"not ready: {type(error).__name__}"}, status=503)
        if self.settings.encryption and not self.signed:
            return web.json_response({"status": "the bot's device is not cross-signed"}, status=503)
        return web.json_response({"status": "ok", **await self.relay.counts()})

    # What Synapse calls.

    async def transaction(self, request: web.Request) -> web.Response:
        """Events for us: committed, and only then acknowledged (promise 1)."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        given = token if scheme == "Bearer" else request.query.get("access_token", "")
        if not hmac.compare_digest(given.encode("utf-8", "replace"), self.settings.hs_token.get_secret_value().encode()):
            return web.json_response({"errcode": "M_FORBIDDEN"}, status=403)
        body = await request.json()
        for event in _part(body, "to_device", "de.sorunome.msc2409") or []:
            account = self._accounts.get(event.get("to_user_id", ""))
            if account is not None:
                await account.take_key(event)
        lists = _part(body, "device_lists", "org.matrix.msc3202") or {}
        # One user's broken device, or a server that does not answer now, must not cost the keys that came with it.
        try:
            if lists.get("changed"):
                await self.bot.olm.handle_device_lists(DeviceLists.deserialize(cast("JSON", lists)))
            for user_id, devices in (_part(body, "device_one_time_keys_count", "org.matrix.msc3202") or {}).items():
                for device_id, counts in devices.items():
                    await self._top_up(user_id, device_id, int(counts.get("signed_curve25519", 0)))
        except Exception as error:
            log.warning("Devices could not be brought up to date: %s", type(error).__name__)
        events = [event for event in body.get("events", []) if isinstance(event, dict) and await self.portals.wanted(event)]
        if events:
            await self.relay.take_out(events)
        return web.json_response({})

    async def _top_up(self, user_id: str, device_id: str, count: int) -> None:
        """Publish new one-time keys when the server runs out of them."""
        account = self._accounts.get(user_id)
        if account is not None and account.client.device_id == device_id and account.olm.account is not None:
            await account.olm.handle_otk_count(DeviceOTKCount(signed_curve25519=count, curve25519=0))


def localpart(contact: str) -> str:
    """A contact's id as a part of a Matrix id, no two alike (specification, appendix "Mapping from other character sets")."""
    plain = frozenset("0123456789abcdefghijklmnopqrstuvwxyz.-")

    def written(letter: str) -> str:
        return letter if letter in plain else f"_{letter.lower()}" if letter.isalpha() else f"={ord(letter):02x}"

    return "".join(map(written, contact))


def _part(body: dict[str, Any], name: str, prefix: str) -> Any:
    """A part of a transaction under its stable or its unstable name."""
    return body.get(name) or body.get(f"{prefix}.{name}")


def pickle_key(settings: Bridge) -> str:
    """The key of the Olm pickles, derived from the bridge's own key file."""
    raw = settings.key_file.read_bytes().strip()
    return HKDF(hashes.SHA256(), 32, None, b"griffier bridge pickles").derive(raw).hex()


def _problem(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)


async def run(settings: Bridge, stop: asyncio.Event) -> None:
    """Bridge until `stop` is set. Raises SettingsError when a secret is missing: an empty one would let everybody in."""
    for name in ("as_token", "hs_token", "app_secret", "verify_token"):
        if not getattr(settings, name).get_secret_value():
            raise SettingsError(f"bridge.{name} is not set. Set it, or bridge.{name}_file.")
    seal = Seal.load(settings.key_file)
    async with _opened(settings) as (pool, crypto, http):
        app = App(settings, pool, crypto, http, seal)
        try:
            await app.start()
            webhook, service = web.Application(), web.Application(client_max_size=MAX_TRANSACTION)
            webhook.router.add_get("/healthz", app.healthy)
            webhook.router.add_get(settings.webhook_path, app.handshake)
            webhook.router.add_post(settings.webhook_path, app.webhook)
            service.router.add_put("/_matrix/app/v1/transactions/{txn}", app.transaction)
            service.router.add_put("/transactions/{txn}", app.transaction)
            async with (
                _serving(webhook, settings.webhook_host, settings.webhook_port),
                _serving(service, settings.listen_host, settings.listen_port),
                asyncio.TaskGroup() as tasks,
            ):
                log.info(
                    "The bridge is ready: webhook on http://%s:%d%s",
                    settings.webhook_host,
                    settings.webhook_port,
                    settings.webhook_path,
                )
                tasks.create_task(app.relay.run(INBOX, app.portals.carry_in, app.portals.not_carried_in, stop))
                tasks.create_task(app.relay.run(OUTBOX, app.portals.carry_out, app.portals.not_sent, stop))
                tasks.create_task(app.relay.forget(stop))
        finally:
            await app.close()


@asynccontextmanager
async def _opened(settings: Bridge) -> AsyncIterator[tuple[asyncpg.Pool, Database, aiohttp.ClientSession]]:
    url = settings.database_url.get_secret_value()
    crypto = Database.create(url, upgrade_table=PgCryptoStore.upgrade_table, log=logging.getLogger("mau.db"))
    async with (
        asyncpg.create_pool(url, min_size=2, max_size=settings.conversations_at_once + 6) as pool,
        aiohttp.ClientSession() as http,
    ):
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
