"""The webhook over real HTTP: who may call it, what it takes, what it sets aside, and that nothing signed is lost."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509.oid import NameOID

from bridge.listening import serving, tls
from bridge.network.cloud import Cloud
from bridge.numbers import BusinessAccount, Number, Numbers
from bridge.office import assigning
from bridge.office.alarm import Alarms
from bridge.office.pulse import Pulse
from bridge.relay.relay import Relay
from bridge.sealing import Seal
from bridge.settings import Bridge
from bridge.webhook import Webhook

pytestmark = pytest.mark.postgres
SEAL = Seal(AESGCM(b"\1" * 32))


@dataclass
class Called:
    """A webhook that listens, and what stands behind it."""

    url: str
    pool: asyncpg.Pool
    pulse: Pulse
    alarms: Alarms
    port: int
    relay: Relay
    numbers: Numbers

    async def post(self, raw: bytes, secret: str = "own", headers: dict[str, str] | None = None) -> int:
        signed = {"X-Hub-Signature-256": "sha256=" + hmac.digest(secret.encode(), raw, hashlib.sha256).hex()} | (headers or {})
        async with aiohttp.ClientSession() as http, http.post(self.url, data=raw, headers=signed) as answer:
            return answer.status

    async def inbox(self) -> int:
        return await self.pool.fetchval("SELECT count(*) FROM inbox")

    async def retry(self, item: str = "") -> int:
        return await assigning.retry(self.pool, SEAL, self.relay, self.numbers, item)

    async def rejected(self) -> list[str]:
        return [row["reason"] for row in await self.pool.fetch("SELECT reason FROM rejected ORDER BY id")]


Open = Callable[..., AbstractAsyncContextManager[Called]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def opened(bridge_url: str) -> Open:
    @asynccontextmanager
    async def open_(**more: Any) -> AsyncIterator[Called]:
        settings = Bridge(app_secret="own", verify_token="verify", **more)
        numbers, pulse = Numbers(settings), Pulse()
        numbers._accounts |= {"B": BusinessAccount("B", token="tb", app_secret="sb")}
        numbers._by_id = {"1": Number("1", "+31 1", "@a:x"), "2": Number("2", "+31 2", "@b:x", "B")}
        async with asyncpg.create_pool(bridge_url, min_size=1, max_size=4) as pool, aiohttp.ClientSession() as http:
            relay, alarms = Relay(pool, SEAL), Alarms(pool)
            cloud = Cloud(http, "http://127.0.0.1:1", "v25.0", numbers.token, 1000)
            app = web.Application()
            app.add_routes(Webhook(settings, cloud, relay, numbers, pulse, alarms).routes())
            port = free_port()
            async with serving(app, "127.0.0.1", port, context=tls(settings), patience=settings.webhook_timeout):
                scheme = "https" if settings.webhook_tls_certificate else "http"
                yield Called(f"{scheme}://127.0.0.1:{port}/webhook", pool, pulse, alarms, port, relay, numbers)

    return open_


def delivery(number: str = "1", waba_id: str = "X", message: str = "wamid.1", at: float | None = None) -> bytes:
    told = {
        "from": "31612345678",
        "id": message,
        "type": "text",
        "text": {"body": "dag"},
        "timestamp": str(int(at or time.time())),
    }
    value = {"metadata": {"phone_number_id": number}, "messages": [told]}
    return json.dumps({"entry": [{"id": waba_id, "changes": [{"field": "messages", "value": value}]}]}).encode()


async def test_a_delivery_is_taken_and_is_a_sign_of_life(opened: Open):
    async with opened() as webhook:
        assert await webhook.post(delivery()) == 200
        assert await webhook.inbox() == 1
        assert webhook.pulse.of("1").heard_at is not None
        assert webhook.pulse.of("2").heard_at is None


async def test_a_delivery_that_comes_again_changes_nothing(opened: Open):
    async with opened() as webhook:
        assert [await webhook.post(delivery()) for _ in range(3)] == [200, 200, 200]
        assert await webhook.inbox() == 1


async def test_a_wrong_signature_gets_nothing_in_and_is_no_sign_of_life(opened: Open):
    async with opened() as webhook:
        assert await webhook.post(delivery(), secret="wrong") == 401
        assert await webhook.inbox() == 0
        assert webhook.pulse.of("1").heard_at is None


async def test_each_account_signs_with_its_own_secret_and_speaks_for_its_own_numbers(opened: Open):
    async with opened() as webhook:
        assert await webhook.post(delivery("2", "B"), secret="sb") == 200
        assert await webhook.inbox() == 1
        assert await webhook.post(delivery("1", "B", "wamid.2"), secret="sb") == 200
        assert await webhook.post(delivery("2", "B", "wamid.3"), secret="own") == 200
        assert await webhook.inbox() == 1
        assert await webhook.rejected() == ["of another account than its signer's"] * 2
        assert webhook.pulse.of("1").heard_at is None


async def test_an_unknown_number_is_kept_and_rings(opened: Open):
    async with opened() as webhook:
        assert await webhook.post(delivery("77")) == 200
        assert await webhook.post(delivery("77", message="wamid.2")) == 200
        assert await webhook.inbox() == 2
        [alarm] = await webhook.alarms.open()
        assert (alarm.kind, alarm.subject, alarm.count) == ("unknown-number", "phone_number_id 77", 2)


async def test_a_delivery_of_long_ago_is_set_aside_and_kept(opened: Open):
    then = (datetime.now(UTC) - timedelta(days=8, minutes=1)).timestamp()
    now = (datetime.now(UTC) - timedelta(days=7, hours=23)).timestamp()
    async with opened() as webhook:
        assert await webhook.post(delivery(at=then)) == 200
        assert (await webhook.inbox(), await webhook.rejected()) == (0, ["older than bridge.replay_days"])
        assert await webhook.post(delivery(at=now)) == 200
        assert await webhook.inbox() == 1
    async with opened(replay_days=0) as webhook:
        assert await webhook.post(delivery(message="wamid.9", at=then)) == 200
        assert await webhook.inbox() == 2


def deep(raw: bytes) -> bytes:
    """The delivery with something in its first message that is nested too deeply to be read."""
    return raw.replace(b'"type": "text"', b'"type": "text", "odd": ' + b"[" * 70 + b"]" * 70, 1)


@pytest.mark.parametrize("made", [deep, lambda raw: raw.replace(b'"timestamp": "', b'"timestamp": "1", "was": "')])
async def test_who_signed_what_was_set_aside_speaks_for_no_other_number_when_it_is_tried_again(opened: Open, made: Any):
    entries = [json.loads(delivery(number, "B", f"wamid.{number}"))["entry"][0] for number in ("2", "1")]
    async with opened() as webhook:
        assert await webhook.post(made(json.dumps({"entry": entries}).encode()), secret="sb") == 200
        assert await webhook.retry() == 1
        [taken] = await webhook.pool.fetch("SELECT dedupe FROM inbox")
        assert taken["dedupe"] == "message|2|wamid.2"
        [left] = await webhook.pool.fetch("SELECT reason FROM rejected WHERE retried_at IS NULL")
        assert left["reason"] == "of another account than its signer's"
        assert await webhook.retry() == 0


async def test_of_what_was_set_aside_nothing_leaves_the_list_before_something_of_it_is_taken_in(opened: Open):
    async with opened() as webhook:
        assert await webhook.post(b"{") == 400
        assert await webhook.post(b'{"entry": []}') == 400
        assert await webhook.retry() == 0
        assert await webhook.pool.fetchval("SELECT count(*) FROM rejected WHERE retried_at IS NULL") == 2


async def test_only_addresses_of_the_list_may_call(opened: Open):
    async with opened(webhook_allow=["203.0.113.0/24"], trusted_proxies=["127.0.0.0/8"]) as webhook:
        assert await webhook.post(delivery()) == 403
        assert await webhook.post(delivery(), headers={"X-Forwarded-For": "198.51.100.7"}) == 403
        assert await webhook.post(delivery(), headers={"X-Forwarded-For": "203.0.113.5, 198.51.100.7"}) == 403
        assert await webhook.inbox() == 0
        assert await webhook.post(delivery(), headers={"X-Forwarded-For": "198.51.100.7, 203.0.113.5"}) == 200
    async with opened(webhook_allow=["203.0.113.0/24"]) as webhook:
        assert await webhook.post(delivery(), headers={"X-Forwarded-For": "203.0.113.5"}) == 403


async def test_the_handshake_wants_the_verify_token(opened: Open):
    async with opened() as webhook, aiohttp.ClientSession() as http:
        query = {"hub.mode": "subscribe", "hub.challenge": "42", "hub.verify_token": "verify"}
        async with http.get(webhook.url, params=query) as answer:
            assert (answer.status, await answer.text()) == (200, "42")
        async with http.get(webhook.url, params=query | {"hub.verify_token": "x"}) as answer:
            assert answer.status == 403


async def test_a_delivery_that_is_too_large_is_refused(opened: Open):
    async with opened() as webhook:
        assert await webhook.post(b" " * (3 * 1024 * 1024 + 1)) == 413


async def trickle(port: int, first: bytes, then: bytes, every: float) -> float:
    """Seconds until a caller who sends a byte now and then is answered or cut off."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.monotonic()
    writer.write(first)

    async def go_on() -> None:
        for byte in then:
            await asyncio.sleep(every)
            writer.write(bytes([byte]))

    sending = asyncio.create_task(go_on())
    try:
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionError):
                await reader.read()
    finally:
        sending.cancel()
        writer.close()
    return time.monotonic() - began


async def test_who_dawdles_is_cut_off_and_others_are_served_meanwhile(opened: Open):
    async with opened(webhook_timeout=1.0) as webhook:
        head = b"POST /webhook HTTP/1.1\r\nHost: x\r\n"
        waits = [
            asyncio.create_task(trickle(webhook.port, b"", b"", 1)),
            asyncio.create_task(trickle(webhook.port, head + b"X-A: ", b"a" * 100, 0.2)),
            asyncio.create_task(trickle(webhook.port, head + b"Content-Length: 100\r\n\r\n", b"a" * 100, 0.2)),
        ]
        await asyncio.sleep(0.3)
        assert await webhook.post(delivery()) == 200
        for seconds in await asyncio.gather(*waits):
            assert 0.8 <= seconds < 6


def certificates(folder: Path) -> dict[str, Path]:
    """A CA, and a server's and a client's certificate of it."""
    made: dict[str, Path] = {}
    ca_key, ca_name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA")])

    def sign(name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, *, ca: bool) -> None:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        )
        if ca:
            usage = dict.fromkeys(
                ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                 "encipher_only", "decipher_only"), False,
            )  # fmt: skip
            builder = builder.add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
        made[name] = folder / f"{name}.pem"
        made[name].write_bytes(builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        made[f"{name}-key"] = folder / f"{name}.key"
        made[f"{name}-key"].write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )

    sign("CA", ca_key, ca_name, ca=True)
    for name in ("server", "client"):
        sign(name, ec.generate_private_key(ec.SECP256R1()), ca_name, ca=False)
    return made


async def test_the_webhook_has_tls_of_its_own_and_can_ask_callers_for_a_certificate(opened: Open, tmp_path: Path):
    made = certificates(tmp_path)
    own = {"webhook_tls_certificate": str(made["server"]), "webhook_tls_key": str(made["server-key"])}
    stranger = ssl.create_default_context(cafile=str(made["CA"]))
    meta = ssl.create_default_context(cafile=str(made["CA"]))
    meta.load_cert_chain(made["client"], made["client-key"])
    old = ssl.create_default_context(cafile=str(made["CA"]))
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    query = {"hub.challenge": "42", "hub.verify_token": "verify"}
    async with aiohttp.ClientSession() as http:
        async with opened(**own) as webhook:
            async with http.get(webhook.url, params=query, ssl=stranger) as answer:
                assert await answer.text() == "42"
            with pytest.raises(aiohttp.ClientError):
                await http.get(webhook.url, params=query, ssl=old)
        async with opened(**own, webhook_tls_client_ca=str(made["CA"])) as webhook:
            async with http.get(webhook.url, params=query, ssl=meta) as answer:
                assert await answer.text() == "42"
            with pytest.raises((aiohttp.ClientError, ConnectionError)):
                await http.get(webhook.url, params=query, ssl=stranger)


def test_tls_is_set_as_a_whole():
    with pytest.raises(ValueError, match="go together"):
        Bridge(webhook_tls_certificate="x")
    with pytest.raises(ValueError, match="needs"):
        Bridge(webhook_tls_client_ca="x")


async def test_a_number_id_that_no_database_takes_stops_nothing(opened: Open):
    async with opened() as webhook:
        assert await webhook.post(delivery("77\ud800\0")) == 200
        assert len(await webhook.alarms.open()) == 1
