"""Two homeservers that really federate: a guest is believed by their own server's key, and what ours missed is fetched."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import secrets
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from archiver.demo import synapse
from archiver.demo.postgres import Postgres, make_databases
from archiver.demo.stack import answers
from archiver.demo.supervisor import Part, Supervisor
from archiver.ledger.event import verify_json
from tests.conftest import RunningStack, free_port_base
from tests.facility import facility
from tests.interop.client import Official

pytestmark = [pytest.mark.stack, pytest.mark.interop]

READ = "SELECT unreadable IS NULL FROM record WHERE event_id = $1"
SEATED = "SELECT membership = 'join' AND notice_seen_at IS NOT NULL FROM room WHERE room_id = $1"


@dataclass(frozen=True)
class Two:
    """Our homeserver and somebody else's."""

    own: RunningStack
    other: RunningStack
    own_process: Part


@pytest.fixture
async def two(folder: Path) -> AsyncIterator[Two]:
    """Two Synapses that reach each other over TLS on this machine, on one Postgres."""
    base = free_port_base()
    database = Postgres(folder, base, secrets.token_hex(8))
    database.initialise()
    supervisor = Supervisor(lambda _: None)
    async with AsyncExitStack() as stopping:
        stopping.push_async_callback(supervisor.stop)
        part = Part("postgres", database.command(), database.answers, folder / "postgres.log", user=database.user)
        await supervisor.start(part)
        await database.make_databases()
        made = [await homeserver(supervisor, folder, database, name, base + at) for at, name in ((1, "own"), (3, "other"))]
        yield Two(made[0][0], made[1][0], made[0][1])


async def homeserver(supervisor: Supervisor, folder: Path, database: Postgres, name: str, port: int) -> tuple[RunningStack, Part]:
    """A Synapse whose name is the very address where others find it."""
    server_name, place = f"127.0.0.1:{port + 1}", folder / name
    certificate(place)
    registration = place / "registration.yaml"
    tokens = {token: secrets.token_hex(8) for token in ("as_token", "hs_token")}
    registration.write_text(yaml.safe_dump({"id": "none", "url": None, "sender_localpart": "none", "namespaces": {}, **tokens}))
    keys = ("registration_shared_secret", "macaroon_secret_key", "form_secret")
    url = database.url("griffier")
    await make_databases(database.url("postgres"), name)
    config = synapse.write_config(
        place, port=port, server_name=server_name, archiver=f"@archief:{server_name}", bridges=[],
        database=database.url(f"{name}_synapse"), secrets={key: secrets.token_hex(16) for key in keys}, registration=registration,
    )  # fmt: skip
    told = yaml.safe_load(config.read_text())
    told["listeners"].append(
        {"port": port + 1, "bind_addresses": ["127.0.0.1"], "type": "http", "tls": True, "resources": [{"names": ["federation"]}]}
    )
    del told["federation_domain_whitelist"]
    told |= {
        "tls_certificate_path": str(place / "tls.crt"), "tls_private_key_path": str(place / "tls.key"),
        "federation_verify_certificates": False, "ip_range_blacklist": [], "ip_range_whitelist": ["127.0.0.1"],
        # Somebody who was away is tried again soon; Synapse's own default is ten minutes.
        "federation": {
            "client_timeout": "2s", "max_short_retries": 1, "destination_min_retry_interval": "1s",
            "destination_retry_multiplier": 1, "destination_max_retry_interval": "1s",
        },
        "modules": [],
    }  # fmt: skip
    config.write_text(yaml.safe_dump(told))
    assert await (await asyncio.create_subprocess_exec(*synapse.command(config), "--generate-keys")).wait() == 0
    client = f"http://127.0.0.1:{port}"
    ready = answers(f"{client}/_matrix/client/versions")
    process = Part(name, synapse.command(config), ready, folder / f"{name}.log")
    await supervisor.start(process)
    shared = told["registration_shared_secret"]
    contract = dict.fromkeys(RunningStack.__dataclass_fields__, "") | {
        "process": SimpleNamespace(), "homeserver": client, "server_name": server_name, "database": url,
        "registration_shared_secret": shared,
    }  # fmt: skip
    return RunningStack(**contract), process


def certificate(folder: Path) -> None:
    """A certificate of our own making: TLS is what federation speaks."""
    folder.mkdir(parents=True)
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1)).sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "tls.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )  # fmt: skip
    (folder / "tls.key").write_bytes(private)


@asynccontextmanager
async def away(part: Part) -> AsyncIterator[None]:
    """A homeserver that does not answer until the end of the block."""
    assert part.process is not None
    part.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        part.process.send_signal(signal.SIGCONT)


@pytest.fixture
async def people(two: Two) -> AsyncIterator[tuple[Official, Official]]:
    """An official of ours and somebody of the other homeserver."""
    ours, our_password = await two.own.register("ambtenaar")
    theirs, their_password = await two.other.register("gast")
    async with (
        Official(two.own.homeserver, ours, our_password) as official,
        Official(two.other.homeserver, theirs, their_password) as guest,
    ):
        yield official, guest


async def test_what_a_guest_from_another_homeserver_says_is_captured_and_proved_by_its_key(two, people, tmp_path):
    official, guest = people
    async with facility(two.own, tmp_path) as archive:
        await archive.start()
        await archive.until("SELECT count(*) = 1 FROM seat WHERE capturing")
        made = await official.do("create_room", name="Met een gast", invite=[archive.user_id, guest.user_id])
        room = made["room"]
        await archive.until(SEATED, room)
        assert (await guest.do("wait_invite"))["room"] == room
        await official.do("wait_members", room=room, count=3)
        await guest.do("wait_members", room=room, count=3)
        word = secrets.token_hex(5)
        sent = (await guest.do("send", room=room, body=word))["event_id"]
        await archive.until(READ, sent)
        line = (await archive.texts(room))[word]
        assert line["sender"] == guest.user_id
        server = two.other.server_name
        [record] = await archive.fetch("SELECT signed_by, unsigned_by FROM record WHERE event_id = $1", sent)
        assert (record["signed_by"], record["unsigned_by"]) == ([server], [])

        # The proof is the other server's own: its answer about its keys, as it still tells anyone who asks.
        kept = await archive.fetch("SELECT answer FROM server_key_answer WHERE server_name = $1", server)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        async with aiohttp.ClientSession() as http, http.get(f"https://{server}/_matrix/key/v2/server", ssl=context) as answer:
            told = await answer.json(content_type=None)
        [(key_id, key)] = told["verify_keys"].items()
        assert any(verify_json(json.loads(row["answer"]), server, key_id, key["key"]) for row in kept)

        # What our homeserver missed while it was away, more than it asks for by itself, is fetched from the other.
        bodies = [f"{word} {number}" for number in range(40)]
        async with away(two.own_process):
            missed = (await guest.do("send_many", room=room, bodies=bodies))["event_ids"]
        after = (await guest.do("send", room=room, body=f"{word} weer"))["event_id"]
        await archive.until(READ, after, seconds=90)
        every = "SELECT count(*) = $2 FROM record WHERE event_id = ANY($1) AND unreadable IS NULL AND signed_by = ARRAY[$3]"
        await archive.until(every, missed, len(missed), server, seconds=60)
        await archive.until("SELECT count(*) = 0 FROM gap WHERE room_id = $1 AND state <> 'filled'", room, seconds=60)
        assert set(bodies) <= set(await archive.texts(room))
