"""The page of the archive's health: each problem with what to do about it."""

from __future__ import annotations

import secrets

import pytest

from archiver.capture import doctor
from archiver.db import tenant_tx
from archiver.ledger import alarm
from archiver.settings import Settings
from archiver.web.admin import advice
from archiver.web.language import ReaderLanguage
from tests.unit.bridge.simulated import free_port
from tests.unit.web.admin.desk import at_work

pytestmark = pytest.mark.postgres


async def test_what_is_wrong_is_told_with_what_to_do(archive, tmp_path):
    room = f"!{secrets.token_hex(5)}:x"
    settings = Settings(archiver={"user_id": "@a:x"}, data_dir=tmp_path)
    async with tenant_tx(archive.pool, 1) as tx:
        await alarm.sound(tx, 1, alarm.CANT_JOIN, room, "M_FORBIDDEN")
        await tx.execute(
            "INSERT INTO gap (org, room_id, event_id, state, cause) VALUES (1, $1, '$een', 'kept', 'withheld'), "
            "(1, $1, '$twee', 'kept', 'not-visible')",
            room,
        )
    async with at_work(archive, tmp_path, settings) as desk:
        text = await desk.open("/health")
        english = await desk.open("/health?lang=en")
    for words in (
        "Het archiveren door @a:x", "Het is nooit gestart.",
        "Het archief kan niet aan een gesprek deelnemen",
        "Laat een deelnemer het archief uitnodigen.", room, "M_FORBIDDEN", "de homeserver heeft het, maar geeft het niet",
    ):  # fmt: skip
        assert words in text, words
    assert "Have somebody in the room invite the archiver." in english
    async with tenant_tx(archive.pool, 1) as tx:
        await alarm.clear(tx, 1, room, alarm.CANT_JOIN)
        await tx.execute("DELETE FROM gap WHERE room_id = $1", room)


async def test_a_homeserver_that_does_not_answer_holds_up_no_page(archive, tmp_path):
    settings = Settings(homeserver={"url": f"http://127.0.0.1:{free_port()}"}, data_dir=tmp_path)
    async with at_work(archive, tmp_path, settings) as desk:
        text = await desk.open("/health")
    assert "Kijk of Synapse draait" in text


async def test_the_doctor_s_words_are_told_in_dutch(archive, tmp_path):
    say = ReaderLanguage("nl")
    settings = Settings(archiver={"user_id": "@a:x"}, data_dir=tmp_path)
    findings = [each async for each in doctor.examine(settings, archive.pool, archive.vault)]
    assert len(findings) > 8
    for each in findings:
        assert advice.told(say, each.what) != each.what
        assert each.advice == "" or advice.to_do(say, each.what, each.advice) != each.advice
    assert (
        advice.problem(say, "no process drives it; it is not signed")
        == "Geen proces bedient het. Het apparaat is niet ondertekend."
    )
    assert advice.told(say, "something new 100%") == "something new 100%"
    assert advice.told(say, "it is %(evil)s") == "Het meldt zelf: %(evil)s."


@pytest.mark.parametrize("role", ["records-officer", "official", "auditor"])
async def test_the_health_is_the_admin_s(archive, tmp_path, role):
    async with at_work(archive, tmp_path, role=role) as desk:
        await desk.open("/health", 403)
