"""Exports as jobs: made in the background, sealed, for who asked only, and never lost halfway."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp.test_utils import TestClient

from archiver.db import tenant_tx
from archiver.ledger.audit import Purpose, doing
from archiver.ledger.files import FileStore
from archiver.ledger.sealing import SealingError, Vault
from archiver.ledger.stream import CHUNK, SealedFile, opened
from archiver.settings import Settings
from archiver.web import exports, jobs, workshop
from archiver.web.context import Archive
from archiver.web.exporting import export
from archiver.web.workshop import CantDo, Result, Task, Workshop, result_path
from tests.unit.conftest import dump
from tests.unit.web.signed_in import browsing, served, session_of, use
from tests.unit.web.test_membership import Room

pytestmark = pytest.mark.postgres

ACTS = "SELECT action, room_id, purpose, case_number, detail FROM audit WHERE org = 1 AND actor = $1 ORDER BY audit_id"
STOP = asyncio.Event()  # never set


@pytest.fixture
def person() -> str:
    return f"p-{secrets.token_hex(5)}"


@pytest.fixture
async def talk(archive, room) -> AsyncIterator[Room]:
    told = Room(archive, room)
    told.add("m.room.name", {"name": "=Overleg/../<b>kade</b>"}, state_key="")
    told.member("@minister:x", "join")
    told.words = [f"w{secrets.token_hex(6)}" for _ in range(3)]
    for word in told.words:
        told.say(f"zegt {word}")
    await told.keep()
    yield told
    async with archive.pool.acquire() as connection:  # what a test leaves open would be the next one's
        await connection.execute("UPDATE job SET state = 'cancelled' WHERE state IN ('waiting', 'running')")


def opened_archive(archive, folder: Path, **more: Any) -> Archive:
    return Archive(Settings(**more), archive.pool, archive.vault, FileStore(folder))


def made(archive, folder: Path, **kinds: Any) -> Workshop:
    return Workshop(opened_archive(archive, folder), {"export": export, **kinds})


async def asked(archive, person: str, *rooms: str, kind: str = "export", **more: Any) -> Any:
    arguments = {"rooms": list(rooms), "format": "jsonl", "start": None, "end": None, "language": "nl"} | more
    async with tenant_tx(archive.pool, 1) as tx:
        return await jobs.start(tx, archive.vault, person, kind, arguments)


async def look(archive, person: str, job_id: Any) -> jobs.Job:
    async with tenant_tx(archive.pool, 1) as tx:
        return await jobs.one(tx, 1, person, job_id)


async def until(archive, person: str, job_id: Any, state: str) -> None:
    for _ in range(200):
        if (await look(archive, person, job_id)).state == state:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"it never was {state}")


async def acts_of(archive, person: str) -> list[Any]:
    async with tenant_tx(archive.pool, 1) as tx:
        return await tx.fetch(
            "SELECT action, room_id, purpose, case_number, detail FROM audit WHERE org = 1 AND actor = $1 ORDER BY audit_id",
            person,
        )


async def browser(client: TestClient, archive, person: str, role: str = "records-officer") -> str:
    return use(client, await session_of(archive, role, person=person))


async def test_an_export_is_asked_for_made_and_downloaded(archive, talk, tmp_path, person):
    async with served(archive, tmp_path) as client:
        form = await browser(client, archive, person)
        answer = await client.post("/exports", data={"form_token": form, "room": talk.room, "format": "jsonl"})
        page = await answer.text()
        assert (answer.url.path, "wacht op zijn beurt" in page) == ("/exports", True)
        assert "hx-trigger" in page
        assert await made(archive, tmp_path).do_next(STOP)
        assert "1 export klaar" in await (await client.get("/")).text()
        page = await (await client.get("/exports")).text()
        assert "is klaar" in page
        assert "hx-trigger" not in page
        assert "export klaar" not in await (await client.get("/")).text()  # they have looked
        [link] = re.findall(r'href="(/exports/[^"]+/download)"', page)
        answer = await client.get(link)
        lines = [json.loads(line) for line in (await answer.read()).splitlines()]
        assert [word for line in lines for word in talk.words if word in line["body"]] == talk.words
        assert re.fullmatch(r'attachment; filename="export-[\w-]+\.jsonl"', answer.headers["Content-Disposition"])
    told = await acts_of(archive, person)
    wanted = ["ask for job", "ask for export", "export", "download export"]
    found = [act for act in told if act["action"] in wanted]
    assert [act["action"] for act in found] == wanted
    assert {(act["purpose"], act["case_number"]) for act in found} == {("Archiefbeheer", "2026-0017")}
    assert [act["room_id"] for act in found[1:]] == [talk.room] * 3


async def test_several_conversations_are_one_zip_of_a_period(archive, talk, tmp_path, person):
    other = Room(archive, talk.room + "2")
    other.say("nog een gesprek")
    await other.keep()
    job_id = await asked(archive, person, talk.room, other.room, format="html")
    assert await made(archive, tmp_path).do_next(STOP)
    job = await look(archive, person, job_id)
    assert (job.state, job.problem, job.suffix, job.done, job.total) == ("done", None, ".zip", 4, 4)
    async with served(archive, tmp_path) as client:
        await browser(client, archive, person)
        body = await (await client.get(f"/exports/{job_id}/download")).read()
    assert len(body) == job.size
    with zipfile.ZipFile(io.BytesIO(body)) as whole:
        assert whole.testzip() is None
        names = whole.namelist()
        assert len(names) == 2
        assert not any("/" in name or "<" in name for name in names)
        assert all(word in whole.read(names[0]).decode() for word in talk.words)
        assert "nog een gesprek" in whole.read(names[1]).decode()


async def test_nothing_of_it_lies_open_on_the_disk_or_in_the_database(archive, talk, tmp_path, person):
    job_id = await asked(archive, person, talk.room)
    seen = bytearray()

    async def watched(task: Task) -> Result:
        result = await export(task)
        for path in tmp_path.rglob("*"):  # halfway too
            seen.extend(path.read_bytes() if path.is_file() else b"")
        return result

    assert await made(archive, tmp_path, export=watched).do_next(STOP)
    job = await look(archive, person, job_id)
    kept = result_path(opened_archive(archive, tmp_path), job_id, job.attempt)
    assert kept.stat().st_mode & 0o077 == 0
    assert kept.stat().st_size > job.size > 0
    database = await asyncio.to_thread(dump, archive.url)
    for word in talk.words:
        for place in (bytes(seen), kept.read_bytes(), database):
            assert word.encode() not in place
    assert str(talk.room).encode() not in kept.read_bytes()


async def test_only_who_asked_gets_it_and_only_while_it_is_there(archive, talk, tmp_path, person):
    job_id = await asked(archive, person, talk.room)
    async with served(archive, tmp_path) as client:
        form = await browser(client, archive, person)
        address = f"/exports/{job_id}/download"
        assert (await client.get(address)).status == 404  # not made yet
        await made(archive, tmp_path).do_next(STOP)
        assert (await client.get(address)).status == 200
        form = await browser(client, archive, person + "-ander")
        assert (await client.get(address)).status == 404
        assert (await client.post(f"/exports/{job_id}/cancel", data={"form_token": form})).status == 404
        assert str(job_id) not in await (await client.get("/exports")).text()
        await browser(client, archive, person, "admin")  # they have lost the role
        assert (await client.get(address)).status == 403
        token = await session_of(archive, "records-officer", person=person, why=None)
        use(client, token)  # without a purpose
        answer = await client.get(address, allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (303, f"/purpose?next={address}")
        await browser(client, archive, person)
        async with archive.pool.acquire() as connection:
            await connection.execute("UPDATE job SET until = now() - interval '1 second' WHERE job_id = $1", job_id)
        await made(archive, tmp_path).tidy()
        assert (await client.get(address)).status == 404
        assert "na de bewaartermijn weggegooid" in await (await client.get("/exports")).text()
    assert not list((tmp_path / "results").iterdir())
    job = await look(archive, person, job_id)
    assert (job.state, job.wrapped_key) == ("expired", None)
    expired = await acts_of(archive, workshop.SERVICE)
    assert json.loads(expired[-1]["detail"]) == {"job": str(job_id), "kind": "export", "of": person}


async def test_what_was_cut_off_or_changed_is_not_given(archive, talk, tmp_path, person):
    job_id = await asked(archive, person, talk.room)
    await made(archive, tmp_path).do_next(STOP)
    path = result_path(opened_archive(archive, tmp_path), job_id, 1)
    whole = path.read_bytes()
    async with served(archive, tmp_path) as client:
        await browser(client, archive, person)
        for damaged in (whole[:-1], b"", whole[:50] + bytes([whole[50] ^ 1]) + whole[51:]):
            path.write_bytes(damaged)
            assert (await client.get(f"/exports/{job_id}/download")).status == 404
        path.unlink()
        assert (await client.get(f"/exports/{job_id}/download")).status == 404


def test_a_sealed_file_is_whole_in_order_and_its_own(tmp_path):
    content = secrets.token_bytes(3 * CHUNK)
    for size in (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK):
        out = SealedFile(tmp_path / str(size), b"a")
        for start in range(0, size, 100_003):
            out.write(content[start : min(start + 100_003, size)])
        out.finish()
        out.close()
        assert out.size == size
        assert b"".join(opened(tmp_path / str(size), out.key, b"a")) == content[:size]
        with pytest.raises(SealingError):
            list(opened(tmp_path / str(size), out.key, b"b"))
    sealed, step = (tmp_path / str(3 * CHUNK)).read_bytes(), CHUNK + 16
    for changed in (
        sealed[:step],
        sealed[: 2 * step],
        sealed[step:],
        sealed[step : 2 * step] + sealed[:step] + sealed[2 * step :],
    ):
        (tmp_path / "x").write_bytes(changed)
        with pytest.raises(SealingError):
            list(opened(tmp_path / "x", out.key, b"a"))
    out = SealedFile(tmp_path / "half", b"a")
    out.write(content[: CHUNK + 5])
    out.close()
    with pytest.raises(SealingError):
        list(opened(tmp_path / "half", out.key, b"a"))


WORKER = """
import asyncio, sys
from pathlib import Path
from archiver.db import connect, tenant_tx
from archiver.ledger.files import FileStore
from archiver.ledger.sealing import FileKey, Vault
from archiver.settings import Settings
from archiver.web.context import Archive
from archiver.web.workshop import Workshop

async def slow(task):
    task.out.write(b"half")
    task.done, task.total = 7, 10
    print("begun", flush=True)
    await asyncio.sleep(600)

async def main():
    async with connect(sys.argv[1], 4) as pool:
        async with tenant_tx(pool, 1) as tx:
            vault = await Vault.open(tx, 1, FileKey.load(Path(sys.argv[2])))
        archive = Archive(Settings(), pool, vault, FileStore(Path(sys.argv[3])))
        await Workshop(archive, {"export": slow}).run(asyncio.Event())

asyncio.run(main())
"""


async def test_the_job_of_a_process_that_is_killed_is_taken_again_from_its_beginning(archive, talk, tmp_path, person):
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "organisation.key").write_bytes(base64.b64encode(archive.key.key))
    job_id = await asked(archive, person, talk.room)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WORKER, archive.url, str(tmp_path / "keys"), str(tmp_path / "files"), stdout=subprocess.PIPE
    )
    try:
        assert await asyncio.wait_for(process.stdout.readline(), 30) == b"begun\n"
        here = made(archive, tmp_path / "files")
        assert not await here.do_next(STOP)  # it is the other's, that lives
        for _ in range(50):
            if (await look(archive, person, job_id)).done == 7:
                break
            await asyncio.sleep(0.1)
        async with served(archive, tmp_path / "files") as client:
            await browser(client, archive, person)
            assert "7 van ongeveer 10 berichten" in await (await client.get("/exports")).text()
    finally:
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
    for _ in range(100):  # until the database has seen that it is gone
        if await here.do_next(STOP):
            break
        await asyncio.sleep(0.1)
    job = await look(archive, person, job_id)
    assert (job.state, job.attempt) == ("done", 2)
    await here.tidy()
    assert [path.name for path in (tmp_path / "files" / "results").iterdir()] == [
        f"1.{job_id}.2"
    ]  # what the dead one left is gone
    async with served(archive, tmp_path / "files") as client:
        await browser(client, archive, person)
        assert "van voren af aan begonnen (poging 2)" in await (await client.get("/exports")).text()
        body = await (await client.get(f"/exports/{job_id}/download")).text()
    assert all(word in body for word in talk.words)


async def waits(task: Task) -> Result:
    task.out.write(b"half")
    await asyncio.sleep(600)
    raise AssertionError


async def test_a_job_is_cancelled_while_it_waits_and_while_it_runs(archive, talk, tmp_path, person):
    async with served(archive, tmp_path) as client:
        form = await browser(client, archive, person)
        waiting = await asked(archive, person, talk.room)
        await client.post(f"/exports/{waiting}/cancel", data={"form_token": form})
        assert (await look(archive, person, waiting)).state == "cancelled"
        assert not await made(archive, tmp_path).do_next(STOP)
        running = await asked(archive, person, talk.room)
        work = asyncio.create_task(made(archive, tmp_path, export=waits).do_next(STOP))
        await until(archive, person, running, "running")
        await client.post(f"/exports/{running}/cancel", data={"form_token": form})
        assert await asyncio.wait_for(work, 10)
        assert (await look(archive, person, running)).state == "cancelled"
        assert not list((tmp_path / "results").iterdir())
        # Once it is over there is nothing to cancel.
        await client.post(f"/exports/{running}/cancel", data={"form_token": form})
    assert [act["action"] for act in await acts_of(archive, person)].count("cancel job") == 2


async def test_a_process_that_stops_puts_its_job_back(archive, talk, tmp_path, person):
    job_id, stop = await asked(archive, person, talk.room), asyncio.Event()
    working = asyncio.create_task(made(archive, tmp_path, export=waits).run(stop))
    await until(archive, person, job_id, "running")
    stop.set()
    await asyncio.wait_for(working, 5)
    assert (await look(archive, person, job_id)).state == "waiting"
    assert await made(archive, tmp_path).do_next(STOP)
    assert (await look(archive, person, job_id)).state == "done"


async def test_orderly_stops_are_no_deaths(archive, talk, tmp_path, person):
    job_id = await asked(archive, person, talk.room)
    for _ in range(workshop.ATTEMPTS + 1):
        stop = asyncio.Event()
        working = asyncio.create_task(made(archive, tmp_path, export=waits).do_next(stop))
        await until(archive, person, job_id, "running")
        stop.set()
        await asyncio.wait_for(working, 5)
    assert (await look(archive, person, job_id)).died == 0
    assert await made(archive, tmp_path).do_next(STOP)
    assert (await look(archive, person, job_id)).state == "done"


async def test_a_job_that_is_cancelled_at_the_last_moment_gives_no_result(archive, talk, tmp_path, person, monkeypatch):
    job_id, finish = await asked(archive, person, talk.room), SealedFile.finish

    def cancelled_meanwhile(self: SealedFile) -> None:
        asyncio.run_coroutine_threadsafe(cancel(), loop).result(10)
        finish(self)

    async def cancel() -> None:
        async with tenant_tx(archive.pool, 1) as tx:
            assert await jobs.cancel(tx, 1, person, job_id)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(SealedFile, "finish", cancelled_meanwhile)
    assert await made(archive, tmp_path).do_next(STOP)
    job = await look(archive, person, job_id)
    assert (job.state, job.wrapped_key) == ("cancelled", None)
    assert not list((tmp_path / "results").iterdir())


async def test_asking_how_far_it_is_is_no_look_opens_no_name_and_keeps_no_session(archive, talk, tmp_path, person):
    job_id = await asked(archive, person, talk.room)
    async with served(archive, tmp_path) as client:
        await browser(client, archive, person)
        page = await (await client.get("/exports")).text()
        assert f'hx-get="/exports/{job_id}/state"' in page
        assert await made(archive, tmp_path).do_next(STOP)
        seen = "UPDATE web_session SET seen_at = now() - interval '10 minutes' WHERE org = 1 AND person = $1"
        async with tenant_tx(archive.pool, 1) as tx:
            await tx.execute(seen, person)
        before = len(await acts_of(archive, person))
        answer = await client.get(f"/exports/{job_id}/state")
        text = await answer.text()
        assert (answer.status, f"/exports/{job_id}/download" in text) == (200, True)
        assert "kade" not in text
        assert "hx-get" not in text  # it is over
        assert len(await acts_of(archive, person)) == before
        async with tenant_tx(archive.pool, 1) as tx:
            idle = "SELECT now() - seen_at > interval '9 minutes' FROM web_session WHERE org = 1 AND person = $1"
            assert await tx.fetchval(idle, person)
        assert not (await look(archive, person, job_id)).seen
        assert "1 export klaar" in await (await client.get("/")).text()
        await browser(client, archive, f"{person}-ander")
        assert (await client.get(f"/exports/{job_id}/state")).status == 404


async def test_why_it_failed_is_told_without_what_was_said(archive, talk, tmp_path, person, caplog):
    secret = f"geheim {secrets.token_hex(4)}"

    async def breaks(task: Task) -> Result:
        raise RuntimeError(secret)

    async def full(task: Task) -> Result:
        raise OSError(28, secret)

    async def cant(task: Task) -> Result:
        raise CantDo("no_conversation")

    for kind, words in ((breaks, "er ging iets mis"), (full, "kon het bestand niet schrijven"), (cant, "is er niet meer")):
        job_id = await asked(archive, person, talk.room)
        assert await made(archive, tmp_path, export=kind).do_next(STOP)
        assert (await look(archive, person, job_id)).state == "failed"
        async with served(archive, tmp_path) as client:
            await browser(client, archive, person)
            assert "1 export mislukt" in await (await client.get("/")).text()
            page = await (await client.get("/exports")).text()
        assert words in page
        assert secret not in page
    assert secret not in caplog.text
    assert "RuntimeError" in caplog.text
    assert not list((tmp_path / "results").iterdir())


async def test_who_keeps_dying_of_a_job_gives_it_up(archive, talk, tmp_path, person):
    job_id = await asked(archive, person, talk.room)
    async with archive.pool.acquire() as connection:
        await connection.execute("UPDATE job SET state = 'running', attempt = 5, died = 4 WHERE job_id = $1", job_id)
    assert await made(archive, tmp_path).do_next(STOP)
    job = await look(archive, person, job_id)
    assert (job.state, job.problem) == ("failed", "died")


async def test_one_person_may_have_so_many_at_once(archive, talk, tmp_path, person):
    async with served(archive, tmp_path) as client:
        form = await browser(client, archive, person)
        wish = {"form_token": form, "room": talk.room, "format": "jsonl"}
        answers = await asyncio.gather(*(client.post("/exports", data=wish, allow_redirects=False) for _ in range(5)))
        assert sorted(answer.status for answer in answers) == [303, 303, 303, 409, 409]
        refused = next(answer for answer in answers if answer.status == 409)
        page = await refused.text()
        assert "zoveel exports aangevraagd als één persoon mag" in page
        assert f'value="{talk.room}" checked' in page.replace("&#33;", "!")


async def test_two_processes_never_do_the_same_job(archive, talk, tmp_path, person):
    done: list[str] = []

    async def once(task: Task) -> Result:
        done.append(str(task.job.job_id))
        await asyncio.sleep(0.05)
        return Result("text/plain", ".txt")

    wanted = {str(await asked(archive, f"{person}{number}", talk.room)) for number in range(8)}
    shops = [made(archive, tmp_path, export=once) for _ in range(3)]

    async def all_of(shop: Workshop) -> None:
        while await shop.do_next(STOP):
            pass

    await asyncio.gather(*map(all_of, shops))
    assert sorted(done) == sorted(wanted)


@pytest.mark.parametrize(
    "wish",
    [
        {}, {"room": ""}, {"room": "!nergens:x"}, {"room": "!a\0b:x"}, {"format": "pdf"}, {"format": "../../etc"},
        {"from": "gisteren"}, {"from": "0001-01-01"}, {"to": "9999-12-31"}, {"from": "2026-02-02", "to": "2026-02-01"},
        {"from": "\ud800"},
    ],
)  # fmt: skip
async def test_hostile_wishes_make_no_job(archive, talk, tmp_path, person, wish):
    async with served(archive, tmp_path) as client:
        form = await browser(client, archive, person)
        data = {"form_token": form, "format": "jsonl"} | ({} if "room" in wish or not wish else {"room": talk.room}) | wish
        answer = await client.post(
            "/exports", data={name: value.encode("utf-8", "replace").decode() for name, value in data.items()}
        )
        assert answer.status in (400, 404)
        for address in ("/exports/x/download", "/exports/0/download", f"/exports/{'9' * 300}/download"):
            assert (await client.get(address)).status == 404
    async with tenant_tx(archive.pool, 1) as tx:
        assert await jobs.of(tx, 1, person) == []


async def test_a_conversation_of_which_an_official_saw_a_part_can_not_be_exported_by_them(archive, talk, tmp_path):
    async with served(archive, tmp_path) as client:
        form = use(client, await session_of(archive, "official", person="minister", matrix_id="@minister:x"))
        answer = await client.post("/exports", data={"form_token": form, "room": talk.room, "format": "jsonl"})
        assert answer.status == 403


async def test_the_purpose_with_which_it_was_asked_goes_with_the_work(archive, talk, tmp_path, person):
    with doing(Purpose("Woo-verzoek", "W-1")):
        await asked(archive, person, talk.room)
    await made(archive, tmp_path).do_next(STOP)
    exported = [act for act in await acts_of(archive, person) if act["action"] == "export"]
    assert [(act["purpose"], act["case_number"]) for act in exported] == [("Woo-verzoek", "W-1")]
    assert isinstance((await look(archive, person, (await jobs_of(archive, person))[0])).created_at, datetime)


async def jobs_of(archive, person: str) -> list[Any]:
    async with tenant_tx(archive.pool, 1) as tx:
        return [job.job_id for job in await jobs.of(tx, 1, person)]


async def test_the_page_opens_the_names_that_it_shows_others_are_chosen_on_their_own_page(archive, talk, tmp_path, monkeypatch):
    monkeypatch.setattr(exports, "LISTED", 1)
    newer = Room(archive, talk.room + "2")
    newer.add("m.room.name", {"name": "Nieuwer"}, state_key="")
    newer.add("m.room.message", {"msgtype": "m.text", "body": "x"}, origin_server_ts=4_000_000_000_000)
    await newer.keep()
    opened_names, open_many = [], Vault.open_many

    async def counted(self, tx, sealed):
        opened_names.extend(sealed)
        return await open_many(self, tx, sealed)

    async with browsing(archive, tmp_path, "records-officer") as client:
        assert f'href="/exports?room={quote(talk.room, safe="")}"' in await (await client.get(talk.page)).text()
        monkeypatch.setattr(Vault, "open_many", counted)
        page = await (await client.get("/exports")).text()
        assert f'"{talk.room}"' not in page
        assert "Een ander gesprek exporteert u vanaf zijn eigen pagina" in page
        assert {room_id for room_id, _, _ in opened_names} == {newer.room}
        page = await (await client.get(f"/exports?room={quote(talk.room, safe='')}")).text()
        assert re.search(f'value="{re.escape(talk.room)}" checked', page)
