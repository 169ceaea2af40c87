"""What WhatsApp calls: a delivery is checked, split, committed, and only then acknowledged (promise 1)."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from datetime import UTC, datetime, timedelta

from aiohttp import web

from bridge.network.cloud import Cloud, parse
from bridge.numbers import Numbers
from bridge.office.alarm import Alarms
from bridge.office.pulse import Pulse
from bridge.origin import FOREIGN, caller, newest, signed_by, sort_out, within
from bridge.relay.relay import Relay
from bridge.settings import Bridge

log = logging.getLogger(__name__)

MAX_WEBHOOK = 3 * 1024 * 1024  # Meta: a delivery is at most 3 MB
OLD = "older than bridge.replay_days"


class Webhook:
    """The address that Meta delivers to."""

    def __init__(self, settings: Bridge, network: Cloud, relay: Relay, numbers: Numbers, pulse: Pulse, alarms: Alarms) -> None:
        self._settings = settings
        self._network = network
        self._relay = relay
        self._numbers = numbers
        self._pulse = pulse
        self._alarms = alarms

    def routes(self) -> list[web.RouteDef]:
        """Where it answers."""
        path = self._settings.webhook_path
        return [web.get(path, self.handshake), web.post(path, self.deliver)]

    async def handshake(self, request: web.Request) -> web.Response:
        """Meta's question whether this webhook is ours."""
        if not self._admitted(request):
            return _problem(403, "this address may not call the webhook (bridge.webhook_allow)")
        token = self._settings.verify_token.get_secret_value()
        given = request.query.get("hub.verify_token", "")
        if not token or not hmac.compare_digest(given.encode("utf-8", "replace"), token.encode()):
            return _problem(403, "the verify token is wrong: set bridge.verify_token to the one given to Meta")
        return web.Response(text=request.query.get("hub.challenge", ""))

    async def deliver(self, request: web.Request) -> web.Response:
        """A delivery: checked, split, committed, and only then acknowledged."""
        if not self._admitted(request):
            log.warning("A webhook delivery from an address outside bridge.webhook_allow was refused.")
            return _problem(403, "this address may not call the webhook (bridge.webhook_allow)")
        try:
            async with asyncio.timeout(self._settings.webhook_timeout):
                raw = await _read(request)
        except TimeoutError:
            log.warning("A webhook delivery that did not come in within bridge.webhook_timeout was refused.")
            return _problem(408, "the delivery did not come in in time")
        if len(raw) > MAX_WEBHOOK:
            log.warning("A webhook delivery of more than %d bytes was refused.", MAX_WEBHOOK)
            return _problem(413, f"a delivery may be {MAX_WEBHOOK} bytes")
        signers = signed_by(raw, request.headers.get("X-Hub-Signature-256"), self._numbers)
        if not signers:
            log.warning("A webhook delivery with a wrong or no signature was refused (%d bytes).", len(raw))
            return _problem(401, "the signature X-Hub-Signature-256 is missing or wrong")
        return await self.take(raw, signers)

    async def take(self, raw: bytes, signers: frozenset[str]) -> web.Response:
        """A delivery that is signed: all of it committed, as what it is or as rejected."""
        try:
            body, cut = parse(raw)
            told = sort_out(dict(body), self._numbers, signers)
            changes = list(self._network.split(told.body))
            latest = newest(told.body)
        except (ValueError, TypeError, RecursionError) as error:
            log.warning(
                "A signed webhook delivery can't be read (%s, %d bytes); kept as it came.", type(error).__name__, len(raw)
            )
            await self._relay.reject(raw, type(error).__name__, signers)
            return _problem(400, "the delivery is not a JSON object that can be read; it has been kept")
        if not changes and not told.foreign:
            log.warning("A signed webhook delivery holds no changes (%d bytes); kept as it came.", len(raw))
            await self._relay.reject(raw, "no changes", signers)
            return _problem(400, "the delivery holds no entry with changes; it has been kept")
        days = self._settings.replay_days
        if days and latest is not None and latest < datetime.now(UTC) - timedelta(days=days):
            # Meta delivers again for seven days; what comes later is somebody else's doing, or something we should know of.
            log.warning("A signed webhook delivery is %s; set aside.", OLD)
            await self._relay.reject(raw, OLD, signers)
            return web.json_response({"received": 0, "set_aside": len(changes)})
        if cut:
            log.warning(
                "A signed webhook delivery is nested too deeply in places; what can be read is carried over, all of it kept."
            )
            await self._relay.reject(raw, "nested too deeply", signers)
        if told.foreign:
            log.warning("A signed webhook delivery speaks for an account that is not its signer's; that part is set aside.")
            await self._relay.reject(json.dumps(body | {"entry": told.foreign}).encode(), FOREIGN, signers)
        if changes:
            await self._relay.take_in(changes)
        now = datetime.now(UTC)
        for number_id in told.served:
            self._pulse.heard(number_id, now)
        for number_id in sorted(told.unknown)[:20]:
            await self._alarms.ring("unknown-number", number_id, f"phone_number_id {number_id[:40]}")
        return web.json_response({"received": len(changes)})

    def _admitted(self, request: web.Request) -> bool:
        """Whether the address that calls may (bridge.webhook_allow); nobody is kept out while that is empty."""
        if not self._settings.webhook_allow:
            return True
        forwarded = ",".join(request.headers.getall("X-Forwarded-For", []))
        address = caller(request.remote or "", forwarded, self._settings.trusted_proxies)
        return address is not None and within(address, self._settings.webhook_allow)


async def _read(request: web.Request) -> bytes:
    raw = await request.content.read(MAX_WEBHOOK + 1)
    while len(raw) <= MAX_WEBHOOK and (more := await request.content.read(MAX_WEBHOOK + 1 - len(raw))):
        raw += more
    return raw


def _problem(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)
