"""What comes from WhatsApp, as a strict client of the official shows it and as it is archived."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from tests.interop.test_bridge import text
from tests.interop.test_strict_client import exported, until, webhook

pytestmark = [pytest.mark.stack, pytest.mark.interop]

SOURCE = "nl.griffier.source"
NOT_YET = 120  # seconds that an edit waits for its message


@pytest.fixture(scope="module")
async def number(stack) -> dict[str, str]:
    async with aiohttp.ClientSession() as http:
        [number] = await (await http.get(f"{stack.simulator}/phone_numbers")).json()
    return number


@pytest.fixture(scope="module")
async def orphan(stack, number) -> tuple[float, str]:
    """An edit, a deletion and a reaction whose message never comes, early on: when, and the word in them."""
    word = secrets.token_hex(4)
    contact = f"3170{secrets.randbelow(10**7):07}"
    edit = {"original_message_id": f"wamid.weg{word}", "message": text(f"verbeterd {word}")}
    about = {"original_message_id": f"wamid.weg{word}"}
    reaction = {"message_id": f"wamid.weg{word}", "emoji": "🙏"}
    messages = [
        said(contact, {"type": "edit", "edit": edit}),
        said(contact, {"type": "revoke", "revoke": about}),
        said(contact, {"type": "reaction", "reaction": reaction}),
        said(contact, text(f"intussen {word}")),
    ]
    assert await tell(stack, number, "messages", messages=messages, contacts=[known(contact, "Wees")]) == 200
    return time.monotonic(), word


def said(contact: str, message: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"from": contact, "id": f"wamid.{secrets.token_hex(8)}", "timestamp": str(int(time.time())), **message, **more}


def known(contact: str, name: str, **more: Any) -> dict[str, Any]:
    return {"wa_id": contact, "profile": {"name": name}, **more}


async def tell(stack, number: dict[str, str], field: str, **parts: Any) -> int:
    """A webhook delivery of WhatsApp's."""
    digits = "".join(filter(str.isdecimal, number["display_phone_number"]))
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"phone_number_id": number["id"], "display_phone_number": digits},
        **parts,
    }
    body = {
        "object": "whatsapp_business_account",
        "entry": [{"id": "WABA", "time": int(time.time()), "changes": [{"field": field, "value": value}]}],
    }
    return await webhook(stack, json.dumps(body).encode())


async def shown(minister, room: str, enough: Callable[[list[dict[str, Any]]], Any], seconds: float = 30) -> list[dict[str, Any]]:
    """The events of a room as the official's client shows them, as soon as there is enough or that takes too long."""
    end = time.monotonic() + seconds
    while True:
        events = (await minister.do("contents", room=room))["events"]
        if enough(events) or time.monotonic() > end:
            assert not [event for event in events if event.get("failure")], "the strict client can't read all of it"
            return events
        await asyncio.sleep(0.2)


def having(word: str) -> Callable[[list[dict[str, Any]]], bool]:
    return lambda events: any(word in str(event.get("body")) for event in events)


async def test_the_kinds_of_whatsapp_are_shown_as_clients_show_them(stack, minister, number, orphan, tmp_path):
    _, orphaned = orphan
    assert having(f"intussen {orphaned}")(await shown(minister, (await minister.do("wait_invite"))["room"], having(orphaned)))
    contact, word = f"3171{secrets.randbelow(10**7):07}", secrets.token_hex(4)
    messages = [
        text(f"*vet* en _schuin_ {word}"),
        text(f"lees dit {word}") | {"context": {"frequently_forwarded": True}},
        {"type": "location", "location": {"latitude": 52.0797, "longitude": 4.3141, "name": f"Binnenhof {word}"}},
        {"type": "contacts", "contacts": [{"name": {"formatted_name": f"Lies {word}"}, "phones": [{"phone": "+31 6 1"}]}]},
        {
            "type": "interactive",
            "interactive": {"type": "button_reply", "button_reply": {"id": "1", "title": f"Ja graag {word}"}},
        },
        {
            "type": "order",
            "order": {"catalog_id": "7", "product_items": [{"product_retailer_id": f"vlag {word}", "quantity": 1}]},
        },
        {"type": "hologram", "hologram": {"inhoud": f"holo {word}"}},
        {"type": "unsupported", "unsupported": {"type": "edit"}, "errors": [{"code": 131051}]},
        text(f"groot {word}") | {"referral": {"source_url": "https://x.nl", "headline": "Kop", "x": "y" * 20_000}},
        text(f"laatst {word}"),
    ]
    delivered = [said(contact, message) for message in messages]
    assert await tell(stack, number, "messages", messages=delivered, contacts=[known(contact, "Hatice")]) == 200
    room = (await minister.do("wait_invite"))["room"]
    events = await shown(minister, room, having(f"laatst {word}"))
    by_id = {
        event["content"][SOURCE]["message_id"]: event
        for event in events
        if SOURCE in event["content"] and event["content"].get("filename") != "whatsapp.json"
    }
    contents = [by_id[message["id"]]["content"] for message in delivered]
    assert contents[0]["formatted_body"] == f"<strong>vet</strong> en <em>schuin</em> {word}"
    assert (contents[1]["body"], contents[1][SOURCE]["forwarded_often"]) == (
        f"↷ Vaak doorgestuurd · Forwarded many times\nlees dit {word}",
        True,
    )
    assert (contents[2]["msgtype"], contents[2]["geo_uri"]) == ("m.location", "geo:52.0797,4.3141")
    assert (contents[3]["msgtype"], contents[3]["filename"], contents[3]["body"]) == (
        "m.file",
        "contact.vcf",
        f"👤 Lies {word}\n+31 6 1",
    )
    assert (contents[4]["body"], contents[4][SOURCE]["payload"]["interactive"]["button_reply"]["id"]) == (
        f"🔘 Ja graag {word}",
        "1",
    )
    assert f"1 × vlag {word}" in contents[5]["body"]
    assert contents[6][SOURCE]["payload"]["hologram"] == {"inhoud": f"holo {word}"}
    assert "“hologram” kan hier niet worden getoond" in contents[6]["body"]
    assert "de nieuwe tekst niet door" in contents[7]["body"]
    assert contents[8]["com.beeper.linkpreviews"] == [
        {"matched_url": "https://x.nl", "og:title": "Kop", "og:url": "https://x.nl"}
    ]
    assert "payload" not in contents[8][SOURCE]
    [whole] = [event for event in events if event["content"].get("filename") == "whatsapp.json"]
    assert whole["content"]["m.relates_to"]["m.in_reply_to"]["event_id"] == by_id[delivered[8]["id"]]["event_id"]
    source = contents[0][SOURCE]
    assert (source["sender"], source["sender_name"], source["official"]) == (f"+{contact}", "Hatice", number["official"])
    assert by_id[delivered[0]["id"]]["at"] == int(delivered[0]["timestamp"]) * 1000
    bridge = await minister.do("get_state", room=room, type="m.bridge", key=f"{stack.server_name}/griffier-whatsapp")
    assert (bridge["channel"]["id"], bridge["nl.griffier.official"]) == (f"{contact}@s.whatsapp.net", number["official"])
    assert (await minister.do("room_name", room=room))["name"] == "Hatice (WhatsApp)"
    assert "gearchiveerd" in (await minister.do("get_state", room=room, type="m.room.topic"))["topic"]
    lines = await until(stack, room, tmp_path, {f"laatst {word}"})
    assert {f"holo {word}"} <= {
        line["source"]["payload"]["hologram"]["inhoud"] for line in lines if (line["source"] or {}).get("type") == "hologram"
    }


async def test_a_person_who_gets_another_number_goes_on_in_the_same_room(stack, minister, number, tmp_path):
    before, after, word = f"3172{secrets.randbelow(10**7):07}", f"3173{secrets.randbelow(10**7):07}", secrets.token_hex(4)
    assert (
        await tell(stack, number, "messages", messages=[said(before, text(f"eerst {word}"))], contacts=[known(before, "Noor")])
        == 200
    )
    room = (await minister.do("wait_invite"))["room"]
    system = {"type": "system", "system": {"body": "Noor changed", "wa_id": after, "type": "user_changed_number"}}
    assert await tell(stack, number, "messages", messages=[said(before, system)]) == 200
    await shown(minister, room, having("ander nummer"))
    assert (
        await tell(stack, number, "messages", messages=[said(after, text(f"daarna {word}"))], contacts=[known(after, "Noor")])
        == 200
    )
    events = await shown(minister, room, having(f"daarna {word}"))
    by_body = {event.get("body"): event for event in events}
    first, last = by_body[f"eerst {word}"], by_body[f"daarna {word}"]
    assert first["sender"] == last["sender"]
    [told] = [event for event in events if "ander nummer" in str(event.get("body"))]
    assert (told["content"][SOURCE]["type"], f"+{before} → +{after}" in told["body"]) == ("system", True)
    assert told["content"][SOURCE]["payload"]["system"]["wa_id"] == after
    bridge = await minister.do("get_state", room=room, type="m.bridge", key=f"{stack.server_name}/griffier-whatsapp")
    assert bridge["channel"]["id"] == f"{after}@s.whatsapp.net"
    await minister.do("send", room=room, body=f"antwoord {word}")
    assert f"antwoord {word}" in await sent_to(stack, after)


async def test_two_who_prove_to_be_one_go_on_in_the_older_room(stack, minister, number):
    contact, word = f"3174{secrets.randbelow(10**7):07}", secrets.token_hex(4)
    user_id = f"NL.{word}"
    unnumbered = {
        "id": f"wamid.id{word}",
        "timestamp": str(int(time.time())),
        "from_user_id": user_id,
        **text(f"zonder nummer {word}"),
    }
    profile = {"user_id": user_id, "profile": {"name": "Bo", "username": "bo"}}
    assert await tell(stack, number, "messages", messages=[unnumbered], contacts=[profile]) == 200
    older = (await minister.do("wait_invite"))["room"]
    assert (
        await tell(
            stack, number, "messages", messages=[said(contact, text(f"met nummer {word}"))], contacts=[known(contact, "Bo")]
        )
        == 200
    )
    newer = (await minister.do("wait_invite"))["room"]
    both = said(contact, text(f"allebei {word}"), from_user_id=user_id)
    assert await tell(stack, number, "messages", messages=[both], contacts=[known(contact, "Bo", user_id=user_id)]) == 200
    events = await shown(minister, older, having(f"allebei {word}"))
    assert any(
        "met dezelfde persoon" in str(event.get("body")) or "dezelfde persoon" in str(event.get("body")) for event in events
    )
    closed = await shown(minister, newer, having("gaat daar verder"))
    assert any(older in str(event.get("body")) for event in closed)
    assert (await minister.do("get_state", room=newer, type="m.room.tombstone"))["replacement_room"] == older
    assert (
        await tell(stack, number, "messages", messages=[said(contact, text(f"verder {word}"))], contacts=[known(contact, "Bo")])
        == 200
    )
    assert having(f"verder {word}")(await shown(minister, older, having(f"verder {word}")))


async def test_what_is_typed_on_the_phone_stands_under_the_officials_name_and_is_not_sent_again(
    stack, minister, number, tmp_path
):
    contact, word = f"3175{secrets.randbelow(10**7):07}", secrets.token_hex(4)
    first = said(contact, text(f"vraag {word}"))
    assert await tell(stack, number, "messages", messages=[first], contacts=[known(contact, "Ali")]) == 200
    room = (await minister.do("wait_invite"))["room"]

    def typed(message: dict[str, Any]) -> dict[str, Any]:
        return {
            "from": "31970",
            "to": contact,
            "id": f"wamid.{secrets.token_hex(8)}",
            "timestamp": str(int(time.time())),
            **message,
        }

    echo = typed(text(f"getypt {word}"))
    edit = typed({"type": "edit", "edit": {"original_message_id": echo["id"], "message": text(f"verbeterd {word}")}})
    doomed = typed(text(f"weg ermee {word}"))
    revoke = typed({"type": "revoke", "revoke": {"original_message_id": doomed["id"]}})
    reaction = typed({"type": "reaction", "reaction": {"message_id": first["id"], "emoji": "👍"}})
    await minister.do("send", room=room, body=f"uit Matrix {word}")
    assert f"uit Matrix {word}" in await sent_to(stack, contact)
    last = typed(text(f"tot slot {word}"))
    assert await tell(stack, number, "smb_message_echoes", message_echoes=[echo, edit, doomed, revoke, reaction, last]) == 200
    events = await shown(minister, room, having(f"tot slot {word}"))
    [said_so] = [event for event in events if (event["original"].get(SOURCE) or {}).get("message_id") == echo["id"]]
    name = said_so["original"]["com.beeper.per_message_profile"]["displayname"]
    assert name.endswith("(via telefoon)")
    assert said_so["original"]["body"] == f"{name}: getypt {word}"
    assert said_so["content"]["body"] == f"{name}: verbeterd {word}"
    assert said_so["original"][SOURCE]["from_phone"] is True
    lines = await until(stack, room, tmp_path, {f"{name}: tot slot {word}"})
    assert next(line for line in lines if "weg ermee" in line["body"])["deleted"]
    assert [r["key"] for r in next(line for line in lines if line["body"] == f"vraag {word}")["reactions"]] == ["👍"]
    assert await sent_to(stack, contact) == [f"uit Matrix {word}"]


async def test_history_is_imported_with_its_own_times_and_its_files_follow(stack, minister, number, tmp_path):
    contact, word = f"3176{secrets.randbelow(10**7):07}", secrets.token_hex(4)
    ours = "".join(filter(str.isdecimal, number["display_phone_number"]))
    start = int(time.time()) - 90 * 86_400
    live = said(contact, text(f"nu {word}"))
    assert await tell(stack, number, "messages", messages=[live], contacts=[known(contact, "Ger")]) == 200
    room = (await minister.do("wait_invite"))["room"]
    old = [
        {"from": contact, "id": f"wamid.o1{word}", "timestamp": str(start), **text(f"toen {word}")},
        {"from": ours, "to": contact, "id": f"wamid.o2{word}", "timestamp": str(start + 60), **text(f"toen wij {word}")},
        {"from": contact, "id": f"wamid.o3{word}", "timestamp": str(start + 120), "type": "media_placeholder"},
        {**live},
    ]
    threads = [{"id": contact, "messages": old}]
    chunk = {"metadata": {"phase": 1, "chunk_order": 1, "progress": 40}, "threads": threads}
    for _ in range(2):
        assert await tell(stack, number, "history", history=[chunk]) == 200
    events = await shown(minister, room, having("nog niet ontvangen"))
    told = {event["content"][SOURCE]["message_id"]: event for event in events if SOURCE in event["content"]}
    assert [told[f"wamid.o{n}{word}"]["at"] for n in (1, 2, 3)] == [(start + 60 * n) * 1000 for n in range(3)]
    assert all(told[f"wamid.o{n}{word}"]["content"][SOURCE]["history"] for n in (1, 2, 3))
    assert "via telefoon" in told[f"wamid.o2{word}"]["body"]
    assert sum(event.get("body") == f"nu {word}" for event in events) == 1
    async with aiohttp.ClientSession() as http:
        media_id, sha = await kept_at_whatsapp(stack, http, b"\x89PNG\r\n\x1a\n" + secrets.token_bytes(300))
    image = {"type": "image", "image": {"id": media_id, "mime_type": "image/png", "sha256": sha, "caption": f"foto {word}"}}
    file = {"from": contact, "id": f"wamid.o3{word}", "timestamp": str(start + 120), **image}
    assert await tell(stack, number, "history", messages=[file]) == 200
    events = await shown(minister, room, having(f"foto {word}"))
    filled = next(event for event in events if event["event_id"] == told[f"wamid.o3{word}"]["event_id"])
    assert (filled["content"]["msgtype"], filled["content"]["body"]) == ("m.image", f"foto {word}")
    assert "url" in filled["content"]["file"]
    lines = await until(stack, room, tmp_path, {f"foto {word}"})
    assert [line["body"] for line in lines if line["body"] in (f"toen {word}", f"nu {word}")] == [f"toen {word}", f"nu {word}"]


async def test_a_group_has_its_people_and_its_name(stack, minister, number, tmp_path):
    group, word = f"Y2Fw{secrets.token_hex(6)}", secrets.token_hex(4)
    one, two = f"3177{secrets.randbelow(10**7):07}", f"3178{secrets.randbelow(10**7):07}"
    news = {"group_id": group, "timestamp": str(int(time.time()))}
    made = news | {"type": "group_create", "subject": f"Overleg {word}"}
    assert await tell(stack, number, "group_lifecycle_update", groups=[made]) == 200
    room = (await minister.do("wait_invite"))["room"]
    added = news | {"type": "group_participants_add", "added_participants": [{"wa_id": int(one)}, {"wa_id": two}]}
    assert await tell(stack, number, "group_participants_update", groups=[added]) == 200
    messages = [said(one, text(f"een {word}"), group_id=group), said(two, text(f"twee @{one} {word}"), group_id=group)]
    people = [known(one, "Ina"), known(two, "Olaf")]
    assert await tell(stack, number, "messages", messages=messages, contacts=people) == 200
    events = await shown(minister, room, lambda events: having(f"een {word}")(events) and having(f"twee @{one}")(events))
    by_word = {str(event.get("body")).partition(" ")[0]: event for event in events}
    first, second = by_word["een"], by_word["twee"]
    assert first["sender"] != second["sender"]
    assert first["content"][SOURCE]["group"] == group
    assert second["content"]["m.mentions"] == {"user_ids": [first["sender"]]}
    assert f'<a href="https://matrix.to/#/{first["sender"]}">Ina</a>' in second["content"]["formatted_body"]
    settings = news | {"type": "group_settings_update", "group_subject": {"text": f"Anders {word}", "update_successful": True}}
    assert await tell(stack, number, "group_settings_update", groups=[settings]) == 200
    gone = news | {"type": "group_participants_remove", "removed_participants": [{"wa_id": two}]}
    assert await tell(stack, number, "group_participants_update", groups=[gone]) == 200
    await shown(minister, room, having("doet niet meer mee"))
    assert (await minister.do("room_name", room=room))["name"] == f"Anders {word} (WhatsApp)"
    bridge = await minister.do("get_state", room=room, type="m.bridge", key=f"{stack.server_name}/griffier-whatsapp")
    assert bridge["channel"]["id"] == f"{group}@g.us"
    end = time.monotonic() + 10
    while (state := await minister.do("get_state", room=room, type="m.room.member", key=second["sender"]))[
        "membership"
    ] != "leave":
        assert time.monotonic() < end, state
        await asyncio.sleep(0.2)


async def test_an_edit_that_comes_before_its_message_waits_for_it(stack, minister, number, tmp_path):
    contact, word = f"3179{secrets.randbelow(10**7):07}", secrets.token_hex(4)
    original = said(contact, text(f"ruw {word}"))
    edit = said(contact, {"type": "edit", "edit": {"original_message_id": original["id"], "message": text(f"net {word}")}})
    assert await tell(stack, number, "messages", messages=[edit], contacts=[known(contact, "Kim")]) == 200
    assert await tell(stack, number, "messages", messages=[original], contacts=[known(contact, "Kim")]) == 200
    room = (await minister.do("wait_invite"))["room"]
    lines = await until(stack, room, tmp_path, {f"net {word}"})
    [line] = [line for line in lines if line["body"] == f"net {word}"]
    assert [version["body"] for version in line["versions"]] == [f"ruw {word}", f"net {word}"]


async def test_a_file_that_is_not_there_leaves_its_message(stack, minister, number, tmp_path):
    contact, word = f"3180{secrets.randbelow(10**7):07}", secrets.token_hex(4)
    image = {
        "type": "document",
        "document": {"id": "999", "filename": f"{word}.pdf", "caption": f"bijlage {word}", "mime_type": "application/pdf"},
    }
    assert await tell(stack, number, "messages", messages=[said(contact, image), said(contact, text(f"erna {word}"))]) == 200
    room = (await minister.do("wait_invite"))["room"]
    events = await shown(minister, room, having(f"erna {word}"))
    [told] = [event for event in events if f"bijlage {word}" in str(event.get("body"))]
    assert f"📎 {word}.pdf: Het bestand kon niet worden opgehaald" in told["body"]


async def test_the_phones_address_book_names_the_officials_own_room_and_nobody_elses(stack, minister, number):
    contact, word = f"3181{secrets.randbelow(10**7):07}", secrets.token_hex(4)
    assert (
        await tell(stack, number, "messages", messages=[said(contact, text(f"hoi {word}"))], contacts=[known(contact, "Ans")])
        == 200
    )
    room = (await minister.do("wait_invite"))["room"]
    entry = {"type": "contact", "action": "add", "contact": {"full_name": f"Kapper {word}", "phone_number": f"+{contact}"}}
    assert (
        await tell(stack, number, "smb_app_state_sync", state_sync=[entry | {"metadata": {"timestamp": str(int(time.time()))}}])
        == 200
    )
    end = time.monotonic() + 15
    while (await minister.do("room_name", room=room))["name"] != f"Kapper {word} (WhatsApp)":
        assert time.monotonic() < end
        await asyncio.sleep(0.2)
    [event] = [event for event in await shown(minister, room, having(f"hoi {word}")) if event.get("body") == f"hoi {word}"]
    member = await minister.do("get_state", room=room, type="m.room.member", key=event["sender"])
    assert member["displayname"] == "Ans (WA)"


async def test_a_timer_is_told_to_the_official_and_kept_as_state(stack, minister, number):
    contact, word = f"3182{secrets.randbelow(10**7):07}", secrets.token_hex(4)
    assert await tell(stack, number, "messages", messages=[said(contact, text(f"hoi {word}"))]) == 200
    room = (await minister.do("wait_invite"))["room"]
    system = {"type": "system", "system": {"type": "ephemeral_setting", "body": "set", "ephemeral_duration": 604_800}}
    assert await tell(stack, number, "messages", messages=[said(contact, system)]) == 200
    events = await shown(minister, room, having("verdwijnen daar na 7 dagen"))
    assert having("verdwijnen daar na 7 dagen")(events)
    timer = await minister.do("get_state", room=room, type="com.beeper.disappearing_timer")
    assert timer == {"type": "after_send", "timer": 604_800_000}


async def test_an_edit_a_deletion_and_a_reaction_whose_message_never_comes_are_told(stack, minister, orphan, tmp_path):
    began, word = orphan
    await asyncio.sleep(max(0.0, began + NOT_YET - time.monotonic()))
    rooms = json.loads((await stack.griffier("rooms", "--json")).stdout)["rooms"]
    [room] = [entry["room_id"] for entry in rooms if entry["name"] == "Wees (WhatsApp)"]
    events = await shown(
        minister, room, lambda events: having("Reageerde met")(events) and having("verwijderd dat hier")(events), 60
    )
    bodies = [str(event.get("body")) for event in events]
    assert (
        f"verbeterd {word}\n✏️ Bewerkt; het oorspronkelijke bericht is hier niet · Edited; the original message is not here"
        in bodies
    )
    assert any(body.startswith("Reageerde met 🙏") for body in bodies)
    assert any("Heeft een bericht verwijderd dat hier niet is" in body for body in bodies)
    assert await exported(stack, room, tmp_path)


async def sent_to(stack, contact: str, seconds: float = 15) -> list[str]:
    """The texts that the bridge has sent to somebody, as soon as there are any."""
    end = time.monotonic() + seconds
    async with aiohttp.ClientSession() as http:
        while True:
            messages = await (await http.get(f"{stack.simulator}/sim/messages")).json()
            texts = [item.get("text", {}).get("body") for item in messages if item["to"] == contact]
            if texts or time.monotonic() > end:
                return texts
            await asyncio.sleep(0.2)


async def kept_at_whatsapp(stack, http: aiohttp.ClientSession, content: bytes) -> tuple[str, str]:
    """(media id, SHA-256) of a file that WhatsApp has, uploaded as a business does."""
    form = aiohttp.FormData()
    form.add_field("messaging_product", "whatsapp")
    form.add_field("file", content, filename="foto.png", content_type="image/png")
    [number] = await (await http.get(f"{stack.simulator}/phone_numbers")).json()
    headers = {"Authorization": f"Bearer {stack.secret('graph_access_token')}"}
    async with http.post(f"{stack.simulator}/v25.0/{number['id']}/media", data=form, headers=headers) as answer:
        return (await answer.json())["id"], hashlib.sha256(content).hexdigest()
