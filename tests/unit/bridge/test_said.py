"""What an official's client sends is understood as what it means to somebody on WhatsApp; what it can't mean there is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.said import emoji, geo, read


def text(body: str, **more) -> dict:
    return {"msgtype": "m.text", "body": body} | more


REPLY = {"m.relates_to": {"m.in_reply_to": {"event_id": "$a"}}}
THREAD = {
    "m.relates_to": {"rel_type": "m.thread", "event_id": "$root", "is_falling_back": True, "m.in_reply_to": {"event_id": "$last"}}
}


@pytest.mark.parametrize(
    ("content", "kind", "said"),
    [
        (text("hoi"), "text", "hoi"),
        (text("*x*", format="org.matrix.custom.html", formatted_body="<b>x</b>"), "text", "*x*"),
        (text("plat", format="org.matrix.custom.html", formatted_body="<script>weg</script>"), "text", "plat"),
        (text("zwaait") | {"msgtype": "m.emote"}, "text", "_zwaait_"),
        (text("> <@jan:x> oud\n> regel\n\nnieuw") | REPLY, "text", "nieuw"),
        (text("> zelf een citaat"), "text", "> zelf een citaat"),
        (text("van een bot") | {"msgtype": "m.notice"}, "silent", ""),
        (text("   "), "cannot", ""),
        (text("!sjabloon 2 a | b"), "command", "2 a | b"),
        (text("!TEMPLATE"), "command", ""),
        (text("!verstuur"), "command", ""),
        (text("!verstuurde ik dat?"), "text", "!verstuurde ik dat?"),
        (text("!send me the letter"), "text", "!send me the letter"),
        ({"msgtype": "m.image", "body": "gevel.jpg", "url": "mxc://x/y"}, "file", ""),
        ({"msgtype": "m.image", "body": "kijk *hier*", "filename": "gevel.jpg", "url": "mxc://x/y"}, "file", "kijk *hier*"),
        ({"msgtype": "m.location", "body": "Hier", "geo_uri": "geo:52.08,4.31;u=5"}, "place", ""),
        ({"msgtype": "m.location", "body": "Nergens", "geo_uri": "geo:999,4"}, "cannot", ""),
        ({"msgtype": "m.key.verification.request", "body": "x"}, "silent", ""),
        ({}, "cannot", ""),
    ],
)
def test_each_message_is_read_for_what_it_says(content, kind, said):
    found = read("m.room.message", content)
    assert (found.kind, found.text) == (kind, said)


def test_an_answer_in_a_thread_answers_what_the_thread_is_about():
    assert read("m.room.message", text("x") | REPLY).answers == "$a"
    assert read("m.room.message", text("x") | THREAD).answers == "$root"
    own = {"m.relates_to": THREAD["m.relates_to"] | {"is_falling_back": False}}
    assert read("m.room.message", text("x") | own).answers == "$last"


def test_an_edit_goes_as_an_answer_with_the_new_text_and_is_said_to():
    new = {"m.new_content": text("beter"), "m.relates_to": {"rel_type": "m.replace", "event_id": "$oud"}}
    found = read("m.room.message", text("* beter") | new)
    assert (found.kind, found.text, found.edits, found.notice) == ("text", "✏️ beter", "$oud", "edit")


def test_a_poll_is_read_as_text_and_said_to_be():
    poll = {
        "org.matrix.msc3381.poll.start": {
            "question": {"org.matrix.msc1767.text": "Wanneer?"},
            "answers": [{"id": "1", "org.matrix.msc1767.text": "ma"}, {"id": "2", "org.matrix.msc1767.text": "di"}],
        }
    }
    found = read("org.matrix.msc3381.poll.start", poll)
    assert (found.kind, found.text, found.notice) == ("text", "📊 *Wanneer?*\n1. ma\n2. di", "poll")


@pytest.mark.parametrize(("kind", "notice"), [("m.call.invite", "call"), ("m.poll.response", "vote"), ("x.y", "kind")])
def test_what_whatsapp_can_not_do_is_said_to_be_so(kind, notice):
    assert (read(kind, {}).kind, read(kind, {}).notice) == ("cannot", notice)


@pytest.mark.parametrize("key", ["👍", "❤️", "1️⃣", "🔟", "👩🏽‍💻", "🇳🇱", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "⭐"])
def test_every_emoji_is_one(key):
    assert emoji(key)


@pytest.mark.parametrize("key", ["", "ok", "mxc://x/y", "+1", "👍 ja", "👍" * 20, "12"])
def test_what_is_no_emoji_is_no_reaction_on_whatsapp(key):
    relation = {"m.relates_to": {"rel_type": "m.annotation", "event_id": "$a", "key": key}}
    assert not emoji(key)
    assert read("m.reaction", relation).kind == "cannot"


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=8,
)
NAMES = [
    "msgtype", "body", "format", "formatted_body", "filename", "url", "file", "info", "geo_uri", "m.relates_to", "m.new_content",
    "m.poll", "org.matrix.msc3381.poll.start", "m.location",
]  # fmt: skip
KINDS = ["m.room.message", "m.reaction", "m.sticker", "m.poll.start", "org.matrix.msc3381.poll.start", "m.call.invite", "x"]


@given(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(NAMES), json_values, max_size=6))
def test_whatever_stands_in_an_event_it_is_read_or_said_not_to_be(kind, content):
    assert read(kind, content).kind in ("text", "file", "place", "reaction", "command", "silent", "cannot")


def test_a_place_is_on_the_earth():
    assert geo("geo:-33.9,18.4") == (-33.9, 18.4)
    assert geo("geo:91,0") is None
    assert geo("geo:1e5,0") is None
    assert geo("https://x") is None
