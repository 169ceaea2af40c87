"""Signed webhook deliveries, as Meta makes them."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp

from tests.conftest import RunningStack


@dataclass
class WhatsApp:
    """One number's webhooks, over connections that are kept."""

    stack: RunningStack
    http: aiohttp.ClientSession
    number: dict[str, str] = field(default_factory=dict)

    async def find_number(self) -> None:
        async with self.http.get(f"{self.stack.simulator}/phone_numbers") as answer:
            self.number = (await answer.json())[0]

    def delivery(self, texts: Sequence[tuple[str, str, str]]) -> bytes:
        """A delivery of messages: (contact, message id, text)."""
        value = {
            "messaging_product": "whatsapp",
            "metadata": {"phone_number_id": self.number["id"], "display_phone_number": self.number["display_phone_number"]},
            "contacts": [
                {"wa_id": who, "profile": {"name": f"Inwoner {who[-4:]}"}} for who in sorted({who for who, _, _ in texts})
            ],
            "messages": [
                {"from": who, "id": message_id, "timestamp": str(int(time.time())), "type": "text", "text": {"body": text}}
                for who, message_id, text in texts
            ],
        }
        entry = {"id": "WABA", "changes": [{"field": "messages", "value": value}]}
        return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()

    async def deliver(self, texts: Sequence[tuple[str, str, str]]) -> float:
        """Deliver; returns the seconds until it was acknowledged."""
        raw = self.delivery(texts)
        secret = self.stack.webhook_app_secret.encode()
        headers = {"X-Hub-Signature-256": "sha256=" + hmac.digest(secret, raw, hashlib.sha256).hex()}
        began = time.perf_counter()
        async with self.http.post(self.stack.webhook, data=raw, headers=headers) as answer:
            await answer.read()
            assert answer.status == 200, answer.status
        return time.perf_counter() - began
