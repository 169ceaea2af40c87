"""The simulated webhooks have the shapes that Meta documents, and every disorder that a bridge must bear."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest

from bridge.network import Incoming
from bridge.network.cloud import Cloud
from tests.unit.bridge.simulated import CONTACT, NUMBER, WABA

PICTURE = {"type": "image", "media": base64.b64encode(b"\xff\xd8").decode(), "mime_type": "image/jpeg"}


async def test_a_delivery_is_signed_over_escaped_bytes(sim):
    await sim.contact("ÿ 👍 https://rijk.nl/x")
    [raw] = sim.hook.raw
    assert rb"\u00ff \ud83d\udc4d https:\/\/rijk.nl\/x" in raw
    assert sim.hook.messages()[0]["text"]["body"] == "ÿ 👍 https://rijk.nl/x"
    assert sim.hook.refused == 0


async def test_somebody_is_told_with_name_number_and_user_id(sim):
    await sim.ask("/sim/contacts", {"wa_id": CONTACT, "username": "hatice"})
    await sim.contact()
    [value] = sim.hook.changes("messages")
    [told] = value["contacts"]
    assert (told["wa_id"], told["profile"]) == (CONTACT, {"name": "Hatice Yıldız", "username": "hatice"})
    assert value["messages"][0]["from_user_id"] == told["user_id"]
    assert value["metadata"] == {"display_phone_number": "31970102" + "03040", "phone_number_id": NUMBER}
    assert sim.hook.bodies[0]["entry"][0]["id"] == WABA


async def test_a_hidden_number_stands_nowhere_in_a_delivery(sim):
    await sim.ask("/sim/contacts", {"username": "sam", "name": "Sam", "hidden": True})
    [sam] = await sim.ask("/sim/contacts")
    message = await sim.contact(who="@sam")
    await sim.ask("/sim/contacts/@sam/edit", {"message": message, "text": "beter"})
    _, sent = await sim.send(to=None, recipient=sam["user_id"])
    await sim.settled()
    assert len(sim.hook.raw) == 5
    inside = [base64.b64decode(one.removeprefix("wamid.")) for one in (message, sent["messages"][0]["id"])]
    assert all(sam["wa_id"].encode() not in raw for raw in [*sim.hook.raw, *inside])


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"text": "hoi"}, "text"),
        (PICTURE, "media"),
        (PICTURE | {"type": "sticker", "mime_type": "image/webp", "animated": True}, "media"),
        (PICTURE | {"type": "audio", "mime_type": "audio/ogg; codecs=opus", "voice": True}, "media"),
        (PICTURE | {"type": "video", "mime_type": "video/mp4", "caption": "film"}, "media"),
        (PICTURE | {"type": "document", "mime_type": "application/pdf", "filename": "a.pdf"}, "media"),
        ({"type": "location", "location": {"latitude": 52.1, "longitude": 4.3, "name": "Binnenhof"}}, "place"),
        ({"type": "reaction", "reaction": {"message_id": "wamid.1", "emoji": "👍"}}, "reaction"),
        ({"type": "revoke", "revoke": {"original_message_id": "wamid.1"}}, "revoke"),
    ],
)
async def test_a_message_of_each_kind_is_understood_by_the_bridge(sim, body, kind):
    await sim.ask(f"/sim/contacts/{CONTACT}/send", body)
    cloud = Cloud(None, "http://127.0.0.1:1", "v25.0", "token", 1000)  # type: ignore[arg-type] - reads only
    [(_, conversation, change)] = cloud.split(sim.hook.bodies[0])
    [contact] = change["value"]["contacts"]
    assert (contact["wa_id"], conversation) == (CONTACT, f"{NUMBER}|{contact['user_id']}")
    assert cloud.read(change).kind == kind


@pytest.mark.parametrize("kind", ["contacts", "interactive", "button", "order", "system", "unsupported", "iets_van_2027"])
async def test_a_message_may_be_of_any_kind(sim, kind):
    part = [{"name": {"formatted_name": "Lucia"}}] if kind == "contacts" else {"type": "iets", "x": 1}
    await sim.ask(f"/sim/contacts/{CONTACT}/send", {"type": kind, kind: part})
    [message] = sim.hook.messages()
    assert (message["type"], message[kind]) == (kind, part)
    assert (kind == "unsupported") == (message.get("errors", [{}])[0].get("code") == 131051)


async def test_replies_and_forwards_have_their_context(sim):
    first = await sim.contact()
    await sim.contact("antwoord", context=first)
    await sim.contact("doorgestuurd", forwarded=True)
    contexts = [message.get("context") for message in sim.hook.messages()]
    assert contexts == [None, {"from": CONTACT, "id": first}, {"forwarded": True}]


async def test_an_edit_and_a_deletion_are_told_in_coexistence_only(sim):
    message = await sim.contact("eerst")
    await sim.ask(f"/sim/contacts/{CONTACT}/edit", {"message": message, "text": "beter"})
    await sim.ask(f"/sim/contacts/{CONTACT}/revoke", {"message": message})
    _, edit, revoke = sim.hook.messages()
    assert edit["edit"]["original_message_id"] == revoke["revoke"]["original_message_id"] == message
    assert edit["edit"]["message"]["text"] == {"body": "beter"}
    [shown] = await sim.ask(f"/sim/chats/{CONTACT}")
    assert (shown["edited"], shown["revoked"], shown["content"]) == (True, True, {})

    await sim.ask(f"/sim/numbers/{NUMBER}", {"coexistence": False})
    other = await sim.contact("eerst")
    await sim.ask(f"/sim/contacts/{CONTACT}/edit", {"message": other, "text": "beter"})
    await sim.ask(f"/sim/contacts/{CONTACT}/revoke", {"message": other})
    unsupported = sim.hook.messages()[-1]
    assert (unsupported["type"], unsupported["unsupported"]) == ("unsupported", {"type": "edit"})
    assert len(sim.hook.messages()) == 5


async def test_an_edit_after_a_quarter_of_an_hour_is_not_possible(sim):
    message = await sim.contact()
    await sim.ask("/sim/clock", {"advance": 16 * 60})
    edit = {"message": message, "text": "te laat"}
    assert "15 minutes" in (await sim.ask(f"/sim/contacts/{CONTACT}/edit", edit, status=409))["error"]
    await sim.ask(f"/sim/contacts/{CONTACT}/edit", edit | {"anyhow": True})
    await sim.ask("/sim/contacts/31600000999/revoke", {"message": message}, status=409)


async def test_a_changed_number_is_told_by_the_old_one_and_brings_another_user_id(sim):
    await sim.contact()
    await sim.ask(f"/sim/contacts/{CONTACT}/change-number", {"wa_id": "31600000303"})
    await sim.settled()
    await sim.contact(who="31600000303")
    before, system, after = sim.hook.messages()
    assert (system["type"], system["from"], system["system"]["wa_id"]) == ("system", CONTACT, "31600000303")
    assert system["system"]["type"] == "user_changed_number"
    assert system["from_user_id"] == before["from_user_id"] != after["from_user_id"] == system["system"]["user_id"]
    assert "contacts" not in sim.hook.changes("messages")[1]


async def test_what_is_typed_on_the_business_phone_comes_as_an_echo(sim):
    sent = (await sim.ask(f"/sim/numbers/{NUMBER}/send", {"to": CONTACT, "text": "van mijn telefoon"}))["id"]
    await sim.ask(f"/sim/numbers/{NUMBER}/edit", {"message": sent, "text": "van mijn eigen telefoon"})
    await sim.ask(f"/sim/numbers/{NUMBER}/revoke", {"message": sent})
    echoes = [echo for value in sim.hook.changes("smb_message_echoes") for echo in value["message_echoes"]]
    assert [(echo["type"], echo["from"], echo["to"]) for echo in echoes] == [
        (kind, "3197010203040", CONTACT) for kind in ("text", "edit", "revoke")
    ]
    assert echoes[1]["edit"]["message"]["text"]["body"] == "van mijn eigen telefoon"
    await sim.ask(f"/sim/numbers/{NUMBER}", {"coexistence": False})
    await sim.ask(f"/sim/numbers/{NUMBER}/send", {"to": CONTACT, "text": "nee"}, status=409)


async def test_a_voice_message_is_played_and_any_status_can_be_told(sim):
    await sim.contact()
    await sim.ask(f"/sim/contacts/{CONTACT}", {"receipts": "sent"})
    _, file = await sim.upload(b"OggS", "audio/ogg")
    await sim.send("audio", {"id": file["id"]})
    _, text = await sim.send()
    await sim.settled()
    for state in ("delivered", "read", "played"):
        await sim.ask(f"/sim/contacts/{CONTACT}/read", {"state": state})
    told = [one["status"] for one in sim.hook.statuses()]
    assert told == ["sent", "sent", "delivered", "delivered", "read", "read", "played"]
    _, other = await sim.send()
    failed = {"status": "failed", "code": 131049, "details": "vol"}
    await sim.ask(f"/sim/messages/{other['messages'][0]['id']}/status", failed)
    assert sim.hook.statuses()[-1]["errors"][0]["error_data"] == {"details": "vol"}
    await sim.ask(f"/sim/messages/{text['messages'][0]['id']}/status", {"status": "onzin"}, status=409)


async def test_in_a_group_nobody_edits_or_deletes(sim):
    group = (await sim.ask("/sim/groups", {"subject": "Dijken", "participants": [CONTACT]}))["id"]
    message = await sim.contact("in de groep", group_id=group)
    await sim.ask(f"/sim/contacts/{CONTACT}/edit", {"message": message, "text": "beter"})
    await sim.ask(f"/sim/contacts/{CONTACT}/revoke", {"message": message})
    assert [(one["type"], one["group_id"]) for one in sim.hook.messages()] == [("text", group), ("unsupported", group)]


async def test_an_echo_opens_no_window(sim):
    await sim.ask("/sim/contacts", {"wa_id": CONTACT})
    await sim.ask(f"/sim/numbers/{NUMBER}/send", {"to": CONTACT, "text": "hallo"})
    assert (await sim.send())[1]["error"]["code"] == 131047


async def test_a_history_comes_once_in_three_phases_with_its_files_after(sim):
    messages = [
        {"text": "vandaag", "age": 60},
        {"text": "vorige week", "age": 7 * 86400, "from_us": True},
        {"text": "in de lente", "age": 120 * 86400},
        {"text": "te lang geleden", "age": 200 * 86400},
        PICTURE | {"age": 3600, "caption": "recent"},
        PICTURE | {"age": 20 * 86400, "caption": "te oud"},
    ]
    contacts = [{"full_name": "Pablo Morales", "first_name": "Pablo", "phone_number": CONTACT}]
    history = [{"contact": CONTACT, "messages": messages}]
    await sim.ask(f"/sim/numbers/{NUMBER}/onboard", {"history": history, "contacts": contacts, "chunk": 1})
    sync = {"messaging_product": "whatsapp", "sync_type": "smb_app_state_sync"}
    assert "request_id" in (await sim.graph(f"{NUMBER}/smb_app_data", sync))[1]
    assert (await sim.graph(f"{NUMBER}/smb_app_data", sync | {"sync_type": "history"}))[0] == 200
    assert (await sim.graph(f"{NUMBER}/smb_app_data", sync | {"sync_type": "history"}))[1]["error"]["code"] == 2593107
    await sim.settled()
    [state] = sim.hook.changes("smb_app_state_sync")
    assert state["state_sync"][0]["contact"]["full_name"] == "Pablo Morales"
    chunks = [value["history"][0] for value in sim.hook.changes("history") if "history" in value]
    told = [
        (chunk["metadata"]["phase"], message) for chunk in chunks for thread in chunk["threads"] for message in thread["messages"]
    ]
    assert sorted((phase, message.get("text", {}).get("body", message["type"])) for phase, message in told) == [
        (0, "media_placeholder"), (0, "vandaag"), (1, "media_placeholder"), (1, "vorige week"), (2, "in de lente"),
    ]  # fmt: skip
    [ours] = [message for _, message in told if message["from"] != CONTACT]
    assert (ours["to"], ours["history_context"]["status"]) == (CONTACT, "READ")
    [[file]] = [value["messages"] for value in sim.hook.changes("history") if "messages" in value]
    assert file["image"]["caption"] == "recent"
    assert file["id"] in {message["id"] for _, message in told}
    assert max(chunk["metadata"]["progress"] for chunk in chunks) == 100


async def test_a_history_that_is_not_shared_is_told_to_be(sim):
    await sim.ask(f"/sim/numbers/{NUMBER}/onboard", {"share_history": False, "now": True})
    await sim.settled()
    [value] = sim.hook.changes("history")
    assert value["history"][0]["errors"][0]["code"] == 2593109


async def test_a_history_may_be_asked_for_a_day_long(sim):
    await sim.ask(f"/sim/numbers/{NUMBER}/onboard", {})
    await sim.ask("/sim/clock", {"advance": 86401})
    sync = {"messaging_product": "whatsapp", "sync_type": "history"}
    assert (await sim.graph(f"{NUMBER}/smb_app_data", sync))[1]["error"]["code"] == 2593108


async def test_a_disconnected_account_is_told_and_its_token_refused(sim):
    told = {"event": "PARTNER_REMOVED", "reason": "PRIMARY_INACTIVITY"}
    await sim.ask(f"/sim/accounts/{WABA}/disconnect", told)
    [value] = sim.hook.changes("account_update")
    assert (value["event"], value["disconnection_info"]) == ("PARTNER_REMOVED", {"reason": "PRIMARY_INACTIVITY"})
    assert (await sim.send())[0] == 401
    await sim.ask(f"/sim/accounts/{WABA}/reconnect", {})
    assert (await sim.send())[0] == 200


async def test_a_group_is_made_joined_written_in_and_left(sim):
    status, _ = await sim.graph(f"{NUMBER}/groups", {"messaging_product": "whatsapp", "subject": " Dijken "})
    assert status == 200
    await sim.settled()
    [made] = sim.hook.changes("group_lifecycle_update")
    group = made["groups"][0]["group_id"]
    assert (made["groups"][0]["type"], made["groups"][0]["subject"]) == ("group_create", "Dijken")
    assert (await sim.send(to=group, recipient_type="group"))[1]["error"]["code"] == 131020
    for who in (CONTACT, "31600000202"):
        await sim.ask(f"/sim/groups/{group}", {"do": "join", "who": who})
    await sim.contact("in de groep", group_id=group)
    assert (await sim.send(to=group, recipient_type="group"))[0] == 200
    await sim.settled()
    [message] = sim.hook.messages()
    assert (message["group_id"], message["from"]) == (group, CONTACT)
    statuses = [(one["status"], one.get("recipient_participant_id"), one["recipient_id"]) for one in sim.hook.statuses()]
    both = [(CONTACT, group), ("31600000202", group)]
    assert statuses == [("sent", None, group), *((state, *who) for state in ("delivered", "read") for who in both)]
    _, told = await sim.graph(f"{group}?fields=subject,participants,total_participant_count")
    assert (told["subject"], told["total_participant_count"]) == ("Dijken", 2)
    await sim.graph(f"{group}/participants", {"participants": [{"user": "31600000202"}]}, method="DELETE")
    await sim.ask(f"/sim/groups/{group}", {"do": "leave", "who": CONTACT})
    await sim.ask(f"/sim/groups/{group}", {"do": "suspend"})
    await sim.graph(group, {"subject": "Dijken en duinen"})
    await sim.graph(group, method="DELETE")
    await sim.settled()
    happened = [value["groups"][0] for value in sim.hook.changes() if "groups" in value]
    assert [one["type"] for one in happened] == [
        "group_create", "group_participants_add", "group_participants_add", "group_participants_remove",
        "group_participants_remove", "group_suspend", "group_settings_update", "group_delete",
    ]  # fmt: skip
    assert [one.get("initiated_by") for one in happened[3:5]] == ["business", "participant"]
    assert (await sim.send(to=group, recipient_type="group"))[1]["error"]["code"] == 131041


async def test_a_group_may_ask_whether_somebody_may_join(sim):
    made = await sim.ask(
        "/sim/groups", {"subject": "Besloten", "join_approval_mode": "approval_required", "participants": [CONTACT]}
    )
    group = made["id"]
    _, listed = await sim.graph(f"{group}/join_requests")
    [request] = listed["data"]
    _, told = await sim.graph(f"{group}/join_requests", {"join_requests": [request["join_request_id"], "onzin"]})
    assert told["approved_join_requests"] == [request["join_request_id"]]
    assert told["failed_join_requests"][0]["join_request_id"] == "onzin"
    assert [one["wa_id"] for one in (await sim.graph(f"{group}/participants"))[1]["data"]] == [CONTACT]


async def test_a_group_holds_eight_people(sim):
    people = [f"3160000040{number}" for number in range(8)]
    group = (await sim.ask("/sim/groups", {"subject": "Vol", "participants": people}))["id"]
    told = await sim.ask(f"/sim/groups/{group}", {"do": "join", "who": CONTACT}, status=404)
    assert "131204" in told["error"]


async def test_what_is_refused_is_delivered_again_until_it_is_taken(sim):
    await sim.ask("/sim/knobs", {"retries": [0.01]})
    sim.hook.answers = [500, 503, 404]
    await sim.contact("eindelijk")
    assert [message["text"]["body"] for message in sim.hook.messages()] == ["eindelijk"]
    [told] = (await sim.ask("/sim/webhooks"))["deliveries"]
    assert (told["attempts"], told["status"], told["state"]) == (4, 200, "done")


async def test_a_wrong_signature_is_followed_by_the_right_one(sim):
    await sim.ask("/sim/knobs", {"retries": [0.01], "signature": "wrong-first"})
    await sim.contact()
    assert (sim.hook.refused, len(sim.hook.raw)) == (1, 1)
    await sim.ask("/sim/knobs", {"signature": "missing", "give_up": 0.05})
    await sim.contact()
    await sim.settled()
    assert (len(sim.hook.raw), (await sim.ask("/sim/webhooks"))["deliveries"][-1]["state"]) == (1, "given up")


@pytest.mark.parametrize("shape", ["items", "changes", "entries", "mixed"])
async def test_many_updates_come_in_one_delivery_and_none_is_lost(sim, shape):
    await sim.ask("/sim/knobs", {"batch_size": 7, "batch_shape": shape, "batch_wait": 0.05})
    wanted = [f"bericht {number}" for number in range(20)]
    await asyncio.gather(*(sim.contact(text, who=f"3160000050{n % 3}") for n, text in enumerate(wanted)))
    assert sorted(message["text"]["body"] for message in sim.hook.messages()) == sorted(wanted)
    assert len(sim.hook.raw) == 3
    cloud = Cloud(None, "http://127.0.0.1:1", "v25.0", "token", 1000)  # type: ignore[arg-type] - reads only
    assert sum(len(list(cloud.split(body))) for body in sim.hook.bodies) == 20


async def test_a_delivery_is_never_larger_than_meta_sends(sim):
    await sim.ask("/sim/knobs", {"batch_size": 100, "batch_wait": 0.1})
    await asyncio.gather(*(sim.contact("x" * 900_000) for _ in range(5)))
    assert max(map(len, sim.hook.raw)) <= 3 * 1024 * 1024
    assert len(sim.hook.messages()) == 5


async def test_updates_come_twice_and_out_of_order_when_asked(sim):
    await sim.ask("/sim/knobs", {"duplicates": 1, "reorder": 20, "seed": 4})
    await asyncio.gather(*(sim.contact(str(number)) for number in range(10)))
    bodies = [message["text"]["body"] for message in sim.hook.messages()]
    assert sorted(bodies) == sorted(str(number) for number in range(10) for _ in range(2))
    assert bodies != sorted(bodies)


async def test_updates_can_be_dropped_held_and_delayed(sim):
    await sim.ask("/sim/knobs", {"drop": 1})
    await sim.contact("weg")
    assert (await sim.ask("/sim/webhooks"))["dropped"] == 1
    await sim.ask("/sim/knobs", {"drop": 0, "silence": "hold"})
    await sim.contact("later")
    assert (await sim.send())[0] == 200
    assert sim.hook.raw == []
    await sim.ask("/sim/knobs", {"silence": ""})
    await sim.settled()
    assert [message["text"]["body"] for message in sim.hook.messages()] == ["later"]
    assert [one["status"] for one in sim.hook.statuses()] == ["sent", "delivered", "read"]


async def test_silence_can_lose_what_happens_and_a_delay_holds_it_back(sim):
    await sim.ask("/sim/knobs", {"silence": "lose"})
    await sim.contact("weg")
    await sim.ask("/sim/knobs", {"silence": "", "delay": [0.2, 0.2], "skip_delivered": True})
    await sim.contact("laat", wait=False)
    assert sim.hook.raw == []
    await sim.settled()
    await sim.send()
    await sim.settled()
    assert [message["text"]["body"] for message in sim.hook.messages()] == ["laat"]
    assert [one["status"] for one in sim.hook.statuses()] == ["sent", "read"]


async def test_ids_can_come_as_numbers_and_news_that_nobody_knows(sim):
    await sim.ask("/sim/knobs", {"integers": True, "unknown": True})
    await sim.contact()
    [body] = sim.hook.bodies
    message, strange = body["entry"][0]["changes"]
    assert message["value"]["messages"][0]["from"] == int(CONTACT)
    assert message["value"]["metadata"]["phone_number_id"] == int(NUMBER)
    assert strange["field"] == "nieuw_veld_2027"
    cloud = Cloud(None, "http://127.0.0.1:1", "v25.0", "token", 1000)  # type: ignore[arg-type] - reads only
    told = [cloud.read(change) for _, _, change in cloud.split(body)]
    assert [one.text for one in told if isinstance(one, Incoming)] == ["hallo"]


async def test_errors_of_no_message_and_anything_else_can_be_told(sim):
    await sim.ask(f"/sim/numbers/{NUMBER}/errors", {"code": 131031})
    await sim.ask("/sim/webhooks", {"field": "security", "value": {"event": "PIN_CHANGED"}})
    await sim.ask("/sim/webhooks", {"raw": '{"entry": [{"changes": []}], "x": "\ud800"}'})
    await sim.settled()
    assert sim.hook.changes("messages")[0]["errors"][0]["code"] == 131031
    assert sim.hook.changes("security") == [{"event": "PIN_CHANGED"}]
    assert len(sim.hook.raw) == 3


async def test_the_webhook_is_asked_for_its_token(sim):
    assert (await sim.ask(f"/sim/accounts/{WABA}/handshake", {}))["ok"] is True
    assert (await sim.ask(f"/sim/accounts/{WABA}/handshake", {"verify_token": "fout"}))["ok"] is False


async def test_a_reset_leaves_nothing_of_before(sim):
    await sim.contact()
    await sim.ask("/sim/accounts", {"id": "77", "access_token": "x"})
    await sim.ask("/sim/knobs", {"drop": 1})
    await sim.ask("/sim/reset", {})
    assert [await sim.ask(path) for path in ("/sim/contacts", "/sim/messages", "/sim/chats", "/sim/faults")] == [[]] * 4
    assert len(await sim.ask("/sim/accounts")) == 1
    await sim.contact("opnieuw")
    assert json.loads(sim.hook.raw[-1])["entry"][0]["changes"][0]["value"]["messages"][0]["text"]["body"] == "opnieuw"
