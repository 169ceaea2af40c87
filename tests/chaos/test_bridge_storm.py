"""The bridge and the Postgres under it are killed while people talk on both sides: everything is there once, and in order.

The phones are the simulator's, the official is a strict matrix-js-sdk client. The seed is printed, and GRIFFIER_CHAOS_SEED
repeats it; GRIFFIER_CHAOS_BRIDGE_KILLS sets how many kills there are (`make chaos`: 60).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import secrets
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.chaos.comparison import held_by_homeserver
from tests.chaos.storm import children
from tests.conftest import RunningStack, data_folder, running_stack
from tests.interop.client import Official
from tests.interop.test_strict_client import exported

pytestmark = [pytest.mark.stack, pytest.mark.interop]

KILLS = int(os.environ.get("GRIFFIER_CHAOS_BRIDGE_KILLS", "4"))
SEED = int(os.environ.get("GRIFFIER_CHAOS_SEED", str(secrets.randbelow(10**6))))
PATIENCE = 120.0  # seconds that a request is made again
SECONDS = 150 + 5 * KILLS  # that the bridge may take to get over it
PHONES = 3


@dataclass
class Conversation:
    """One contact and the official, and what each has said."""

    contact: str
    room: str = ""
    by_contact: list[str] = field(default_factory=list)
    by_official: list[str] = field(default_factory=list)


@dataclass
class Scene:
    """A stack of these tests alone, its phones and its official."""

    stack: RunningStack
    phones: aiohttp.ClientSession
    official: Official

    async def conversation(self, contact: str) -> Conversation:
        """A contact says something; the official comes to read it."""
        talk = Conversation(contact)
        await from_phone(self.phones, talk)
        talk.room = (await self.official.do("wait_invite"))["room"]
        await self.official.do("wait_for_text", room=talk.room, text=talk.by_contact[0])
        return talk


@pytest.fixture(scope="module")
async def scene() -> AsyncIterator[Scene]:
    with data_folder() as made:
        async with (
            running_stack(made) as stack,
            aiohttp.ClientSession(stack.simulator, timeout=aiohttp.ClientTimeout(total=PATIENCE)) as phones,
            Official(stack.homeserver, "minister", stack.secret("password_minister")) as official,
        ):
            yield Scene(stack, phones, official)


async def test_a_key_that_comes_while_the_bridge_is_away_is_had_all_the_same(scene: Scene) -> None:
    talk = await scene.conversation("31600000009")
    os.kill(scene.stack.process.pid, signal.SIGSTOP)  # who would start it again at once
    try:
        await kill(scene.stack, b"bridge")
        for text in ("met een nieuwe sleutel", "en nog een"):
            await scene.official.do("new_session", room=talk.room)
            await scene.official.do("send_surely", room=talk.room, body=text)
        await asyncio.sleep(2)  # the homeserver has tried, and will try again
    finally:
        os.kill(scene.stack.process.pid, signal.SIGCONT)
    async with asyncio.timeout(60):
        while (await sent_to(scene.phones)).get(talk.contact) != ["met een nieuwe sleutel", "en nog een"]:  # noqa: ASYNC110
            await asyncio.sleep(0.2)


@pytest.mark.timeout(300 + 20 * KILLS)
async def test_every_message_of_both_sides_arrives_once_and_in_order_whatever_is_killed(scene: Scene, tmp_path: Path) -> None:
    print(f"\nGRIFFIER_CHAOS_SEED={SEED} GRIFFIER_CHAOS_BRIDGE_KILLS={KILLS}")
    chance = random.Random(SEED)
    stack, phones, official = scene.stack, scene.phones, scene.official
    talks = [await scene.conversation(f"316{SEED % 1000:03}{number:05}") for number in range(PHONES)]
    done = asyncio.Event()
    async with asyncio.TaskGroup() as talking:
        for talk in talks:
            talking.create_task(phone(phones, talk, random.Random(f"{SEED} {talk.contact}"), done))
        talking.create_task(minister(official, talks, random.Random(f"{SEED} minister"), done))
        struck = await blows(stack, phones, chance)
        done.set()
    began = time.monotonic()
    await at_rest(stack, phones, talks)
    print(f"{struck}; at rest {time.monotonic() - began:.0f} s after the last")
    for talk in talks:
        await compare(stack, phones, official, talk, tmp_path)
    said = Counter({"phones": sum(len(t.by_contact) for t in talks), "official": sum(len(t.by_official) for t in talks)})
    print(f"{dict(said)}, all of them once and in order")
    assert min(said.values()) > 2 * KILLS


async def phone(phones: aiohttp.ClientSession, talk: Conversation, chance: random.Random, done: asyncio.Event) -> None:
    """A contact who goes on talking."""
    while not done.is_set():
        await from_phone(phones, talk)
        await asyncio.sleep(chance.uniform(0, 0.3))


async def from_phone(phones: aiohttp.ClientSession, talk: Conversation) -> None:
    """WhatsApp delivers what was said until it is acknowledged."""
    text = f"van {talk.contact} {len(talk.by_contact)}"
    talk.by_contact.append(text)
    async with phones.post(f"/sim/contacts/{talk.contact}/send", json={"text": text, "name": "Inwoner"}) as answer:
        assert answer.status == 200, await answer.text()


async def minister(official: Official, talks: list[Conversation], chance: random.Random, done: asyncio.Event) -> None:
    """The official, who answers now one, now another; as often as WhatsApp lets one write to a person: each 6 seconds."""
    while not done.is_set():
        talk = chance.choice(talks)
        text = f"aan {talk.contact} {len(talk.by_official)}"
        talk.by_official.append(text)
        await official.do("send_surely", room=talk.room, body=text, timeout=PATIENCE)
        await asyncio.sleep(chance.uniform(1.4, 2.8))


async def blows(stack: RunningStack, phones: aiohttp.ClientSession, chance: random.Random) -> dict[str, int]:
    """Kills of the bridge, and one in five of Postgres, at random moments; the demo starts again what was killed."""
    kinds = ["bridge", "postgres", *chance.choices(["bridge", "postgres"], [4, 1], k=max(0, KILLS - 2))]
    struck: Counter[str] = Counter()
    for kind in kinds:
        await asyncio.sleep(chance.uniform(0.3, 3.0))
        sign = b"bridge" if kind == "bridge" else b"-D"
        async with asyncio.timeout(60):  # what is killed often is started again after longer pauses: the blow is to hit what runs
            while not (hit := await kill(stack, sign)):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        struck[kind] += hit
        if chance.random() < 0.8:  # else the next blow may hit it while it starts
            await answers(stack, phones)
        await asyncio.sleep(chance.uniform(0.5, 4.0))
    return dict(struck)


async def answers(stack: RunningStack, phones: aiohttp.ClientSession) -> None:
    """Until the bridge is up again."""
    async with asyncio.timeout(120):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with phones.get(stack.webhook.removesuffix("/webhook") + "/healthz"):
                    return
            await asyncio.sleep(0.2)


async def kill(stack: RunningStack, sign: bytes) -> int:
    """Kill the stack's process with this in its command line."""
    killed = 0
    for pid, command in children(stack.process.pid).items():
        if sign in command:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed += 1
    return killed


async def at_rest(stack: RunningStack, phones: aiohttp.ClientSession, talks: list[Conversation]) -> None:
    """Until the bridge has nothing left to do and WhatsApp has all that was said."""
    health = stack.webhook.removesuffix("/webhook") + "/healthz"
    told: Any = None
    missing: dict[str, int] = {}
    heard = time.monotonic()
    try:
        async with asyncio.timeout(SECONDS):
            while True:
                with contextlib.suppress(aiohttp.ClientError, json.JSONDecodeError):
                    async with phones.get(health) as answer:
                        told = await answer.json()
                    sent = await sent_to(phones)
                    missing = {talk.contact: len(talk.by_official) - len(sent.get(talk.contact, [])) for talk in talks}
                    if told.get("in_waiting", 1) + told.get("out_waiting", 1) == 0 and max(missing.values()) <= 0:
                        break
                    if told.get("out_waiting") and time.monotonic() > heard + 5:
                        # What WhatsApp may have is not sent again before it is heard of: people go on talking.
                        await from_phone(phones, talks[0])
                        heard = time.monotonic()
                await asyncio.sleep(0.5)
    except TimeoutError:
        log = (Path(stack.data_dir) / "logs" / "bridge.log").read_text()
        raise AssertionError(f"not at rest: {told}; on the phones are missing {missing}\n{log[-6000:]}") from None
    assert told["in_failed"] + told["in_not_understood"] + told["out_failed"] == 0, told


async def sent_to(phones: aiohttp.ClientSession) -> dict[str, list[str]]:
    """What came on each phone, in the order in which WhatsApp took it."""
    texts: dict[str, list[str]] = {}
    async with phones.get("/sim/messages") as answer:
        for message in await answer.json():
            texts.setdefault(message["to"], []).append(message["text"]["body"])
    return texts


async def compare(
    stack: RunningStack, phones: aiohttp.ClientSession, official: Official, talk: Conversation, folder: Path
) -> None:
    """What each side sees of a conversation is what the other said: nothing missing, nothing twice, in order."""
    assert (await sent_to(phones)).get(talk.contact) == talk.by_official
    last = await official.do("wait_for_text", room=talk.room, text=talk.by_contact[-1])
    assert last["failure"] is None
    held = await held_by_homeserver(stack, talk.room)
    ghost = f"@whatsapp_{talk.contact}:{stack.server_name}"
    by_ghost = [event for event in held.values() if event["sender"] == ghost and event["type"] == "m.room.encrypted"]
    assert len(by_ghost) == len(talk.by_contact)
    end = time.monotonic() + SECONDS
    bodies: dict[str, list[str]] = {}
    while time.monotonic() < end:
        lines = [line for line in await exported(stack, talk.room, folder) if line["kind"] == "text"]
        bodies = {
            who: [line["body"] for line in lines if line["sender"] == who] for who in (ghost, f"@minister:{stack.server_name}")
        }
        if all(len(found) >= len(said) for found, said in zip(bodies.values(), (talk.by_contact, talk.by_official), strict=True)):
            break
        await asyncio.sleep(1)
    assert list(bodies.values()) == [talk.by_contact, talk.by_official]
