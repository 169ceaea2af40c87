"""A person is a set of names with their time: joined when WhatsApp says so, never by a number alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from importlib import resources

import asyncpg
import pytest

from bridge.arriving.persons import Persons
from bridge.network import Named

pytestmark = pytest.mark.postgres
SOON = timedelta(seconds=1)
START = datetime(2026, 3, 1, tzinfo=UTC)


def day(number: float) -> datetime:
    return START + timedelta(days=number)


@pytest.fixture
async def persons(bridge_url: str) -> AsyncIterator[Persons]:
    async with asyncpg.create_pool(bridge_url, min_size=1, max_size=3) as pool:
        numbers = [("106", "77"), ("107", "77"), ("200", "99")]  # of two accounts
        await pool.executemany("INSERT INTO number (number_id, waba_id, display, added_by) VALUES ($1, $2, $1, 'test')", numbers)
        yield Persons(pool)


async def test_the_same_names_are_the_same_person_whatever_number_of_ours_is_asked(persons):
    first = await persons.meet("106", Named("31611", "NL.1", name="Sam"), day(0), "w1")
    assert first.localpart == "31611"
    assert (await persons.meet("106", Named("31611"), day(1), "w2")).id == first.id
    assert (await persons.meet("106", Named(user_id="NL.1"), day(1), "w3")).id == first.id
    other = await persons.meet("107", Named("31611", "NL.1"), day(1), "w4")
    assert (other.id, other.named.user_id) == (first.id, "NL.1")
    assert (await persons.meet("106", Named("31611"), day(2), "w5")).named.user_id == "NL.1"


async def test_an_id_that_comes_with_a_number_later_joins_two_who_were_thought_apart(persons):
    by_id = await persons.meet("106", Named(user_id="NL.1", username="sam"), day(0), "w1")
    by_number = await persons.meet("106", Named("31611"), day(1), "w2")
    assert by_id.id != by_number.id
    both = await persons.meet("106", Named("31611", "NL.1"), day(2), "w3")
    assert (both.id, both.joined) == (by_id.id, (by_number.id,))
    assert both.localpart == by_id.localpart == "_n_l.1"
    again = await persons.meet("106", Named("31611", "NL.1"), day(2), "w3")
    assert again.joined == (by_number.id,)  # as after a crash: it is told until it has been told
    after = await persons.meet("106", Named("31611"), day(3), "w4")
    assert (after.id, after.joined) == (by_id.id, ())


async def test_another_number_moves_the_person_along(persons):
    before = await persons.meet("106", Named("31611", "NL.1", name="Sam"), day(0), "w1")
    moved = await persons.move("106", Named("31611"), Named("31622", "NL.2"), day(1), "w2")
    assert (moved.id, moved.localpart) == (before.id, "31611")
    assert (moved.named.wa_id, moved.named.user_id, moved.named.name) == ("31622", "NL.2", "Sam")
    assert (moved.was.wa_id, moved.was.user_id) == ("31611", "NL.1")
    again = await persons.move("106", Named("31611"), Named("31622", "NL.2"), day(1), "w2")
    assert (again.id, again.named) == (moved.id, moved.named)
    assert (await persons.meet("106", Named("31622"), day(2), "w3")).id == before.id
    assert (await persons.meet("106", Named(user_id="NL.2"), day(2), "w4")).id == before.id


async def test_who_wrote_from_the_new_number_before_it_was_told_is_the_same(persons):
    before = await persons.meet("106", Named("31611"), day(0), "w1")
    early = await persons.meet("106", Named("31622"), day(1.001), "w2")
    moved = await persons.move("106", Named("31611"), Named("31622"), day(1), "w3")
    assert (moved.id, moved.joined, moved.named.wa_id) == (before.id, (early.id,), "31622")


async def test_whoever_gets_a_number_that_was_given_up_is_somebody_else_with_a_ghost_of_their_own(persons):
    before = await persons.meet("106", Named("31611", "NL.1"), day(0), "w1")
    await persons.move("106", Named("31611"), Named("31622"), day(1), "w2")
    stranger = await persons.meet("106", Named("31611", "NL.8"), day(30), "w3")
    assert stranger.id != before.id
    assert stranger.localpart == "31611=-2"
    late = await persons.meet("106", Named("31611"), day(0.5), "w4")  # a message from before the change that comes after it
    assert late.id == before.id
    assert late.named.wa_id == "31622"


async def test_a_number_taken_over_from_somebody_else_joins_nobody(persons):
    one = await persons.meet("106", Named("31611", "NL.1"), day(0), "w1")
    other = await persons.meet("106", Named("31622", "NL.2"), day(0), "w2")
    moved = await persons.meet("106", Named("31622", "NL.1"), day(5), "w3")
    assert (moved.id, moved.joined, moved.named.wa_id) == (one.id, (), "31622")
    assert moved.was.wa_id == "31611"
    left = await persons.find("106", Named(user_id="NL.2"))
    assert (left.id, left.named.wa_id) == (other.id, "")
    back = await persons.meet("106", Named("31622", "NL.2"), day(9), "w4")
    assert (back.id, back.joined) == (other.id, ())


async def test_whoever_has_a_number_under_another_id_is_somebody_else_unless_a_move_was_told(persons):
    before = await persons.meet("106", Named("31611", "NL.1"), day(0), "w1")
    stranger = await persons.meet("106", Named("31611", "NL.2"), day(90), "w2")
    assert stranger.id != before.id
    assert (stranger.localpart, stranger.joined, stranger.instead_of) == ("31611=-2", (), (before.id,))
    again = await persons.meet("106", Named("31611", "NL.2"), day(90), "w2")
    assert again.instead_of == (before.id,)  # as after a crash
    assert (await persons.meet("106", Named("31611"), day(91), "w3")).instead_of == ()
    left = await persons.find("106", Named(user_id="NL.1"))
    assert (left.id, left.named.wa_id) == (before.id, "")
    assert (await persons.meet("106", Named("31611", "NL.1"), day(5), "w4")).id == before.id  # comes late
    assert (await persons.find("106", Named("31611"))).id == stranger.id
    late = await persons.meet("106", Named("31611", "NL.0"), day(89), "w5")  # whoever that was, the number is the stranger's now
    assert (late.named.wa_id, (await persons.find("106", Named("31611"))).id) == ("", stranger.id)


async def test_the_old_number_of_somebody_with_an_id_joins_nobody_known_by_an_id_only(persons):
    by_id = await persons.meet("106", Named(user_id="NL.1", username="sam"), day(0), "w1")
    had_it = await persons.meet("106", Named("31611", "NL.2"), day(1), "w2")
    now = await persons.meet("106", Named("31611", "NL.1"), day(60), "w3")
    assert (now.id, now.joined, now.instead_of) == (by_id.id, (), (had_it.id,))


async def test_with_another_number_an_id_is_another_too_and_its_person_the_same(persons):
    before = await persons.meet("106", Named("31611", "NL.1"), day(0), "w1")
    await persons.move("106", Named("31611"), Named("31622"), day(1), "w2")
    after = await persons.meet("106", Named("31622", "NL.2"), day(2), "w3")
    assert (after.id, after.instead_of, after.named.user_id) == (before.id, (), "NL.2")


async def test_names_follow_the_newest_word_and_a_late_message_changes_nothing(persons):
    await persons.meet("106", Named("31611", name="Sam"), day(0), "w1")
    assert (await persons.meet("106", Named("31611", name="Sam Bos"), day(2), "w2")).named.name == "Sam Bos"
    assert (await persons.meet("106", Named("31611", name="Sammie"), day(1), "w3")).named.name == "Sam Bos"


async def test_a_time_to_come_does_not_stand_in_the_way_of_what_is_said_until_then(persons):
    await persons.meet("106", Named("31611", name="Uit 2090"), day(30_000), "w1")
    now = await persons.meet("106", Named("31611", name="Sam"), datetime.now(UTC) + timedelta(seconds=5), "w2")
    assert now.named.name == "Sam"


async def test_two_of_one_portfolio_share_the_id_above_theirs(persons):
    one = await persons.meet("106", Named(user_id="NL.1", parent_user_id="NL.ENT.7"), day(0), "w1")
    assert (await persons.meet("107", Named(user_id="DE.4", parent_user_id="NL.ENT.7"), day(1), "w2")).id == one.id


async def test_what_another_account_is_told_changes_nobody_of_this_one(persons):
    ours = await persons.meet("106", Named("31611", "NL.1", "NL.ENT.1", "sam", "Sam"), day(0), "w1")
    theirs = await persons.meet("200", Named("31611", "BE.9", "NL.ENT.1", "x", "Iemand"), day(1), "w2")
    assert (theirs.id != ours.id, theirs.localpart, theirs.instead_of) == (True, "31611=-2", ())
    forged = await persons.meet("200", Named("31699", "NL.1", name="Iemand"), day(2), "w3")
    moved = await persons.move("200", Named("31611"), Named("31666", "BE.10"), day(3), "w4")
    assert (forged.id not in (ours.id, theirs.id), moved.id) == (True, theirs.id)
    assert await persons.find("200", Named("31688")) is None
    after = await persons.find("106", Named("31611"))
    assert (after.id, after.named) == (ours.id, ours.named)
    assert (await persons.find("107", Named("31611"))).id == ours.id


async def test_a_number_that_was_hidden_from_one_of_ours_is_not_read_there(persons):
    by_id = await persons.meet("106", Named(user_id="NL.1", name="Sam"), day(0), "w1")
    known = await persons.meet("107", Named("31611", "NL.1", username="sam", name="Sam"), day(1), "w2")
    assert (known.id, known.named) == (by_id.id, Named("31611", "NL.1", username="sam", name="Sam"))
    hidden = await persons.meet("106", Named(user_id="NL.1", name="Sam"), day(2), "w3")
    assert hidden.named == Named(user_id="NL.1", name="Sam")
    moved = await persons.move("107", Named("31611"), Named("31622", "NL.2"), day(3), "w4")
    assert (moved.id, moved.was.wa_id) == (by_id.id, "31611")
    after = await persons.meet("106", Named(user_id="NL.2", name="Sam"), day(4), "w5")
    assert (after.id, after.named, after.was) == (by_id.id, Named(user_id="NL.2", name="Sam"), None)
    told = await persons.meet("106", Named("31622", "NL.2"), day(5), "w6")
    assert told.named.wa_id == "31622"


async def test_a_late_message_is_of_whoever_had_the_number_then_also_when_the_present_holder_has_just_written(persons):
    now = datetime.now(UTC)
    before = await persons.meet("106", Named("31611", "NL.1"), now - timedelta(days=9), "w1")
    stranger = await persons.meet("106", Named("31611", "NL.2"), now - timedelta(days=2), "w2")
    for _ in range(2):
        assert (await persons.meet("106", Named("31611"), now - SOON, "w3")).id == stranger.id
        assert (await persons.meet("106", Named("31611"), now - timedelta(days=5), "w4")).id == before.id


async def test_an_update_leaves_each_account_its_own_people_in_the_rooms_that_they_have(persons):
    pool = persons._pool
    person = (await persons.meet("106", Named("31611", "NL.1", name="Sam"), day(0), "w1")).id
    add = "INSERT INTO identity (person, kind, scope, value, valid_from, source) VALUES ($1, 'user_id', '200', 'BE.9', $2, $3)"
    await pool.execute(add, person, day(1), "200|w2")
    await pool.execute("UPDATE identity SET told_to = NULL")
    rooms = [("!a:x", "106", "31611"), ("!b:x", "107", "31611"), ("!c:x", "200", "31611")]
    room = "INSERT INTO portal (room_id, number_id, contact, encrypted, person) VALUES ($1, $2, $3, true, $4)"
    await pool.executemany(room, [(*place, person) for place in rooms])
    for _ in range(2):
        await pool.execute((resources.files("bridge") / "migrations" / "0009_told_to.sql").read_text())
    told = {row["kind"]: row["told_to"] for row in await pool.fetch("SELECT kind, told_to FROM identity")}
    assert told == {"wa_id": ["106", "107"], "user_id": ["106"], "name": ["106"]}
    owners = await pool.fetch("SELECT person FROM portal ORDER BY room_id")
    assert [row["person"] for row in owners] == [person, person, None]
    assert (await persons.meet("200", Named("31611", "BE.9"), day(2), "w3")).id != person
