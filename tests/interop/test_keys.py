"""Keys that are withheld, late, forwarded or backed up, with clients and libraries that others wrote."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import olm
import pytest
from canonicaljson import encode_canonical_json
from signedjson.key import generate_signing_key, get_verify_key
from signedjson.sign import sign_json
from unpaddedbase64 import encode_base64

from archiver.capture import cross_signing
from archiver.capture.client import homeserver
from archiver.capture.cross_signing import CrossSigningKeys
from archiver.capture.server_keys import ServerKeys
from tests.conftest import RunningStack
from tests.facility import Facility, facility, proxy
from tests.interop.by_hand import ByHand
from tests.interop.client import Official

pytestmark = [pytest.mark.stack, pytest.mark.interop]

CAPTURING = "SELECT capturing FROM seat"
READ = "SELECT count(*) = $2 FROM record WHERE event_id = ANY($1) AND unreadable IS NULL"
UNREAD = "SELECT count(*) = $2 FROM record WHERE event_id = ANY($1) AND unreadable = $3"


@pytest.fixture(scope="module")
async def official(stack: RunningStack) -> AsyncIterator[Official]:
    user_id, password = await stack.register(f"sleutels-{secrets.token_hex(3)}")
    async with Official(stack.homeserver, user_id, password) as client:
        yield client


@pytest.fixture(scope="module")
async def by_hand(stack: RunningStack) -> AsyncIterator[ByHand]:
    user_id, password = await stack.register(f"handmatig-{secrets.token_hex(3)}")
    async with ByHand(stack, user_id, password) as client:
        yield client


async def page(archive: Facility, room: str, language: str) -> str:
    """A room's HTML export, its text only."""
    out = archive.folder / f"{secrets.token_hex(4)}.html"
    done = await archive.run("export", room, "--out", str(out), "--language", language)
    assert done.returncode == 0, done.stderr
    return re.sub(r"<[^>]*>", "", out.read_text()).replace("&#39;", "'")


async def device(archive: Facility) -> tuple[str, str]:
    [row] = await archive.fetch("SELECT user_id, device_id FROM seat")
    return row["user_id"], row["device_id"]


async def test_a_key_withheld_or_forwarded_later_is_told_and_applied_to_everything_that_waited(stack, by_hand, tmp_path):
    async with facility(stack, tmp_path) as archive:
        await archive.start()
        await archive.until(CAPTURING)
        to = await device(archive)
        room = await by_hand.make_room(archive.user_id)
        await archive.until("SELECT membership = 'join' FROM room WHERE room_id = $1", room)
        withheld, forwarded = olm.OutboundGroupSession(), olm.OutboundGroupSession()
        key, copy = withheld.session_key, olm.InboundGroupSession(forwarded.session_key)

        # Told before the message, and told after it.
        await by_hand.withhold(room, withheld.id, "m.blacklisted", to)
        ids = await by_hand.say(room, withheld, *(f"geblokkeerd {number}" for number in range(5)))
        await archive.until(UNREAD, ids, 5, "withheld:m.blacklisted")
        await by_hand.withhold(room, withheld.id, "m.unverified", to)
        await archive.until(UNREAD, ids, 5, "withheld:m.unverified")
        waiting = await by_hand.say(room, forwarded, *(f"onderweg {number}" for number in range(5)))
        await archive.until(UNREAD, waiting, 5, "no-key")

        # Somebody else says so of what is not theirs: that changes nothing.
        other, password = await stack.register(f"ander-{secrets.token_hex(3)}")
        async with ByHand(stack, other, password) as stranger:
            await stranger.withhold(room, forwarded.id, "m.blacklisted", to)
        await archive.until("SELECT count(*) = 1 FROM withheld WHERE sender = $1", other)
        await archive.until(UNREAD, waiting, 5, "no-key")

        dutch, english = await page(archive, room, "nl"), await page(archive, room, "en")
        assert dutch.count("geeft sleutels alleen aan geverifieerde apparaten") == 5
        assert dutch.count("De beheerder ziet met 'griffier doctor'") == 5
        assert english.count("gives keys to verified devices only") == 5
        assert english.count("then ask the sender to send the message again") == 5
        assert dutch.count("de sleutel is niet ontvangen") == 5

        # The key comes after all, as a gift and as the answer to a request.
        await by_hand.share(room, withheld.id, key, to)
        await archive.until(READ, ids, 5)
        asked = await by_hand.wait_to_device("m.room_key_request")
        while (asked["requesting_device_id"], asked["body"]["session_id"]) != (to[1], forwarded.id):
            asked = await by_hand.wait_to_device("m.room_key_request")  # the stack's own archiver asks too
        assert (asked["action"], asked["body"]["room_id"]) == ("request", room)
        await by_hand.forward(room, copy, to)
        await archive.until(READ, waiting, 5)
        said = await archive.texts(room)
        assert {f"{what} {number}" for what in ("geblokkeerd", "onderweg") for number in range(5)} <= set(said)
        assert not [line for line in said.values() if line["unreadable"]]
        assert "geverifieerde apparaten" not in await page(archive, room, "nl")


async def test_a_strict_client_withholds_from_a_device_that_is_not_signed_and_gives_again_once_it_is(stack, official, tmp_path):
    user_id, password = await stack.register(f"streng-{secrets.token_hex(3)}")
    # Without the password the archiver can't put right what somebody does to its account.
    ways = {"ARCHIVER__PASSWORD": "", "ARCHIVER__ACCESS_TOKEN": await stack.log_in(user_id, password)}
    async with facility(stack, tmp_path, ARCHIVER__USER_ID=user_id, **ways) as archive:
        first = await archive.start()
        await archive.until(CAPTURING)
        # Somebody resets the account's identity: the archiver's device is signed by nobody any more.
        async with homeserver(stack.homeserver, 30) as server:
            server.token = await stack.log_in(archive.user_id, password)
            body = cross_signing.upload(archive.user_id, "GEEN", CrossSigningKeys.generate(), lambda _: "")
            body["master_key"].pop("signatures")
            await cross_signing.replace(server, archive.user_id, body, password)
        room = (await official.do("create_room", name="Streng", invite=[archive.user_id]))["room"]
        await archive.until("SELECT membership = 'join' FROM room WHERE room_id = $1", room)
        await official.do("wait_members", room=room, count=3)
        sent = (await official.do("send", room=room, body="niet voor dit apparaat"))["event_id"]
        await archive.until(UNREAD, [sent], 1, "withheld:m.unverified")
        assert "geeft sleutels alleen aan geverifieerde apparaten" in await page(archive, room, "nl")
        looked = await archive.run("doctor", "--json")
        assert looked.stdout, looked.stderr
        sick = json.loads(looked.stdout)["findings"]
        assert [found["problem"] for found in sick if found["what"] == f"the device of {user_id}" and found["problem"]]

        first.terminate()
        await first.wait()
        await archive.start(ARCHIVER__PASSWORD=password)
        await archive.until("SELECT capturing AND seen_at > now() - interval '3 seconds' FROM seat")
        for attempt in range(10):  # until the official's client has heard of it
            await official.do("new_session", room=room)
            later = (await official.do("send", room=room, body=f"weer wel {attempt}"))["event_id"]
            await archive.until("SELECT count(*) = 1 FROM record WHERE event_id = $1", later)
            if (await archive.fetch("SELECT unreadable FROM record WHERE event_id = $1", later))[0]["unreadable"] is None:
                return
        raise AssertionError("the client still gives no keys")


async def test_matrix_js_sdk_restores_the_backup_and_reads_what_was_said_with_it(stack, official, tmp_path):
    async with facility(stack, tmp_path, ARCHIVER__KEY_BACKUP="true") as archive:
        await archive.start()
        await archive.until(CAPTURING)
        room = (await official.do("create_room", name="Reservekopie", invite=[archive.user_id]))["room"]
        await archive.until("SELECT membership = 'join' FROM room WHERE room_id = $1", room)
        await official.do("wait_members", room=room, count=3)
        ids = []
        for number in range(3):
            ids.append((await official.do("send", room=room, body=f"bewaard {number}"))["event_id"])
            await official.do("new_session", room=room)
        await archive.until(READ, ids, 3)
        await archive.until("SELECT count(*) >= 3 AND bool_and(backed_up_at IS NOT NULL) FROM megolm_session")
        told = json.loads((await archive.run("recovery-key", "--json")).stdout)["keys"]
        [key] = [each["recovery_key"] for each in told if each["user_id"] == archive.user_id]
        token = await stack.log_in(archive.user_id, archive.env["GRIFFIER_ARCHIVER__PASSWORD"])
        async with homeserver(stack.homeserver, 30) as server:
            server.token = token
            path = "/_matrix/client/v3/rooms/"
            events = [await server.call("GET", f"{path}{room}/event/{event_id}") for event_id in ids]
        restored = await official.do(
            "restore_backup", homeserver=stack.homeserver, user=archive.user_id,
            password=archive.env["GRIFFIER_ARCHIVER__PASSWORD"], recovery_key=key, events=events,
        )  # fmt: skip
        assert restored["bodies"] == ["bewaard 0", "bewaard 1", "bewaard 2"]
        assert restored["imported"] == restored["total"] >= 3
        assert restored["matches"], "the recovery key is that of the homeserver's present backup"


async def test_a_signature_whose_key_was_not_to_be_had_is_checked_when_it_is(stack, official, tmp_path):
    hiding = True

    def hide(path: str, answer: dict) -> dict:
        return {} if hiding and path == "/_matrix/key/v2/server" else answer

    async with proxy(stack.homeserver) as between, facility(stack, tmp_path, homeserver=between.url) as archive:
        between.change = hide
        await archive.start()
        await archive.until(CAPTURING)
        room = (await official.do("create_room", name="Handtekening", encrypted=False, invite=[archive.user_id]))["room"]
        await archive.until("SELECT membership = 'join' FROM room WHERE room_id = $1", room)
        sent = (await official.do("send", room=room, content={"msgtype": "m.text", "body": "nog niet na te gaan"}))["event_id"]
        await archive.until("SELECT unsigned_by = ARRAY[$2] FROM record WHERE event_id = $1", sent, stack.server_name)
        hiding = False
        await archive.until(
            "SELECT signed_by = ARRAY[$2] FROM later_check WHERE event_id = $1", sent, stack.server_name, seconds=60
        )
        checks = (await archive.texts(room))["nog niet na te gaan"]["checks"]
        assert (checks["signed_by"], checks["not_verified"]) == ([], [stack.server_name])
        assert (checks["later"]["signed_by"], checks["later"]["not_verified"]) == ([stack.server_name], [])
        [row] = await archive.fetch("SELECT answer FROM server_key_answer WHERE server_name = $1", stack.server_name)
        assert json.loads(row["answer"])["verify_keys"]


async def test_who_had_read_up_to_where_is_kept_only_where_the_organisation_wants_it(stack, by_hand, tmp_path):
    async with (
        facility(stack, tmp_path, ARCHIVER__READ_RECEIPTS="true") as archive,
        facility(stack, tmp_path) as without,
    ):
        room = await by_hand.make_room(archive.user_id, without.user_id)
        for each in (archive, without):
            await each.start()
            await each.until(CAPTURING)
            await each.until("SELECT membership = 'join' FROM room WHERE room_id = $1", room)
        session = olm.OutboundGroupSession()
        for each in (archive, without):
            await by_hand.share(room, session.id, session.session_key, await device(each))
        sent = await by_hand.say(room, session, "een", "twee")
        for event_id in sent:
            await by_hand.read(room, event_id)
        await archive.until("SELECT count(*) = 1 FROM receipt WHERE event_id = $1", sent[1])
        [last] = await by_hand.say(room, session, "klaar")
        for each in (archive, without):
            await each.until(READ, [*sent, last], 3)
        said = await archive.texts(room)
        [reader] = said["twee"]["read_by"]
        assert (reader["user"], reader["thread"]) == (by_hand.user_id, None)
        assert reader["at"] >= said["twee"]["sent_at"]
        assert said["klaar"]["read_by"] == []
        assert {tuple(line["read_by"]) for line in (await without.texts(room)).values()} == {()}
        assert await without.fetch("SELECT FROM receipt") == []


async def test_the_keys_of_another_server_are_had_through_the_homeserver_as_notary(stack):
    name, key, now = f"s{secrets.token_hex(4)}.example", generate_signing_key("een"), int(time.time() * 1000)
    told = {
        "server_name": name, "valid_until_ts": now + 86_400_000, "old_verify_keys": {},
        "verify_keys": {"ed25519:een": {"key": encode_base64(get_verify_key(key).encode())}},
    }  # fmt: skip
    # What Synapse keeps when it has asked that server itself.
    synapse = await asyncpg.connect(
        urlunsplit(urlsplit(stack.database)._replace(path=urlsplit(stack.database).path + "_synapse"))
    )
    await synapse.execute(
        "INSERT INTO server_keys_json (server_name, key_id, from_server, ts_added_ms, ts_valid_until_ms, key_json) "
        "VALUES ($1, 'ed25519:een', $1, $2, $3, $4)",
        name, now, now + 86_400_000, encode_canonical_json(sign_json(told, name, key)),
    )  # fmt: skip
    await synapse.close()
    async with homeserver(stack.homeserver, 30) as server:
        keys = ServerKeys(server, stack.server_name)
        [answer] = await keys.ask(name, {(name, "ed25519:een"): now})
    assert keys.known[name, "ed25519:een"].until == now + 86_400_000
    assert set(json.loads(answer.proof)["signatures"]) == {name, stack.server_name}, "the notary vouches for it too"
