"""What WhatsApp calls: a delivery is checked, split, committed, and only then acknowledged (promise 1)."""

from __future__ import annotations

import hmac
import logging

from aiohttp import web

from bridge.network.cloud import Cloud, parse, signature_ok
from bridge.relay import Relay
from bridge.settings import Bridge

log = logging.getLogger(__name__)

MAX_WEBHOOK = 3 * 1024 * 1024  # Meta: a delivery is at most 3 MB


class Webhook:
    """The address that Meta delivers to."""

    def __init__(self, settings: Bridge, network: Cloud, relay: Relay) -> None:
        self._settings = settings
        self._network = network
        self._relay = relay

    def routes(self) -> list[web.RouteDef]:
        """Where it answers."""
        path = self._settings.webhook_path
        return [web.get(path, self.handshake), web.post(path, self.deliver)]

    async def handshake(self, request: web.Request) -> web.Response:
        """Meta's question whether this webhook is ours."""
        token = self._settings.verify_token.get_secret_value()
        given = request.query.get("hub.verify_token", "")
        if not token or not hmac.compare_digest(given.encode("utf-8", "replace"), token.encode()):
            return _problem(403, "the verify token is wrong: set bridge.verify_token to the one given to Meta")
        return web.Response(text=request.query.get("hub.challenge", ""))

    async def deliver(self, request: web.Request) -> web.Response:
        """A delivery: checked, split, committed, and only then acknowledged."""
        raw = await request.content.read(MAX_WEBHOOK + 1)
        while len(raw) <= MAX_WEBHOOK and (more := await request.content.read(MAX_WEBHOOK + 1 - len(raw))):
            raw += more
        if len(raw) > MAX_WEBHOOK:
            log.warning("A webhook delivery of more than %d bytes was refused.", MAX_WEBHOOK)
            return _problem(413, f"a delivery may be {MAX_WEBHOOK} bytes")
        if not signature_ok(self._settings.app_secret.get_secret_value(), raw, request.headers.get("X-Hub-Signature-256")):
            log.warning("A webhook delivery with a wrong or no signature was refused (%d bytes).", len(raw))
            return _problem(401, "the signature X-Hub-Signature-256 is missing or wrong")
        try:
            body, cut = parse(raw)
            changes = list(self._network.split(dict(body)))
        except (ValueError, TypeError, RecursionError) as error:
            log.warning(
                "A signed webhook delivery can't be read (%s, %d bytes); kept as it came.", type(error).__name__, len(raw)
            )
            await self._relay.reject(raw, type(error).__name__)
            return _problem(400, "the delivery is not a JSON object that can be read; it has been kept")
        if not changes:
            log.warning("A signed webhook delivery holds no changes (%d bytes); kept as it came.", len(raw))
            await self._relay.reject(raw, "no changes")
            return _problem(400, "the delivery holds no entry with changes; it has been kept")
        if cut:
            log.warning(
                "A signed webhook delivery is nested too deeply in places; what can be read is carried over, all of it kept."
            )
            await self._relay.reject(raw, "nested too deeply")
        await self._relay.take_in(changes)
        return web.json_response({"received": len(changes)})


def _problem(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)
