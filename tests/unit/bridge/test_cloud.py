"""WhatsApp's webhooks: nothing of a delivery is left out, nothing is counted twice, nothing makes the bridge stop."""

import hashlib
import hmac
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.arriving.rendering import MAX_TEXT, beginning
from bridge.network import NotUnderstood
from bridge.network.cloud import Cloud, signature_ok

CLOUD = Cloud(None, "http://127.0.0.1:1", "v25.0", str, 1000)  # type: ignore[arg-type] - reads only, calls nobody


def delivery(*messages, contacts=(), kind="messages") -> dict:
    value = {
        "metadata": {"phone_number_id": "106", "display_phone_number": "31970"},
        "contacts": list(contacts),
        kind: list(messages),
    }
    return {"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}]}


def text(number: int, **more) -> dict:
    return {
        "from": "31612345678",
        "id": f"wamid.{number}",
        "timestamp": "1749416383",
        "type": "text",
        "text": {"body": f"bericht {number}"},
    } | more


def test_every_message_of_a_batch_comes_out():
    body = delivery(*(text(number) for number in range(5)))
    body["entry"] += delivery(text(5), text(6))["entry"]
    body["entry"][0]["changes"] += delivery(text(7))["entry"][0]["changes"]
    read = [CLOUD.read(change) for _, _, change in CLOUD.split(body)]
    assert sorted(message.text for message in read) == [f"bericht {number}" for number in range(8)]


def test_a_delivery_cut_into_other_batches_has_the_same_keys():
    together = {key for key, _, _ in CLOUD.split(delivery(text(1), text(2)))}
    apart = {key for number in (1, 2) for key, _, _ in CLOUD.split(delivery(text(number)))}
    assert together == apart


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=8,
)


@given(st.lists(json_values, max_size=6))
def test_splitting_loses_nothing_whatever_the_messages_are(items):
    changes = list(CLOUD.split(delivery(*items)))
    if items:
        assert [change["item"] for _, _, change in changes] == items
    else:
        assert len(changes) == 1
    for _, _, change in changes:
        try:
            CLOUD.read(change)
        except ValueError:
            continue


@given(json_values)
def test_any_json_object_can_be_split(value):
    assert isinstance(list(CLOUD.split({"entry": value})), list)
    assert isinstance(list(CLOUD.split({"entry": [{"changes": value}]})), list)


@pytest.mark.parametrize(
    ("message", "kind", "said"),
    [
        ({"type": "image", "image": {"id": "7", "mime_type": "image/jpeg", "sha256": "x", "caption": "gevel"}}, "media", "gevel"),
        ({"type": "audio", "audio": {"id": "7", "mime_type": "audio/ogg; codecs=opus", "voice": True}}, "media", ""),
        ({"type": "document", "document": {"id": "7", "filename": "brief.pdf", "mime_type": "application/pdf"}}, "media", ""),
        ({"type": "reaction", "reaction": {"message_id": "wamid.1", "emoji": "👍"}}, "reaction", "👍"),
        ({"type": "reaction", "reaction": {"message_id": "wamid.1"}}, "reaction", ""),
        ({"type": "revoke", "revoke": {"original_message_id": "wamid.1"}}, "revoke", ""),
        (
            {"type": "edit", "edit": {"original_message_id": "wamid.1", "message": {"type": "text", "text": {"body": "beter"}}}},
            "edit",
            "beter",
        ),
        ({"type": "unsupported", "unsupported": {"type": "iets"}, "errors": [{"code": 131051}]}, "unsupported", ""),
        ({"type": "iets_van_volgend_jaar", "iets_van_volgend_jaar": {}}, "unsupported", ""),
    ],
)
def test_each_type_is_understood_or_said_not_to_be(message, kind, said):
    bare = {"from": "31612345678", "id": "wamid.9", "timestamp": "1749416383"}
    [(_, conversation, change)] = CLOUD.split(delivery(bare | message))
    read = CLOUD.read(change)
    assert (read.kind, read.text, conversation) == (kind, said, "106|31612345678")


@pytest.mark.parametrize("time", ["9" * 14, "-5"])
def test_a_time_that_cannot_be_is_not_passed_off_as_whatsapps_own(time):
    [(_, _, change)] = CLOUD.split(delivery(text(1, timestamp=time)))
    assert CLOUD.read(change).sent_at is None


def test_what_stands_among_the_messages_and_is_none_is_said_to_be():
    for _, _, change in CLOUD.split(delivery("onzin", None)):
        with pytest.raises(NotUnderstood, match="is none"):
            CLOUD.read(change)


@given(st.text(min_size=1))
def test_the_beginning_of_a_long_text_fits_in_an_event(letters):
    shown = beginning(letters * 20_000)
    assert 5_000 < len(json.dumps(shown)) <= MAX_TEXT
    assert (letters * 20_000).startswith(shown)


def test_somebody_with_a_user_name_only_is_somebody():
    message = {"from_user_id": "NL.1349", "id": "wamid.1", "timestamp": 1749416383, "type": "text", "text": {"body": "hoi"}}
    [(_, _, change)] = CLOUD.split(delivery(message, contacts=[{"user_id": "NL.1349", "profile": {"name": "Sam"}}]))
    read = CLOUD.read(change)
    assert (read.contact, read.name) == ("NL.1349", "Sam")


def test_what_is_typed_on_the_phone_itself_is_ours():
    echo = {
        "from": "31970",
        "to": "31612345678",
        "id": "wamid.1",
        "timestamp": "1749416383",
        "type": "text",
        "text": {"body": "komt goed"},
    }
    [(_, _, change)] = CLOUD.split(delivery(echo, kind="message_echoes"))
    read = CLOUD.read(change)
    assert (read.from_us, read.contact) == (True, "31612345678")


def test_the_signature_is_over_the_exact_bytes():
    raw = json.dumps(delivery(text(1))).encode()
    good = "sha256=" + hmac.digest(b"geheim", raw, hashlib.sha256).hex()
    assert signature_ok("geheim", raw, good)
    assert not signature_ok("geheim", raw + b" ", good)
    assert not signature_ok("ander", raw, good)
    assert not signature_ok("geheim", raw, None)
    assert not signature_ok("", raw, "sha256=" + hmac.digest(b"", raw, hashlib.sha256).hex())


def test_what_one_person_says_is_carried_over_in_order_however_the_network_names_them():
    said = {"timestamp": "1749416383", "type": "text", "text": {"body": "hoi"}}
    both = said | {"id": "wamid.1", "from": "31611", "from_user_id": "NL.1"}
    by_id, by_number = said | {"id": "wamid.2", "from_user_id": "NL.1"}, said | {"id": "wamid.3", "from": "31611"}
    contact = {"wa_id": "31611", "user_id": "NL.1"}
    lanes = [lane for item in (both, by_id, by_number) for _, lane, _ in CLOUD.split(delivery(item, contacts=[contact]))]
    assert (len(lanes), len(set(lanes))) == (3, 1)
    echoes = [
        {"id": f"wamid.{key}", "from": "31970", "to_user_id": "NL.1", **more} for key, more in enumerate(({"to": "31611"}, {}))
    ]
    assert len({lane for item in echoes for _, lane, _ in CLOUD.split(delivery(item, kind="message_echoes"))}) == 1
    told = [{"id": "wamid.1", "recipient_user_id": "NL.1", **more} for more in ({"recipient_id": "31611"}, {})]
    assert len({lane for item in told for _, lane, _ in CLOUD.split(delivery(item, kind="statuses"))}) == 1
