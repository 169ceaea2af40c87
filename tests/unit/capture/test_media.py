"""Files: fetched, checked, sealed, kept once; a file that is not there leaves its cause."""

import asyncio
import base64
import datetime as dt
import hashlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from nio.crypto.attachments import encrypt_attachment

from archiver.capture import media
from archiver.capture.client import Homeserver, MatrixError, TooLarge, homeserver
from archiver.capture.media import Fetcher
from archiver.capture.scanning import Scanner
from archiver.db import tenant_tx
from archiver.export.html import Html
from archiver.export.jsonl import Jsonl
from archiver.export.transcript import Transcript
from archiver.ledger.files import FileStore
from archiver.ledger.record import append
from archiver.ledger.sealing import SealingError
from archiver.reading.project import project_batch
from archiver.reading.rooms import rooms
from archiver.reading.words import BlindIndex

SEAT = "@archief:x"
LIMIT = 1000
ROWS = "SELECT * FROM media WHERE room_id = $1 ORDER BY event_id"


@dataclass
class MediaServer:
    """A homeserver that only has files."""

    files: dict[str, bytes] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)  # of the next answers, before the files are given
    chunked: bool = False
    sent: int = 0

    async def download(self, request: web.Request) -> web.StreamResponse:
        assert request.headers["Authorization"] == "Bearer geheim"
        if self.statuses:
            return web.json_response({"errcode": "M_X", "error": "nee"}, status=self.statuses.pop(0))
        content = self.files.get(request.match_info["name"])
        if content is None:
            return web.json_response({"errcode": "M_NOT_FOUND"}, status=404)
        response = web.StreamResponse()
        if not self.chunked:
            response.content_length = len(content)
        await response.prepare(request)
        for start in range(0, len(content), 65536):
            try:
                await response.write(content[start : start + 65536])
            except ConnectionResetError:
                break
            self.sent += len(content[start : start + 65536])
        return response


@asynccontextmanager
async def serving(server: MediaServer) -> AsyncIterator[Homeserver]:
    app = web.Application()
    app.router.add_get("/_matrix/client/v1/media/download/{server}/{name}", server.download)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with homeserver(f"http://127.0.0.1:{runner.addresses[0][1]}", 5) as client:
            client.token = "geheim"
            yield client
    finally:
        await runner.cleanup()


@dataclass
class Place:
    """An archive, a room in it, and a server with files."""

    archive: object
    room: str
    server: MediaServer
    client: Homeserver
    store: FileStore
    fetcher: Fetcher

    async def say(self, *contents: dict) -> None:
        """Events with files arrive, as the committer has it."""
        arrivals = [self.archive.arrival({"msgtype": "m.file", "body": "notitie.pdf", **c}, self.room) for c in contents]
        async with tenant_tx(self.archive.pool, 1) as tx:
            await append(tx, self.archive.vault, arrivals)
            await media.enqueue(tx, self.archive.vault, arrivals)

    async def fetch(self, times: int = 1, fetcher: Fetcher | None = None) -> list:
        """What waits is fetched, `times` times in a row however long it should have waited; returns the rows."""
        for _ in range(times):
            async with tenant_tx(self.archive.pool, 1) as tx:
                await tx.execute("UPDATE media SET due_at = now() WHERE room_id = $1", self.room)
            while await (fetcher or self.fetcher).fetch_due():
                pass
        return await self.rows()

    async def scan(self, *command: str, seconds: float = 20) -> list:
        """What waits for the scanner is shown to it once; returns the rows."""
        scanner = Scanner(self.archive.pool, self.archive.vault, SEAT, self.store, command, seconds)
        async with tenant_tx(self.archive.pool, 1) as tx:
            await tx.execute("UPDATE media SET scan_due_at = now() WHERE room_id = $1", self.room)
        while await scanner.scan_due():
            pass
        return await self.rows()

    async def rows(self) -> list:
        async with tenant_tx(self.archive.pool, 1) as tx:
            return list(await tx.fetch(ROWS, self.room))

    async def content(self, row) -> bytes:
        async with tenant_tx(self.archive.pool, 1) as tx:
            return await self.store.read(self.archive.vault, tx, self.room, row["address"])

    async def exports(self, tmp_path: Path, language: str = "nl") -> tuple[str, list[dict]]:
        """The room as HTML, and as the lines of JSONL."""
        async with tenant_tx(self.archive.pool, 1) as tx:
            while await project_batch(tx, self.archive.vault, BlindIndex(self.archive.vault.search_key)):
                pass
            [found] = await rooms(tx, self.archive.vault, self.room)
        told = Transcript(
            self.archive.pool, self.archive.vault, self.store, found, "Ministerie", dt.datetime.now(dt.UTC), "test", language
        )
        out = tmp_path / secrets.token_hex(4)
        for exporter in (Html(), Jsonl()):
            with out.with_suffix(exporter.suffix).open("w") as file:
                await exporter.write(told, file)
        lines = [json.loads(line) for line in out.with_suffix(".jsonl").read_text().splitlines()]
        return out.with_suffix(".html").read_text(), lines


@pytest.fixture
async def place(archive, room, tmp_path) -> AsyncIterator[Place]:
    server = MediaServer()
    async with tenant_tx(archive.pool, 1) as tx:
        await tx.execute(
            "INSERT INTO room (org, room_id, version, membership, user_id) VALUES (1, $1, '11', 'join', $2)", room, SEAT
        )
        # Others' files are none of this test's.
        await tx.execute("UPDATE media SET state = 'failed', scan = NULL WHERE room_id <> $1", room)
    async with serving(server) as client:
        store = FileStore(tmp_path / "files")
        fetcher = Fetcher(archive.pool, archive.vault, client, SEAT, store, LIMIT, scanned=True)
        yield Place(archive, room, server, client, store, fetcher)


def encrypted(server: MediaServer, content: bytes) -> dict:
    """A file as a client encrypts and announces it."""
    name = secrets.token_hex(6)
    server.files[name], keys = encrypt_attachment(content)
    return {"file": {"url": f"mxc://x/{name}", **keys}}


async def test_an_encrypted_file_is_kept_decrypted_by_us_and_sealed(place):
    content = b"vertrouwelijk dossier " * 20
    await place.say(encrypted(place.server, content))
    [row] = await place.fetch()
    assert (row["state"], row["size"], row["problem"]) == ("stored", len(content), None)
    assert await place.content(row) == content
    on_disk = b"".join(path.read_bytes() for path in place.store.root.rglob("*") if path.is_file())
    assert len(on_disk) > len(content)
    assert b"dossier" not in on_disk


async def test_the_same_content_is_kept_once_in_a_room_however_often_it_is_sent(place):
    content = secrets.token_bytes(300)
    await place.say(*(encrypted(place.server, content) for _ in range(6)))
    rows = await place.fetch()
    assert [row["state"] for row in rows] == ["stored"] * 6
    assert len({bytes(row["address"]) for row in rows}) == 1
    assert len([path for path in place.store.root.rglob("*") if path.is_file()]) == 1
    assert await place.content(rows[5]) == content


@pytest.mark.parametrize("chunked", [False, True], ids=["with a Content-Length", "without one"])
async def test_a_file_over_the_limit_is_a_hole_at_once_with_its_cause(place, tmp_path, chunked):
    place.server.chunked, size = chunked, 5_000_000
    place.server.files["groot"] = bytes(size)
    await place.say({"url": "mxc://x/groot"})
    [row] = await place.fetch()
    assert (row["state"], row["problem"], row["attempts"]) == ("failed", "too-large", 1)
    assert row["size"] == (None if chunked else size)
    page, [line] = await place.exports(tmp_path)
    assert "groter dan het archief bewaart" in page
    assert (line["attachment"]["state"], line["attachment"]["problem"]) == ("failed", "too-large")
    assert "larger than the archive keeps" in (await place.exports(tmp_path, "en"))[0]


async def test_of_a_file_that_says_it_is_too_large_no_more_is_read_than_was_under_way(place):
    place.server.files["groot"] = bytes(200_000_000)
    with pytest.raises(TooLarge) as raised:
        await place.client.download("mxc://x/groot", LIMIT)
    assert raised.value.size == 200_000_000
    assert place.server.sent < 20_000_000


async def test_a_raised_limit_brings_in_what_was_too_large_before(place):
    place.server.files["groter"] = secrets.token_bytes(2000)
    await place.say({"url": "mxc://x/groter"})
    assert [row["state"] for row in await place.fetch()] == ["failed"]
    archive = place.archive
    larger = Fetcher(archive.pool, archive.vault, place.client, SEAT, place.store, 3000)
    stopped = asyncio.Event()
    stopped.set()
    await larger.run(stopped)  # the start of a process, and its end
    assert [row["state"] for row in await place.fetch(fetcher=larger)] == ["stored"]


async def test_a_file_that_is_not_what_its_sender_said_is_not_kept_and_says_so(place, tmp_path):
    told = encrypted(place.server, b"het echte stuk")
    [name] = place.server.files
    place.server.files[name] = b"iets anders"
    await place.say(told)
    [row] = await place.fetch()
    assert (row["state"], row["problem"]) == ("waiting", "altered")
    [row] = await place.fetch(times=2)
    assert (row["state"], row["problem"], row["address"]) == ("failed", "altered", None)
    page, [line] = await place.exports(tmp_path)
    assert "klopt niet met het controlegetal van de afzender" in page
    assert line["attachment"]["problem"] == "altered"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"url": "https://elders.example/x"}, "bad-address"),
        ({"url": "mxc://zonder-naam"}, "bad-address"),
        ({"file": {"url": "mxc://x/a", "key": {"k": "kort"}, "hashes": {"sha256": "RDGJ"}, "iv": 3}}, "altered"),
        ({"file": {"url": "mxc://x/a", "key": {"k": None}, "hashes": {}, "iv": 3}}, "bad-key"),
        ({"file": {"url": "mxc://x/a", "key": {"k": "!"}, "hashes": {"sha256": "HASH"}, "iv": "AAAA"}}, "bad-key"),
    ],
)
async def test_what_a_sender_makes_of_a_file_stops_nothing_and_has_its_cause(place, content, problem):
    place.server.files["a"] = b"inhoud"
    digest = base64.b64encode(hashlib.sha256(b"inhoud").digest()).decode().rstrip("=")
    await place.say(json.loads(json.dumps(content).replace("HASH", digest)), encrypted(place.server, b"goed"))
    rows = await place.fetch()
    assert [row["problem"] for row in rows if row["state"] != "stored"] == [problem]
    assert [row["size"] for row in rows if row["state"] == "stored"] == [4]


async def test_a_server_in_trouble_is_asked_until_it_gives_the_file_and_a_file_it_lost_is_a_hole(place):
    await place.say(encrypted(place.server, b"straks"), {"url": "mxc://x/weg"})
    place.server.statuses = [500, 503] * 9
    rows = await place.fetch(times=9)
    assert {(row["state"], row["problem"]) for row in rows} == {("waiting", "unreachable")}
    rows = await place.fetch(times=8)
    assert sorted((row["state"], row["problem"]) for row in rows) == [("failed", "gone"), ("stored", None)]


def test_a_cause_is_told_by_what_the_server_said():
    assert media.cause(MatrixError(403, {}, "x")) == media.REFUSED
    assert media.cause(MatrixError(429, {}, "x")) == media.UNREACHABLE
    assert media.cause(aiohttp.ClientError()) == media.UNREACHABLE


async def test_a_crash_between_the_file_and_its_row_keeps_it_once_and_whole(place, monkeypatch):
    content = secrets.token_bytes(400)
    await place.say(encrypted(place.server, content))
    write = place.store.write

    async def crash(*arguments):
        await write(*arguments)
        raise RuntimeError("kill -9")

    monkeypatch.setattr(place.store, "write", crash)
    with pytest.raises(ExceptionGroup):
        await place.fetch()
    monkeypatch.undo()
    [row] = await place.rows()
    assert (row["state"], row["address"]) == ("waiting", None)
    [row] = await place.fetch()
    assert await place.content(row) == content
    assert len([path for path in place.store.root.rglob("*") if path.is_file()]) == 1


def test_a_crash_while_a_file_is_written_leaves_nothing_under_its_name_and_its_remains_are_removed(tmp_path):
    store, path = FileStore(tmp_path / "files"), tmp_path / "files" / "ab" / "abcd"
    program = (
        "import os, sys; from pathlib import Path; from archiver.ledger.files import FileStore;"
        "os.fsync = lambda _: os._exit(9); root, path = map(Path, sys.argv[1:]); FileStore(root)._keep(path, b'x' * 100000)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(store.root), str(path)], check=False)
    assert done.returncode == 9
    assert not path.exists()
    [left] = [each for each in store.root.rglob("*") if each.is_file()]
    store.tidy()
    assert left.exists(), "another process may be writing it"
    os.utime(left, (time.time() - 7200, time.time() - 7200))
    store.tidy()
    assert not left.exists()
    store._keep(path, b"heel")
    assert path.read_bytes() == b"heel"


EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
SCANNER = """
import sys
content = sys.stdin.buffer.read()
if b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE" in content:
    print("stdin: Eicar-Test-Signature\\x1b[31m FOUND <script>")
    print("tweede regel")
    sys.exit(1)
print("stdin: OK")
"""


@pytest.fixture
def scanner(tmp_path) -> tuple[str, str]:
    (tmp_path / "scanner.py").write_text(SCANNER)
    return sys.executable, str(tmp_path / "scanner.py")


async def test_an_infected_file_is_kept_but_neither_shown_nor_exported(place, scanner, tmp_path):
    picture = {"msgtype": "m.image", "body": "kat.png", "info": {"mimetype": "image/png"}}
    await place.say(encrypted(place.server, EICAR) | picture, encrypted(place.server, b"schoon") | picture)
    rows = await place.fetch()
    assert {row["scan"] for row in rows} == {"waiting"}
    page, lines = await place.exports(tmp_path)
    assert page.count("wordt nog op virussen onderzocht") == 2
    rows = {row["size"]: row for row in await place.scan(*scanner)}
    infected, clean = rows[len(EICAR)], rows[6]
    assert (infected["scan"], clean["scan"], clean["scan_note"]) == ("infected", "clean", None)
    assert infected["scan_note"] == "stdin: Eicar-Test-Signature?31m FOUND ?script?"
    assert infected["scanned_at"] is not None
    assert await place.content(infected) == EICAR
    page, lines = await place.exports(tmp_path)
    assert base64.b64encode(EICAR).decode() not in page
    assert base64.b64encode(b"schoon").decode() in page
    assert "BESMET volgens de virusscanner" in page
    assert "<script" not in page
    told = {line["attachment"]["size"]: line["attachment"]["scan"]["result"] for line in lines}
    assert told == {len(EICAR): "infected", 6: "clean"}
    assert "INFECTED according to the virus scanner" in (await place.exports(tmp_path, "en"))[0]


@pytest.mark.parametrize(
    "command",
    [
        ("/bestaat/niet",),
        (sys.executable, "-c", "import sys; sys.stdin.buffer.read(); sys.exit(2)"),
        (sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"),
        (sys.executable, "-c", "import time; time.sleep(60)"),
        ("sh", "-c", "sleep 60 & exit 0"),
    ],
    ids=["not there", "error", "crash", "hangs", "leaves a child that hangs"],
)
async def test_a_scanner_in_trouble_is_asked_again_and_the_file_is_not_shown_meanwhile(place, scanner, tmp_path, command):
    await place.say(encrypted(place.server, b"wacht even"))
    await place.fetch()
    [row] = await place.scan(*command, seconds=1)
    assert (row["state"], row["scan"], row["scan_attempts"]) == ("stored", "waiting", 1)
    assert "wordt nog op virussen onderzocht" in (await place.exports(tmp_path))[0]
    [row] = await place.scan(*scanner)
    assert row["scan"] == "clean"


async def test_a_scanner_that_calls_clean_what_it_did_not_read_is_not_believed(place):
    fetcher = place.fetcher
    fetcher._limit = 10_000_000
    await place.say(encrypted(place.server, bytes(5_000_000)))
    await place.fetch()
    [row] = await place.scan(sys.executable, "-c", "pass")
    assert row["scan"] == "waiting"


async def test_the_scanner_learns_none_of_our_secrets_and_writes_as_much_as_it_likes(place, monkeypatch):
    monkeypatch.setenv("GRIFFIER_ARCHIVER__PASSWORD", "geheim")
    await place.say(encrypted(place.server, b"x"))
    await place.fetch()
    program = "import os, sys; sys.stdin.read(); print([n for n in os.environ if 'GRIFFIER' in n], 'y' * 9_000_000); sys.exit(1)"
    [row] = await place.scan(sys.executable, "-c", program)
    assert row["scan"] == "infected"
    assert row["scan_note"] == ("? " + "y" * 120)[:120], "an empty list of our settings, and no more than a line's beginning"


async def test_without_a_scanner_nothing_waits_for_one(place):
    await place.say(encrypted(place.server, b"x"))
    await place.fetch()
    await Scanner(place.archive.pool, place.archive.vault, SEAT, place.store, (), 1).run(asyncio.Event())
    [row] = await place.rows()
    assert (row["scan"], row["scanned_at"]) == (None, None)


async def test_a_file_whose_store_is_gone_says_so(place):
    await place.say(encrypted(place.server, b"x"))
    [row] = await place.fetch()
    for path in place.store.root.rglob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(SealingError, match="can't be read"):
        await place.content(row)
