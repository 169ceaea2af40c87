"""The phone is a page on which a person plays the contact: it shows what happens when it happens, and runs nothing of it."""

from __future__ import annotations

import base64

import pytest

from bridge.simulator.server import Simulator
from tests.unit.bridge.browser import CHROMIUM, browsed
from tests.unit.bridge.simulated import CONTACT, NUMBER

needs_browser = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
BUBBLES = "[...document.querySelectorAll('.msg .body')].map(node => node.textContent)"
TICKS = "[...document.querySelectorAll('.msg.mine .ticks')].map(node => node.className + ' ' + node.textContent)"


@needs_browser
async def test_a_contact_writes_and_sees_the_ticks_and_the_answer_come(sim):
    await sim.contact("eerder bericht")
    async with browsed(f"{sim.url}/phone/{CONTACT}") as tab:
        await tab.until(f"{BUBBLES}.includes('eerder bericht')")
        await tab.until("document.activeElement.id === 'text'")
        await tab.type("Dag, bent u daar?")
        await tab.key("Enter", 13)
        await tab.until(f"{BUBBLES}.includes('Dag, bent u daar?')")  # what was said before has ticks already
        await tab.until(f"{TICKS}.at(-1) === 'ticks delivered ✓✓'")
        message = sim.hook.messages()[-1]
        assert message["text"]["body"] == "Dag, bent u daar?"
        await sim.graph(f"{NUMBER}/messages", {"messaging_product": "whatsapp", "status": "read", "message_id": message["id"]})
        await tab.until(f"{TICKS}.at(-1) === 'ticks read ✓✓'")
        await sim.send(part={"body": "Ja, zeg het maar."})
        await tab.until(f"{BUBBLES}.includes('Ja, zeg het maar.')")
        await tab.until("document.getElementById('aloud').textContent.includes('zeg het maar')")
        await tab.run("new Promise(done => setTimeout(done, 300))")
        await sim.settled()
        assert [one["status"] for one in sim.hook.statuses()][-1] == "read"
        assert tab.problems == []


@needs_browser
async def test_what_others_write_is_shown_as_text_and_never_run(sim):
    evil = "<img src=x onerror=\"document.title='gekraakt'\"><script>document.title='gekraakt'</script>"
    await sim.contact(evil, name=evil)
    await sim.contact(
        type="document", media=base64.b64encode(b"<script>1</script>").decode(), mime_type="text/html", filename=evil, name=evil
    )
    await sim.contact(type="location", location={"latitude": evil, "longitude": 1, "name": evil}, name=evil)
    async with browsed(f"{sim.url}/phone/{CONTACT}?as=official") as tab:
        await tab.until(f"{BUBBLES}.includes({evil!r})")
        assert await tab.run("document.querySelector('.bar h2').textContent") == evil
        assert await tab.run("document.querySelectorAll('main img, main script').length") == 0
        await tab.run(
            "document.body.append(document.createRange().createContextualFragment('<script>document.title=1</script>'))"
        )
        assert await tab.run("document.title") == "Demo-telefoon · Griffier"


@needs_browser
async def test_a_message_is_answered_reacted_to_edited_and_deleted_from_its_menu(sim):
    first = await sim.contact("eerste")

    async def pick(words: str, message: str = first) -> None:
        await tab.run(f"document.querySelector('[data-message=\"{message}\"]').click()")
        await tab.run(f"[...document.querySelectorAll('#sheet button')].find(one => one.innerText.includes('{words}')).click()")

    async with browsed(f"{sim.url}/phone/{CONTACT}") as tab:
        await tab.until(f"{BUBBLES}.length === 1")
        await pick("❤")
        await tab.until("document.querySelector('.reactions')?.textContent.includes('❤')")
        await pick("Bewerken")
        await tab.run("document.getElementById('text').select()")
        await tab.type("eerste, beter")
        await tab.key("Enter", 13)
        await tab.until(f"{BUBBLES}.includes('eerste, beter')")
        await pick("Antwoorden")
        await tab.type("en nog iets")
        await tab.key("Enter", 13)
        await tab.until("document.querySelector('.msg .quote')?.textContent === 'eerste, beter'")
        await pick("Verwijderen")
        await tab.until("document.querySelector('.gone')?.textContent.includes('verwijderd')")
        assert tab.problems == []
    await sim.settled()
    kinds = [message["type"] for message in sim.hook.messages()]
    assert kinds == ["text", "reaction", "edit", "text", "revoke"]
    assert sim.hook.messages()[3]["context"]["id"] == first


@needs_browser
async def test_the_official_writes_on_their_own_phone_and_the_words_can_be_english(sim):
    await sim.contact("dag")
    async with browsed(f"{sim.url}/phone") as tab:
        await tab.until("document.querySelectorAll('.people button').length === 1")
        await tab.run("document.getElementById('language').click()")
        assert (
            await tab.run("document.documentElement.lang + document.querySelector('.bar h2').textContent") == "enWho do you play?"
        )
        await tab.run("document.querySelector('input[value=official]').click()")
        await tab.run("document.querySelector('.people button').click()")
        await tab.until("document.getElementById('text')")
        await tab.type("vanaf mijn eigen telefoon")
        await tab.key("Enter", 13)
        await tab.until(f"{BUBBLES}.includes('vanaf mijn eigen telefoon')")
        assert tab.problems == []
    [value] = sim.hook.changes("smb_message_echoes")
    assert value["message_echoes"][0]["text"]["body"] == "vanaf mijn eigen telefoon"


@needs_browser
async def test_a_place_and_a_picture_are_sent_from_the_attachments(sim):
    async with browsed(f"{sim.url}/phone/{CONTACT}") as tab:
        await tab.until("document.getElementById('text')")
        await tab.run("document.querySelector('.attach').click()")
        await tab.run("[...document.querySelectorAll('#sheet button')].find(one => one.innerText.includes('Locatie')).click()")
        await tab.until("document.querySelector('#sheet form')")
        await tab.run("document.querySelector('#sheet form').requestSubmit()")
        await tab.until("document.querySelector('.msg .body')?.textContent.includes('53.3317')")
        pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
        bytes_of = f"Uint8Array.from(atob('{pixel}'), letter => letter.charCodeAt(0))"
        await tab.run(f"sendFile(new File([{bytes_of}], 'punt.png', {{type: 'image/png'}}), false)")
        await tab.until("document.querySelector('.msg img.pic')?.naturalWidth === 1")
        assert tab.problems == []
    place, picture = sim.hook.messages()
    assert place["location"]["name"] == "Dorpshuis Loppersum"
    assert picture["image"]["mime_type"] == "image/png"


@needs_browser
async def test_somebody_new_is_made_and_the_page_fits_a_narrow_screen(sim):
    async with browsed(f"{sim.url}/phone") as tab:
        await tab.call("Emulation.setDeviceMetricsOverride", width=320, height=640, deviceScaleFactor=1, mobile=True)
        await tab.until("document.querySelector('.empty')")
        await tab.run("document.querySelector('.fab').click()")
        await tab.run("document.querySelector('#sheet input').focus()")
        await tab.type("Sanne")
        await tab.key("Enter", 13)
        await tab.until("document.querySelector('.bar small')?.textContent === 'U: Sanne'")
        assert await tab.run("document.documentElement.scrollWidth") <= 320
        assert await tab.run("document.getElementById('text').getBoundingClientRect().bottom") <= 640
    assert [one["name"] for one in await sim.ask("/sim/contacts")] == ["Sanne"]


async def test_the_control_api_and_the_page_are_for_this_machine_only(sim):
    for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        for path in ("/phone", "/sim/contacts"):
            async with sim.http.get(sim.url + path, headers=headers) as answer:
                assert answer.status == 403
    async with sim.http.post(f"{sim.url}/sim/reset", headers={"Origin": "https://evil.example"}) as answer:
        assert answer.status == 403
    async with sim.http.get(f"{sim.url}/phone", headers={"Origin": sim.url}) as answer:
        assert answer.status == 200
        assert "script-src 'sha256-" in answer.headers["Content-Security-Policy"]


async def test_a_wrong_call_is_told_what_is_wrong_with_it(sim):
    assert "text" in (await sim.ask(f"/sim/contacts/{CONTACT}/send", {}, status=400))["error"]
    assert "batch_size" in (await sim.ask("/sim/knobs", {"batch_size": 0}, status=400))["error"]
    assert "bestaat_niet" in (await sim.ask("/sim/knobs", {"bestaat_niet": 1}, status=400))["error"]
    await sim.ask(f"/sim/contacts/{CONTACT}/react", [], status=400)
    await sim.ask("/sim/contacts/niemand/send", {"text": "x"}, status=404)
    await sim.ask("/sim/numbers/niet/send", {"to": CONTACT, "text": "x"}, status=404)
    async with sim.http.post(f"{sim.url}/sim/knobs", data=b"geen json") as answer:
        assert answer.status == 400


def test_settings_may_name_one_account_or_several():
    shared = {"webhook_url": "http://127.0.0.1:1/", "app_secret": "s", "verify_token": "v"}
    number = {"id": "5", "display_phone_number": "+31 97"}
    one = Simulator(host="127.0.0.1", port=1, access_token="t", numbers=[number], **shared)
    several = Simulator(
        host="127.0.0.1",
        port=1,
        **shared,
        accounts=[{"id": "1", "access_token": "a", "numbers": [number]}, {"id": "2", "access_token": "b", "app_secret": "z"}],
    )
    assert [account.access_token for account in one.world.accounts] == ["t"]
    assert [(account.access_token, account.app_secret) for account in several.world.accounts] == [("a", "s"), ("b", "z")]
