"""A message as people see it, whatever the order in which its parts came in."""

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from archiver.ledger.event import Rules
from archiver.ledger.record import Record, relation
from archiver.reading.message import compose, is_message
from archiver.reading.timeline import without_fallback

START = dt.datetime(2026, 11, 1, 12, tzinfo=dt.UTC)


def record(event_id: str, content: dict, *, sender="@minister:x", kind="m.room.message", second=0, **other) -> Record:
    event = {"type": kind, "content": content, "sender": sender} | other.pop("event", {})
    rel_type, relates_to = relation(event, Rules("11"))
    values = {
        "room_id": "!r", "event_id": event_id, "type": kind, "state_key": None, "sender": sender,
        "sent_at": START + dt.timedelta(seconds=second), "captured_at": START, "depth": second, "rel_type": rel_type,
        "relates_to": relates_to, "id_matches": True, "content_matches": True, "signed_by": ("x",), "unsigned_by": (),
        "session_id": None, "payload_type": None, "unreadable": None, "message_index": None, "doubts": (),
        "event": event, "payload": None,
    }  # fmt: skip
    return Record(**values | other)


def edit(event_id: str, body: str, second: int, sender="@minister:x") -> Record:
    new = {"msgtype": "m.text", "body": body}
    relates = {"rel_type": "m.replace", "event_id": "$root"}
    return record(
        event_id,
        {"msgtype": "m.text", "body": f"* {body}", "m.new_content": new, "m.relates_to": relates},
        second=second,
        sender=sender,
    )


def redaction(event_id: str, target: str, second: int, reason: str | None = None) -> Record:
    return record(event_id, {"redacts": target, "reason": reason}, kind="m.room.redaction", second=second)


ROOT = record("$root", {"msgtype": "m.text", "body": "eerste"})
RELATED = [
    edit("$e1", "tweede", 5),
    edit("$e2", "derde", 9),
    edit("$vals", "niet van mij", 12, sender="@ander:x"),
    record("$r1", {"m.relates_to": {"rel_type": "m.annotation", "event_id": "$root", "key": "👍"}}, kind="m.reaction", second=3),
    redaction("$d1", "$e2", 20),
    redaction("$d2", "$root", 30, "vergissing"),
]


@given(st.permutations(RELATED))
def test_any_order_of_arrival_gives_the_same_message(related):
    message = compose(ROOT, related)
    assert [version.body for version in message.versions] == ["eerste", "tweede", "derde"]
    assert message.body == "tweede"
    assert (message.deletion.by, message.deletion.reason) == ("@minister:x", "vergissing")
    assert [(reaction.key, reaction.deleted) for reaction in message.reactions] == [("👍", False)]


def test_only_the_sender_can_edit_a_message():
    assert "niet van mij" not in [version.body for version in compose(ROOT, RELATED).versions]


def test_a_message_deleted_before_capture_is_reported_with_its_sender():
    because = {"sender": "@baas:x", "origin_server_ts": 1764000000000}
    pruned = record("$root", {}, content_matches=False, event={"unsigned": {"redacted_because": because}})
    message = compose(pruned, [])
    assert message.pruned
    assert message.deletion.by == "@baas:x"


def test_a_poll_reads_as_its_question_its_answers_and_its_votes():
    answers = [{"m.id": "a", "m.text": [{"body": "Maandag"}]}, {"m.id": "b", "m.text": [{"body": "Dinsdag"}]}]
    content = {"m.poll": {"question": {"m.text": [{"body": "Wanneer?"}]}, "answers": answers}}
    poll = record("$p", content, kind="m.poll.start")
    points = {"m.relates_to": {"rel_type": "m.reference", "event_id": "$p"}}
    related = [
        record("$v1", points | {"m.poll.response": {"answers": ["a"]}}, kind="m.poll.response", second=1, sender="@ander:x"),
        record("$v2", points | {"m.poll.response": {"answers": ["b", 7, "onbekend"]}}, kind="m.poll.response", second=2),
        record("$v3", points | {"m.poll.response": "niets"}, kind="m.poll.response", second=3),
        redaction("$d", "$v1", 4),
        record("$e", points, kind="m.poll.end", second=5),
    ]
    message = compose(poll, related)
    assert (message.kind, message.body) == ("poll", "Wanneer?\n– Maandag\n– Dinsdag")
    assert [(vote.sender, vote.answers, vote.deleted) for vote in message.votes] == [
        ("@ander:x", ("Maandag",), True),
        ("@minister:x", ("Dinsdag", "onbekend"), False),
        ("@minister:x", (), False),
    ]
    assert message.poll_ended.by == "@minister:x"
    assert not any(is_message(each) for each in related)


def test_edits_reactions_deletions_and_state_are_no_messages():
    assert is_message(ROOT)
    assert not any(is_message(other) for other in RELATED)
    assert not is_message(record("$s", {"name": "Zaal"}, kind="m.room.name", state_key=""))


def test_what_cannot_be_read_is_shown_as_that():
    message = compose(record("$root", {"ciphertext": "…"}, kind="m.room.encrypted", unreadable="no-key"), [])
    assert (message.kind, message.body) == ("unreadable", "")


@given(
    st.dictionaries(
        st.sampled_from(["body", "msgtype", "m.relates_to", "m.new_content"]),
        st.one_of(st.none(), st.integers(), st.text(), st.lists(st.none())),
    )
)
def test_content_of_the_wrong_type_never_stops_a_message(content):
    assert (
        compose(
            record("$root", content), [record("$e", content | {"m.relates_to": {"rel_type": "m.replace", "event_id": "$root"}})]
        ).body
        is not None
    )


def test_a_reply_shows_without_the_lines_it_quotes():
    assert without_fallback("> <@a:x> Graag\n> vandaag\n\nAkkoord") == "Akkoord"
    assert without_fallback("> alleen een citaat") == "> alleen een citaat"
    assert without_fallback("gewoon") == "gewoon"
