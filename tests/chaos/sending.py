"""The part of the bridge that sends to WhatsApp and is told by it, as a program that a test can kill.

`python -m tests.chaos.sending DATABASE GRAPH PORT SETTLE`: the product's own outbox, Graph client, webhook and inbox, without a
homeserver.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import aiohttp
import asyncpg
from aiohttp import web
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from bridge.network import Outgoing
from bridge.network.cloud import Cloud
from bridge.numbers import Numbers
from bridge.office.alarm import Alarms
from bridge.office.pulse import Pulse
from bridge.relay.relay import INBOX, OUTBOX, Pace, Relay
from bridge.sealing import Seal
from bridge.settings import Bridge
from bridge.webhook import Webhook

SEAL = Seal(AESGCM(b"\4" * 32))
SECRET, NUMBER, CONTACT = "geheim", "31", "31612345678"


async def main(database: str, graph: str, port: int, settle: float) -> None:
    """Send what is in the outbox, until killed."""
    async with asyncpg.create_pool(database, min_size=2, max_size=10) as pool, aiohttp.ClientSession() as http:
        relay = Relay(pool, SEAL, Pace(settle=settle, silence=settle))
        cloud = Cloud(http, graph, "v25.0", str, 1000)

        async def send(event: dict[str, Any]) -> str:
            if await relay.message_of(event["event_id"]):
                return "done"
            message_id = await cloud.send(NUMBER, Outgoing(CONTACT, "text", event["text"], key=event["event_id"]))
            await relay.carried(NUMBER, message_id, event["room_id"], event["event_id"])
            return "done"

        async def hear(change: dict[str, Any]) -> str:
            if told := cloud.told(change):
                await relay.told(*told)
            return "done"

        async def give_up(change: dict[str, Any], reason: str) -> None:
            print(reason, file=sys.stderr, flush=True)

        app = web.Application()
        settings = Bridge(app_secret=SecretStr(SECRET), replay_days=0)
        app.add_routes(Webhook(settings, cloud, relay, Numbers(settings), Pulse(), Alarms(pool)).routes())
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(relay.run(INBOX, hear, give_up, stop))
            tasks.create_task(relay.run(OUTBOX, send, give_up, stop))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
