"""Files are fetched first, once, and kept sealed; a message is never lost with its file."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from bridge.arriving import fetching, missing
from bridge.arriving.address_book import AddressBook
from bridge.arriving.fetching import Files
from bridge.arriving.measures import info
from bridge.arriving.missing import Missing, MissingFiles
from bridge.network import ContactSynced, Media, NetworkError
from bridge.network.cloud import Cloud
from bridge.portal import emblem
from bridge.relay.relay import Relay
from bridge.sealing import Seal

SEAL = Seal(AESGCM(b"k" * 32))
PICTURE = Media("image/png", "foto.png", "501")


class Slow(Cloud):
    """WhatsApp, with files that take a moment."""

    def __init__(self) -> None:
        super().__init__(None, "http://127.0.0.1:1", "v25.0", str, 1000)  # type: ignore[arg-type] - calls nobody
        self.asked: list[str] = []
        self.refuses = False

    async def download(self, media: Media, number_id: str) -> bytes:
        self.asked.append(media.media_id)
        await asyncio.sleep(0.05)
        if self.refuses:
            raise NetworkError("not now", final=False)
        return b"plaatje " + media.media_id.encode()


@pytest.fixture
async def pool(bridge_url: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(bridge_url, min_size=1, max_size=4) as pool:
        yield pool


def image(number: int) -> tuple[str, str, dict[str, Any]]:
    message = {
        "from": "31611", "id": f"wamid.{number}", "timestamp": "1764000000", "type": "image",
        "image": {"id": str(number), "mime_type": "image/png"},
    }  # fmt: skip
    value = {"metadata": {"phone_number_id": "106"}, "messages": [message]}
    [change] = Slow().split({"entry": [{"changes": [{"field": "messages", "value": value}]}]})
    return change


@contextlib.asynccontextmanager
async def running(work: Any) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(work(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 10)


@pytest.mark.postgres
async def test_what_waits_for_its_turn_has_its_file_fetched_ahead_and_kept_sealed(pool):
    network = Slow()
    relay, files = Relay(pool, SEAL), Files(pool, SEAL, network)
    await relay.take_in([image(1), image(2)])
    await pool.execute("UPDATE inbox SET arrived_at = now() - interval '1 minute'")
    async with running(files.ahead):
        for _ in range(100):
            if await pool.fetchval("SELECT count(*) FROM fetched_file") == 2:
                break
            await asyncio.sleep(0.05)
    assert sorted(network.asked) == ["1", "2"]
    assert all(b"plaatje" not in row["sealed"] for row in await pool.fetch("SELECT sealed FROM fetched_file"))
    assert await files.get("106", Media("image/png", media_id="1")) == b"plaatje 1"
    assert sorted(network.asked) == ["1", "2"]
    await files.forget("106", Media("image/png", media_id="1"))
    assert await pool.fetchval("SELECT count(*) FROM fetched_file") == 1


@pytest.mark.postgres
async def test_a_file_that_several_ask_for_at_once_is_fetched_once_and_a_failure_is_tried_again(pool):
    network = Slow()
    files = Files(pool, SEAL, network)
    files.begin("106", PICTURE)
    assert await asyncio.gather(*(files.get("106", PICTURE) for _ in range(5))) == [b"plaatje 501"] * 5
    assert network.asked == ["501"]
    network.refuses = True
    with pytest.raises(NetworkError):
        await files.get("106", PICTURE)
    network.refuses = False
    assert await files.get("106", PICTURE) == b"plaatje 501"


@pytest.mark.postgres
async def test_a_missing_file_is_tried_a_few_times_within_the_week_and_then_given_up(pool, monkeypatch):
    assert sum(missing.WAITS) < 6 * 86_400
    assert len(missing.WAITS) < 12
    monkeypatch.setattr(missing, "EVERY", 0.02)
    late, tried = MissingFiles(pool, SEAL), []

    async def work(change: dict[str, Any], what: Missing, last: bool) -> None:
        tried.append((change["x"], what.event_id, last))
        if not last:
            raise NetworkError("not there", final=False)

    await late.add("106", "wamid.1", ("!kamer:x", "$een"), {"x": "geheim"})
    assert b"geheim" not in (await late.of("106", "wamid.1")).sealed
    async with running(lambda stop: late.run(work, stop)):
        for _ in range(200):
            await pool.execute("UPDATE missing_file SET due_at = now()")
            if await late.of("106", "wamid.1") is None:
                break
            await asyncio.sleep(0.02)
    assert len(tried) == len(missing.WAITS)
    assert [last for *_, last in tried] == [False] * (len(missing.WAITS) - 1) + [True]


@pytest.mark.postgres
async def test_that_whatsapp_is_away_uses_up_no_attempts_and_history_waits_for_whatsapp_to_send_it(pool, monkeypatch):
    monkeypatch.setattr(missing, "EVERY", 0.02)
    late, tried = MissingFiles(pool, SEAL), 0

    async def work(change: dict[str, Any], what: Missing, last: bool) -> None:
        nonlocal tried
        tried += 1
        raise NetworkError("away", final=False, scope="account")

    await late.add("106", "wamid.1", ("!kamer:x", "$een"), {"x": 1})
    await late.add("106", "wamid.2", ("!kamer:x", "$twee"), None)
    async with running(lambda stop: late.run(work, stop)):
        while tried < 20:
            await pool.execute("UPDATE missing_file SET due_at = now() WHERE due_at IS NOT NULL")
            await asyncio.sleep(0.02)
    assert (await late.of("106", "wamid.1")).attempts == 0
    assert (await late.of("106", "wamid.2")).sealed is None


@pytest.mark.postgres
async def test_that_the_homeserver_does_not_take_a_file_uses_up_none_of_the_attempts_at_fetching_it(pool, monkeypatch):
    monkeypatch.setattr(missing, "EVERY", 0.02)
    monkeypatch.setattr(missing, "TROUBLES", 15)
    late, lasts = MissingFiles(pool, SEAL), []

    async def work(change: dict[str, Any], what: Missing, last: bool) -> None:
        lasts.append(last)
        raise ConnectionRefusedError

    await late.add("106", "wamid.1", ("!kamer:x", "$een"), {"x": 1})
    async with running(lambda stop: late.run(work, stop)):
        while await late.of("106", "wamid.1") is not None:
            await pool.execute("UPDATE missing_file SET due_at = now()")
            await asyncio.sleep(0.02)
    assert lasts == [False] * 16  # more than the attempts at fetching, of which none is the last


@pytest.mark.postgres
async def test_a_file_that_could_not_be_fetched_ahead_is_tried_again_while_its_message_waits(pool, monkeypatch):
    for name in ("EVERY", "AGAIN"):
        monkeypatch.setattr(fetching, name, 0.05)
    network = Slow()
    network.refuses = True
    relay, files = Relay(pool, SEAL), Files(pool, SEAL, network)
    await relay.take_in([image(1)])
    await pool.execute("UPDATE inbox SET arrived_at = now() - interval '1 minute'")
    async with running(files.ahead), asyncio.timeout(10):
        while len(network.asked) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        network.refuses = False
        while not await pool.fetchval("SELECT count(*) FROM fetched_file"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        asked = len(network.asked)
        await asyncio.sleep(0.3)
    assert len(network.asked) == asked  # and then no more


@pytest.mark.postgres
async def test_a_kept_file_goes_after_a_month_but_not_while_its_message_waits(pool, monkeypatch):
    network = Slow()
    relay, files = Relay(pool, SEAL), Files(pool, SEAL, network)
    await relay.take_in([image(1), image(2)])
    await pool.execute("UPDATE inbox SET arrived_at = now() - interval '40 days'")
    async with running(files.ahead), asyncio.timeout(10):
        while await pool.fetchval("SELECT count(*) FROM fetched_file") < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await pool.execute("UPDATE fetched_file SET fetched_at = now() - interval '31 days'")
    await pool.execute("UPDATE inbox SET state = 'failed' WHERE dedupe LIKE '%wamid.2'")
    async with running(Files(pool, SEAL, network).ahead), asyncio.timeout(10):
        while await pool.fetchval("SELECT count(*) FROM fetched_file") > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert await pool.fetch("SELECT media_id FROM fetched_file") == [("1",)]


@pytest.mark.postgres
async def test_an_address_book_is_sealed_and_each_officials_own(pool):
    book = AddressBook(pool, SEAL)
    later, earlier = datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)
    assert await book.name("106", "31611", "@minister:x") == ""
    await book.keep(ContactSynced("106", "31611", "Kapper", removed=False, at=later), "@minister:x")
    await book.keep(ContactSynced("106", "31611", "Te laat", removed=False, at=earlier), "@minister:x")
    assert await book.name("106", "31611", "@minister:x") == "Kapper"
    assert await book.name("107", "31611", "@minister:x") == ""
    assert await book.name("106", "31611", "@ander:x") == ""
    assert b"Kapper" not in await pool.fetchval("SELECT sealed FROM address_book")
    await book.keep(ContactSynced("106", "31611", "", removed=True, at=later), "@minister:x")
    assert await book.name("106", "31611", "@minister:x") == ""


def test_pictures_and_recordings_tell_their_size():
    png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 640, 480)
    jpeg = b"\xff\xd8\xff\xe0\0\x04xx\xff\xc0\0\x11\x08" + struct.pack(">HH", 480, 640) + b"\x03"
    gif = b"GIF89a" + struct.pack("<HH", 640, 480)
    webp = b"RIFF\0\0\0\0WEBPVP8X\n\0\0\0\0\0\0\0" + (639).to_bytes(3, "little") + (479).to_bytes(3, "little")
    for kind, data in (("png", png), ("jpeg", jpeg), ("gif", gif), ("webp", webp)):
        assert info(f"image/{kind}", data) == {"w": 640, "h": 480}, kind
    head = b"OggS\0\x02" + bytes(20) + b"\x01\x13" + b"OpusHead\x01\x01" + struct.pack("<H", 312)
    last = b"OggS\0\x04" + struct.pack("<q", 48_000 * 3 + 312) + bytes(13)
    assert info("audio/ogg", head + last) == {"duration": 3000}


@given(st.sampled_from(["image/png", "audio/ogg", "video/mp4"]), st.sampled_from([b"", b"\xff\xd8\xff\xc0", b"RIFF    WEBPVP8 ", b"OggSOpusHead", b"GIF", b"\x89PNG\r\n\x1a\n"]), st.binary(max_size=60))  # fmt: skip  # noqa: E501
def test_no_file_makes_the_measuring_fail(kind, start, rest):
    assert json.dumps(info(kind, start + rest))


def test_the_picture_of_rooms_is_a_picture():
    assert info("image/png", emblem.png()) == {"w": 96, "h": 96}
    assert len(emblem.png()) < 3000
