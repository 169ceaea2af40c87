"""A `/sync` answer of any shape: what can be read is, and the rest is handed on to be kept."""

import pytest

from archiver.capture.page import NAMELESS, parse
from archiver.ledger.canonical import HostileJson

GOOD = {"type": "m.room.message", "content": {"body": "buur"}}


def test_what_stands_among_events_and_is_none_is_handed_on_and_its_neighbour_is_read():
    page = parse({"next_batch": "s", "rooms": {"join": {"!a:x": {"timeline": {"events": ["x", GOOD, None, [1]]}}}}})
    assert page.rooms[0].events == (GOOD,)
    assert page.odd == (("!a:x", "x"), ("!a:x", None), ("!a:x", [1]))


@pytest.mark.parametrize("bent", [[GOOD], "x", 1, None, True])
def test_a_wrong_shape_at_any_level_is_handed_on(bent):
    for rooms, where in (
        (bent, NAMELESS),
        ({"join": bent}, NAMELESS),
        ({"leave": bent}, NAMELESS),
        ({"join": {"!a:x": bent}}, "!a:x"),
        ({"join": {"!a:x": {"timeline": bent}}}, "!a:x"),
        ({"join": {"!a:x": {"state": bent}}}, "!a:x"),
    ):
        assert parse({"next_batch": "s", "rooms": rooms}).odd == ((where, bent),)
    assert parse({"next_batch": "s", "rooms": {"join": {"!a:x": {"timeline": {"events": {"a": GOOD}}}}}}).odd


@pytest.mark.parametrize("name", ["!\0:x", "!\ud800:x", "!" + "x" * 300])
def test_a_room_with_a_name_that_can_be_no_rooms_is_kept_and_neither_joined_nor_followed(name):
    room = {"timeline": {"events": [GOOD]}}
    stone = {"type": "m.room.tombstone", "state_key": "", "content": {"replacement_room": name}, "sender": "@a:x"}
    joined = {name: room, "!a:x": {"timeline": {"events": [stone], "prev_batch": "t\0"}}}
    page = parse({"next_batch": "s", "rooms": {"join": joined, "invite": {name: {}, "!b:x": {}}}})
    assert page.odd == ((NAMELESS, {name: room}),)
    assert page.invites == ("!b:x",)
    assert not list(page.successors())
    assert page.rooms[0].prev_batch is None


@pytest.mark.parametrize("answer", [{}, {"next_batch": None}, {"next_batch": 7}, {"next_batch": "s\0"}, {"next_batch": "\ud800"}])
def test_an_answer_that_does_not_say_how_to_go_on_is_refused_in_whole(answer):
    with pytest.raises(HostileJson, match="next_batch"):
        parse(answer)
