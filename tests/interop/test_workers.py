"""The guard in a Synapse with workers: rooms made through a worker have their archiver before anyone can speak."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from archiver.demo import synapse
from archiver.demo.postgres import Postgres
from archiver.demo.stack import answers
from archiver.demo.supervisor import Part, Supervisor
from tests.conftest import free_port_base

pytestmark = pytest.mark.stack

ARCHIVER = "@archief:workers.example"
BOT, GHOST = "@brug:workers.example", "@whatsapp_31600000101:workers.example"
OFFICIAL, WORKS_COUNCIL = "@ambtenaar:workers.example", "@or-lid:workers.example"
SCOPE = {"officials": ["@*:workers.example"], "except_officials": ["@or-*:workers.example"]}


@dataclass(frozen=True)
class Cluster:
    """A homeserver whose clients speak to a worker."""

    main: str
    worker: str
    shared_secret: str

    async def sign_in(self, name: str) -> str:
        """Make an account; returns an access token."""
        password = secrets.token_hex(8)
        await synapse.register(self.main, self.shared_secret, name, password)
        return await synapse.log_in(self.main, name, password, "TEST")

    async def call(self, method: str, path: str, token: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """One request to the worker."""
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            http.request(method, f"{self.worker}/_matrix/client/v3/{path}", json=body) as answer,
        ):
            return answer.status, await answer.json()


def listener(port: int, resource: str) -> dict[str, Any]:
    """Where a Synapse process listens."""
    place = {"type": "http", "port": port, "bind_addresses": ["127.0.0.1"], "tls": False}
    return {**place, "resources": [{"names": [resource]}]}


@pytest.fixture
async def cluster(folder: Path) -> AsyncIterator[Cluster]:
    """Synapse's main process and a worker, with Redis between them."""
    if shutil.which("redis-server") is None:
        assert not os.environ.get("CI") or os.getuid(), "CI installs redis-server"
        pytest.skip("needs redis-server")
    base = free_port_base()
    port = {name: base + at for at, name in enumerate(["postgres", "redis", "main", "replication", "worker"])}
    keys = ("registration_shared_secret", "macaroon_secret_key", "form_secret")
    made = {name: secrets.token_hex(16) for name in keys}
    database = Postgres(folder, port["postgres"], secrets.token_hex(8))
    database.initialise()
    registration = folder / "registration.yaml"
    registration.write_text(
        yaml.safe_dump({
            "id": "none", "url": None, "as_token": secrets.token_hex(8), "hs_token": secrets.token_hex(8),
            "sender_localpart": "none", "namespaces": {},
        })
    )  # fmt: skip
    supervisor = Supervisor(lambda _: None)

    async def start(name: str, command: list[str], ready: Any, **more: Any) -> None:
        await supervisor.start(Part(name, command, ready, folder / f"{name}.log", **more))

    async def redis_ready() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port["redis"])
        except OSError:
            return False
        writer.close()
        return True

    async with AsyncExitStack() as stopping:
        stopping.push_async_callback(supervisor.stop)
        await start("postgres", database.command(), database.answers, user=database.user)
        await database.make_databases()
        redis = ["redis-server", "--port", str(port["redis"]), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        await start("redis", redis, redis_ready)
        config = synapse.write_config(
            folder / "synapse", port=port["main"], server_name="workers.example", archiver=ARCHIVER,
            bridges=[BOT, "@whatsapp_*:workers.example"], database=database.url("griffier_synapse"), secrets=made,
            registration=registration,
        )  # fmt: skip
        shared = yaml.safe_load(config.read_text())
        shared["listeners"].append(listener(port["replication"], "replication"))
        shared["modules"][0]["config"]["scope"] = SCOPE
        shared |= {
            "redis": {"enabled": True, "host": "127.0.0.1", "port": port["redis"]},
            "instance_map": {"main": {"host": "127.0.0.1", "port": port["replication"]}},
        }
        config.write_text(yaml.safe_dump(shared))
        own = folder / "worker.yaml"
        told = {
            "worker_app": "synapse.app.generic_worker", "worker_name": "worker1",
            "worker_listeners": [listener(port["worker"], "client")],
            "worker_log_config": str(folder / "synapse" / "log.yaml"),
        }  # fmt: skip
        own.write_text(yaml.safe_dump(told))
        main, worker = (f"http://127.0.0.1:{port[name]}" for name in ("main", "worker"))
        assert await (await asyncio.create_subprocess_exec(*synapse.command(config), "--generate-keys")).wait() == 0
        await start("main", synapse.command(config), answers(f"{main}/_matrix/client/versions"))
        command = [sys.executable, "-m", "synapse.app.generic_worker", "-c", str(config), "-c", str(own)]
        await start("worker", command, answers(f"{worker}/_matrix/client/versions"))
        yield Cluster(main, worker, made["registration_shared_secret"])


async def test_a_room_made_through_a_worker_has_its_archiver_at_once_and_keeps_it(cluster):
    await cluster.sign_in("archief")
    token = await cluster.sign_in("ambtenaar")
    status, made = await cluster.call("POST", "createRoom", token, {"preset": "private_chat", "name": "Via een werker"})
    assert status == 200, made
    room = made["room_id"]
    _, members = await cluster.call("GET", f"rooms/{room}/joined_members", token)
    assert ARCHIVER in members["joined"]
    for action in ("kick", "ban"):
        status, refused = await cluster.call("POST", f"rooms/{room}/{action}", token, {"user_id": ARCHIVER})
        assert status == 403
        assert "kan er niet uit worden verwijderd" in refused["error"]


async def test_what_the_guard_does_in_the_background_one_process_does(cluster, folder):
    await cluster.sign_in("archief")
    token = await cluster.sign_in("ambtenaar")
    levels = {"events_default": 50}
    status, made = await cluster.call("POST", "createRoom", token, {"power_level_content_override": levels})
    assert status == 200, made
    for _ in range(50):
        _, now = await cluster.call("GET", f"rooms/{made['room_id']}/state/m.room.power_levels", token)
        if now["users"].get(ARCHIVER) == 50:
            break
        await asyncio.sleep(0.1)
    assert now["users"].get(ARCHIVER) == 50, "the archiver may speak"
    logs = "".join(path.read_text() for path in folder.glob("*.log"))
    assert "could not be" not in logs


async def test_a_bridge_s_rooms_are_archived_by_the_scope_of_whom_they_are_for(cluster):
    await cluster.sign_in("archief")
    bot = await cluster.sign_in("brug")
    for name in ("ambtenaar", "or-lid", "whatsapp_31600000101"):
        await cluster.sign_in(name)

    async def made(**request: Any) -> tuple[set[str], dict[str, Any]]:
        """Who has joined the room as soon as it is there, and for whom it says that it was made."""
        status, answer = await cluster.call("POST", "createRoom", bot, {"preset": "private_chat", **request})
        assert status == 200, answer
        _, members = await cluster.call("GET", f"rooms/{answer['room_id']}/joined_members", bot)
        _, create = await cluster.call("GET", f"rooms/{answer['room_id']}/state/m.room.create", bot)
        return set(members["joined"]), create["nl.griffier.bridge"]

    for official, archived in ((OFFICIAL, True), (WORKS_COUNCIL, False)):
        info = {"protocol": {"id": "whatsapp"}, "channel": {"id": "31600000101@s.whatsapp.net"}, "nl.griffier.official": official}
        state = [{"type": "m.bridge", "state_key": "x", "content": info}]
        joined, told = await made(invite=[official, GHOST], initial_state=state)
        assert (ARCHIVER in joined, told) == (archived, {"officials": [official]})
    joined, told = await made(name="Beheer WhatsApp-brug", invite=[WORKS_COUNCIL])
    assert (ARCHIVER in joined, told) == (True, {"management": True})
