"""Conversations side by side, each in order, once; what fails waits, is set aside, and stops nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from mautrix.errors import MatrixUnknownRequestError

from bridge.network import NetworkError, NotUnderstood, NotYet
from bridge.relay.relay import INBOX, OUTBOX, Pace, Relay, SetAside
from bridge.sealing import Seal

pytestmark = pytest.mark.postgres


@dataclass
class Other:
    """The other side: notes what is carried over, and does what the test says."""

    relay: Relay
    does: Callable[[dict[str, Any]], Awaitable[str]]
    carried: list[str] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)
    alarms: list[SetAside] = field(default_factory=list)

    async def work(self, change: dict[str, Any]) -> str:
        state = await self.does(change)
        self.carried.append(change.get("text", ""))
        return state

    async def give_up(self, change: dict[str, Any], reason: str) -> None:
        self.told.append((change.get("text", ""), reason))

    async def until(self, check: Callable[[], object], seconds: float = 10) -> None:
        async with asyncio.timeout(seconds):
            while not check():  # noqa: ASYNC110 - what is waited for happens in many places
                await asyncio.sleep(0.005)


async def at_once(change: dict[str, Any]) -> str:
    return "done"


@pytest.fixture
async def relay(bridge_url: str) -> AsyncIterator[Relay]:
    async with asyncpg.create_pool(bridge_url, min_size=2, max_size=14) as pool:
        await pool.execute("INSERT INTO portal VALUES ('!a', '31', 'c', true), ('!b', '31', 'd', true), ('!c', '32', 'c', true)")
        yield Relay(pool, Seal(AESGCM(b"\1" * 32)), Pace(at_once=8, settle=0.5))


@contextlib.asynccontextmanager
async def running(relay: Relay, does: Callable[[dict[str, Any]], Awaitable[str]] = at_once, queue=INBOX) -> AsyncIterator[Other]:
    other, stop = Other(relay, does), asyncio.Event()

    async def note(alarm: SetAside) -> None:
        other.alarms.append(alarm)

    async def give_up(change: dict[str, Any], reason: str) -> None:
        await other.give_up(change, reason)  # which a test may replace

    relay.alarm = note
    task = asyncio.create_task(relay.run(queue, other.work, give_up, stop))
    try:
        yield other
    finally:
        stop.set()
        await asyncio.wait_for(task, 8)


def change(text: str, conversation: str = "31|c") -> tuple[str, str, dict[str, Any]]:
    return f"message|{conversation}|{text}", conversation, {"text": text}


def event(text: str, room: str = "!a") -> dict[str, Any]:
    return {"event_id": f"${text}", "room_id": room, "text": text}


async def states(relay: Relay, table: str = "inbox") -> dict[str, int]:
    rows = await relay._pool.fetch(f"SELECT state, count(*) FROM {table} GROUP BY 1")
    return {row["state"]: row["count"] for row in rows}


async def test_each_conversation_keeps_its_order_while_many_go_on_side_by_side(relay):
    under_way, most, places = set(), 0, defaultdict(list)

    async def work(change):
        nonlocal most
        conversation, _, number = change["text"].partition("/")
        assert conversation not in under_way
        under_way.add(conversation)
        most = max(most, len(under_way))
        await asyncio.sleep(0.001)
        under_way.remove(conversation)
        places[conversation].append(int(number))
        return "done"

    await relay.take_in([change(f"{number % 30}/{number}", f"31|{number % 30}") for number in range(300)])
    async with running(relay, work) as other:
        await relay.take_in([change(f"{number % 30}/{number}", f"31|{number % 30}") for number in range(300, 600)])
        await other.until(lambda: len(other.carried) == 600)
    assert most == 8
    assert all(numbers == sorted(numbers) for numbers in places.values())
    assert await states(relay) == {"done": 600}


async def test_a_conversation_that_hangs_holds_no_other_up(relay):
    hanging = asyncio.Event()

    async def work(change):
        if change["text"] == "hangt":
            await hanging.wait()
        return "done"

    async with running(relay, work) as other:
        await relay.take_in([change("hangt"), change("erachter"), *(change(str(n), f"31|{n}") for n in range(20))])
        await other.until(lambda: len(other.carried) == 20)
        assert "erachter" not in other.carried
        hanging.set()
        await other.until(lambda: other.carried[-2:] == ["hangt", "erachter"])


async def test_what_comes_is_carried_over_at_once_and_an_idle_relay_asks_nearly_nothing(relay, monkeypatch):
    asked = 0

    def counted(method):
        async def ask(*arguments, **more):
            nonlocal asked
            asked += 1
            return await method(*arguments, **more)

        return ask

    async with running(relay) as other:
        await asyncio.sleep(0.2)
        began = time.perf_counter()
        await relay.take_in([change("nu")])
        await other.until(lambda: other.carried)
        assert time.perf_counter() - began < 1
        await asyncio.sleep(0.2)
        for name in ("fetch", "fetchrow", "fetchval", "execute"):
            monkeypatch.setattr(asyncpg.Pool, name, counted(getattr(asyncpg.Pool, name)))
        await asyncio.sleep(6)
    assert asked <= 2


async def test_what_another_process_put_in_the_queue_is_found(relay, bridge_url, monkeypatch):
    monkeypatch.setattr("bridge.relay.lanes.POLL", 0.5)
    async with running(relay) as other:
        await asyncio.sleep(0.1)
        async with asyncpg.create_pool(bridge_url, min_size=1, max_size=1) as pool:
            await Relay(pool, relay._seal).take_in([change("van elders")])
        await other.until(lambda: other.carried == ["van elders"])


async def test_a_reaction_before_its_message_waits_beside_the_chat_and_follows_it(relay):
    messages: set[str] = set()

    async def work(change):
        if (target := change.get("target")) and target not in messages:
            raise NotYet("nog niet", awaits=target)
        messages.add(change["text"])
        await relay.carried("31", change["text"], "!a", f"${change['text']}")
        return "done"

    async with running(relay, work) as other:
        early = [("r1", "31|c", {"text": "👍", "target": "bericht"}), ("r2", "31|c", {"text": "weg", "target": "bericht"})]
        await relay.take_in([*early, change("gewoon verder")])
        await other.until(lambda: other.carried == ["gewoon verder"])
        await asyncio.sleep(1)
        await relay.take_in([change("bericht"), change("later")])
        await other.until(lambda: len(other.carried) == 5, seconds=2)
    assert other.carried[1:4] == ["bericht", "👍", "weg"]
    assert not other.told


async def test_what_waits_for_a_message_that_never_comes_is_told_in_the_end_and_counted(relay, monkeypatch):
    monkeypatch.setattr("bridge.relay.lanes.POLL", 0.5)

    async def work(change):
        if "target" in change:
            raise NotYet("nog niet", awaits=change["target"])
        return "done"

    async with running(relay, work) as other:
        await relay.take_in([("r1", "31|c", {"text": "👍", "target": "nooit"}), change("verder")])
        await other.until(lambda: other.carried == ["verder"] and not other.relay._lanes["inbox"]._busy)
        assert (await relay.counts())["in_waiting"] == 1
        await relay._pool.execute("UPDATE inbox SET waits_since = now() - interval '121 s', due_at = now() WHERE state = 'aside'")
        await other.until(lambda: other.told == [("👍", "nog niet")])
        await other.until(lambda: not other.relay._lanes["inbox"]._busy)
    assert await states(relay) == {"done": 1, "kept": 1}
    assert (await relay.counts())["in_not_understood"] == 1
    assert not other.alarms


async def test_what_was_told_of_because_its_message_had_not_come_follows_it_for_a_week(relay, monkeypatch):
    monkeypatch.setattr("bridge.relay.lanes.POLL", 0.2)
    monkeypatch.setattr("bridge.relay.setback.NOT_YET", 0.1)
    messages: set[str] = set()

    async def work(change):
        if await relay.event_of("31", change["text"]):
            return "done"
        if (target := change.get("target")) and target not in messages:
            raise NotYet("nog niet", awaits=target)
        messages.add(change["text"])
        await relay.carried("31", change["text"], "!a", f"${change['text']}")
        return "done"

    async def notice(change, reason):
        other.told.append((change["text"], reason))
        await relay.carried("31", change["text"], "!a", "$melding")

    early = [
        (f"message|31|{text}", "31|c", {"text": text, "target": target}) for text, target in (("net", "ruw"), ("oud", "weg"))
    ]
    async with running(relay, work) as other:
        other.give_up = notice
        await relay.take_in(early)
        await other.until(lambda: len(other.told) == 2 and not relay._lanes["inbox"]._busy)
        assert await relay.event_of("31", "net") == "$melding"
        await relay._pool.execute("UPDATE inbox SET finished_at = now() - interval '8 days' WHERE dedupe = 'message|31|oud'")
        assert (await relay.counts())["in_not_understood"] == 0  # its room has been told
        await relay.take_in([change("ruw"), change("weg")])
        await other.until(lambda: other.carried == ["ruw", "net", "weg"])
        assert await relay.event_of("31", "net") == "$net"
        assert await relay.event_of("31", "oud") == "$melding"  # after a week it is over
    assert await states(relay) == {"done": 3, "kept": 1}


async def test_the_time_of_an_outage_is_not_held_against_what_then_waits_for_its_message(relay):
    away = True

    async def work(change):
        if away:
            raise ConnectionRefusedError
        raise NotYet("nog niet", awaits="ooit")

    async with running(relay, work) as other:
        await relay.take_in([change("bewerking")])
        await other.until(lambda: other.relay._lanes["inbox"]._paused)
        await relay._pool.execute("UPDATE inbox SET waits_since = now() - interval '3 hours'")
        away = False
        async with asyncio.timeout(10):
            while await states(relay) != {"aside": 1}:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    assert await relay._pool.fetchval("SELECT waits_since > now() - interval '1 minute' FROM inbox")
    await relay._pool.execute("UPDATE inbox SET waits_since = now() - interval '3 hours', due_at = now()")
    async with running(relay, work) as other:  # the bridge was away meanwhile
        await asyncio.sleep(0.5)
    assert (other.told, await states(relay)) == ([], {"aside": 1})


async def test_a_message_that_always_fails_is_set_aside_with_an_alarm_kept_sealed_and_can_be_tried_again(relay, monkeypatch):
    monkeypatch.setattr("bridge.relay.setback.TRIES", 3)
    broken = True

    async def work(change):
        if change["text"] == "giftig geheim" and broken:
            raise ZeroDivisionError("giftig geheim")
        return "done"

    async with running(relay, work) as other:
        await relay.take_in([change("eerst"), change("giftig geheim"), change("daarna")])
        await other.until(lambda: other.carried == ["eerst", "daarna"])
        [alarm] = other.alarms
        assert other.told == [("giftig geheim", "ZeroDivisionError")]
        assert (alarm.table, alarm.lane, alarm.number, alarm.problem) == ("inbox", "31|c", "31", "ZeroDivisionError")
        assert (await relay.counts())["in_failed"] == 1
        row = await relay._pool.fetchrow("SELECT * FROM inbox WHERE id = $1", alarm.item)
        assert "geheim" not in str({name: value for name, value in row.items() if name != "dedupe"})
        broken = False
        assert await relay.retry(INBOX, [alarm.item, 10**9]) == 1
        await other.until(lambda: other.carried == ["eerst", "daarna", "giftig geheim"])
    assert (await relay.counts())["in_failed"] == 0


async def test_what_is_not_understood_is_told_and_kept_and_the_chat_goes_on(relay):
    async def work(change):
        if change["text"] == "raar":
            raise NotUnderstood("raar")
        return "done"

    async with running(relay, work) as other:
        await relay.take_in([change("raar"), change("goed")])
        await other.until(lambda: other.carried == ["goed"])
    assert other.told == [("raar", "raar")]
    assert await states(relay) == {"done": 1, "kept": 1}


async def test_a_limited_number_waits_as_long_as_it_is_told_uses_up_no_attempts_and_stops_no_other_number(relay):
    until = time.monotonic() + 60
    asked: list[float] = []

    async def work(change):
        if change["room_id"] != "!c" and time.monotonic() < until:
            asked.append(time.monotonic())
            raise NetworkError("te snel (130429)", final=False, scope="number", after=1.0)
        return "done"

    async with running(relay, work, OUTBOX) as other:
        until = time.monotonic() + 2.5
        await relay.take_out([event(f"{n}", "!a" if n % 2 else "!b") for n in range(20)] + [event("ander", "!c")])
        await other.until(lambda: other.carried == ["ander"], seconds=1)
        await other.until(lambda: len(other.carried) == 21)
        assert len(asked) <= 8  # of two rooms, not of twenty messages
        assert [text for text in other.carried if text.isdecimal() and int(text) % 2] == [str(n) for n in range(1, 20, 2)]
    assert await relay._pool.fetchval("SELECT max(attempts) FROM outbox") == 0
    assert not other.told


async def test_a_homeserver_that_is_away_costs_no_attempts_and_little_time_when_it_is_back(relay):
    away = True
    asked = 0

    async def work(change):
        nonlocal asked
        asked += 1
        if away:
            raise ConnectionRefusedError
        return "done"

    async with running(relay, work) as other:
        await relay.take_in([change(str(n), f"31|{n}") for n in range(200)])
        await asyncio.sleep(2)
        assert asked < 60
        away = False
        await other.until(lambda: len(other.carried) == 200, seconds=5)
    assert await relay._pool.fetchval("SELECT max(attempts) FROM inbox") == 0


async def test_a_file_that_whatsapp_does_not_give_now_holds_up_no_other_conversation(relay):
    async def work(change):
        if change["text"] == "foto":
            raise NetworkError("het token (190)", final=False, scope="account", after=60)
        return "done"

    async with running(relay, work) as other:
        await relay.take_in([change("foto")])
        await asyncio.sleep(0.2)
        await relay.take_in([change("tekst", "31|d")])
        await other.until(lambda: other.carried == ["tekst"], seconds=2)


async def test_history_comes_behind_what_is_said_now(relay):
    async def work(change):
        await asyncio.sleep(0.002)
        return "done"

    await relay.take_in([change(f"oud{n}", f"history|31|{n % 50}") for n in range(500)])
    async with running(relay, work) as other:
        await other.until(lambda: len(other.carried) > 20)
        for n in range(40):
            await relay.take_in([change(f"nu{n}")])
            await other.until(lambda n=n: f"nu{n}" in other.carried, seconds=1)
        assert sum(text.startswith("oud") for text in other.carried) < 400
        await other.until(lambda: len(other.carried) == 540)


async def test_memory_is_flat_with_ten_thousand_queued(relay):
    text = "x" * 2000
    for start in range(0, 10_000, 1000):
        await relay.take_in([(f"m{n}", f"31|{n % 2500}", {"filling": text, "n": n}) for n in range(start, start + 1000)])
    seen: dict[int, int] = {}
    count = 0

    async def work(change):
        nonlocal count
        assert seen.get(change["n"] % 2500, -1) < change["n"]
        seen[change["n"] % 2500] = change["n"]
        count += 1
        if count == 1000:
            work.before = _resident()
        return "done"

    async with running(relay, work) as other:
        other.carried = []
        await other.until(lambda: count == 10_000, seconds=90)
        assert _resident() - work.before < 10_000_000
        lanes = relay._lanes["inbox"]
        assert max(len(lanes._ready), len(lanes._again), lanes._timers) <= 1000
    assert await states(relay) == {"done": 10_000}


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def test_a_message_under_way_at_a_crash_waits_for_the_word_of_whatsapp_and_is_not_sent_twice(relay):
    posts: list[str] = []

    async def crash(event):
        posts.append(event["text"])
        await asyncio.Event().wait()  # until the process is gone
        return "done"

    other = Other(relay, crash)
    task = asyncio.create_task(relay.run(OUTBOX, other.work, other.give_up, asyncio.Event()))
    await relay.take_out([event("een"), event("twee")])
    await other.until(lambda: posts == ["een"])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    async def send(event):
        if await relay.whole(event["event_id"]):
            return "done"
        posts.append(event["text"])
        await relay.carried("31", f"wamid.{event['text']}", "!a", event["event_id"])
        return "done"

    async with running(relay, send, OUTBOX) as other:
        await asyncio.sleep(0.2)
        assert posts == ["een"]
        assert await relay.told("$een", "wamid.een", "31")
        await other.until(lambda: posts == ["een", "twee"], seconds=2)
    assert await relay.message_of("$een") == "wamid.een"
    assert await states(relay, "outbox") == {"done": 2}


async def test_a_message_that_whatsapp_says_nothing_of_is_sent_again_after_a_while(relay):
    posts: list[float] = []

    async def work(event):
        posts.append(time.monotonic())
        if len(posts) == 1:
            raise NetworkError("geen antwoord", final=False, scope="account", unsure=True)
        return "done"

    async with running(relay, work, OUTBOX) as other:
        await relay.take_out([event("een")])
        await other.until(lambda: posts)
        await relay.take_in([change("iets anders")])
        await other.until(lambda: other.carried == ["een"])
    assert posts[1] - posts[0] >= 0.5


async def test_a_message_is_sent_again_only_once_whatsapp_is_heard_again_and_it_is_said_that_it_may_be_there_twice(relay):
    posts, said = [], []

    async def work(event):
        posts.append(time.monotonic())
        if len(posts) == 1:
            raise NetworkError("geen antwoord", final=False, scope="message", unsure=True)
        return "done"

    async def twice(event):
        said.append((event["text"], len(posts)))

    relay.twice = twice
    async with running(relay, work, OUTBOX) as other:
        await relay.take_out([event("een")])
        await asyncio.sleep(2.5)
        assert (len(posts), said) == (1, [])
        await relay.take_in([change("van een ander nummer", "32|c")])
        await asyncio.sleep(1.2)
        assert len(posts) == 1
        heard = time.monotonic()
        await relay.take_in([change("van dit nummer")])
        await other.until(lambda: other.carried == ["een"], seconds=4)
    assert posts[1] - heard >= 0.5
    assert said == [("een", 1)]


async def test_a_message_is_sent_again_in_the_end_though_whatsapp_is_never_heard(relay):
    relay._pace = Pace(at_once=8, settle=0.3, silence=1.0)
    posts = []

    async def work(event):
        posts.append(time.monotonic())
        if len(posts) == 1:
            raise NetworkError("geen antwoord", final=False, scope="message", unsure=True)
        return "done"

    async with running(relay, work, OUTBOX) as other:
        await relay.take_out([event("een")])
        await other.until(lambda: other.carried == ["een"], seconds=5)
    assert posts[1] - posts[0] >= 1


async def test_a_status_that_comes_before_the_answer_leaves_the_message_once(relay):
    async def work(event):
        assert await relay.told(event["event_id"], "wamid.een", "31")
        await relay.carried("31", "wamid.een", "!a", event["event_id"])
        return "done"

    async with running(relay, work, OUTBOX) as other:
        await relay.take_out([event("een"), event("een")])
        await other.until(lambda: other.carried == ["een"])
        await other.until(lambda: not other.relay._lanes["outbox"]._busy)
        assert not await relay.told("$onbekend", "wamid.twee", "31")
    assert await states(relay, "outbox") == {"done": 1}


async def test_what_is_done_is_forgotten_after_a_while_and_still_comes_only_once(relay, bridge_url):
    async def work(change):
        if change["text"] == "raar":
            raise NotUnderstood("raar")
        return "done"

    async with running(relay, work) as other:
        await relay.take_in([change("oud"), change("raar"), change("nieuw")])
        await other.until(lambda: other.carried == ["oud", "nieuw"])
        await other.until(lambda: not other.relay._lanes["inbox"]._busy)
        await relay._pool.execute("UPDATE inbox SET finished_at = now() - interval '31 days' WHERE id IN (1, 2)")
        stop = asyncio.Event()
        forgetting = asyncio.create_task(relay.forget(stop))
        async with asyncio.timeout(5):
            while await relay._pool.fetchval("SELECT count(*) FROM inbox WHERE sealed IS NULL") == 0:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        stop.set()
        await forgetting
        left = await relay._pool.fetch("SELECT id FROM inbox WHERE sealed IS NOT NULL ORDER BY id")
        assert [row["id"] for row in left] == [2, 3]
        await relay.take_in([change("oud")])
        await asyncio.sleep(0.1)
        assert other.carried == ["oud", "nieuw"]


async def test_what_is_only_of_use_for_a_while_is_cleaned_and_what_may_yet_be_needed_is_not(relay):
    await relay._pool.execute("""
        INSERT INTO noticed VALUES ('!a', 'oud', current_date - 8), ('!a', 'nieuw', current_date);
        INSERT INTO withdrawn SELECT name, now() - interval '31 days' FROM unnest(ARRAY['$oud', '$wacht']) AS name;
        INSERT INTO withdrawn VALUES ('$nieuw', now());
        INSERT INTO outbox (event_id, room_id, sealed, state)
            VALUES ('$wacht', '!a', 'x', 'waiting'), ('$mislukt', '!a', 'x', 'failed');
        INSERT INTO carried (number_id, message_id, room_id, event_id) VALUES ('31', 'mislukt', '!a', '$mislukt');
        INSERT INTO delivery VALUES ('31', 'jong', 'c', 'read', now());
        INSERT INTO delivery SELECT '31', name, 'c', state, now() - interval '400 days'
            FROM (VALUES ('oud', 'read'), ('mislukt', 'failed'), ('vergeten', 'failed')) AS given (name, state);
    """)
    stop = asyncio.Event()
    task = asyncio.create_task(relay.forget(stop))
    async with asyncio.timeout(5):
        while await relay._pool.fetchval("SELECT count(*) FROM delivery") == 4:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    stop.set()
    await task
    left = await relay._pool.fetch(
        "SELECT kind FROM noticed UNION SELECT event_id FROM withdrawn UNION SELECT message_id FROM delivery"
    )
    assert {row["kind"] for row in left} == {"nieuw", "$wacht", "$nieuw", "jong", "mislukt"}


async def test_a_character_that_postgres_has_not_sets_one_message_aside_and_stops_nothing_else(relay):
    async def work(change):
        if change["text"] == "wacht":
            raise NotYet("nog niet", awaits="wamid.\ud800\0")
        if change["text"] == "reden":
            raise NotUnderstood("nummer \0\ud800")
        if change["text"] == "staat":
            return "\0"
        return "done"

    async with running(relay, work) as other:
        await relay.take_in([change("wacht"), change("reden"), change("staat"), change("verder"), change("ander", "31|d")])
        await other.until(lambda: {"verder", "ander"} <= set(other.carried), seconds=3)
        await other.until(lambda: not other.relay._lanes["inbox"]._busy)
    assert await states(relay) == {"aside": 1, "kept": 1, "failed": 1, "done": 2}
    assert [alarm.problem for alarm in other.alarms] == ["CharacterNotInRepertoireError"]


async def test_a_status_settles_nothing_of_which_the_work_is_unfinished(relay):
    shown: list[str] = []

    async def template(event):
        gone = await relay.parts_of(event["event_id"])
        if not gone:
            assert await relay.told(event["event_id"], "wamid.een", "31")
            raise ConnectionRefusedError  # the homeserver is away just when the text is to be shown
        shown.append(gone[1])
        return "done"

    async with running(relay, template, OUTBOX) as other:
        await relay.take_out([event("een")])
        await other.until(lambda: shown == ["wamid.een"], seconds=4)
        await other.until(lambda: not other.relay._lanes["outbox"]._busy)
    assert await states(relay, "outbox") == {"done": 1}


async def test_a_status_of_what_was_given_up_says_that_it_arrived_after_all(relay):
    async def work(event):
        raise NetworkError("131000", final=True)

    async with running(relay, work, OUTBOX) as other:
        await relay.take_out([event("een")])
        await other.until(lambda: other.told)
        await other.until(lambda: not other.relay._lanes["outbox"]._busy)
        assert await states(relay, "outbox") == {"failed": 1}
        assert await relay.told("$een", "wamid.een", "31")
    assert await states(relay, "outbox") == {"done": 1}


@pytest.mark.parametrize("queue", [INBOX, OUTBOX], ids=["inward", "outward"])
async def test_what_is_given_up_is_left_only_when_people_have_been_told(relay, queue):
    asked, away = 0, True

    async def work(change):
        nonlocal asked
        asked += 1
        raise NotUnderstood("raar") if queue is INBOX else NetworkError("131000", final=True)

    async with running(relay, work, queue) as other:
        told = other.give_up

        async def give_up(change, reason):
            if away:
                raise ConnectionRefusedError
            await told(change, reason)

        other.give_up = give_up
        await (relay.take_in([change("een")]) if queue is INBOX else relay.take_out([event("een")]))
        await asyncio.sleep(1.5)
        assert await states(relay, queue.table) == {"waiting": 1}
        away = False
        await other.until(lambda: other.told, seconds=4)
        await other.until(lambda: not other.relay._lanes[queue.table]._busy)
    assert (asked, len(other.told)) == (1, 1)
    assert await states(relay, queue.table) == ({"kept": 1} if queue is INBOX else {"failed": 1})


async def test_who_can_not_be_told_at_all_holds_nothing_up(relay):
    async def work(change):
        if change["text"] == "raar":
            raise NotUnderstood("raar")
        return "done"

    async with running(relay, work) as other:

        async def give_up(change, reason):
            raise MatrixUnknownRequestError(403)

        other.give_up = give_up
        await relay.take_in([change("raar"), change("goed")])
        await other.until(lambda: other.carried == ["goed"], seconds=3)
    assert await states(relay) == {"done": 1, "kept": 1}


async def test_a_status_of_another_number_says_nothing_of_a_message(relay):
    await relay.take_out([event("een"), event("twee", "!c")])
    assert not await relay.told("$een", "wamid.vals", "32")
    assert await relay.message_of("$een") is None
    assert await relay.told("$twee", "wamid.twee", "32")
