"""What happened in a room beside its messages, told in plain words."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.export.happened import isolated, sentence
from archiver.export.language import Language
from archiver.ledger.record import Record
from archiver.reading.happening import KINDS, Happening, happening

ANNA = "@anna:x"
THEN = datetime(2026, 1, 1, tzinfo=UTC)


def state(kind: str, content: Any, sender: str = "@chef:x", key: str = "", **more: Any) -> Record:
    event = {"type": kind, "content": content, "sender": sender, "state_key": key}
    fields = {
        "room_id": "!r:x", "event_id": "$a", "type": kind, "state_key": key, "sender": sender,
        "sent_at": THEN, "captured_at": THEN, "depth": 5, "rel_type": None,
        "relates_to": None, "id_matches": True, "content_matches": True, "signed_by": (), "unsigned_by": (), "session_id": None,
        "payload_type": None, "unreadable": None, "message_index": None, "doubts": (), "event": event, "payload": None,
    } | more  # fmt: skip
    return Record(**fields)


def member(membership: str, sender: str = ANNA, **more: Any) -> Record:
    return state("m.room.member", {"membership": membership, **more}, sender, ANNA)


def told(now: Record, before: Record | None = None, code: str = "en") -> str:
    change = happening(now, before)
    names = {"@chef:x": "Chef", ANNA: "Anna"}
    found = Happening(change.record, change.kind, change.before, change.deletion, names)
    return sentence(found, Language(code))


@pytest.mark.parametrize(
    ("now", "before", "words"),
    [
        (member("join"), member("invite", "@chef:x"), "Anna joined the conversation."),
        (member("join"), None, "Anna joined the conversation."),
        (member("leave"), member("join"), "Anna left the conversation."),
        (member("leave", "@chef:x", reason="klaar"), member("join"), "Chef removed Anna from the conversation. Reason: klaar"),
        (member("invite", "@chef:x"), None, "Chef invited Anna."),
        (member("leave"), member("invite"), "Anna declined the invitation."),
        (member("leave", "@chef:x"), member("invite"), "Chef withdrew the invitation of Anna."),
        (member("ban", "@chef:x"), member("join"), "Chef removed Anna and barred them from coming back."),
        (member("leave", "@chef:x"), member("ban"), "Chef lifted the bar on Anna."),
        (member("join", displayname="Ans"), member("join", displayname="Anna B"), "Anna B is now called Ans."),
        (member("join", avatar_url="mxc://x/2"), member("join", avatar_url="mxc://x/1"), "Anna changed their profile picture."),
        (member("join"), member("join"), "Anna sent their profile again; nothing changed."),
        (member(["?"]), None, "Anna set the membership of Anna to something that has no name."),  # type: ignore[arg-type]
        (state("m.room.name", {"name": "B"}), state("m.room.name", {"name": "A"}),
         "Chef called the conversation “B”; it was “A”."),
        (state("m.room.topic", {}), state("m.room.topic", {"topic": "T"}), "Chef took away the topic “T”."),
        (state("m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"}), None,
         "Chef switched on encryption: from here on only members can read what is said."),
        (state("m.room.history_visibility", {"history_visibility": "joined"}), None,
         "Chef set who can read earlier messages: members, from when they joined."),
        (state("m.room.power_levels", {"users": {"@chef:x": 100, ANNA: 50}}),
         state("m.room.power_levels", {"users": {"@chef:x": 100}}),
         "Chef changed who may do what: Anna from ordinary member (0) to moderator (50)."),
        (state("m.room.power_levels", {"ban": 75}), state("m.room.power_levels", {"ban": 50}),
         "Chef changed who may do what: ban from level 50 to level 75."),
        (state("org.example.thing", {"a": 1}), None, "Chef changed a setting of the conversation (org.example.thing)."),
    ],
)  # fmt: skip
def test_a_change_is_told_as_people_would(now, before, words):
    assert told(now, before) == words


def test_it_is_told_in_dutch_too():
    assert told(member("join"), None, "nl") == "Anna doet mee aan het gesprek."


def test_what_somebody_wrote_can_not_turn_the_sentence_round():
    name = "\N{RIGHT-TO-LEFT OVERRIDE}kwaad"
    change = happening(state("m.room.name", {"name": name}), None)
    assert f"\N{FIRST STRONG ISOLATE}{name}\N{POP DIRECTIONAL ISOLATE}" in sentence(change, Language("nl"), isolated)


def test_a_change_of_which_the_content_was_deleted_before_it_came_says_so():
    assert happening(state("m.room.name", {}, content_matches=False), None).pruned


NONSENSE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PARTS = (
    "membership", "displayname", "name", "topic", "alias", "users", "events", "users_default", "reason", "url",
    "history_visibility", "join_rule", "replacement_room", "protocol", "timer", "avatar_url",
)  # fmt: skip
NAMED = st.dictionaries(st.sampled_from(PARTS), NONSENSE, max_size=6)


@given(st.sampled_from(["m.room.member", *KINDS, "x.y"]), NAMED, NAMED, st.sampled_from(["nl", "en"]))
def test_whatever_a_hostile_server_sends_can_be_told(kind, now, before, code):
    key = ANNA if kind == "m.room.member" else ""
    change = happening(state(kind, now, key=key), state(kind, before, key=key))
    assert sentence(change, Language(code), isolated)
    assert change.accounts()
