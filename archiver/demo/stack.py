"""The whole chain on this machine: Postgres, Synapse with the guard, simulator, bridge, archiver, web application."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
import sysconfig
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from importlib.resources import as_file, files
from pathlib import Path
from signal import SIGINT
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import yaml

from archiver.demo import people, synapse
from archiver.demo.identity import IdentityProvider
from archiver.demo.ports import DemoError, Ports
from archiver.demo.postgres import Postgres, make_databases
from archiver.demo.supervisor import Part, Say, Supervisor, own_env

CLIENT = "griffier"  # the web application, to the demo's identity provider
SECRETS = [
    "postgres", "registration_shared_secret", "macaroon_secret_key", "form_secret", "archiver_password", "operator_password",
    "as_token", "hs_token", "webhook_app_secret", "webhook_verify_token", "graph_access_token",
    "provisioning_token",
    *(f"password_{person.localpart}" for person in people.MINISTRY if person is not people.OPERATOR),
    *(f"password_{person.localpart}" for person in people.CANARIES),
    "web_client_secret",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Contract:
    """What `griffier demo --bare --json` prints (DESIGN section 7)."""

    homeserver: str
    server_name: str
    registration_shared_secret: str
    database: str
    web: str
    webhook: str
    webhook_app_secret: str
    webhook_verify_token: str
    simulator: str
    archiver: str
    admin_token: str
    data_dir: str

    def json(self) -> str:
        return json.dumps(asdict(self))


class Stack:
    """The running demo; an async context manager."""

    def __init__(self, data_dir: Path, ports: Ports, say: Say, canary: float = 0) -> None:
        self.data_dir = data_dir.resolve()
        self.ports = ports
        self.secrets: dict[str, str] = {}
        self.contract: Contract
        self._say = say
        self._canary = canary  # minutes between two rounds; 0 is off
        self._supervisor = Supervisor(say)
        self._logs = self.data_dir / "logs"
        self._running = AsyncExitStack()
        self._external = os.environ.get("GRIFFIER_DATABASE__URL", "")

    async def __aenter__(self) -> Self:
        self.ports.require_free()
        self._make_folders()
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    async def _stop(self) -> None:
        await self._running.aclose()
        await self._supervisor.stop()

    async def _start(self) -> None:
        database = await self._start_postgres()
        homeserver, token = await self._start_homeserver(database)
        self.contract = Contract(
            homeserver=homeserver,
            server_name=people.SERVER_NAME,
            registration_shared_secret=self.secrets["registration_shared_secret"],
            database=database,
            web=f"http://127.0.0.1:{self.ports.web}",
            webhook=f"http://127.0.0.1:{self.ports.webhook}/webhook",
            webhook_app_secret=self.secrets["webhook_app_secret"],
            webhook_verify_token=self.secrets["webhook_verify_token"],
            simulator=f"http://127.0.0.1:{self.ports.simulator}",
            archiver=people.user_id(people.ARCHIVER),
            admin_token=token,
            data_dir=str(self.data_dir),
        )
        config = self._write_settings()
        await self._migrate(config)
        await self._running.enter_async_context(
            IdentityProvider(self.ports.identity, CLIENT, self.secrets["web_client_secret"], self.contract.web)
        )
        await asyncio.gather(self._start_bridge(), self._start_archive(config))
        if self._canary:
            await self._start_canary(config)

    def _make_folders(self) -> None:
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DemoError(f"{self.data_dir} can't be made: {error.strerror}. Give another --data-dir.") from None
        path = self.data_dir / "secrets.json"
        try:
            self.secrets = json.loads(path.read_text()) if path.exists() else {}
        except OSError as error:
            raise DemoError(f"{path} can't be read: {error.strerror}. It is another user's: give another --data-dir.") from None
        missing = [name for name in SECRETS if name not in self.secrets]
        if missing:
            self.secrets |= {name: secrets.token_hex(16) for name in missing}
            synapse.write_private(path, json.dumps(self.secrets, indent=1))

    async def _start_postgres(self) -> str:
        if self._external:
            name = urlsplit(self._external).path.lstrip("/") or "griffier"
            await make_databases(_with_database(self._external, "postgres"), name)
            self._say("  Postgres               gereed · ready   (GRIFFIER_DATABASE__URL)")
            return _with_database(self._external, name)
        server = Postgres(self.data_dir, self.ports.postgres, self.secrets["postgres"])
        await asyncio.to_thread(server.initialise)

        # SIGINT is Postgres's fast shutdown: it does not wait for its clients.
        log = self._logs / "postgres.log"
        await self._supervisor.start(Part("Postgres", server.command(), server.answers, log, stop_with=SIGINT, user=server.user))
        await server.make_databases()
        return server.url("griffier")

    async def _start_homeserver(self, database: str) -> tuple[str, str]:
        self._write_bridge_settings(database)
        registration = self.data_dir / "synapse" / "registration.yaml"
        await self._once("the bridge's registration", [*self._bridge("--registration"), str(registration)])
        config = synapse.write_config(
            self.data_dir / "synapse",
            port=self.ports.homeserver,
            server_name=people.SERVER_NAME,
            archiver=people.user_id(people.ARCHIVER),
            bridges=people.BRIDGES,
            database=_with_database(database, urlsplit(database).path.lstrip("/") + "_synapse"),
            secrets=self.secrets,
            registration=registration,
        )
        url = f"http://127.0.0.1:{self.ports.homeserver}"
        ready = answers(f"{url}/_matrix/client/versions")
        await self._once("Synapse's signing key", [*synapse.command(config), "--generate-keys"])
        await self._supervisor.start(Part("Synapse", synapse.command(config), ready, self._logs / "synapse.log"))
        shared = self.secrets["registration_shared_secret"]
        for person, password, admin in (
            (people.ARCHIVER, self.secrets["archiver_password"], False),
            (people.OPERATOR, self.secrets["operator_password"], True),
            (people.MINISTER, self.secrets[f"password_{people.MINISTER.localpart}"], False),
        ):
            await synapse.register(url, shared, person.localpart, password, admin=admin, name=person.name)
        if "admin_token" not in self.secrets:
            token = await synapse.log_in(url, people.OPERATOR.localpart, self.secrets["operator_password"], "GRIFFIERDEMO")
            self.secrets["admin_token"] = token
            synapse.write_private(self.data_dir / "secrets.json", json.dumps(self.secrets, indent=1))
        return url, self.secrets["admin_token"]

    async def _start_bridge(self) -> None:
        simulator = [sys.executable, "-m", "bridge.simulator", "--config", str(self.data_dir / "bridge.yaml")]
        ready = answers(f"{self.contract.simulator}/phone_numbers")
        await self._supervisor.start(Part("WhatsApp (nagebootst)", simulator, ready, self._logs / "simulator.log"))
        ready = answers(f"http://127.0.0.1:{self.ports.webhook}/healthz")
        await self._supervisor.start(Part("Brug · bridge", self._bridge(), ready, self._logs / "bridge.log"))

    async def _start_archive(self, config: Path) -> None:
        ready = answers(f"{self.contract.web}/healthz")
        await self._supervisor.start(Part("Web", self._griffier("web", config), ready, self._logs / "web.log"))
        ready = answers(f"{self.contract.web}/readyz")
        await self._supervisor.start(
            Part("Archief · archive", self._griffier("archive", config), ready, self._logs / "archive.log")
        )

    async def _start_canary(self, config: Path) -> None:
        url, shared = self.contract.homeserver, self.secrets["registration_shared_secret"]
        for person in people.CANARIES:
            await synapse.register(url, shared, person.localpart, self.secrets[f"password_{person.localpart}"], name=person.name)

        async def ready() -> bool:
            return True  # whether it sings is for `griffier status` to say

        part = Part("Kanarie · canary", self._griffier("canary", config), ready, self._logs / "canary.log")
        await self._supervisor.start(part)

    async def register_officials(self) -> None:
        """The sample ministry's officials, as an admin brings them in from a file; nothing changes where they are known."""
        config = self.data_dir / "griffier.yaml"
        with as_file(files("archiver.demo") / "sample" / "ambtsdragers.csv") as file:
            await self._once("the officials", [*self._griffier("official", config), "import", str(file), "--confirm"])

    async def _migrate(self, config: Path) -> None:
        await self._once("the archive's tables", self._griffier("migrate", config))

    async def _once(self, what: str, command: list[str]) -> None:
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=own_env())
        out, _ = await asyncio.wait_for(process.communicate(), 60)
        if process.returncode:
            raise DemoError(f"Making {what} failed:\n{out.decode(errors='replace')[-2000:]}")

    def _griffier(self, role: str, config: Path) -> list[str]:
        # The script, not `python -m archiver…`: only the archiver's own command line says "archive" (DESIGN section 7).
        return [str(Path(sysconfig.get_path("scripts")) / "griffier"), role, "--config", str(config)]

    def _bridge(self, *more: str) -> list[str]:
        return [sys.executable, "-m", "bridge", "--config", str(self.data_dir / "bridge.yaml"), *more]

    def _write_settings(self) -> Path:
        settings: dict[str, Any] = {
            "data_dir": str(self.data_dir),
            "organisation": {"name": "het Ministerie van Waterbeheer (voorbeeld)"},
            "database": {"url": self.contract.database},
            "homeserver": {"url": self.contract.homeserver, "server_name": people.SERVER_NAME},
            "archiver": {
                "user_id": self.contract.archiver,
                "password": self.secrets["archiver_password"],
                "bridges": people.BRIDGES,
            },
            "web": {
                "port": self.ports.web,
                "sign_in_limit": 1000,  # everybody comes from this machine
                "bridge": {
                    "url": f"http://127.0.0.1:{self.ports.provisioning}",
                    "token": self.secrets["provisioning_token"],
                },
                "oidc": {
                    "issuer": f"http://127.0.0.1:{self.ports.identity}",
                    "client_id": CLIENT,
                    "client_secret": self.secrets["web_client_secret"],
                    "public_url": self.contract.web,
                    "roles_claim": "groups",
                    "roles": people.ROLES,
                    "user_claim": "matrix_id",
                },
            },
        }
        if self._canary:
            settings["canary"] = {"every": self._canary}
            for role, person in zip(("sender", "receiver"), people.CANARIES, strict=True):
                settings["canary"] |= {
                    role: people.user_id(person),
                    f"{role}_password": self.secrets[f"password_{person.localpart}"],
                }
        path = self.data_dir / "griffier.yaml"
        synapse.write_private(path, yaml.safe_dump(settings, sort_keys=False))
        return path

    def _write_bridge_settings(self, database: str) -> None:
        official = people.user_id(people.MINISTER)
        numbers = [{"id": people.PHONE_ID, "display_phone_number": people.PHONE_NUMBER, "official": official}]
        shared = {
            "app_secret": self.secrets["webhook_app_secret"],
            "verify_token": self.secrets["webhook_verify_token"],
            "access_token": self.secrets["graph_access_token"],
            "numbers": numbers,
        }
        settings = {
            "bridge": {
                "homeserver_url": f"http://127.0.0.1:{self.ports.homeserver}",
                "server_name": people.SERVER_NAME,
                "listen_host": "127.0.0.1",
                "listen_port": self.ports.appservice,
                "as_token": self.secrets["as_token"],
                "hs_token": self.secrets["hs_token"],
                "database_url": _with_database(database, urlsplit(database).path.lstrip("/") + "_bridge"),
                "key_file": str(self.data_dir / "keys" / "bridge.key"),
                "graph_url": f"http://127.0.0.1:{self.ports.simulator}",
                "webhook_host": "127.0.0.1",
                "webhook_port": self.ports.webhook,
                "webhook_url": f"http://127.0.0.1:{self.ports.webhook}/webhook",
                "overlooked_seconds": 10,
                "replay_days": 0,  # conversations of the demo are of any day
                "admins": [people.user_id(people.OPERATOR)],
                "provisioning_port": self.ports.provisioning,
                "provisioning_token": self.secrets["provisioning_token"],
                "provisioning_url": f"http://127.0.0.1:{self.ports.provisioning}",
                **shared,
            },
            "simulator": {
                "host": "127.0.0.1",
                "port": self.ports.simulator,
                "webhook_url": f"http://127.0.0.1:{self.ports.webhook}/webhook",
                **shared,
            },
        }
        synapse.write_private(self.data_dir / "bridge.yaml", yaml.safe_dump(settings, sort_keys=False))


def answers(url: str) -> Callable[[], Awaitable[bool]]:
    """Whether a GET of `url` is answered with 200."""

    async def ready() -> bool:
        timeout = aiohttp.ClientTimeout(total=3)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as http, http.get(url) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    return ready


def _with_database(url: str, name: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
