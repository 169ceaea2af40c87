"""The people of the demo on the whole chain: they sign in at its identity provider, and see what is theirs."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from urllib.parse import quote

import aiohttp
import pytest

from archiver.demo import people
from tests.conftest import RunningStack

pytestmark = pytest.mark.stack

READERS = ("archivaris", "adviseur", "inspecteur")


@dataclass(frozen=True)
class Talk:
    """Two conversations: of the minister, and of others."""

    word: str
    hers: str
    others: str


@pytest.fixture(scope="module")
async def talk(stack: RunningStack) -> Talk:
    word = "w" + secrets.token_hex(5)
    other, password = await stack.register(f"ander-{secrets.token_hex(3)}")
    accounts = ((people.user_id(people.MINISTER), stack.secret("password_minister")), (other, password))
    rooms = []
    for user, secret in accounts:
        headers = {"Authorization": f"Bearer {await stack.log_in(user, secret)}"}
        async with aiohttp.ClientSession(headers=headers) as http:
            async with http.post(f"{stack.homeserver}/_matrix/client/v3/createRoom", json={"name": f"Van {user}"}) as answer:
                rooms.append((await answer.json())["room_id"])
            url = f"{stack.homeserver}/_matrix/client/v3/rooms/{quote(rooms[-1])}/send/m.room.message/1"
            async with http.put(url, json={"msgtype": "m.text", "body": f"{word} zegt {user}"}) as answer:
                assert answer.status == 200
    end = time.monotonic() + 30
    async with await stack.signed_in("archivaris") as http:
        while time.monotonic() < end:
            async with http.get(f"{stack.web}/search", params={"q": word}) as answer:
                if "2 gevonden" in await answer.text():
                    return Talk(word, *rooms)
    raise AssertionError("the two messages did not arrive in the archive")


@pytest.mark.parametrize("person", [each.person.localpart for each in people.SIGN_INS])
async def test_everybody_sees_the_conversations_that_are_theirs(stack, talk, person):
    async with await stack.signed_in(person) as http:
        for room, readers in ((talk.hers, (*READERS, "minister")), (talk.others, READERS)):
            async with http.get(f"{stack.web}/rooms/{quote(room, safe='')}") as answer:
                text = await answer.text()
                assert (answer.status == 200) == (person in readers), (person, answer.status)
                assert (talk.word in text) == (person in readers)


async def test_a_role_given_on_the_command_line_shows_in_the_trail_and_a_revoked_session_is_over(stack):
    newcomer = secrets.token_hex(6)
    assert (await stack.griffier("role", "grant", newcomer, "advisor", "--reason", "waarneming")).returncode == 0
    assert newcomer in (await stack.griffier("role", "list")).stdout
    refused = await stack.griffier("role", "grant", newcomer, "auditor")
    assert (refused.returncode, "audit trail" in refused.stderr) == (1, True)
    assert (await stack.griffier("role", "revoke", newcomer, "advisor")).returncode == 0
    async with await stack.signed_in("auditor") as http:
        async with http.get(f"{stack.web}/audit") as answer:
            page = await answer.text()
        assert page.count(newcomer) >= 2
        assert "rol toegekend" in page
        assert "rol ingetrokken" in page
        assert "Ruud Janssen" in (await stack.griffier("session", "list")).stdout
        assert (await stack.griffier("session", "revoke", "auditor")).returncode == 0
        async with http.get(f"{stack.web}/audit") as after:
            assert after.status == 401
