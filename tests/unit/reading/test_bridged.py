"""A bridged room reads as what it is: whose it was, who spoke, what the bridge could not give, and what became of messages."""

from __future__ import annotations

import secrets

import pytest

from archiver.db import tenant_tx
from archiver.ledger import alarm
from archiver.reading import bridged as beside
from archiver.reading.channels import channels
from archiver.reading.interruption import interruptions
from archiver.reading.project import project_batch, rebuild
from archiver.reading.words import BlindIndex
from tests.unit.conftest import dump
from tests.unit.reading.portals import (
    ADMIN,
    BEGAN,
    BOT,
    BRIDGES,
    CHANNEL,
    CONTACT,
    LID,
    MINUTE,
    NUMBER,
    OFFICIAL,
    OWN,
    Portal,
    source,
    text,
)

pytestmark = pytest.mark.postgres

TIMER = "com.beeper.disappearing_timer"
WEEK = 604_800


@pytest.fixture
async def portal(archive, room):
    return await Portal(archive, room).open()


async def sounding(archive, kind: str) -> dict[str, str]:
    async with tenant_tx(archive.pool, 1) as tx:
        return {each["subject"]: each["detail"] for each in await alarm.sounding(tx, 1) if each["kind"] == kind}


# Which conversation it is.


async def test_a_portal_says_whose_number_it_was_and_that_its_bridge_says_so(archive, room):
    ours = await Portal(archive, room).open(**{"nl.griffier.official": OFFICIAL})
    event_id = ours.say(text("Goedemorgen", **{"nl.griffier.source": source("wamid.1")}))
    await ours.keep()
    told = (await ours.lines())[event_id]["portal"]
    assert (told["network"], told["channel"], told["receiver"], told["official"]) == ("whatsapp", CHANNEL, NUMBER, OFFICIAL)
    assert (told["kind"], told["told_by"], told["official_told_by_bridge"]) == ("dm", BOT, True)


async def test_a_mautrix_portal_is_its_only_official_s_and_says_that_the_bridge_did_not_tell(portal):
    await portal.keep()
    told = (await portal.room()).portal
    assert (told.official, told.official_told, told.phone) == (OFFICIAL, False, "+31600000101")


async def test_a_group_is_told_from_a_direct_conversation(archive, room):
    info = {"channel": {"id": "120363000000000000@g.us", "displayname": "Projectgroep", "fi.mau.receiver": NUMBER}}
    group = await Portal(archive, room).open(**info, **{"com.beeper.room_type": None, "com.beeper.room_type.v2": None})
    await group.keep()
    told = (await group.room()).portal
    assert (told.group, told.channel_name, told.phone) == (True, "Projectgroep", None)


async def test_nobody_but_a_believed_bridge_makes_a_room_a_portal(archive, room):
    plain = await Portal(archive, room).open(bridged=False)
    event_id = plain.state("m.bridge", {"protocol": {"id": "whatsapp"}, "channel": {"id": CHANNEL}}, "x/nep", OFFICIAL)
    said = plain.say(text("via WhatsApp, zeg ik", **{"fi.mau.double_puppet_source": "mautrix-whatsapp"}), OFFICIAL)
    await plain.keep()
    assert (await plain.room()).portal is None
    told = (await plain.lines())[said]
    assert (told["network"], told["via"], told["portal"]) == ("matrix", None, None)
    async with tenant_tx(archive.pool, 1) as tx:
        assert await tx.fetchval("SELECT doubts FROM record WHERE event_id = $1", event_id) == ["claimed-source"]


async def test_an_official_who_overwrites_the_bridge_s_word_does_not_hide_it(portal):
    told = {"protocol": {"id": "signal"}, "channel": {"id": "iets anders", "fi.mau.receiver": "31600000999"}}
    for kind in ("m.bridge", "uk.half-shot.bridge"):
        portal.state(kind, told, "x/whatsapp", OFFICIAL)
    await portal.keep()
    assert ((await portal.room()).portal.network, (await portal.room()).portal.receiver) == ("whatsapp", NUMBER)


# Who spoke.


async def test_names_are_those_of_that_time_and_ids_have_their_period(archive, portal):
    first = portal.say(text("een", **{"nl.griffier.source": source("wamid.1")}), at=10)
    second = portal.say(
        text("twee", **{"nl.griffier.source": source("wamid.2", sender=None, sender_name="H. Yıldız", username="hatice")}),
        at=3000,
    )
    portal.member(OFFICIAL, "Karin de Wit-Bakker", at=4000)
    answers = [portal.say(text(f"antwoord {at}"), OFFICIAL, at=at) for at in (20, 5000)]
    await portal.keep()
    lines = await portal.lines()
    assert [lines[each]["sender_name"] for each in (first, second)] == ["Hatice Yıldız", "H. Yıldız"]
    assert [lines[each]["sender_name"] for each in answers] == ["Karin de Wit", "Karin de Wit-Bakker"]
    assert lines[first]["via"]["identity"] == {
        "name": "Hatice Yıldız", "phone": "+31600000101", "lid": None, "user_id": "NL.13491208655302741918", "username": None,
    }  # fmt: skip
    assert lines[second]["via"]["identity"]["username"] == "hatice"
    async with tenant_tx(archive.pool, 1) as tx:
        told = await beside.bridged(tx, archive.vault, await portal.room())
    [one, two] = [word for word in told.contacts if word.origin == "message"]
    assert (one.person.name, two.person.name) == ("Hatice Yıldız", "H. Yıldız")
    assert (one.event_id, two.event_id) == (first, second)
    assert one.until == two.since
    assert two.until is None


async def test_a_ghost_with_a_privacy_id_is_known_by_it_and_by_the_number_in_its_profile(portal):
    hidden = portal.say(text("wie ben ik"), LID, at=5)
    portal.member(LID, "Bram (WA)", at=6, **{"com.beeper.bridge.identifiers": ["mailto:x@y", "tel:+31600000202"]})
    known = portal.say(text("nu wel"), LID, at=7)
    await portal.keep()
    lines = await portal.lines()
    assert lines[hidden]["network"] == "whatsapp"
    told = lines[known]["via"]["identity"]
    assert (told["lid"], told["phone"], told["name"]) == ("7012345", "+31600000202", "Bram (WA)")


async def test_who_invites_a_ghost_does_not_say_who_it_is(portal):
    false = {"membership": "invite", "displayname": "Minister-president", "com.beeper.bridge.identifiers": ["tel:+31600000999"]}
    portal.state("m.room.member", false, LID, OFFICIAL, at=4)
    event_id = portal.say(text("wie ben ik"), LID, at=5)
    await portal.keep()
    told = (await portal.lines())[event_id]["via"]["identity"]
    assert (told["lid"], told["phone"], told["name"]) == ("7012345", None, None)
    portal.member(LID, "Bram (WA)", at=6)
    again = portal.say(text("nu wel"), LID, at=7)
    await portal.keep()
    assert (await portal.lines())[again]["via"]["identity"]["name"] == "Bram (WA)"


async def test_who_is_no_ghost_of_a_believed_bridge_has_no_number(archive, room):
    plain = await Portal(archive, room).open()
    false = "@whatsapp_31600000303:kwaad"
    plain.member(false, "Minister-president")
    event_id = plain.say(text("ik ben het echt"), false)
    await plain.keep()
    assert (await plain.lines())[event_id]["via"] is None


async def test_what_the_official_wrote_on_the_phone_is_the_official_s(portal):
    puppet = portal.sealed_by_bridge(text("double puppet", **{"fi.mau.double_puppet_source": "mautrix-whatsapp"}), OFFICIAL)
    own = portal.say(text("eigen ghost"), OWN)
    echo = portal.say(text("echo", **{"nl.griffier.source": source("w", sender="+31 97 0102030", from_phone=True)}), BOT)
    await portal.keep()
    lines = await portal.lines()
    for event_id in (puppet, own, echo):
        told = lines[event_id]
        assert (told["via"]["how"], told["via"]["author"], told["sender_name"]) == ("phone", OFFICIAL, "Karin de Wit"), told
        assert told["network"] == "whatsapp"
        assert told["doubts"] == []


async def test_an_official_cannot_pass_their_own_words_off_as_typed_on_the_phone_or_as_another_s(portal):
    profile = {"id": "u1", "displayname": "Joost Vermeer", "has_fallback": True}
    marks = {"fi.mau.double_puppet_source": "mautrix-whatsapp", "com.beeper.per_message_profile": profile}
    event_id = portal.say(text("dat heb ik nooit geschreven", **marks), OFFICIAL)
    await portal.keep()
    told = (await portal.lines())[event_id]
    assert told["via"]["how"] != "phone"
    assert told["via"]["relayed_for"] is None
    assert told["doubts"] == ["claimed-source"]


async def test_a_bridge_s_key_is_doubted_unless_the_room_s_own_official_wrote_it_on_the_phone(portal):
    puppet = {"fi.mau.double_puppet_source": "mautrix-whatsapp"}
    genuine = portal.sealed_by_bridge(text("akkoord", **puppet), OFFICIAL)
    copied = portal.sealed_by_bridge(text("akkoord", **puppet), "@collega:x")
    await portal.keep()
    lines = await portal.lines()
    assert (lines[genuine]["doubts"], lines[genuine]["via"]["how"]) == ([], "phone")
    assert (lines[copied]["doubts"], lines[copied]["via"]) == (["other-sender"], None)


async def test_a_relayed_message_s_writer_is_no_more_than_a_name(portal):
    profile = {"id": "u1", "displayname": "Joost Vermeer", "has_fallback": True}
    relayed = portal.say(text("Joost Vermeer: tot zo", **{"com.beeper.per_message_profile": profile}))
    html = {"format": "org.matrix.custom.html", "formatted_body": "<b>Sanne Hoekstra</b>: akkoord"}
    puppet = {"fi.mau.double_puppet_source": "m"}
    shown = portal.sealed_by_bridge(text("**Sanne Hoekstra**: akkoord", **html, **puppet), OFFICIAL)
    colleague = portal.say(text("namens ons"), "@collega:x")
    portal.add("com.beeper.message_send_status", status(colleague), BOT)
    bold = portal.say(text("**Let op**: morgen", format="org.matrix.custom.html", formatted_body="<b>Let op</b>: morgen"))
    await portal.keep()
    lines = await portal.lines()
    assert [lines[each]["via"]["relayed_for"] for each in (relayed, shown, bold)] == ["Joost Vermeer", "Sanne Hoekstra", None]
    assert lines[colleague]["via"]["relayed_through"] == OFFICIAL


# What the bridge could not give.

NOTICE = {"msgtype": "m.notice", "body": "Decrypting message from WhatsApp failed, waiting for sender to re-send... (learn more)"}
HOLE = NOTICE | {"fi.mau.whatsapp.undecryptable": True, "m.mentions": {}}


async def counted(portal) -> tuple[int, list[str]]:
    room = await portal.room()
    async with tenant_tx(portal.archive.pool, 1) as tx:
        rows = await tx.fetch("SELECT unreadable FROM message WHERE room_id = $1 AND unreadable IS NOT NULL", portal.room_id)
    return room.unreadable, [row["unreadable"] for row in rows]


async def test_what_the_bridge_could_not_decrypt_is_a_hole_until_it_fills_it(portal):
    event_id = portal.say(HOLE)
    await portal.keep()
    told = (await portal.lines())[event_id]
    assert (told["kind"], told["unreadable"]) == ("unreadable", "bridge:undecryptable")
    assert await counted(portal) == (1, ["bridge:undecryptable"])
    filling = portal.edit(event_id, text("wat er stond"), **{"com.beeper.dont_render_edited": True})
    corrected = portal.edit(event_id, text("wat er hoort te staan"))
    await portal.keep()
    told = (await portal.lines())[event_id]
    assert (told["kind"], told["unreadable"], told["body"]) == ("text", None, "wat er hoort te staan")
    assert [version["body"] for version in told["versions"]] == ["wat er stond", "wat er hoort te staan"]
    assert [version["event_id"] for version in told["versions"]] == [event_id, corrected]
    assert (told["filled"]["event_id"], told["filled"]["was"]) == (filling, "bridge:undecryptable")
    assert await counted(portal) == (0, [])


async def test_an_official_cannot_pass_an_edit_off_as_the_bridge_s(archive, room):
    plain = await Portal(archive, room).open()
    event_id = plain.say(text("toezegging"), OFFICIAL)
    plain.edit(event_id, text("geen toezegging"), OFFICIAL, **{"com.beeper.dont_render_edited": True})
    faked = plain.say(HOLE, OFFICIAL)
    await plain.keep()
    lines = await plain.lines()
    assert [version["body"] for version in lines[event_id]["versions"]] == ["toezegging", "geen toezegging"]
    assert lines[event_id]["filled"] is None
    assert (lines[faked]["unreadable"], lines[faked]["doubts"]) == (None, ["claimed-source"])


async def test_lost_media_unknown_kinds_and_view_once_are_shown_as_what_they_are(portal):
    body = "Failed to bridge media, please view it on the WhatsApp app"
    once = NOTICE | {"body": "You received a view once message. For added privacy, you can only open it on the WhatsApp app."}
    said = {
        "bridge:failed-media": portal.say(
            {"msgtype": "m.notice", "body": body, "fi.mau.whatsapp.failed_media": {"type": "m.room.message", "content": {}}}
        ),
        "bridge:unsupported": portal.say(
            {"msgtype": "m.notice", "body": "Unknown message type", "fi.mau.whatsapp.unsupported_message_data": "CgA="}
        ),
        "bridge:view-once": portal.say(once | {"fi.mau.whatsapp.undecryptable": True}),
    }
    ours = portal.say(
        {"msgtype": "m.notice", "body": "kan niet worden getoond", "nl.griffier.source": source("w", type="unsupported")}
    )
    seen = portal.say(text("foto", msgtype="m.image", **{"nl.griffier.source": source("v", type="image", view_once=True)}))
    await portal.keep()
    lines = await portal.lines()
    assert {cause: lines[event_id]["unreadable"] for cause, event_id in said.items()} == {cause: cause for cause in said}
    assert lines[said["bridge:failed-media"]]["body"] == body
    assert lines[ours]["unreadable"] == "bridge:unsupported"
    assert lines[seen]["unreadable"] is None
    assert (await counted(portal))[0] == 4


async def test_a_file_that_is_not_there_counts_as_missing_until_the_bridge_puts_it_in(portal):
    def without(state: str) -> dict:
        body = "📎 foto.jpg: nog niet opgehaald · not fetched yet"
        return {"msgtype": "m.notice", "body": body, "nl.griffier.missing_file": {"state": state, "name": "foto.jpg", "size": 9}}

    late, never = (portal.say(without("waiting") | {"nl.griffier.source": source(each, type="image")}) for each in ("a", "b"))
    faked = portal.say(without("waiting"), OFFICIAL)
    await portal.keep()
    lines = await portal.lines()
    assert [lines[each]["unreadable"] for each in (late, never, faked)] == ["bridge:failed-media"] * 2 + [None]
    assert lines[faked]["doubts"] == ["claimed-source"]
    assert (await counted(portal))[0] == 2
    mark = {"com.beeper.dont_render_edited": True}
    portal.edit(late, {"msgtype": "m.image", "body": "foto.jpg", "url": "mxc://x/foto"}, **mark)
    portal.edit(never, without("given-up"), **mark)
    await portal.keep()
    lines = await portal.lines()
    assert [lines[each]["unreadable"] for each in (late, never)] == [None, "bridge:failed-media"]
    assert [len(lines[each]["versions"]) for each in (late, never)] == [1, 1], "no edit of the contact's"
    assert (lines[late]["filled"]["was"], lines[never]["filled"]) == ("bridge:failed-media", None)
    assert (await counted(portal))[0] == 1


async def test_what_a_timer_took_away_was_deleted_by_nobody(portal):
    gone, deleted, false = (portal.say(text(body)) for body in ("weg", "ingetrokken", "verstopt"))
    portal.redact(gone, BOT, "Message disappeared")
    portal.redact(deleted, CONTACT)
    portal.redact(false, OFFICIAL, "Message disappeared")
    await portal.keep()
    lines = await portal.lines()
    assert [lines[each]["deleted"]["by_timer"] for each in (gone, deleted, false)] == [True, False, False]
    assert [lines[each]["body"] for each in (gone, deleted, false)] == ["weg", "ingetrokken", "verstopt"]


@pytest.mark.parametrize("backwards", [False, True], ids=["in order", "newest first"])
async def test_a_timer_is_a_fact_with_its_time_and_setter_and_an_alarm_while_it_is_on(archive, room, backwards):
    timed = await Portal(archive, room).open()
    timed.state(TIMER, {}, "", BOT, at=1)
    set_by = timed.state(TIMER, {"type": "after_send", "timer": WEEK * 1000}, "", CONTACT, at=2)
    event_id = timed.say(text("verdwijnt", **{TIMER: {"type": "after_send", "timer": WEEK * 1000}}))
    ours = timed.say(text("ook", **{"nl.griffier.source": source("w", expires_after=86400)}))
    await timed.keep(backwards=backwards)
    lines = await timed.lines()
    assert [lines[each]["disappears_after"] for each in (event_id, ours)] == [WEEK, 86400]
    async with tenant_tx(archive.pool, 1) as tx:
        told = await beside.bridged(tx, archive.vault, await timed.room())
    [timer] = told.timers
    assert (timer.seconds, timer.set_by, timer.set_by_name, timer.event_id) == (WEEK, CONTACT, "Hatice Yıldız", set_by)
    [detail] = [told for subject, told in (await sounding(archive, "disappearing-messages")).items() if subject == room]
    assert "7 days" in detail
    assert CONTACT in detail
    timed.state(TIMER, {}, "", CONTACT, at=9)
    await timed.keep()
    assert room not in await sounding(archive, "disappearing-messages")
    async with tenant_tx(archive.pool, 1) as tx:
        told = await beside.bridged(tx, archive.vault, await timed.room())
    assert [timer.seconds for timer in told.timers] == [WEEK, None]


async def test_history_is_marked_as_that(portal):
    ours = portal.say(text("van toen", **{"nl.griffier.source": source("w", history=True)}))
    mautrix = portal.say(text("van lang voor de kamer"), at=-60 * 24)
    first = portal.say(text("waarvoor de kamer werd gemaakt"), at=-0.1)
    await portal.keep()
    lines = await portal.lines()
    assert [lines[each]["via"]["history"] for each in (ours, mautrix, first)] == [True, True, False]


# What became of messages.


def status(event_id: str, state: str = "", code: str | None = None, at: float = 30, **more) -> dict:
    told = {"m.relates_to": {"rel_type": "m.reference", "event_id": event_id}, "network": "whatsapp", "status": "SUCCESS"}
    own = {"state": state, "at": BEGAN + at * MINUTE, "message_id": "wamid.x", "recipient": "+31600000101", "code": code}
    return told | ({"nl.griffier.delivery": own} if state else {}) | more


async def test_the_official_s_message_shows_how_far_it_came(portal):
    read, failed, mautrix, none = (portal.say(text(body), OFFICIAL) for body in ("een", "twee", "drie", "vier"))
    words = [portal.add("com.beeper.message_send_status", status(read, state, at=at), BOT)
             for state, at in (("read", 32), ("delivered", 31))]  # fmt: skip
    reason = "De ontvanger is niet bereikbaar · The recipient can't be reached"
    portal.add("com.beeper.message_send_status", status(failed, "failed", "131026", status="FAIL_PERMANENT", message=reason), BOT)
    portal.add("com.beeper.message_send_status", status(mautrix, delivered_to_users=[CONTACT]), BOT)
    portal.add("com.beeper.message_send_status", status(none, "read"), OFFICIAL)
    await portal.keep()
    lines = await portal.lines()
    assert not set(words) & set(lines), "a status is no message"
    assert [lines[each]["via"]["how"] for each in (read, failed, mautrix, none)] == ["sent", "offered", "sent", "offered"]
    assert lines[read]["network"] == "matrix"
    told = lines[read]["delivery"]
    assert (told["state"], [word["state"] for word in told["history"]]) == ("read", ["delivered", "read"])
    told = lines[failed]["delivery"]
    assert (told["state"], told["code"], told["reason"]) == ("failed", "131026", reason)
    assert lines[mautrix]["delivery"]["state"] == "delivered"
    assert lines[none]["delivery"] is None, "nobody but the bridge is believed"


async def test_a_message_that_was_refused_at_once_and_delivered_later_did_not_fail_whoever_it_was_refused_for(portal):
    was, now = (portal.say(text(body), OFFICIAL) for body in ("van eerder", "van nu"))
    at = {"state": "failed", "at": BEGAN + 20 * MINUTE, "message_id": "", "code": 131047}
    for event_id, refused in ((was, at | {"recipient": "Y2FwaV9ncm91cDox"}), (now, at)):
        told = status(event_id, status="FAIL_RETRIABLE") | {"nl.griffier.delivery": refused}
        portal.add("com.beeper.message_send_status", told, BOT)
        portal.add("com.beeper.message_send_status", status(event_id, "delivered", at=31), BOT)
    await portal.keep()
    lines = await portal.lines()
    assert [lines[each]["delivery"]["state"] for each in (was, now)] == ["delivered", "delivered"]


async def test_what_stayed_in_matrix_is_not_said_to_have_gone(portal):
    command, withdrawn, accepted = (portal.say(text(body), OFFICIAL) for body in ("!sjabloon 1", "toch niet", "onderweg"))
    told = ((command, "stayed"), (withdrawn, "failed"), (withdrawn, "stayed"), (accepted, "sent"))
    for at, (event_id, state) in enumerate(told, 30):
        portal.add("com.beeper.message_send_status", status(event_id, state, at=at), BOT)
    await portal.keep()
    lines = await portal.lines()
    assert [(lines[each]["via"] or {}).get("how") for each in (command, withdrawn, accepted)] == [None, None, "sent"]
    assert [lines[each]["delivery"]["state"] for each in (command, withdrawn, accepted)] == ["stayed", "stayed", "sent"]


async def test_a_template_is_sent_by_whoever_asked_for_it_and_was_not_typed_on_the_phone(portal):
    told = source("w", sender="+31 97 0102030", sender_id="", sender_name="", type="template", official="@collega:x")
    event_id = portal.say(text("Uw afspraak is vrijdag", msgtype="m.notice", **{"nl.griffier.source": told}), BOT)
    await portal.keep()
    way = (await portal.lines())[event_id]["via"]
    assert (way["how"], way["author"], way["relayed_through"]) == ("sent", "@collega:x", OFFICIAL)
    assert way["identity"] is None


# What the bridge reports.


def interruption(identity: str, start: float = 10, end: float | None = None, **more) -> dict:
    told = {
        "id": identity, "network": "whatsapp", "number_id": "106540352242922", "number": "+31 97 0102030", "official": OFFICIAL,
        "from": BEGAN + start * MINUTE, "until": None if end is None else BEGAN + end * MINUTE, "cause": "webhook-silent",
        "detail": "WhatsApp meldt niets meer",
    }  # fmt: skip
    return {"msgtype": "m.notice", "body": "Onderbreking · Interruption", "nl.griffier.interruption": told | more}


@pytest.fixture
async def management(archive):
    room = await Portal(archive, f"!{secrets.token_hex(6)}:x").open(bridged=False)
    room.member(ADMIN, "Beheer")
    async with archive.pool.acquire() as connection:
        await connection.execute("DELETE FROM interruption; DELETE FROM bridge_alarm; DELETE FROM alarm")
    return room


async def known(archive):
    async with tenant_tx(archive.pool, 1) as tx:
        return {each.interruption_id: each for each in await interruptions(tx, 1)}


@pytest.mark.parametrize("backwards", [False, True], ids=["in order", "newest first"])
async def test_an_interruption_is_one_row_from_its_beginning_to_its_end(archive, management, backwards):
    management.say(interruption("i1"), BOT)
    management.say(interruption("i1", end=25), BOT)
    management.say(interruption("i2", start=40), BOT)
    management.say(interruption("vals"), OFFICIAL)
    await management.keep(backwards=backwards)
    found = await known(archive)
    assert sorted(found) == ["i1", "i2"]
    assert (found["i1"].until_at - found["i1"].from_at).total_seconds() == 15 * 60
    assert (found["i2"].until_at, found["i2"].cause, found["i2"].told_by) == (None, "webhook-silent", BOT)


async def test_a_rebuild_gives_the_same_reports_and_identities(archive, management):
    one, two = secrets.token_hex(4), secrets.token_hex(4)

    async def rows():
        async with tenant_tx(archive.pool, 1) as tx:
            return [
                [dict(row) for row in await tx.fetch(f"SELECT {what} ORDER BY 1, 2, 3, 4, 5", value)]
                for what, value in (
                    ("* FROM interruption WHERE room_id = $1", management.room_id),
                    ("* FROM bridge_alarm WHERE room_id = $1", management.room_id),
                    ("kind, subject, detail, 1, 1 FROM alarm WHERE subject LIKE $1", f"%{one}"),
                    ("room_id, user_id, origin, day, digest, first_at, first_event_id, last_at FROM identity WHERE room_id = $1",
                     management.room_id),
                )
            ]  # fmt: skip

    management.say(interruption(one), BOT)
    management.say(interruption(one, end=25), BOT)
    management.say(alarm_of(one), BOT)
    management.say(alarm_of(two), BOT)
    management.say(alarm_of(two, cleared=True), BOT)
    management.say(text("hallo", **{"nl.griffier.source": source("w")}))
    await management.keep(backwards=True)
    before = await rows()
    assert all(before)
    await rebuild(archive.pool, archive.vault, lambda done, total: None)
    assert await rows() == before


async def test_a_conversation_shows_what_was_not_covered_while_it_lasted_and_no_other(archive, portal, management):
    portal.say(text("eerste"), at=20)
    await portal.keep()
    other = "+31 97 0999999"
    for identity, more in (
        ("ervoor", {"start": -500, "end": -400}), ("erin", {"start": 21, "end": 30}), ("nu", {"start": 40}),
        ("ander nummer", {"number": other, "official": "@ander:x"}),
        ("hele brug", {"number": None, "number_id": None, "official": None, "cause": "bridge-down", "start": 35, "end": 36}),
    ):  # fmt: skip
        management.say(interruption(identity, **more), BOT)
    await management.keep()
    room = await portal.room()
    async with tenant_tx(archive.pool, 1) as tx:
        told = await beside.bridged(tx, archive.vault, room)
        part = await beside.bridged(tx, archive.vault, room, start=told.interruptions[1].from_at)
        found = channels([room], await interruptions(tx, 1))
    assert [each.interruption_id for each in told.interruptions] == ["erin", "hele brug", "nu"]
    assert [each.interruption_id for each in part.interruptions] == ["hele brug", "nu"]
    by_number = {channel.number: channel for channel in found}
    assert by_number[NUMBER].officials == (OFFICIAL,)
    assert [each.interruption_id for each in by_number[NUMBER].open] == ["nu"]
    assert {each.interruption_id for each in by_number[NUMBER].interruptions} == {"ervoor", "erin", "nu", "hele brug"}
    assert by_number[other].officials == ("@ander:x",)


def alarm_of(identity: str, *, cleared: bool = False, **more) -> dict:
    told = {"id": identity, "kind": "poison", "subject": "3 berichten", "count": 3, "since": BEGAN, "cleared": cleared} | more
    return {"msgtype": "m.notice", "body": "Alarm", "nl.griffier.alarm": told}


@pytest.mark.parametrize("backwards", [False, True], ids=["in order", "newest first"])
async def test_the_bridge_s_alarms_are_the_archive_s_until_the_bridge_says_that_they_are_over(archive, management, backwards):
    management.say(alarm_of("a1"), BOT)
    management.say(alarm_of("a2"), BOT)
    management.say(alarm_of("a3", kind="Zeg maar wat!"), BOT)
    management.say(alarm_of("a2", cleared=True), BOT)
    management.say(alarm_of("vals"), OFFICIAL)
    await management.keep(backwards=backwards)
    assert list(await sounding(archive, "bridge:poison")) == [f"{BOT} a1"]
    assert (await sounding(archive, "bridge:poison"))[f"{BOT} a1"].startswith("3 berichten, 3 times, since 2025-11-24")
    assert list(await sounding(archive, "bridge:other")) == [f"{BOT} a3"]


async def test_no_name_number_or_detail_of_a_bridge_is_in_the_database_in_plain_text(archive, portal):
    word = secrets.token_hex(8)
    said = source("w", sender_name=f"Naam {word}", username=f"u{word}", sender_id=f"NL.{word}")
    portal.say(text("hallo", **{"nl.griffier.source": said}))
    portal.say(interruption("geheim", detail=f"detail {word}"), BOT)
    await portal.keep()
    assert word.encode() not in dump(archive.url)


HUGE = 10**30
HOSTILE = [
    None, 7, "x", [], [7], {}, {"id": 7}, {"id": "a\0b"}, {"timer": "x"}, {"timer": -1}, {"timer": HUGE, "expires_after": HUGE},
    {"id": "x", "from": HUGE, "until": -HUGE, "since": HUGE, "at": HUGE, "count": True, "kind": [], "network": {}},
]  # fmt: skip


@pytest.mark.parametrize("told", HOSTILE, ids=str)
async def test_whatever_a_bridge_writes_stops_nothing(portal, told):
    keys = (
        "nl.griffier.interruption", "nl.griffier.alarm", "nl.griffier.source", "nl.griffier.delivery", TIMER,
        "fi.mau.whatsapp.failed_media", "com.beeper.per_message_profile", "com.beeper.bridge.identifiers", "m.new_content",
    )  # fmt: skip
    content = {"msgtype": told, "body": told, **dict.fromkeys(keys, told)}
    event_id = portal.say(content, BOT)
    portal.add(
        "com.beeper.message_send_status", content | {"m.relates_to": {"rel_type": "m.reference", "event_id": event_id}}, BOT
    )
    portal.state(TIMER, told if isinstance(told, dict) else {}, "", BOT)
    portal.state("m.bridge", {"protocol": told, "channel": told}, "x/anders", BOT)
    portal.member(CONTACT, None, **{"com.beeper.bridge.identifiers": told})
    good = portal.say(text("buur"))
    await portal.keep()
    assert {event_id, good} <= set(await portal.lines())


NETWORK = "SELECT network, official FROM conversation WHERE org = 1 AND room_id = $1"


async def test_a_conversation_is_on_a_network_as_long_as_its_bridge_is_believed(archive, room):
    portal = await Portal(archive, room).open(**{"nl.griffier.official": OFFICIAL})
    portal.say(text("hallo"))
    await portal.keep()
    index, told = BlindIndex(archive.vault.search_key), []
    for believed in (BRIDGES, (), ("@een_ander:x",), BRIDGES):
        async with tenant_tx(archive.pool, 1) as tx:
            await tx.execute("UPDATE seat SET bridges = $1 WHERE org = 1", list(believed))
        async with tenant_tx(archive.pool, 1) as tx:
            while await project_batch(tx, archive.vault, index):
                pass
            told.append(tuple(await tx.fetchrow(NETWORK, room)))
    assert told == [("whatsapp", OFFICIAL), ("matrix", None), ("matrix", None), ("whatsapp", OFFICIAL)]


async def test_a_rebuild_says_anew_of_which_network_a_conversation_is(archive, room):
    plain = await Portal(archive, room).open(bridged=False)
    await plain.keep()
    portal = await Portal(archive, room + "2").open(**{"nl.griffier.official": OFFICIAL})
    await portal.keep()
    async with tenant_tx(archive.pool, 1) as tx:
        await tx.execute("UPDATE conversation SET network = 'signal', official = '@oud:x' WHERE org = 1")
    await rebuild(archive.pool, archive.vault, lambda done, total: None)
    async with tenant_tx(archive.pool, 1) as tx:
        assert tuple(await tx.fetchrow(NETWORK, room)) == ("matrix", None)
        assert tuple(await tx.fetchrow(NETWORK, room + "2")) == ("whatsapp", OFFICIAL)
