"""A file in the pages: shown when it is safe, after a warning when it is not, and each look in the audit trail."""

import base64
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
from aiohttp.test_utils import TestClient

from archiver.capture import media
from archiver.capture.scanning import FOUND
from archiver.db import tenant_tx
from archiver.ledger.files import FileStore
from archiver.ledger.record import append, moment
from archiver.reading.project import project_batch
from archiver.reading.words import BlindIndex
from tests.unit.web.signed_in import browsing

CONTENT = b"\x89PNG kwaad"


@pytest.fixture
async def client(archive, tmp_path) -> AsyncIterator[TestClient]:
    async with browsing(archive, tmp_path, "records-officer") as made:
        yield made


async def keep(archive, room: str, store: FileStore, scan: str | None) -> tuple[str, str]:
    """A picture in a room, with what the scanner said of it; returns the addresses of the room and the file."""
    content = {"msgtype": "m.image", "body": "kat.png", "url": "mxc://x/y", "info": {"mimetype": "image/png"}}
    arrival = archive.arrival(content, room)
    place = 1, room, arrival.event_id, "file"
    async with tenant_tx(archive.pool, 1) as tx:
        await tx.execute(
            "INSERT INTO room (org, room_id, version, membership, user_id) VALUES (1, $1, '11', 'join', '@a:x')", room
        )
        await append(tx, archive.vault, [arrival])
        await media.enqueue(tx, archive.vault, [arrival])
        address = await store.write(archive.vault, tx, room, moment(arrival.event["origin_server_ts"]), CONTENT)
        await tx.execute(media.STORED, *place, address, len(CONTENT), "waiting")
        if scan != "waiting":
            await tx.execute(FOUND, *place, scan, "Win.Test" if scan == "infected" else None)
        while await project_batch(tx, archive.vault, BlindIndex(archive.vault.search_key)):
            pass
    page = f"/rooms/{quote(room, safe='')}"
    return page, f"{page}/files/{quote(arrival.event_id, safe='')}?type=image/png"


@pytest.mark.parametrize("scan", ["clean", None])
async def test_a_picture_that_is_clean_or_was_never_scanned_is_shown(client, archive, room, tmp_path, scan):
    page, file = await keep(archive, room, FileStore(tmp_path), scan)
    assert "<img" in await (await client.get(page)).text()
    answer = await client.get(file)
    assert (answer.status, answer.content_type, await answer.read()) == (200, "image/png", CONTENT)


async def test_a_picture_that_waits_for_the_scanner_is_not_given(client, archive, room, tmp_path):
    page, file = await keep(archive, room, FileStore(tmp_path), "waiting")
    text = await (await client.get(page)).text()
    assert "wordt nog op virussen onderzocht" in text
    assert "<img" not in text
    answer = await client.get(file)
    assert answer.status == 409
    assert CONTENT not in await answer.read()


async def test_an_infected_picture_is_only_downloaded_after_a_warning_and_that_is_in_the_audit_trail(
    client, archive, room, tmp_path
):
    page, file = await keep(archive, room, FileStore(tmp_path), "infected")
    text = await (await client.get(page)).text()
    assert "BESMET" in text
    assert "Win.Test" in text
    assert "<img" not in text
    assert base64.b64encode(CONTENT).decode() not in text
    warned = await client.get(file)
    warning = await warned.text()
    assert warned.status == 403
    assert "schadelijke software" in warning
    assert "despite=infected" in warning
    answer = await client.get(file + "&despite=infected")
    assert (answer.status, answer.content_type, await answer.read()) == (200, "application/octet-stream", CONTENT)
    assert answer.headers["Content-Disposition"] == "attachment"
    async with tenant_tx(archive.pool, 1) as tx:
        looks = await tx.fetch("SELECT detail->>'despite' AS despite FROM audit WHERE action = 'file' AND room_id = $1", room)
    assert sorted(str(row["despite"]) for row in looks) == ["None", "infected"]
