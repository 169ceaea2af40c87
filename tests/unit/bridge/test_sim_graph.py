"""The simulated Graph API accepts what Meta accepts, and refuses the rest with Meta's codes."""

from __future__ import annotations

import base64
import hashlib

import aiohttp
import pytest

from tests.unit.bridge.simulated import CONTACT, NUMBER, TOKEN, WABA


def code(answer) -> tuple[int, int]:
    status, body = answer
    return status, body["error"]["code"]


async def test_without_the_right_token_nothing_is_told_or_done(sim):
    assert code(await sim.graph(f"{NUMBER}/messages", {}, token="")) == (401, 190)
    assert code(await sim.graph(NUMBER, token="ander")) == (401, 190)
    assert code(await sim.graph("1", token=TOKEN)) == (400, 100)


async def test_a_text_is_answered_with_an_id_and_goes_from_sent_to_read(sim):
    await sim.contact()
    status, told = await sim.send(biz_opaque_callback_data="$gebeurtenis")
    assert status == 200
    assert told["contacts"] == [{"input": CONTACT, "wa_id": CONTACT}]
    assert told["messages"][0]["message_status"] == "accepted"
    await sim.settled()
    statuses = sim.hook.statuses()
    assert [one["status"] for one in statuses] == ["sent", "delivered", "read"]
    assert {one["id"] for one in statuses} == {told["messages"][0]["id"]}
    assert {one["biz_opaque_callback_data"] for one in statuses} == {"$gebeurtenis"}
    assert {one["recipient_id"] for one in statuses} == {CONTACT}
    assert all(one["recipient_user_id"].startswith("NL.") for one in statuses)


async def test_outside_the_window_only_a_template_goes(sim):
    await sim.contact()
    assert (await sim.send())[0] == 200
    await sim.ask("/sim/clock", {"advance": 86401})
    assert code(await sim.send()) == (400, 131047)
    template = {"name": "hello_world", "language": {"code": "en_US"}}
    assert (await sim.send("template", template))[0] == 200
    await sim.contact("ik ben er weer")
    assert (await sim.send())[0] == 200


async def test_the_window_of_one_number_opens_no_other(sim):
    await sim.ask(f"/sim/accounts/{WABA}/numbers", {"id": "2", "display_phone_number": "+31 97 0102 03041"})
    await sim.contact()
    body = {"messaging_product": "whatsapp", "to": CONTACT, "type": "text", "text": {"body": "dag"}}
    assert code(await sim.graph("2/messages", body)) == (400, 131047)


async def test_a_refusal_can_come_in_a_failed_status_instead(sim):
    await sim.ask("/sim/knobs", {"refusals": "status"})
    await sim.ask("/sim/contacts", {"wa_id": CONTACT, "on_whatsapp": False})
    status, told = await sim.send()
    assert status == 200
    await sim.settled()
    [failed] = sim.hook.statuses()
    assert (failed["id"], failed["status"]) == (told["messages"][0]["id"], "failed")
    assert failed["errors"][0]["code"] == 131026


async def test_who_is_not_on_whatsapp_gets_nothing(sim):
    await sim.ask("/sim/contacts", {"wa_id": CONTACT, "on_whatsapp": False})
    assert code(await sim.send()) == (400, 131026)
    await sim.ask("/sim/knobs", {"strict": True})
    assert code(await sim.send(to="31699999999")) == (400, 131026)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"text": {"body": "x" * 4097}}, 100),
        ({"text": {}}, 100),
        ({"text": {"body": ""}}, 131008),
        ({"type": "poll", "poll": {"x": 1}}, 100),
        ({"type": ["text"]}, 100),
        ({"to": ""}, 100),
        ({"to": "NL.1349"}, 100),
        ({"to": "31970102 03040"}, 131021),
        ({"messaging_product": "sms"}, 100),
        ({"type": "image", "image": {"id": "7"}}, 131009),
        ({"type": "location", "location": {"latitude": 91, "longitude": 5}}, 131009),
        ({"type": "contacts", "contacts": [{"name": {}}]}, 131008),
        ({"type": "interactive", "interactive": {"type": "button", "body": {"text": "?"}, "action": {"buttons": []}}}, 131009),
        ({"type": "interactive", "interactive": {"type": "button", "body": 5, "action": {"buttons": 7}}}, 131008),
        ({"type": "template", "template": {"name": "bestaat_niet", "language": {"code": "nl"}}}, 132001),
        ({"type": "template", "template": {"name": "afspraak", "language": {"code": "en"}}}, 132001),
        ({"type": "template", "template": {"name": "nog_in_beoordeling", "language": {"code": "nl"}}}, 132001),
        ({"type": "template", "template": {"name": "afspraak", "language": {"code": "nl"}}}, 132000),
        ({"recipient_type": "group", "to": "geen"}, 131041),
    ],
)
async def test_what_meta_refuses_is_refused_with_its_code(sim, body, expected):
    status, told = await sim.send(**body)
    assert (told["error"]["code"], status >= 400) == (expected, True)
    assert f"(#{expected})" in told["error"]["message"]
    assert await sim.ask("/sim/messages") == []


async def test_a_template_is_filled_in_and_its_button_can_be_tapped(sim):
    parameters = [{"type": "body", "parameters": [{"type": "text", "text": "Sanne"}]}]
    template = {"name": "gesprek_hervatten", "language": {"code": "nl"}, "components": parameters}
    _, told = await sim.send("template", template)
    [shown] = await sim.ask(f"/sim/chats/{CONTACT}")
    assert shown["content"]["rendered"].startswith("Goedendag Sanne, u had contact")
    assert shown["buttons"] == ["Ja", "Nee"]
    await sim.ask(f"/sim/contacts/{CONTACT}/tap", {"message": told["messages"][0]["id"], "choice": "Ja"})
    [message] = sim.hook.messages()
    assert message["button"] == {"payload": "Ja", "text": "Ja"}
    assert message["context"]["id"] == told["messages"][0]["id"]


async def test_too_many_at_once_are_told_so(sim):
    await sim.contact()
    await sim.ask("/sim/knobs", {"throughput": 2})
    assert [(await sim.send(to=f"3160000030{n}"))[0] for n in range(2)] == [200, 200]
    assert code(await sim.send()) == (400, 130429)
    await sim.ask("/sim/knobs", {"throughput": 0, "pair_messages": 1})
    assert (await sim.send())[0] == 200
    assert code(await sim.send()) == (400, 131056)
    await sim.ask("/sim/clock", {"advance": 7})
    assert (await sim.send())[0] == 200


async def test_a_file_can_be_fetched_for_five_minutes_with_the_token_and_its_id_lives_seven_days(sim):
    content = b"\x89PNG een plaatje"
    encoded = base64.b64encode(content).decode()
    await sim.contact(type="image", media=encoded, mime_type="image/png", caption="gevel")
    [message] = sim.hook.messages()
    image = message["image"]
    assert image["sha256"] == base64.b64encode(hashlib.sha256(content).digest()).decode()
    _, told = await sim.graph(f"{image['id']}?phone_number_id={NUMBER}")
    assert (told["sha256"], told["file_size"]) == (hashlib.sha256(content).hexdigest(), str(len(content)))

    async def fetch(url: str, token: str = TOKEN) -> tuple[int, bytes]:
        async with sim.http.get(url, headers={"Authorization": f"Bearer {token}"} if token else {}) as answer:
            return answer.status, await answer.read()

    assert await fetch(told["url"]) == (200, content)
    assert await fetch(image["url"]) == (200, content)
    assert (await fetch(told["url"], ""))[0] == 401
    assert (await fetch(told["url"].replace("hash=", "hash=0")))[0] == 404
    await sim.ask("/sim/clock", {"advance": 301})
    assert (await fetch(told["url"]))[0] == 404
    _, again = await sim.graph(image["id"])
    assert await fetch(again["url"]) == (200, content)
    await sim.ask("/sim/clock", {"advance": 7 * 86400})
    assert code(await sim.graph(image["id"])) == (400, 100)


async def test_uploads_have_types_and_sizes(sim):
    status, told = await sim.upload(b"\xff\xd8 foto", "image/jpeg", "foto.jpg")
    assert status == 200
    assert (await sim.send("image", {"id": told["id"], "caption": "kijk"}))[0] == 200
    assert code(await sim.send("video", {"id": told["id"]})) == (400, 131053)
    assert code(await sim.send("audio", {"id": told["id"], "caption": "x"})) == (400, 131053)
    assert code(await sim.upload(b"x" * (5 * 1024 * 1024 + 1), "image/jpeg")) == (400, 131053)
    assert code(await sim.upload(b"x" * 101 * 1024, "image/webp")) == (400, 131053)
    assert (await sim.upload(b"RIFF....WEBPVP8X..........ANIM" + b"x" * 101 * 1024, "image/webp"))[0] == 200
    assert code(await sim.upload(b"x", "application/x-msdownload")) == (400, 131053)
    assert (await sim.graph(told["id"], method="DELETE"))[1] == {"success": True}
    assert code(await sim.send("image", {"id": told["id"]})) == (400, 131009)


async def test_an_account_sees_only_what_is_its_own(sim):
    other = {
        "id": "77",
        "access_token": "token-twee",
        "portfolio": "2",
        "numbers": [{"id": "8", "display_phone_number": "+31 97 01"}],
    }
    await sim.ask("/sim/accounts", other)
    _, file = await sim.upload(b"\xff\xd8", "image/jpeg")
    assert code(await sim.graph(NUMBER, token="token-twee")) == (400, 100)
    assert code(await sim.graph(file["id"], token="token-twee")) == (400, 100)
    assert code(await sim.graph(f"{WABA}/message_templates", token="token-twee")) == (400, 100)
    assert (await sim.graph("8?fields=display_phone_number", token="token-twee"))[1] == {
        "display_phone_number": "+31 97 01",
        "id": "8",
    }
    await sim.contact()
    await sim.contact(to="8")
    ours, theirs = (message["from_user_id"] for message in sim.hook.messages())
    assert ours != theirs


async def test_numbers_and_templates_are_listed_page_by_page(sim):
    _, told = await sim.graph(f"{NUMBER}?fields=is_on_biz_app,platform_type,throughput")
    assert told == {"is_on_biz_app": True, "platform_type": "CLOUD_API", "throughput": {"level": "STANDARD"}, "id": NUMBER}
    names, url = [], f"{sim.url}/v25.0/{WABA}/message_templates?limit=2&status=APPROVED"
    while url:
        async with sim.http.get(url, headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
            page = await answer.json()
        names += [(one["name"], one["language"]) for one in page["data"]]
        url = page["paging"].get("next")
    assert names == [("gesprek_hervatten", "nl"), ("gesprek_hervatten", "en"), ("afspraak", "nl"), ("hello_world", "en_US")]
    assert [one["id"] for one in (await sim.graph(f"{WABA}/phone_numbers"))[1]["data"]] == [NUMBER]


async def test_no_webhook_comes_without_a_subscription(sim):
    assert len((await sim.graph(f"{WABA}/subscribed_apps"))[1]["data"]) == 1
    await sim.graph(f"{WABA}/subscribed_apps", method="DELETE")
    await sim.contact("gemist")
    await sim.graph(f"{WABA}/subscribed_apps", {})
    await sim.contact("gehoord")
    assert [message["text"]["body"] for message in sim.hook.messages()] == ["gehoord"]
    wrong = {"override_callback_uri": f"{sim.url}/niets", "verify_token": "x"}
    assert code(await sim.graph(f"{WABA}/subscribed_apps", wrong)) == (400, 100)


async def test_a_number_is_registered_with_a_pin(sim):
    await sim.contact()
    assert (await sim.graph(f"{NUMBER}/deregister", {}))[1] == {"success": True}
    assert code(await sim.send()) == (400, 133010)
    assert code(await sim.graph(f"{NUMBER}/register", {"messaging_product": "whatsapp", "pin": "12"})) == (400, 100)
    assert (await sim.graph(f"{NUMBER}/register", {"messaging_product": "whatsapp", "pin": "123456"}))[0] == 200
    assert (await sim.send())[0] == 200


async def test_a_read_mark_with_a_typing_indicator_is_taken(sim):
    message = await sim.contact()
    mark = {"messaging_product": "whatsapp", "status": "read", "message_id": message, "typing_indicator": {"type": "text"}}
    assert await sim.graph(f"{NUMBER}/messages", mark) == (200, {"success": True})
    assert [one["message_id"] for one in await sim.ask("/sim/marked")] == [message]
    assert (await sim.ask(f"/sim/chats/{CONTACT}"))[0]["status"] == "read"


async def test_a_user_id_goes_in_recipient(sim):
    await sim.contact(who="NL.987654321")
    [message] = sim.hook.messages()
    assert "from" not in message
    status, told = await sim.send(to=None, recipient=message["from_user_id"])
    assert (status, told["contacts"]) == (200, [{"input": "NL.987654321", "user_id": "NL.987654321"}])
    await sim.settled()
    assert all("recipient_id" not in one and one["recipient_user_id"] == "NL.987654321" for one in sim.hook.statuses())


async def test_the_next_calls_can_be_made_to_fail(sim):
    await sim.contact()
    await sim.ask("/sim/faults", {"code": 131016, "count": 2})
    assert [code(await sim.send()) for _ in range(2)] == [(500, 131016)] * 2
    assert (await sim.send())[0] == 200
    await sim.ask("/sim/faults", {"how": "failed", "code": 131053})
    _, told = await sim.send()
    await sim.settled()
    assert [one["status"] for one in sim.hook.statuses() if one["id"] == told["messages"][0]["id"]] == ["failed"]
    await sim.ask("/sim/faults", {"how": "html", "status": 502})
    async with sim.http.post(
        f"{sim.url}/v25.0/{NUMBER}/messages", json={}, headers={"Authorization": f"Bearer {TOKEN}"}
    ) as answer:
        assert (answer.status, answer.content_type) == (502, "text/html")


async def test_a_send_can_be_carried_out_without_an_answer(sim):
    await sim.contact()
    await sim.ask("/sim/faults", {"how": "lost"})
    with pytest.raises(aiohttp.ClientError):
        await sim.send()
    assert len(await sim.ask("/sim/messages")) == 1
    await sim.ask("/sim/faults", {"how": "close"})
    with pytest.raises(aiohttp.ClientError):
        await sim.send()
    assert len(await sim.ask("/sim/messages")) == 1


async def test_a_downloaded_file_can_arrive_damaged(sim):
    await sim.contact(type="document", media=base64.b64encode(b"%PDF").decode(), mime_type="application/pdf", filename="a.pdf")
    [message] = sim.hook.messages()
    await sim.ask("/sim/faults", {"on": "download", "how": "corrupt"})
    got = []
    for _ in range(2):
        async with sim.http.get(message["document"]["url"], headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
            got.append(await answer.read() == b"%PDF")
    assert got == [False, True]
