"""Files wait for what stands in their way, and hold nothing else up."""

import asyncio
import contextlib
import errno
import secrets

import pytest

from archiver.capture import media
from archiver.capture.client import HomeserverUnreachable
from archiver.capture.media import Fetcher, enqueue
from archiver.db import tenant_tx
from archiver.ledger.files import FileStore
from archiver.ledger.record import append
from tests.unit.conftest import Archive

SHOW = "SELECT state, problem, attempts, due_at > now() + interval '1 minute' AS far_off FROM media WHERE room_id = $1"


class Server:
    """A homeserver that hands out one file, as the test wants it."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self.fails = 0

    async def download(self, mxc: str, limit: int) -> bytes:
        self.asked += 1
        await self.answers.wait()
        if self.fails:
            self.fails -= 1
            raise HomeserverUnreachable("downloading a file: connection refused")
        return b"inhoud"


class FullDisk(FileStore):
    """A disk with no room, until there is."""

    full = True

    def _keep(self, path, sealed) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        super()._keep(path, sealed)


@pytest.fixture
def seat() -> str:
    return f"@archief-{secrets.token_hex(4)}:x"


@pytest.fixture
async def waiting(archive: Archive, room: str, seat: str) -> str:
    """A room with a message whose file waits."""
    arrival = archive.arrival({"msgtype": "m.file", "body": "a.pdf", "url": "mxc://x/abc"}, room)
    async with tenant_tx(archive.pool, 1) as tx:
        await tx.execute(
            "INSERT INTO room (org, room_id, version, membership, user_id) VALUES (1, $1, '11', 'join', $2)", room, seat
        )
        await append(tx, archive.vault, [arrival])
        await enqueue(tx, archive.vault, [arrival])
    return room


@contextlib.asynccontextmanager
async def fetching(archive: Archive, seat: str, server: Server, files: FileStore):
    """A fetcher at work; at the end of the block it is gone at once, as by kill -9, if it did not fail before."""
    task = asyncio.create_task(Fetcher(archive.pool, archive.vault, server, seat, files, 1000).run(asyncio.Event()))
    try:
        yield task
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(archive: Archive, room: str, check, seconds: float = 10):
    async with asyncio.timeout(seconds):
        while True:
            async with tenant_tx(archive.pool, 1) as tx:
                row = await tx.fetchrow(SHOW, room)
            if check(row):
                return row
            await asyncio.sleep(0.05)


async def test_a_file_that_a_dead_process_was_fetching_is_soon_the_next_ones(archive, waiting, seat, tmp_path, monkeypatch):
    monkeypatch.setattr(media, "LEASE", 0.9)
    first, second = Server(), Server()
    first.answers.clear()
    async with fetching(archive, seat, first, FileStore(tmp_path)):
        await until(archive, waiting, lambda row: row["attempts"] == 1)
        async with fetching(archive, seat, second, FileStore(tmp_path)):
            await asyncio.sleep(2.5)
            assert (first.asked, second.asked) == (1, 0)  # whoever fetches keeps it, however long that takes
    async with fetching(archive, seat, second, FileStore(tmp_path)):
        await until(archive, waiting, lambda row: row["state"] == "stored")


async def test_a_full_disk_holds_up_files_only_and_they_are_kept_when_there_is_room(
    archive, waiting, seat, tmp_path, monkeypatch
):
    monkeypatch.setattr(media, "STORE_AGAIN", 0.1)
    disk = FullDisk(tmp_path)
    async with fetching(archive, seat, Server(), disk):
        row = await until(archive, waiting, lambda row: row["problem"] and row["attempts"] > max(media.ATTEMPTS.values()))
        assert (row["state"], row["problem"]) == ("waiting", media.NO_ROOM)
        disk.full = False
        assert (await until(archive, waiting, lambda row: row["state"] == "stored"))["problem"] is None


async def test_no_outage_of_the_homeserver_makes_a_file_a_hole(archive, waiting, seat, tmp_path):
    server = Server()
    server.fails = 1
    async with tenant_tx(archive.pool, 1) as tx:
        await tx.execute("UPDATE media SET attempts = 20 WHERE room_id = $1", waiting)
    async with fetching(archive, seat, server, FileStore(tmp_path)):
        row = await until(archive, waiting, lambda row: row["problem"])
        assert (row["state"], row["far_off"]) == ("waiting", True)
