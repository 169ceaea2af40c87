"""What an admin does, by command and by API, on a real Postgres and against the simulated WhatsApp."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import aiohttp
import asyncpg
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bridge.listening import serving
from bridge.network import AccountChanged, Held, HistoryProgress, NetworkError, NotUnderstood, NumberProblem
from bridge.network.cloud import Cloud
from bridge.numbers import Numbers
from bridge.office import assigning
from bridge.office.administration import Administration, Refusal
from bridge.office.alarm import Alarms
from bridge.office.answering import Desk
from bridge.office.gate import Gate
from bridge.office.importing import Imports
from bridge.office.interruption import Interruptions
from bridge.office.linked import Linked
from bridge.office.management import Question
from bridge.office.provisioning import PREFIX, Provisioning
from bridge.office.pulse import Pulse
from bridge.office.token_page import TokenPage
from bridge.office.watch import Watch
from bridge.portal.portal import Portals
from bridge.relay.relay import Relay, untold
from bridge.sealing import Seal
from bridge.settings import Bridge
from tests.unit.bridge.simulated import NUMBER, SECRET, TOKEN, VERIFY, Sim, free_port

pytestmark = pytest.mark.postgres
ADMIN, MINISTER, OTHER = "@beheer:rijk", "@minister:rijk", "@ander:rijk"
NEW = {"id": "200", "access_token": "token-twee", "app_secret": "geheim-twee", "verify_token": VERIFY}


@dataclass
class Bureau:
    """The office as it runs, without a homeserver."""

    settings: Bridge
    pool: asyncpg.Pool
    seal: Seal
    numbers: Numbers
    relay: Relay
    pulse: Pulse
    interruptions: Interruptions
    alarms: Alarms
    watch: Watch
    office: Administration
    desk: Desk
    gate: Gate
    seats: list[str]
    behind: list[int]
    http: aiohttp.ClientSession
    api: str
    sim: Sim
    imports: Imports

    async def say(self, text: str, sender: str = ADMIN, language: str = "nl") -> str:
        reply = await self.desk.answer(Question("$1", "!r", sender, text, language))
        assert reply is not None
        return reply.text

    async def ask(self, path: str, body: Any = None, *, method: str = "", status: int = 200, token: str = "open") -> Any:
        headers = {"Authorization": f"Bearer {token}"}
        method = method or ("GET" if body is None else "POST")
        async with self.http.request(method, self.api + PREFIX + path, json=body, headers=headers) as answer:
            told = await answer.json(content_type=None)
            assert answer.status == status, told
            return told

    async def second_account(self) -> None:
        number = {"id": "777", "display_phone_number": "+31 97 0102 09999"}
        await self.sim.ask("/sim/accounts", NEW | {"numbers": [number]})

    async def portal(self, room_id: str, official: str) -> None:
        query = "INSERT INTO portal (room_id, number_id, contact, encrypted, official) VALUES ($1, $2, $1, true, $3)"
        await self.pool.execute(query, room_id, NUMBER, official)

    async def causes(self) -> set[str]:
        return {one.cause for one in await self.interruptions.open()}


@pytest.fixture
async def bureau(bridge_url: str, sim: Sim) -> AsyncIterator[Bureau]:
    settings = Bridge(
        app_secret=SECRET,
        access_token=TOKEN,
        verify_token=VERIFY,
        server_name="rijk",
        graph_url=sim.url,
        admins=[ADMIN],
        provisioning_token="open",
        provisioning_url="https://brug.rijk",
        linked_token="gekoppeld",
        numbers=[{"id": NUMBER, "display_phone_number": "+31 97 0102 03040", "official": MINISTER}],
    )
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(asyncpg.create_pool(bridge_url, min_size=1, max_size=6))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        seal, numbers, pulse = Seal(AESGCM(b"\1" * 32)), Numbers(settings), Pulse()
        relay, interruptions, alarms = Relay(pool, seal), Interruptions(pool, numbers), Alarms(pool)
        graph = Cloud(http, sim.url, "v25.0", numbers.token, 1000).graph
        watch = Watch(settings, pool, seal, numbers, pulse, interruptions, alarms, graph, http)
        graph.on_account_problem = watch.account_problem
        seats: list[str] = []

        async def seat(number_id: str) -> int:
            seats.append(" ".join(sorted(numbers.officials(number_id))))
            return behind.pop() if behind else 0

        behind: list[int] = []

        office = Administration(settings, pool, seal, numbers, interruptions, alarms, watch, graph, relay, seat)
        desk, imports = Desk(settings, pool, office), Imports(pool, numbers)
        gate = Gate(numbers, Portals(settings, pool, numbers, SimpleNamespace(bot=None)), relay, pulse)  # type: ignore[arg-type]
        await assigning.take_over(pool, settings.numbers, "")
        await numbers.load(pool, seal)
        app = web.Application()
        app.add_routes(Provisioning(settings, office, imports).routes())
        app.add_routes(TokenPage(pool, office).routes())
        app.add_routes(Linked(settings, interruptions).routes())
        port = free_port()
        await stack.enter_async_context(serving(app, "127.0.0.1", port, patience=5))
        parts = settings, pool, seal, numbers, relay, pulse, interruptions, alarms, watch, office, desk, gate, seats, behind, http
        yield Bureau(*parts, f"http://127.0.0.1:{port}", sim, imports)


# Numbers, accounts and their people.


async def test_the_numbers_of_the_settings_file_are_taken_over_once_and_an_admins_word_stays(bureau: Bureau):
    assert [(n.id, n.official) for n in bureau.numbers.all()] == [(NUMBER, MINISTER)]
    await bureau.office.assign(NUMBER, OTHER, ADMIN)
    await assigning.take_over(bureau.pool, bureau.settings.numbers, "")
    await bureau.numbers.load(bureau.pool, bureau.seal)
    assert bureau.numbers.of(NUMBER).official == OTHER
    changed = bureau.settings.numbers[0].model_copy(update={"official": "@nieuw:rijk"})
    await assigning.take_over(bureau.pool, [changed], "")
    await bureau.numbers.load(bureau.pool, bureau.seal)
    assert bureau.numbers.of(NUMBER).official == "@nieuw:rijk"
    await assigning.take_over(bureau.pool, [], "")
    await bureau.numbers.load(bureau.pool, bureau.seal)
    assert bureau.numbers.all() == []
    history = await bureau.office.assignments(NUMBER)
    assert [(row["user_id"], row["set_by"], row["ended_by"]) for row in history] == [
        ("@nieuw:rijk", "settings", "settings"),
        (OTHER, ADMIN, "settings"),
        (MINISTER, "settings", ADMIN),
    ]


async def test_a_number_given_to_another_official_gets_new_rooms_and_the_old_ones_stay_as_they_were(bureau: Bureau):
    await bureau.pool.execute("INSERT INTO portal VALUES ('!oud', $1, '316', true)", NUMBER)
    assert "@ander:rijk" in await bureau.say(f"wijs toe {NUMBER} {OTHER}")
    assert await bureau.pool.fetchval("SELECT closed_at IS NOT NULL FROM portal WHERE room_id = '!oud'")
    assert bureau.numbers.officials(NUMBER) == {OTHER}
    assert bureau.numbers.once_officials(NUMBER) == {MINISTER}

    async def carry(event: dict[str, Any]) -> str:
        return "done"

    with pytest.raises(NotUnderstood, match="not yours"):
        await bureau.gate.outward(carry, untold)({"room_id": "!oud", "sender": MINISTER, "event_id": "$1"})


async def test_a_second_account_is_connected_with_its_own_token_which_is_nowhere_in_clear(bureau: Bureau):
    await bureau.second_account()
    found = await bureau.office.connect("200", "token-twee", "geheim-twee", "Tweede", ADMIN)
    assert found[0]["id"] == "777"
    number = await bureau.office.assign("777", OTHER, ADMIN, waba_id="200")
    assert number.display_phone_number == "+31 97 0102 09999"
    assert (bureau.numbers.token("777"), bureau.numbers.token(NUMBER)) == ("token-twee", TOKEN)
    assert bureau.numbers.secret(bureau.numbers.account_of("777")) == "geheim-twee"
    assert (await bureau.office.test("777")).good
    stored = [bytes(value) for row in await bureau.pool.fetch("SELECT token, app_secret FROM account") for value in row]
    assert stored
    assert not any(b"twee" in value for value in stored)
    await bureau.pool.execute("UPDATE account SET app_secret = token")  # moved, it can't be opened
    await bureau.numbers.load(bureau.pool, bureau.seal)
    assert bureau.numbers.account_of("777").app_secret == ""


async def test_a_token_that_whatsapp_refuses_replaces_nothing(bureau: Bureau):
    await bureau.second_account()
    await bureau.office.connect("200", "token-twee", "", "", ADMIN)
    with pytest.raises(Refusal):
        await bureau.office.connect("200", "verkeerd-token", "", "", ADMIN)
    assert bureau.numbers.token("200") == "token-twee"
    assert await bureau.interruptions.open() == []


async def test_whenever_its_people_change_a_numbers_rooms_follow(bureau: Bureau):
    await bureau.say(f"collega erbij +31 97 0102 03040 {OTHER}")
    assert bureau.numbers.officials(NUMBER) == {MINISTER, OTHER}
    await bureau.say(f"colleague remove {NUMBER} {OTHER}")
    assert bureau.numbers.officials(NUMBER) == {MINISTER}
    await bureau.say(f"wijs toe {NUMBER} {OTHER}")
    await bureau.say(f"ontkoppel {NUMBER}")
    assert bureau.seats == [f"{OTHER} {MINISTER}", MINISTER, OTHER, ""]


async def test_a_removal_that_is_not_carried_through_in_every_room_is_not_told_as_done(bureau: Bureau):
    await bureau.office.add_colleague(NUMBER, OTHER, ADMIN)
    bureau.behind.append(2)
    assert "in 2 kamer(s) nog niet" in await bureau.say(f"collega weg {NUMBER} {OTHER}")
    assert bureau.numbers.officials(NUMBER) == {MINISTER}


async def test_a_removed_number_is_no_longer_spoken_for(bureau: Bureau):
    await bureau.office.pause(NUMBER, ADMIN)
    assert "niet meer bediend" in await bureau.say(f"ontkoppel {NUMBER}")
    assert (bureau.numbers.all(), await bureau.interruptions.open()) == ([], [])
    with pytest.raises(NetworkError):
        bureau.numbers.token(NUMBER)


# Commands: who may what.


async def test_an_official_sees_and_tests_their_own_number_only(bureau: Bureau):
    await bureau.second_account()
    await bureau.office.connect("200", "token-twee", "", "", ADMIN)
    await bureau.office.assign("777", OTHER, ADMIN, waba_id="200")
    told = await bureau.say("lijst", MINISTER)
    assert "03040" in told
    assert "09999" not in told
    assert "geen nummer van u" in await bureau.say("test 777", MINISTER)
    assert "in orde" in await bureau.say(f"test {NUMBER}", MINISTER)
    assert "09999" not in await bureau.say("status", MINISTER)
    for refused in (
        f"pauzeer {NUMBER}",
        f"wijs toe {NUMBER} {OTHER}",
        "verbind 200",
        "opnieuw",
        "mislukt",
        f"ontkoppel {NUMBER}",
        f"collega erbij {NUMBER} {OTHER}",
    ):
        assert await bureau.say(refused, MINISTER) == "Dat mag alleen een beheerder."
    assert await bureau.say(f"pause {NUMBER}", MINISTER) == "Only an admin may do that."
    assert not bureau.numbers.paused(NUMBER)
    help_ = await bureau.say("help", MINISTER)
    assert "test NUMMER" in help_
    assert "pauzeer" not in help_


async def test_anybody_else_is_refused_politely_and_told_nothing(bureau: Bureau):
    for text in ("lijst", "status", "help", f"test {NUMBER}", "onzin"):
        assert await bureau.say(text, "@vreemd:rijk") == (
            "Deze bot is voor beheerders en voor wie een WhatsApp-nummer heeft. Vraag uw beheerder om een nummer."
        )
    assert (await bureau.say("list", "@vreemd:rijk")).startswith("This bot is for admins")


async def test_a_token_in_the_chat_is_redacted_and_not_used(bureau: Bureau):
    reply = await bureau.desk.answer(Question("$1", "!r", ADMIN, "verbind 200 EAAG" + "x" * 60, "nl"))
    assert reply.redact
    assert "Trek het token in" in reply.text
    assert [account.waba_id for account in bureau.office.accounts()] == [""]


async def test_connect_gives_a_link_that_takes_a_token_once(bureau: Bureau):
    await bureau.second_account()
    told = await bureau.say("connect 200")
    assert "does not belong in a chat" in told
    url = bureau.api + told.split("https://brug.rijk")[1].strip()
    async with bureau.http.get(url) as answer:
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
        assert 'type="password"' in await answer.text()
    async with bureau.http.post(url, data={"token": "verkeerd-token"}) as answer:
        assert answer.status == 409
    async with bureau.http.post(url, data={"token": "token-twee"}) as answer:
        assert (answer.status, "777" in await answer.text()) == (200, True)
    assert bureau.numbers.token("200") == "token-twee"
    for again in (bureau.http.post(url, data={"token": "token-twee"}), bureau.http.get(url)):
        async with again as answer:
            assert answer.status == 404
    async with bureau.http.get(bureau.api + f"{PREFIX}/connect/geraden") as answer:
        assert answer.status == 404


# Interruptions.


async def test_a_pause_is_a_dated_interruption_and_holds_what_comes_in(bureau: Bureau):
    before = datetime.now(UTC)
    assert "paused" in await bureau.say(f"pause {NUMBER}")

    async def carry(change: dict[str, Any]) -> str:
        return "done"

    change = {"value": {"metadata": {"phone_number_id": NUMBER}}}
    with pytest.raises(Held):
        await bureau.gate.inward(carry)(change)
    await bureau.pool.execute("INSERT INTO portal VALUES ('!een', $1, '316', true)", NUMBER)
    waiting: list[dict[str, Any]] = []

    async def waits(event: dict[str, Any]) -> None:
        waiting.append(event)

    outward = bureau.gate.outward(carry, waits)
    said = {"type": "m.room.message", "room_id": "!een", "sender": MINISTER, "event_id": "$1"}
    with pytest.raises(Held):
        await outward(said)
    assert waiting == [said]
    with pytest.raises(NotUnderstood):
        await outward(said | {"sender": OTHER})
    assert await outward(said | {"type": "nl.griffier.read"}) == "kept"
    [one] = await bureau.interruptions.open()
    assert (one.cause, one.number_id, one.official) == ("paused", NUMBER, MINISTER)
    assert before <= one.began_at <= datetime.now(UTC)
    assert one.content()["nl.griffier.interruption"]["until"] is None
    await bureau.say(f"hervat {NUMBER}")
    assert await bureau.gate.inward(carry)(change) == "done"
    [ended] = await bureau.interruptions.latest()
    assert ended.ended_at >= ended.began_at
    told = ended.content()["nl.griffier.interruption"]
    assert (told["id"], told["network"], told["number"]) == (one.id, "whatsapp", "+31 97 0102 03040")
    assert told["until"] >= told["from"]


async def test_a_silent_webhook_interrupts_within_minutes_and_ends_with_the_first_word(bureau: Bureau):
    sent = datetime.now(UTC) - timedelta(minutes=6)
    bureau.watch._since = datetime.now(UTC) - timedelta(hours=1)
    bureau.pulse.heard(NUMBER, sent - timedelta(hours=2))
    bureau.pulse.sent(NUMBER, sent)
    await bureau.watch.look()
    [one] = await bureau.interruptions.open()
    assert (one.cause, one.began_at) == ("webhook-silent", sent)
    again = Pulse()
    await again.load(bureau.pool)
    assert again.of(NUMBER).waits_since == sent  # over a restart
    bureau.pulse.heard(NUMBER, datetime.now(UTC))
    await bureau.watch.look()
    assert await bureau.causes() == set()


async def test_the_time_that_the_bridge_was_down_is_an_interruption(bureau: Bureau):
    down = datetime.now(UTC) - timedelta(minutes=30)
    await bureau.pulse.beat(bureau.pool, down)
    await bureau.watch.start()
    [one] = await bureau.interruptions.latest()
    assert (one.cause, one.number_id, one.began_at) == ("bridge-down", NUMBER, down)
    assert one.ended_at - down >= timedelta(minutes=29)
    await bureau.watch.start()
    assert len(await bureau.interruptions.latest()) == 1


async def test_a_refused_token_interrupts_until_whatsapp_takes_it_again(bureau: Bureau):
    [account] = await bureau.sim.ask("/sim/accounts")
    await bureau.sim.ask(f"/sim/accounts/{account['id']}", {"access_token": "ander-token"})
    assert "niet in orde" in await bureau.say(f"test {NUMBER}")
    assert "token-refused" in await bureau.causes()
    assert {alarm.kind for alarm in await bureau.alarms.open()} == {"account"}
    await bureau.sim.ask(f"/sim/accounts/{account['id']}", {"access_token": TOKEN})
    assert "in orde" in await bureau.say(f"test {NUMBER}")
    assert (await bureau.causes(), await bureau.alarms.open()) == (set(), [])


async def test_an_app_that_is_no_longer_subscribed_interrupts_until_it_is(bureau: Bureau):
    [account] = await bureau.sim.ask("/sim/accounts")
    for subscribed, causes in ((False, {"not-connected"}), (True, set())):
        await bureau.sim.ask(f"/sim/accounts/{account['id']}", {"subscribed": subscribed})
        await bureau.office.test(NUMBER)
        assert await bureau.causes() == causes


async def test_an_account_taken_from_us_interrupts_until_it_is_back(bureau: Bureau):
    gone = AccountChanged("1", "account_update", "PARTNER_REMOVED", "PRIMARY_INACTIVITY", number="3197010203040")
    assert await bureau.watch.account_changed(gone) == "done"
    assert await bureau.causes() == {"disconnected"}
    await bureau.watch.account_changed(AccountChanged("1", "account_update", "PARTNER_REMOVED", number="31600000000"))
    assert len(await bureau.interruptions.latest()) == 1
    await bureau.watch.account_changed(AccountChanged("1", "account_update", "ACCOUNT_RECONNECTED"))
    assert await bureau.causes() == set()
    for state, causes in (("DISABLE", {"disconnected"}), ("REINSTATE", set())):
        ban = {"ban_info": {"waba_ban_state": state}}
        await bureau.watch.account_changed(AccountChanged("1", "account_update", "DISABLED_UPDATE", raw=ban))
        assert await bureau.causes() == causes
    assert await bureau.watch.account_changed(AccountChanged("1", "message_template_status_update", "APPROVED")) == "kept"


async def test_refused_history_is_an_interval_of_the_time_before(bureau: Bureau):
    at = datetime.now(UTC)
    await bureau.watch.number_problem(NumberProblem(NUMBER, "history-refused", 2593109, "History sharing is off", at=at))
    [one] = await bureau.interruptions.latest()
    assert (one.cause, one.began_at, one.ended_at) == ("history-refused", at - timedelta(days=180), at)


async def test_an_interruption_that_lasts_is_one_and_keeps_its_date(bureau: Bureau):
    first = datetime(2026, 1, 1, tzinfo=UTC)
    assert await bureau.interruptions.begin(NUMBER, "disconnected", first)
    assert not await bureau.interruptions.begin(NUMBER, "disconnected", datetime.now(UTC))
    [one] = await bureau.interruptions.open()
    assert one.began_at == first


async def test_a_linked_phone_that_mautrix_loses_is_an_interruption_too(bureau: Bureau):
    async def report(state: str, at: int, token: str = "gekoppeld") -> int:
        told = {
            "state_event": state,
            "timestamp": at,
            "user_id": MINISTER,
            "remote_id": "31612345678",
            "remote_name": "+31 6 1234",
        }
        headers = {"Authorization": f"Bearer {token}"}
        async with bureau.http.post(bureau.api + f"{PREFIX}/linked", json=told, headers=headers) as answer:
            return answer.status

    assert await report("LOGGED_OUT", 1_764_000_000, token="geraden") == 401
    assert [await report(state, 1_764_000_000 + at) for at, state in enumerate(("CONNECTED", "LOGGED_OUT", "LOGGED_OUT"))] == [
        200
    ] * 3
    [one] = await bureau.interruptions.open()
    assert (one.cause, one.official, one.display) == ("disconnected", MINISTER, "+31 6 1234")
    assert one.began_at.timestamp() == 1_764_000_001
    assert await report("CONNECTED", 1_764_000_600) == 200
    [ended] = await bureau.interruptions.latest()
    assert ended.ended_at.timestamp() == 1_764_000_600


async def test_the_history_of_a_phone_is_asked_for_and_a_refusal_is_told(bureau: Bureau):
    await bureau.sim.ask(f"/sim/numbers/{NUMBER}/onboard", {})
    assert "Gevraagd" in await bureau.say(f"geschiedenis {NUMBER}")
    assert "refuses" in await bureau.say(f"history {NUMBER}")


# Alarms.


async def test_an_alarm_is_told_once_and_its_end_once(bureau: Bureau):
    for _ in range(3):
        await bureau.alarms.ring("poison", "x", "WhatsApp → Matrix")
    [alarm] = await bureau.alarms.untold()
    assert (alarm.count, alarm.content()["nl.griffier.alarm"]["cleared"]) == (3, False)
    await bureau.alarms.told(alarm)
    await bureau.alarms.ring("poison", "x", "WhatsApp → Matrix")
    assert await bureau.alarms.untold() == []
    assert await bureau.alarms.clear("poison", "x")
    [over] = await bureau.alarms.untold()
    assert over.content()["nl.griffier.alarm"]["cleared"]
    await bureau.alarms.told(over)
    assert await bureau.alarms.untold() == []
    await bureau.alarms.ring("poison", "x", "WhatsApp → Matrix")
    [anew] = await bureau.alarms.untold()
    assert (anew.id, anew.count) == (alarm.id, 1)


async def test_what_failed_is_listed_without_its_content_and_can_be_tried_again(bureau: Bureau):
    await bureau.relay.take_in([("message|" + NUMBER + "|w1", NUMBER + "|316", {"text": "een geheim woord"})])
    await bureau.pool.execute("UPDATE inbox SET state = 'failed', problem = 'kon niet'")
    await bureau.pool.execute("INSERT INTO carried VALUES ($1, 'w1', '!r', '$notice')", NUMBER)
    await bureau.watch.look()
    [alarm] = await bureau.alarms.open()
    assert (alarm.kind, alarm.count) == ("poison", 1)
    told = await bureau.say("mislukt")
    assert "kon niet" in told
    assert "geheim" not in told
    [item] = (await bureau.ask("/failed"))["failed"]
    assert item["number_id"] == NUMBER
    assert await bureau.say(f"opnieuw {item['item']}") == "1 keer opnieuw in de wachtrij gezet."
    assert await bureau.pool.fetchval("SELECT state FROM inbox") == "waiting"
    assert await bureau.relay.event_of(NUMBER, "w1") is None  # the notice does not stand for the message any more
    assert await bureau.alarms.open() == []
    assert "is er niet" in await bureau.say("opnieuw in-999")


async def test_what_could_not_be_sent_to_a_contact_is_sent_after_all_by_name_only(bureau: Bureau):
    await bureau.relay.take_out([{"event_id": f"${word}", "room_id": "!een", "body": word} for word in ("oud", "ander")])
    await bureau.pool.execute("UPDATE outbox SET state = 'failed', problem = 'het nummer is gepauzeerd'")
    [other, old] = sorted((row["item"] for row in (await bureau.ask("/failed"))["failed"]), reverse=True)
    assert await bureau.say("opnieuw") == "0 keer opnieuw in de wachtrij gezet."
    assert await bureau.ask("/failed/retry", {}) == {"done": 0}
    assert {row["state"] for row in await bureau.pool.fetch("SELECT state FROM outbox")} == {"failed"}
    assert await bureau.say(f"opnieuw {old}") == "1 keer opnieuw in de wachtrij gezet."
    states = [row["state"] for row in await bureau.pool.fetch("SELECT state FROM outbox ORDER BY id")]
    assert (states, other) == (["waiting", "failed"], "out-2")


async def test_what_the_room_was_told_of_and_is_final_rings_no_longer_and_is_not_told_again(bureau: Bureau):
    for word in ("reactie", "raar"):
        await bureau.relay.take_in([(f"message|{NUMBER}|{word}|1", f"{NUMBER}|316", {"text": word})])
    await bureau.pool.execute("UPDATE inbox SET state = 'kept', problem = 'het bericht is er niet'")
    await bureau.relay.carried(NUMBER, "reactie|1", "!een", "$notice")
    await bureau.watch.look()
    assert [(alarm.kind, alarm.count) for alarm in await bureau.alarms.open()] == [("poison", 1)]
    assert await bureau.say("opnieuw") == "1 keer opnieuw in de wachtrij gezet."
    assert [row["state"] for row in await bureau.pool.fetch("SELECT state FROM inbox ORDER BY id")] == ["kept", "waiting"]
    assert await bureau.relay.event_of(NUMBER, "reactie|1") == "$notice"
    assert await bureau.alarms.open() == []
    assert await bureau.say("opnieuw in-1") == "1 keer opnieuw in de wachtrij gezet."  # an admin who means it
    assert await bureau.relay.event_of(NUMBER, "reactie|1") is None


async def test_what_failed_is_as_much_wherever_it_is_told(bureau: Bureau):
    words = ("mislukt", "raar", "verteld", "niets", "vergeten", "wacht")
    await bureau.relay.take_in([(f"message|{NUMBER}|{word}", f"{NUMBER}|316", {}) for word in words])
    await bureau.relay.take_out([{"event_id": f"${word}", "room_id": "!een"} for word in ("mislukt", "vergeten", "gedaan")])
    await bureau.relay.carried(NUMBER, "verteld", "!een", "$notice")
    await bureau.pool.execute("UPDATE inbox SET state = 'kept', problem = 'x' WHERE id <> 6")
    await bureau.pool.execute("UPDATE inbox SET problem = NULL WHERE id = 4")
    await bureau.pool.execute("UPDATE inbox SET state = 'failed' WHERE id IN (1, 5)")
    await bureau.pool.execute("UPDATE outbox SET state = 'failed', problem = 'x' WHERE id < 3")
    for table in ("inbox", "outbox"):
        await bureau.pool.execute(f"UPDATE {table} SET sealed = NULL WHERE {table}::text ~ 'vergeten'")
    for raw in (b"a", b"b"):
        await bureau.relay.reject(raw, "no changes", [""])
    await bureau.pool.execute("UPDATE rejected SET retried_at = now() WHERE id = 1")
    await bureau.watch.look()
    listed = [row["item"] for row in (await bureau.ask("/failed"))["failed"]]
    assert sorted(listed) == ["delivery-2", "in-1", "in-2", "out-1"]
    told = await bureau.relay.counts()
    assert told == (await bureau.ask("/health"))["waiting"]
    assert told == {
        "in_waiting": 1, "in_not_understood": 1, "in_failed": 1, "out_waiting": 1, "out_failed": 1, "deliveries_rejected": 1,
    }  # fmt: skip
    assert {alarm.kind: alarm.count for alarm in await bureau.alarms.open()} == {"poison": 2, "rejected-delivery": 1}
    assert [await bureau.office.retry(item) for item in ("in-1", "in-2", "out-1")] == [1, 1, 1]
    assert await bureau.office.retry() == 0


async def test_what_came_for_an_unknown_number_is_carried_over_once_it_is_assigned(bureau: Bureau):
    await bureau.second_account()
    await bureau.office.connect("200", "token-twee", "", "", ADMIN)
    await bureau.relay.take_in([("message|777|w1", "777|316", {"text": "dag"})])
    await bureau.alarms.ring("unknown-number", "777", "phone_number_id 777")
    await bureau.pool.execute("UPDATE inbox SET state = 'kept', problem = 'the number 777 is not configured'")
    await bureau.say(f"wijs toe 777 {OTHER} 200")
    assert await bureau.pool.fetchval("SELECT state FROM inbox") == "waiting"
    assert await bureau.alarms.open() == []


async def test_what_came_for_a_former_official_is_not_carried_over_when_the_number_is_assigned_again(bureau: Bureau):
    await bureau.relay.take_in([(f"message|{NUMBER}|w{n}", f"{NUMBER}|316", {}) for n in (1, 2)])
    await bureau.pool.execute("UPDATE inbox SET state = 'failed', problem = 'kon niet'")
    await bureau.pool.execute("UPDATE assignment SET valid_from = now() - interval '9 days'")
    await bureau.pool.execute("UPDATE inbox SET arrived_at = now() - interval '3 days' WHERE dedupe LIKE '%w1'")
    await bureau.pool.execute("UPDATE inbox SET arrived_at = now() - interval '1 day' WHERE dedupe LIKE '%w2'")  # nobody's
    await bureau.office.remove(NUMBER, ADMIN)
    await bureau.pool.execute("UPDATE assignment SET valid_until = now() - interval '2 days'")
    await bureau.office.assign(NUMBER, OTHER, ADMIN)
    assert await bureau.pool.fetchval("SELECT count(*) FROM inbox WHERE state = 'waiting'") == 0
    await bureau.pool.execute("UPDATE inbox SET arrived_at = now() + interval '1 second' WHERE dedupe LIKE '%w2'")
    await bureau.office.retry_unknown(NUMBER)
    assert await bureau.pool.fetch("SELECT dedupe FROM inbox WHERE state = 'waiting'") == [(f"message|{NUMBER}|w2",)]


async def test_a_delivery_set_aside_is_taken_after_all_when_an_admin_says_so(bureau: Bureau):
    told = {"from": "316", "id": "w9", "type": "text", "timestamp": "1700000000", "text": {"body": "oud"}}
    value = {"metadata": {"phone_number_id": NUMBER}, "messages": [told]}
    raw = json.dumps({"entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}]}).encode()
    await bureau.relay.reject(raw, "older than bridge.replay_days", [""])
    await bureau.relay.reject(b"{", "JSONDecodeError", [""])
    await bureau.relay.reject(raw.replace(b"w9", b"w10"), "of another account than its signer's", ["B"])
    await bureau.watch.look()
    assert [alarm.count for alarm in await bureau.alarms.open()] == [3]
    assert "1 " in await bureau.say("opnieuw")
    assert [row["dedupe"] for row in await bureau.pool.fetch("SELECT dedupe FROM inbox")] == [f"message|{NUMBER}|w9"]
    # What can't be read stays; another account's word is taken by name only.
    assert [alarm.count for alarm in await bureau.alarms.open()] == [2]
    [foreign, unread] = (await bureau.ask("/failed"))["failed"]
    assert "is er niet" in await bureau.say(f"opnieuw {unread['item']}")
    await bureau.say(f"retry {foreign['item']}")
    assert await bureau.pool.fetchval("SELECT count(*) FROM inbox") == 2


# The API.


async def test_the_api_wants_its_token(bureau: Bureau):
    for path in ("/numbers", "/health", "/openapi.json"):
        assert (await bureau.ask(path, status=401, token="verkeerd"))["status"] == 401
    await bureau.ask(f"/numbers/{NUMBER}/pause", {}, status=401, token="")
    assert not bureau.numbers.paused(NUMBER)


async def test_the_api_does_what_the_commands_do(bureau: Bureau):
    await bureau.second_account()
    account = {"waba_id": "200", "token": "token-twee", "name": "Tweede"}
    assert (await bureau.ask("/accounts", account))["numbers"][0]["id"] == "777"
    assert {one["waba_id"] for one in (await bureau.ask("/accounts"))["accounts"]} == {"", "200"}
    number = await bureau.ask("/numbers", {"id": "777", "official": OTHER, "waba_id": "200", "label": "Pers"})
    assert (number["official"], number["label"], number["paused"]) == (OTHER, "Pers", False)
    assert (await bureau.ask("/numbers/777/pause", {}))["paused"]
    assert not (await bureau.ask("/numbers/777/resume", {}))["paused"]
    assert (await bureau.ask(f"/numbers/777/colleagues/{MINISTER}", method="PUT"))["colleagues"] == [MINISTER]
    assert (await bureau.ask(f"/numbers/777/colleagues/{MINISTER}", method="DELETE"))["colleagues"] == []
    assert (await bureau.ask("/numbers/777/test", {}))["good"]
    await bureau.imports.note(HistoryProgress("777", 1, 3, 40))
    [phase] = (await bureau.ask("/numbers/777/history"))["phases"]
    assert (phase["phase"], phase["percent"]) == (1, 40)
    assert [row["role"] for row in (await bureau.ask("/numbers/777/assignments"))["assignments"]] == ["colleague", "official"]
    assert [one["cause"] for one in (await bureau.ask("/interruptions"))["interruptions"]] == ["paused"]
    health = await bureau.ask("/health")
    assert {one["number"]["id"] for one in health["numbers"]} == {NUMBER, "777"}
    await bureau.ask("/numbers/777", method="DELETE")
    assert (await bureau.ask("/numbers/777/pause", {}, status=404))["detail"].startswith("Het nummer")
    await bureau.ask("/accounts/200", method="DELETE")
    assert "token-twee" not in json.dumps([await bureau.ask(path) for path in ("/accounts", "/numbers", "/health", "/failed")])


async def test_the_api_says_where_its_input_is_wrong_and_repeats_nothing_of_it(bureau: Bureau):
    told = await bureau.ask("/accounts", {"waba_id": "2 00", "token": "geheim-token", "meer": 1}, status=422)
    assert "waba_id" in told["title"]
    assert "geheim" not in json.dumps(told)
    assert (await bureau.ask("/numbers", {"id": "1", "official": "@x:elders"}, status=400))["status"] == 400
    odd = {"id": "1", "official": OTHER, "label": "a\0b", "display_phone_number": "+31"}
    assert (await bureau.ask("/numbers", odd, status=422))["status"] == 422


async def test_the_api_describes_every_operation(bureau: Bureau):
    described = await bureau.ask("/openapi.json")
    operations = {(path, method) for path, methods in described["paths"].items() for method in methods}
    assert len(operations) == 18
    text = json.dumps(described)
    for reference in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert reference in described["components"]["schemas"]
