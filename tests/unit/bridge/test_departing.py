"""What an official says reaches WhatsApp as it was meant, once; what can't is said in the room; what becomes of it is shown."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import asyncpg
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from mautrix.errors import MatrixRequestError

from bridge.departing.departing import Departing
from bridge.departing.holding import Holding
from bridge.departing.notices import Notices
from bridge.departing.opening import Opening
from bridge.departing.outsiders import Outsiders
from bridge.departing.own import Own
from bridge.departing.receipts import STATUS, Reading, Receipts
from bridge.departing.templates import Offers
from bridge.departing.window import Window
from bridge.network import Incoming, Receipt
from bridge.network.cloud import Cloud
from bridge.network.cloud.pace import Pace as Sending
from bridge.office import assigning
from bridge.office.administration import DUE_OUT
from bridge.office.gate import Gate
from bridge.office.pulse import Pulse
from bridge.portal.portal import Portal
from bridge.relay.relay import OUTBOX, Pace, Relay
from bridge.sealing import Seal
from tests.unit.bridge.simulated import CONTACT, NUMBER, TOKEN, Sim

pytestmark = pytest.mark.postgres
ROOM, MINISTER, GHOST, BOT = "!kamer:x", "@minister:x", "@whatsapp_31600000101:x", "@bot:x"
JPEG = b"\xff\xd8\xff" + b"x" * 40


class Matrix:
    """The homeserver as the bridge sees it: the conversation's room, its files, and what ghosts and the bot ask."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self.bot = self.ghost = self
        self.user_id, self.client = BOT, self
        self.said: dict[str, tuple[str, dict[str, Any]]] = {}  # transaction id: kind and content
        self.calls: list[tuple[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.problem: MatrixRequestError | None = None

    async def of(self, room_id: str) -> Portal | None:
        row = await self._pool.fetchrow("SELECT room_id, number_id, contact, encrypted FROM portal WHERE room_id = $1", room_id)
        return Portal(**row, group=row["contact"].startswith("Y2Fw")) if row else None

    async def send(self, sender: Any, room_id: str, content: dict[str, Any], txn: str, *, kind: str = "m.room.message") -> str:
        if self.problem:
            raise self.problem
        self.said.setdefault(txn, (kind, content))
        return "$bot" + txn

    async def call(self, method: Any, path: Any, body: Any = None) -> dict[str, Any]:
        self.calls.append((unquote(str(path)), body))
        return {}

    async def download_media(self, url: str) -> bytes:
        return self.files[url]

    def is_ours(self, user_id: str) -> bool:
        return user_id in (BOT, GHOST)

    @property
    def notices(self) -> list[str]:
        return [content["body"] for kind, content in self.said.values() if kind == "m.room.message"]

    @property
    def states(self) -> list[str]:
        return [content["nl.griffier.delivery"]["state"] for kind, content in self.said.values() if kind == STATUS]

    def told_of(self, event_id: str) -> list[str]:
        """What was said of one event, in its order."""
        told = [content for kind, content in self.said.values() if kind == STATUS]
        return [one["nl.griffier.delivery"]["state"] for one in told if one["m.relates_to"]["event_id"] == event_id]


@dataclass
class Bridge:
    """The outward half of the bridge, between that room and a simulated WhatsApp."""

    pool: asyncpg.Pool
    sim: Sim
    matrix: Matrix
    relay: Relay
    cloud: Cloud
    departing: Departing
    receipts: Receipts
    holding: Holding
    reading: Reading
    own: Own
    outsiders: Outsiders
    numbers: SimpleNamespace
    problems: list[int] = field(default_factory=list)
    taken: int = 0
    count: int = 0

    async def say(self, content: dict[str, Any], kind: str = "m.room.message", **more: Any) -> str:
        """The official sends an event, and it has been dealt with."""
        self.count += 1
        event_id = f"$e{self.count}"
        event = {"type": kind, "event_id": event_id, "room_id": ROOM, "sender": MINISTER, "content": content, **more}
        if await self.departing.wanted(event):
            await self.relay.take_out([event])
        await self.settled()
        return event_id

    async def text(self, body: str, **more: Any) -> str:
        return await self.say({"msgtype": "m.text", "body": body, **more})

    async def settled(self) -> None:
        async with asyncio.timeout(15):
            while await self.pool.fetchval(  # noqa: ASYNC110 - what is waited for is in the database
                "SELECT count(*) FROM outbox WHERE state = 'waiting' AND due_at < now() + interval '2s'"
            ):
                await asyncio.sleep(0.02)
        await self.sim.settled()

    async def webhooks(self) -> None:
        """What WhatsApp has told meanwhile, carried over."""
        await self.sim.settled()
        new, self.taken = self.sim.hook.raw[self.taken :], len(self.sim.hook.raw)
        for raw in new:
            for _, _, change in self.cloud.split(json.loads(raw)):
                if (told := self.cloud.told(change)) is not None:
                    await self.relay.told(*told)
                read = self.cloud.read(change)
                if isinstance(read, Receipt):
                    await self.receipts.take(read)
                elif isinstance(read, Incoming):
                    await self.relay.carried(NUMBER, read.message_id, ROOM, f"${read.message_id[-12:]}")
                    await self.holding.heard(read)

    async def sent(self) -> list[dict[str, Any]]:
        return await self.sim.ask("/sim/messages")

    async def state(self, event_id: str) -> str:
        return await self.pool.fetchval("SELECT state FROM outbox WHERE event_id = $1", event_id)


@pytest.fixture
async def bridge(bridge_url: str, sim: Sim) -> AsyncIterator[Bridge]:
    async with asyncpg.create_pool(bridge_url, min_size=2, max_size=14) as pool:
        await pool.execute(
            "INSERT INTO portal (room_id, number_id, contact, encrypted) VALUES ($1, $2, $3, true)", ROOM, NUMBER, CONTACT
        )
        relay, matrix = Relay(pool, Seal(AESGCM(b"\1" * 32)), Pace(at_once=4, settle=1.0)), Matrix(pool)
        cloud = Cloud(sim.http, sim.url, "v25.0", lambda _: TOKEN, 1000)
        notices, window = Notices(pool, matrix, matrix), Window(pool)  # type: ignore[arg-type]
        offers = Offers(pool, notices, cloud.templates)
        holding = Holding(matrix, relay, notices, offers, window)  # type: ignore[arg-type]

        async def ghost(number_id: str, named: Any) -> Any:
            return SimpleNamespace(user_id=GHOST, call=matrix.call) if named.wa_id == CONTACT else None

        receipts = Receipts(pool, matrix, relay, cloud, notices, holding, window, ghost)  # type: ignore[arg-type]
        reading = Reading(pool, cloud, matrix)  # type: ignore[arg-type]
        own = Own(relay, matrix, puppets=False)  # type: ignore[arg-type]
        numbers = SimpleNamespace(
            officials=lambda _: {MINISTER},
            once_officials=lambda _: set(),
            display=lambda _: "+31 97",
            paused=lambda _: False,
        )
        outsiders = Outsiders(numbers, matrix, Opening(matrix, matrix), notices)  # type: ignore[arg-type]
        departing = Departing(
            pool, numbers, matrix, matrix, relay, cloud, Opening(matrix, matrix),  # type: ignore[arg-type]
            window, notices, offers, holding, receipts, reading, own, outsiders,
        )  # fmt: skip
        made = Bridge(pool, sim, matrix, relay, cloud, departing, receipts, holding, reading, own, outsiders, numbers)

        async def note(number_id: str, code: int, text: str) -> None:
            made.problems.append(code)

        cloud.graph.on_account_problem = note
        await sim.contact()
        await made.webhooks()
        stop = asyncio.Event()
        gate = Gate(numbers, matrix, relay, Pulse())  # type: ignore[arg-type]
        sends = gate.outward(departing.carry, departing.waits)
        task = asyncio.create_task(relay.run(OUTBOX, sends, departing.not_sent, stop))
        yield made
        stop.set()
        await asyncio.wait_for(task, 8)


async def message_of(bridge: Bridge, event_id: str) -> str:
    [found] = [value for place, value in (await bridge.relay.parts_of(event_id)).items() if place == 1]
    return found


async def test_text_an_answer_and_a_place_go_as_what_they_are(bridge):
    first = await bridge.text("goedendag", format="org.matrix.custom.html", formatted_body="<b>goedendag</b>")
    reply = {"m.relates_to": {"m.in_reply_to": {"event_id": first}}}
    await bridge.text("> <@minister:x> goedendag\n\nnog iets", **reply)
    await bridge.say({"msgtype": "m.location", "body": "x", "geo_uri": "geo:52.08,4.31", **reply})
    text, answer, place = await bridge.sent()
    assert text["text"]["body"] == "*goedendag*"
    assert (answer["text"]["body"], answer["context"]) == ("nog iets", {"message_id": text["id"]})
    assert (place["location"]["latitude"], place["context"]["message_id"]) == (52.08, text["id"])
    assert bridge.matrix.notices == []


async def test_files_go_as_what_whatsapp_shows_them_as(bridge):
    card = b"BEGIN:VCARD\nFN:Jan\nTEL:+31612345678\nEND:VCARD\n"
    files = {
        "image": ("gevel.jpg", "image/jpeg", JPEG, {}),
        "audio": ("spraak.ogg", "audio/ogg", b"OggS" + b"x" * 20, {"org.matrix.msc3245.voice": {}}),
        "document": ("brief.pdf", "application/pdf", b"%PDF-1.7 x", {}),
        "contacts": ("jan.vcf", "text/vcard", card, {}),
    }
    for kind, (name, media_type, content, more) in files.items():
        bridge.matrix.files[f"mxc://x/{kind}"] = content
        info = {"mimetype": media_type, "size": len(content)}
        said = {"msgtype": "m.file", "body": f"zie {kind}", "filename": name, "url": f"mxc://x/{kind}", "info": info, **more}
        await bridge.say(said)
    bridge.matrix.files["mxc://x/s"] = b"RIFF0000WEBPVP8 " + b"x" * 40
    await bridge.say({"body": "lachend", "url": "mxc://x/s", "info": {"mimetype": "image/webp"}}, "m.sticker")
    sent = await bridge.sent()
    assert [item["type"] for item in sent] == ["image", "audio", "text", "document", "contacts", "sticker"]
    assert sent[0]["image"]["caption"] == "zie image"
    assert sent[1]["audio"]["voice"] is True
    assert sent[2]["text"]["body"] == "zie audio"  # words that a voice message can't carry
    assert (sent[3]["document"]["filename"], sent[3]["document"]["caption"]) == ("brief.pdf", "zie document")
    assert sent[4]["contacts"][0]["phones"] == [{"phone": "+31612345678"}]
    async with bridge.sim.http.get(f"{bridge.sim.url}/sim/media/{sent[0]['image']['id']}") as answer:
        assert await answer.read() == JPEG


async def test_a_file_that_whatsapp_does_not_take_is_refused_with_what_to_do(bridge):
    bridge.matrix.files["mxc://x/z"] = b"PK\3\4"
    zipped = {"msgtype": "m.file", "body": "stukken.zip", "url": "mxc://x/z", "info": {"mimetype": "application/zip"}}
    await bridge.say(zipped)
    assert await bridge.sent() == []
    [told] = bridge.matrix.notices
    assert "neemt dit soort bestand niet aan" in told
    assert "does not take this kind of file" in told


async def test_a_long_text_is_one_event_and_several_messages(bridge):
    event_id = await bridge.text("woord " * 2000)
    sent = await bridge.sent()
    assert [item["text"]["body"][:6] for item in sent] == ["(1/3) ", "(2/3) ", "(3/3) "]
    assert await bridge.relay.parts_of(event_id) == {place: item["id"] for place, item in enumerate(sent, 1)}
    for item in sent:
        assert await bridge.relay.event_of(NUMBER, item["id"]) == event_id
    await bridge.webhooks()
    reads = [path for path, _ in bridge.matrix.calls if "receipt" in path]
    assert len(reads) == 1


async def test_parts_that_went_before_a_setback_do_not_go_twice(bridge):
    await bridge.sim.ask("/sim/faults", {"on": "send", "code": 131000, "count": 1, "to": CONTACT})
    event_id = await bridge.text("woord " * 2000)
    async with asyncio.timeout(15):
        while await bridge.state(event_id) != "done":  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert [item["text"]["body"][:6] for item in await bridge.sent()] == ["(1/3) ", "(2/3) ", "(3/3) "]


async def test_a_part_of_which_the_answer_was_lost_does_not_go_twice(bridge):
    await bridge.sim.ask("/sim/faults", {"on": "send", "how": "lost", "count": 1, "to": CONTACT})
    said = asyncio.create_task(bridge.text("woord " * 2000))
    async with asyncio.timeout(15):
        while not said.done() or await bridge.state("$e1") != "done":
            await bridge.webhooks()
            await asyncio.sleep(0.02)
    assert [item["text"]["body"][:6] for item in await bridge.sent()] == ["(1/3) ", "(2/3) ", "(3/3) "]
    assert set(await bridge.relay.parts_of("$e1")) == {1, 2, 3}


async def test_a_reaction_is_given_replaced_and_taken_back(bridge):
    target = await bridge.text("goed?")
    message_id = await message_of(bridge, target)

    async def react(key: str) -> str:
        relation = {"rel_type": "m.annotation", "event_id": target, "key": key}
        return await bridge.say({"m.relates_to": relation}, "m.reaction")

    first = await react("👍")
    second = await react("😮")
    await bridge.say({"redacts": second}, "m.room.redaction")
    reactions = [item["reaction"] for item in (await bridge.sent())[1:]]
    assert [reaction["emoji"] for reaction in reactions] == ["👍", "😮", ""]
    assert {reaction["message_id"] for reaction in reactions} == {message_id}
    assert any("redact" in path and first in path for path, _ in bridge.matrix.calls)
    await react("ok dan")
    assert "één emoji" in bridge.matrix.notices[-1]


async def test_an_edit_goes_as_an_answer_and_the_room_is_told_once(bridge):
    first = await bridge.text("fuot")
    for text in ("fout", "goed"):
        new = {"m.new_content": {"msgtype": "m.text", "body": text}, "m.relates_to": {"rel_type": "m.replace", "event_id": first}}
        await bridge.text(f"* {text}", **new)
    sent = await bridge.sent()
    assert [item["text"]["body"] for item in sent] == ["fuot", "✏️ fout", "✏️ goed"]
    assert {item["context"]["message_id"] for item in sent[1:]} == {sent[0]["id"]}
    assert len(bridge.matrix.notices) == 1
    assert "de oude blijft daar zichtbaar" in bridge.matrix.notices[0]


async def test_a_deletion_is_said_not_to_reach_whatsapp_with_when_it_was_read(bridge):
    unread, seen = await bridge.text("ongelezen"), await bridge.text("gelezen")
    await bridge.pool.execute("DELETE FROM delivery")
    row = NUMBER, await message_of(bridge, seen), CONTACT, datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
    await bridge.pool.execute("INSERT INTO delivery VALUES ($1, $2, $3, 'read', $4)", *row)
    await bridge.say({}, "m.room.redaction", redacts=unread)
    await bridge.say({"redacts": seen}, "m.room.redaction")
    assert "nog niet gelezen" in bridge.matrix.notices[0]
    assert "gelezen op 24-11-2026 om 10:30" in bridge.matrix.notices[1]
    assert "read there on 2026-11-24 at 10:30" in bridge.matrix.notices[1]


async def test_nobody_can_pretend_to_have_read_or_speak_for_the_official(bridge):
    forged = {"type": "nl.griffier.read", "event_id": "$x", "room_id": ROOM, "sender": MINISTER, "content": {}}
    assert not await bridge.departing.wanted(forged)
    said = {"type": "m.room.message", "event_id": "$y", "room_id": ROOM, "sender": "@ander:x", "content": {}}
    assert not await bridge.departing.wanted(said)
    assert not await bridge.departing.wanted(said | {"sender": MINISTER, "room_id": "!elders:x"})


async def test_what_the_official_typed_on_the_phone_is_not_sent_back(bridge):
    bridge.own.puppets = True
    await bridge.relay.carried(NUMBER, "wamid.telefoon", ROOM, "$e1")
    await bridge.text("al verstuurd", **{"fi.mau.double_puppet_source": "griffier-whatsapp"})
    target = await bridge.text("goed?")
    await bridge.relay.carried(NUMBER, "wamid.duim", ROOM, "$e3")
    relation = {"rel_type": "m.annotation", "event_id": target, "key": "👍"}
    await bridge.say({"m.relates_to": relation, "nl.griffier.source": {}}, "m.reaction")
    await bridge.say({"redacts": target, "nl.griffier.source": {}}, "m.room.redaction")
    assert [item["type"] for item in await bridge.sent()] == ["text"]
    assert bridge.matrix.notices == []


async def test_a_client_that_marks_a_message_as_typed_on_the_phone_is_told_that_it_was_not_sent(bridge):
    await bridge.text("stiekem", **{"fi.mau.double_puppet_source": "griffier-whatsapp"})
    await bridge.text("ook", **{"nl.griffier.source": {"from_phone": True}})
    assert await bridge.sent() == []
    assert ["de brug heeft het niet geplaatst" in told for told in bridge.matrix.notices] == [True, True]


async def test_what_the_bridge_has_not_noted_yet_as_its_own_waits_until_it_has_and_holds_nothing_up(bridge):
    bridge.own.puppets = True
    event_id = await bridge.text("van de telefoon", **{"fi.mau.double_puppet_source": "griffier-whatsapp"})
    await bridge.text("uit Matrix")
    assert await bridge.state(event_id) == "aside"
    await bridge.relay.carried(NUMBER, "wamid.telefoon", ROOM, event_id)
    async with asyncio.timeout(5):
        while await bridge.state(event_id) != "kept":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert [item["text"]["body"] for item in await bridge.sent()] == ["uit Matrix"]
    assert bridge.matrix.notices == []


async def test_a_message_of_the_other_side_that_is_deleted_here_is_said_to_stay_there(bridge):
    message_id = await bridge.sim.contact("van mij")
    await bridge.webhooks()
    await bridge.say({"redacts": f"${message_id[-12:]}"}, "m.room.redaction")
    assert bridge.matrix.notices[-1].startswith(
        "Dit bericht van de andere kant is hier verwijderd; op WhatsApp blijft het staan."
    )


async def test_what_whatsapp_can_not_do_is_said_once_a_day(bridge):
    for _ in range(2):
        await bridge.say({"call_id": "1"}, "m.call.invite")
    poll = {"question": {"body": "Wanneer?"}, "answers": [{"id": "1", "body": "ma"}]}
    await bridge.say({"org.matrix.msc3381.poll.start": poll}, "org.matrix.msc3381.poll.start")
    await bridge.say({"msgtype": "m.notice", "body": "van een bot"})
    assert [item["text"]["body"] for item in await bridge.sent()] == ["📊 *Wanneer?*\n1. ma"]
    assert [notice.split(".")[0] for notice in bridge.matrix.notices] == [
        "Bellen gaat niet via deze brug",
        "WhatsApp krijgt deze peiling als tekst te zien; stemmen kan daar niet",
    ]


async def test_delivered_and_read_are_shown_once_whatever_the_order(bridge):
    await bridge.sim.ask("/sim/knobs", {"duplicates": 1.0, "reorder": 6, "receipts": "read"})
    event_id = await bridge.text("komt het aan?")
    await bridge.webhooks()
    states = bridge.matrix.states
    assert states == sorted(set(states), key=["sent", "delivered", "read"].index)
    assert states[-1] == "read"
    [shown] = [
        content
        for kind, content in bridge.matrix.said.values()
        if kind == STATUS and content["nl.griffier.delivery"]["state"] == "read"
    ]
    assert shown["m.relates_to"] == {"rel_type": "m.reference", "event_id": event_id}
    assert (shown["status"], shown["delivered_to_users"]) == ("SUCCESS", [GHOST])
    reads = [path for path, _ in bridge.matrix.calls if "receipt" in path]
    assert [path.endswith(f"{ROOM}/receipt/m.read/{event_id}") for path in reads] == [True]


async def test_what_whatsapp_took_is_told_as_sent_once_and_not_before(bridge):
    await bridge.sim.ask("/sim/knobs", {"duplicates": 1.0, "receipts": "sent"})
    event_id, long = await bridge.text("onderweg"), await bridge.text("woord " * 2000)
    assert bridge.matrix.states == []
    await bridge.webhooks()
    assert [bridge.matrix.told_of(each) for each in (event_id, long)] == [["sent"], ["sent"]]
    assert not any("delivered_to_users" in content for kind, content in bridge.matrix.said.values() if kind == STATUS)


async def test_whatever_does_not_reach_whatsapp_is_told_beside_the_message_with_why(bridge):
    zipped = {"msgtype": "m.file", "body": "stukken.zip", "url": "mxc://x/z", "info": {"mimetype": "application/zip"}}
    bridge.matrix.files["mxc://x/z"] = b"PK\3\4"
    strange = {"m.relates_to": {"rel_type": "m.annotation", "event_id": "$elders", "key": "👍"}}
    failed = [
        await bridge.say(zipped),
        await bridge.say({"msgtype": "m.image", "body": "weg", "url": 5}),
        await bridge.say({"call_id": "1"}, "m.call.invite"),
        await bridge.say({"call_id": "2"}, "m.call.invite"),  # the room is told once a day; the archive each time
        await bridge.say(strange, "m.reaction"),
        await bridge.text("!sjabloon bestaat_niet"),
    ]
    await bridge.departing.not_sent({"type": "m.room.message", "event_id": "$p", "room_id": ROOM, "content": {}}, "gepauzeerd")
    assert [bridge.matrix.told_of(each) for each in (*failed, "$p")] == [["failed"]] * 7
    assert all(content["message"] for kind, content in bridge.matrix.said.values() if kind == STATUS)


async def test_what_is_not_meant_for_whatsapp_is_told_to_have_stayed(bridge):
    await close(bridge)
    held, kept = await bridge.text("toch maar niet"), await bridge.text("wel")
    stayed = [
        await bridge.text("!sjabloon"),
        await bridge.text("!sjabloon 1 de minister | vrijdag"),
        await bridge.text("!verstuur"),
        await bridge.say({"msgtype": "m.notice", "body": "van een bot"}),
    ]
    await bridge.say({"redacts": held}, "m.room.redaction")
    assert [bridge.matrix.told_of(each)[0] for each in stayed] == ["stayed"] * 4
    assert [bridge.matrix.told_of(each) for each in (held, kept)] == [["failed", "stayed"], ["failed"]]
    await bridge.webhooks()
    [shown] = await bridge.pool.fetch("SELECT shown FROM carried WHERE event_id = $1", stayed[1])
    assert bridge.matrix.told_of(shown["shown"])[-1] == "read"
    assert bridge.matrix.told_of(stayed[1]) == ["stayed"]
    await bridge.say({"body": "x"}, "m.key.verification.start")
    assert bridge.matrix.told_of("$e7") == []


async def test_a_refusal_is_shown_on_the_message_in_plain_words(bridge):
    await bridge.sim.ask("/sim/faults", {"on": "send", "how": "answer", "code": 131026})
    event_id = await bridge.text("ben je daar?")
    await bridge.sim.ask("/sim/faults", {"on": "send", "how": "failed", "code": 131042})
    late = await bridge.text("en nu?")
    await bridge.webhooks()
    assert "niet bij WhatsApp aangekomen: WhatsApp kan het niet bezorgen" in bridge.matrix.notices[0]
    assert "something is wrong with the payment" in bridge.matrix.notices[1]
    told = [content for kind, content in bridge.matrix.said.values() if kind == STATUS]
    told = [one for one in told if one["status"] != "SUCCESS"]
    assert [(one["status"], one["nl.griffier.delivery"]["code"]) for one in told] == [
        ("FAIL_PERMANENT", 131026),
        ("FAIL_PERMANENT", 131042),
    ]
    assert [one["m.relates_to"]["event_id"] for one in told] == [event_id, late]
    assert all(" · " in one["message"] for one in told)


async def test_a_reaction_that_was_refused_is_told_of_under_what_it_is_about(bridge):
    target = await bridge.text("goed?")
    for how in ("answer", "failed"):
        await bridge.sim.ask("/sim/faults", {"on": "send", "how": how, "code": 131009})
        relation = {"rel_type": "m.annotation", "event_id": target, "key": "👍"}
        await bridge.say({"m.relates_to": relation}, "m.reaction")
        await bridge.webhooks()
    told = [content for kind, content in bridge.matrix.said.values() if kind == "m.room.message"]
    assert [one["m.relates_to"]["m.in_reply_to"]["event_id"] for one in told] == [target, target]
    assert all("te oud of verwijderd" in one["body"] for one in told)


async def test_an_expired_token_makes_messages_wait_and_is_told_once(bridge):
    await bridge.sim.ask("/sim/faults", {"on": "send", "code": 190, "count": 1})
    first = await bridge.text("wacht even")
    async with asyncio.timeout(5):
        while not bridge.matrix.notices:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert bridge.problems == [190]
    assert await bridge.state(first) == "waiting"
    assert "wacht en gaat vanzelf" in bridge.matrix.notices[0]
    assert "toegangstoken" in bridge.matrix.notices[0]
    assert await bridge.sent() == []


async def close(bridge: Bridge, hours: int = 25) -> None:
    await bridge.pool.execute("UPDATE spoken SET at = at - make_interval(hours => $1)", hours)
    await bridge.sim.ask(f"/sim/contacts/{CONTACT}/window", {"open": False})


async def test_outside_the_window_templates_are_offered_and_one_is_sent_from_the_chat(bridge):
    await close(bridge)
    first = await bridge.text("bent u daar nog?")
    second = await bridge.text("hallo?")
    assert await bridge.sent() == []
    assert [await bridge.state(event) for event in (first, second)] == ["held", "held"]
    refused = [content["nl.griffier.delivery"] for kind, content in bridge.matrix.said.values() if kind == STATUS]
    assert [one["code"] for one in refused] == [131047, 131047]
    assert not any("recipient" in one for one in refused), "it holds for all, whoever gets it later"
    offer, short = bridge.matrix.notices
    assert "1️⃣ afspraak (nl)" in offer
    assert offer.index("gesprek_hervatten (nl)") < offer.index("gesprek_hervatten (en)")
    assert "Uw afspraak met {{1}} is op {{2}}" in offer
    assert "nog_in_beoordeling" not in offer
    assert "1️⃣" not in short
    command = await bridge.text("!sjabloon 1 de minister | vrijdag")
    [sent] = await bridge.sent()
    assert (sent["type"], sent["template"]["name"], sent["template"]["language"]) == ("template", "afspraak", {"code": "nl"})
    shown = [content for _, content in bridge.matrix.said.values() if "nl.griffier.source" in content]
    assert [one["body"] for one in shown] == ["Uw afspraak met de minister is op vrijdag. Tot dan!"]
    source = shown[0]["nl.griffier.source"]
    assert (source["type"], source["official"], source["message_id"]) == ("template", MINISTER, sent["id"])
    assert (await bridge.relay.event_of(NUMBER, sent["id"])) not in (None, command)  # an answer is to what people see


async def test_a_template_is_shown_though_its_status_came_first_and_the_homeserver_was_away(bridge, monkeypatch):
    send, away = bridge.matrix.send, True

    async def fails(sender, room_id, content, *more, **named):
        nonlocal away
        if "nl.griffier.source" in content and away:
            away = False
            await bridge.webhooks()
            raise ConnectionRefusedError
        return await send(sender, room_id, content, *more, **named)

    monkeypatch.setattr(bridge.matrix, "send", fails)
    asked = await bridge.text("!sjabloon afspraak de minister | vrijdag")
    assert not away
    assert (await bridge.state(asked), len(await bridge.sent())) == ("done", 1)
    assert [content["body"] for _, content in bridge.matrix.said.values() if "nl.griffier.source" in content] == [
        "Uw afspraak met de minister is op vrijdag. Tot dan!"
    ]


async def test_what_went_before_a_setback_is_not_said_to_wait_because_the_window_has_closed_since(bridge):
    bridge.count += 1
    await bridge.relay.carried(NUMBER, "wamid.ging", ROOM, "$e2")
    await bridge.pool.execute("UPDATE spoken SET at = now() - interval '2 days'")
    assert await bridge.state(await bridge.text("dag")) == "done"
    assert (await bridge.sent(), bridge.matrix.notices) == ([], [])


async def test_a_template_without_variables_goes_by_a_reaction_with_its_digit(bridge):
    await close(bridge)
    await bridge.text("bent u daar nog?")
    [offer] = await bridge.pool.fetch("SELECT event_id, names FROM offer")
    place = offer["names"].index("hello_world en_US") + 1
    for key in (f"{place}\ufe0f\u20e3", "1\ufe0f\u20e3", "👍"):
        await bridge.say({"m.relates_to": {"rel_type": "m.annotation", "event_id": offer["event_id"], "key": key}}, "m.reaction")
    assert [item["template"]["name"] for item in await bridge.sent()] == ["hello_world"]
    assert "Welcome and congratulations!!" in bridge.matrix.notices[1]
    assert "vraagt 2 waarden: !sjabloon afspraak waarde 1 | waarde 2" in bridge.matrix.notices[2]
    assert "zo'n sjabloon is er niet" in bridge.matrix.notices[3]


async def test_what_waited_for_the_window_goes_when_the_other_side_has_answered_and_the_official_says_so(bridge):
    await close(bridge)
    await bridge.text("een")
    deleted = await bridge.text("twee")
    await bridge.text("drie")
    await bridge.text("!verstuur")
    assert await bridge.sent() == []
    await bridge.say({"redacts": deleted}, "m.room.redaction")
    assert "gaat niet meer naar WhatsApp" in bridge.matrix.notices[-1]
    await bridge.sim.contact("ja, ik ben er")
    await bridge.webhooks()
    assert "de 2 wachtende berichten nu te versturen: typ !verstuur" in bridge.matrix.notices[-1]
    await bridge.text("!send")
    await bridge.settled()
    assert [item["text"]["body"] for item in await bridge.sent()] == ["een", "drie"]


@pytest.mark.parametrize("refusals", ["answer", "status"])
async def test_when_whatsapp_itself_says_that_the_window_is_closed_the_message_waits_too(bridge, refusals):
    await bridge.sim.ask("/sim/knobs", {"refusals": refusals})
    await bridge.sim.ask(f"/sim/contacts/{CONTACT}/window", {"open": False})
    event_id = await bridge.text("bent u daar nog?")
    await bridge.webhooks()
    assert await bridge.state(event_id) == "held"
    assert "1️⃣ afspraak (nl)" in bridge.matrix.notices[0]
    await bridge.sim.contact("ja hoor")
    await bridge.webhooks()
    await bridge.text("!verstuur")
    await bridge.webhooks()
    delivered = [item for item in await bridge.sent() if item["text"]["body"] == "bent u daar nog?"]
    assert len(delivered) == (1 if refusals == "answer" else 2)
    assert bridge.matrix.states[-1] == "read"


async def test_what_the_official_has_read_is_told_once_up_to_the_newest(bridge):
    old = await bridge.sim.contact("een")
    new = await bridge.sim.contact("twee")
    await bridge.webhooks()

    async def seen(message_id: str) -> None:
        receipt = {
            "type": "m.receipt",
            "room_id": ROOM,
            "content": {f"${message_id[-12:]}": {"m.read": {MINISTER: {"ts": 1}, "@ander:x": {}}}},
        }
        for item in bridge.reading.told([receipt, {"type": "m.typing"}, "onzin"]):
            if await bridge.departing.wanted(item):
                await bridge.relay.take_out([item])
        await bridge.settled()

    for message_id in (new, old, new):
        await seen(message_id)
    marked = await bridge.sim.ask("/sim/marked")
    assert [one["message_id"] for one in marked] == [new]


async def test_somebody_who_does_not_speak_for_the_number_is_told_once_a_day_that_it_is_not_sent(bridge):
    def said(event_id: str, sender: str, msgtype: str = "m.text", **more: Any) -> dict[str, Any]:
        content = {"msgtype": msgtype, "body": "hoi"}
        return {"type": "m.room.message", "event_id": event_id, "room_id": ROOM, "sender": sender, "content": content, **more}

    async def brought(*events: dict[str, Any]) -> None:
        items = [item for item in bridge.outsiders.told(events) if await bridge.departing.wanted(item)]
        if items:
            await bridge.relay.take_out(items)
        await bridge.settled()

    await brought(said("$1", "@archief:x", "m.notice"), said("$2", GHOST), said("$3", BOT), said("$4", MINISTER))
    await brought(said("$5", "@buur:x", room_id="!elders:x"), said("$6", "@buur:x", state_key=""))
    await brought(said("$12", "@buur:x", "m.key.verification.request"))
    assert bridge.matrix.notices == []
    await brought(said("$7", "@buur:x"), said("$8", "@buur:x"))
    await brought(said("$9", "@buur:x"), said("$10", "@neef:x"))
    first, second = bridge.matrix.notices
    assert first.startswith("Wat @buur:x hier schrijft gaat niet naar WhatsApp")
    assert second.startswith("Wat @neef:x hier schrijft")
    [about] = [content["m.relates_to"] for _, content in bridge.matrix.said.values() if "@buur" in content.get("body", "")]
    assert about == {"m.in_reply_to": {"event_id": "$7"}}
    assert await bridge.sent() == []
    forged = {"type": "nl.griffier.outsider", "event_id": "$11", "room_id": ROOM, "sender": "@kwaad:x", "content": {}}
    assert not await bridge.departing.wanted(forged)
    assert (await bridge.relay.counts())["out_failed"] == 0


async def test_what_is_said_while_the_number_is_paused_waits_and_goes_in_order_and_the_room_is_told_once(bridge):
    async def said(event_id: str, **event: Any) -> None:
        event |= {"type": event.get("type", "m.room.message"), "event_id": event_id, "room_id": ROOM, "sender": MINISTER}
        assert await bridge.departing.wanted(event)
        await bridge.relay.take_out([event])
        await asyncio.sleep(0.1)

    bridge.numbers.paused = lambda _: True
    texts = ["toch niet", "een", "twee", "drie"]
    for n, text in enumerate(texts):
        await said(f"$p{n}", content={"msgtype": "m.text", "body": text})
    await said("$weg", type="m.room.redaction", content={"redacts": "$p0"})
    assert await bridge.sent() == []
    [notice] = bridge.matrix.notices
    assert notice.startswith("Het nummer is gepauzeerd. Wat u hier schrijft wacht")
    bridge.numbers.paused = lambda _: False
    await bridge.pool.execute(DUE_OUT, NUMBER)  # as resuming does
    async with asyncio.timeout(10):
        while len(await bridge.sent()) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert [item["text"]["body"] for item in await bridge.sent()] == texts[1:]
    assert bridge.matrix.told_of("$p0") == ["stayed"]


async def test_what_waited_for_an_answer_when_the_number_is_given_away_is_told_not_to_have_gone(bridge):
    await close(bridge)
    event_id = await bridge.text("nog te versturen")
    assert await bridge.state(event_id) == "held"
    async with bridge.pool.acquire() as connection:
        await assigning.close(connection, NUMBER)
    async with asyncio.timeout(10):
        while await bridge.state(event_id) != "kept":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert bridge.matrix.notices[-1].startswith("Dit bericht is niet bij WhatsApp aangekomen: het wachtte op een antwoord")
    assert bridge.matrix.told_of(event_id)[-1] == "failed"
    assert await bridge.sent() == []


async def test_that_something_was_read_can_not_be_told_now_and_no_message_waits_for_it(bridge):
    await bridge.sim.ask("/sim/faults", {"on": "read", "how": "hang", "seconds": 2})
    message_id = await bridge.sim.contact("een")
    await bridge.webhooks()
    receipt = {"type": "m.receipt", "room_id": ROOM, "content": {f"${message_id[-12:]}": {"m.read": {MINISTER: {}}}}}
    [item] = bridge.reading.told([receipt])
    await bridge.relay.take_out([item])
    said = {"type": "m.room.message", "event_id": "$door", "room_id": ROOM, "sender": MINISTER}
    await bridge.relay.take_out([said | {"content": {"msgtype": "m.text", "body": "gaat gewoon door"}}])
    async with asyncio.timeout(1.5):
        while await bridge.state("$door") != "done":  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert await bridge.sim.ask("/sim/marked") == []
    async with asyncio.timeout(10):
        while not await bridge.sim.ask("/sim/marked"):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert [one["message_id"] for one in await bridge.sim.ask("/sim/marked")] == [message_id]
    assert bridge.matrix.notices == []


async def test_that_something_was_read_is_given_up_after_a_while_without_a_word_or_an_alarm(bridge, monkeypatch):
    monkeypatch.setattr("bridge.departing.receipts.PATIENCE", 0)
    await bridge.sim.ask("/sim/faults", {"on": "read", "how": "close"})
    message_id = await bridge.sim.contact("een")
    await bridge.webhooks()
    receipt = {"type": "m.receipt", "room_id": ROOM, "content": {f"${message_id[-12:]}": {"m.read": {MINISTER: {}}}}}
    await bridge.relay.take_out(bridge.reading.told([receipt]))
    await bridge.settled()
    assert (await bridge.relay.counts())["out_failed"] == 0
    assert bridge.matrix.notices == []


async def test_a_file_that_does_not_get_through_costs_attempts_of_its_own_and_holds_no_other_conversation_up(bridge):
    bridge.matrix.files["mxc://x/a"] = JPEG
    await bridge.sim.ask("/sim/faults", {"on": "upload", "how": "close"})
    event_id = await bridge.say({"msgtype": "m.image", "body": "gevel.jpg", "url": "mxc://x/a"})
    async with asyncio.timeout(10):
        while await bridge.state(event_id) != "done":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    row = await bridge.pool.fetchrow("SELECT attempts, problem FROM outbox WHERE event_id = $1", event_id)
    assert row["attempts"] == 1
    [sent] = await bridge.sent()
    assert sent["type"] == "image"


async def test_a_numbers_limit_holds_over_all_its_conversations(bridge):
    await bridge.sim.ask("/sim/knobs", {"throughput": 20, "receipts": "none"})
    bridge.cloud._pace = Sending(lambda _: 20.0)
    for other in range(8):
        await bridge.pool.execute(
            "INSERT INTO portal (room_id, number_id, contact, encrypted) VALUES ($1, $2, $3, true)",
            f"!{other}",
            NUMBER,
            f"3160000020{other}",
        )
    events = [
        {"type": "m.room.message", "event_id": f"$v{n}", "room_id": f"!{n % 8}", "sender": MINISTER,
         "content": {"msgtype": "m.text", "body": str(n)}}
        for n in range(56)
    ]  # fmt: skip
    await bridge.relay.take_out(events)
    async with asyncio.timeout(15):
        while len(await bridge.sent()) < 56:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert await bridge.pool.fetchval("SELECT count(*) FROM outbox WHERE attempts > 0 OR problem IS NOT NULL") == 0


async def test_who_is_known_by_a_user_id_only_is_written_to(bridge):
    people = await bridge.sim.ask("/sim/contacts")
    user_id = next(one["user_id"] for one in people if one["wa_id"] == CONTACT)
    await bridge.pool.execute("UPDATE portal SET contact = $1", user_id)
    await bridge.text("dag")
    [sent] = await bridge.sent()
    assert (sent["recipient"], sent["text"]["body"]) == (user_id, "dag")


async def test_a_group_gets_text_and_is_told_of_by_each_participant(bridge):
    group = await bridge.sim.ask(
        "/sim/groups", {"subject": "Overleg", "participants": [CONTACT, "31600000102"], "id": "Y2FwaV9ncm91cDox"}
    )
    await bridge.pool.execute("UPDATE portal SET contact = $1", group["id"])
    await bridge.text("dag allemaal")
    await bridge.say({"msgtype": "m.location", "body": "x", "geo_uri": "geo:52.08,4.31"})
    [sent] = await bridge.sent()
    assert (sent["recipient_type"], sent["to"]) == ("group", group["id"])
    assert "in WhatsApp-groepen kan de brug alleen tekst" in bridge.matrix.notices[0]
    await bridge.webhooks()
    told = [content["nl.griffier.delivery"] for kind, content in bridge.matrix.said.values() if kind == STATUS]
    recipients = {one.get("recipient") for one in told}
    assert {CONTACT, "31600000102"} <= recipients


async def test_what_the_homeserver_has_lost_is_told_and_holds_nothing_up(bridge):
    await bridge.say({"msgtype": "m.image", "body": "geheim", "url": 5})
    await bridge.say({"msgtype": "m.file", "body": "geheim", "file": {"x": 1}})
    await bridge.text("wel goed")
    assert [item["text"]["body"] for item in await bridge.sent()] == ["wel goed"]
    assert ["de bijlage" in notice for notice in bridge.matrix.notices] == [True, True]
    assert all("geheim" not in notice for notice in bridge.matrix.notices)


async def test_encrypted_files_are_opened_and_altered_ones_are_not_sent(bridge):
    from mautrix.crypto.attachments import encrypt_attachment

    sealed, file = encrypt_attachment(JPEG)
    file.url = "mxc://x/e"
    bridge.matrix.files["mxc://x/e"] = sealed
    said = {"msgtype": "m.image", "body": "x.jpg", "file": file.serialize(), "info": {"mimetype": "image/jpeg"}}
    await bridge.say(said)
    bridge.matrix.files["mxc://x/e"] = sealed[:-1] + bytes([sealed[-1] ^ 1])
    await bridge.say(said)
    [sent] = await bridge.sent()
    async with bridge.sim.http.get(f"{bridge.sim.url}/sim/media/{sent['image']['id']}") as answer:
        assert base64.b64encode(await answer.read()) == base64.b64encode(JPEG)
    assert "onleesbaar" in bridge.matrix.notices[0]
