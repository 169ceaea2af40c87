"""The metrics are what Prometheus's own parser reads, hold the right numbers, and nothing of people."""

import dataclasses
import secrets
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from archiver.capture.seat import TAKE
from archiver.db import tenant_tx
from archiver.ledger import alarm
from archiver.ledger.record import append
from archiver.oversight import metrics as subject
from archiver.oversight import rounds
from archiver.oversight.rounds import PARTS, Round
from archiver.settings import Canary, Settings


async def read(archive, org=2, every=5.0) -> dict:
    """The metrics of an organisation that nothing else is archived for: (name, labels) to value."""
    settings = Settings(organisation={"id": org}, canary=Canary(every=every))
    async with tenant_tx(archive.pool, org) as tx:
        text = await subject.metrics(tx, settings)
    families = list(text_string_to_metric_families(text.decode()))
    assert all(family.documentation and family.name.startswith("griffier_") for family in families)
    samples = [sample for family in families for sample in family.samples]
    values = {(sample.name.removeprefix("griffier_"), *sample.labels.values()): sample.value for sample in samples}
    assert len(values) == len(samples), "each series once"
    return values


@pytest.fixture
async def holdings(archive):
    """Two records of organisation 2, one of them unreadable, and something of everything else."""
    room = f"!{secrets.token_hex(6)}:geheim"
    plain = archive.arrival({"body": "staatsgeheim"}, room)
    waiting = archive.arrival({"ciphertext": "…", "session_id": "s"}, room, type="m.room.encrypted")
    waiting = dataclasses.replace(waiting, unreadable="withheld:nl.minister-de-wit.said-no")
    child = archive.arrival({"body": "later"}, room, prev_events=["$never-seen"])
    async with tenant_tx(archive.pool, 2) as tx:
        await append(tx, archive.other, [plain, waiting, child])
        await tx.execute(
            "INSERT INTO room (org, room_id, version, membership, user_id) "
            "VALUES (2, $1, '11', 'join', '@archief:x'), (2, '!oud', '11', 'leave', '@archief:x')",
            room,
        )
        await tx.execute(
            "INSERT INTO media (org, room_id, event_id, part, sealed_source, state) VALUES (2, $1, '$f', 'file', '', 'failed')",
            room,
        )
        await tx.execute(
            "INSERT INTO seat (org, user_id, sealed_secrets, capturing, signed_at, seen_at, alive_at) VALUES "
            "(2, '@archief:x', '', true, now(), now() - interval '10 seconds', now()), "
            "(2, '@archief2:x', '', true, NULL, NULL, NULL)"
        )
        await tx.execute(
            "INSERT INTO interruption "
            "(org, told_by, interruption_id, network, from_at, until_at, cause, told_at, room_id, event_id) "
            "VALUES (2, '@b:x', '1', 'whatsapp', now(), NULL, 'paused', now(), $1, '$a'), "
            "(2, '@b:x', '2', 'whatsapp', now(), now(), 'paused', now(), $1, '$b')",
            room,
        )
        await tx.execute(
            "INSERT INTO message (org, room_id, event_id, sender, kind, sent_at, depth, unreadable) VALUES "
            "(2, $1, '$h', '@g:x', 'unreadable', now(), 1, 'bridge:undecryptable'), "
            "(2, $1, '$k', '@g:x', 'unreadable', now(), 1, 'no-key')",
            room,
        )
        await alarm.sound(tx, 2, alarm.REMOVED, room, "@minister:x removed the archiver")
        done = Round(datetime.now(UTC), room, True, {"message": 120, "edit": 80}, {"file": "x", "deletion": "y"})
        await rounds.keep(tx, 2, done)
    async with archive.pool.acquire() as driver:  # a living process holds the seat's lock
        assert await driver.fetchval(TAKE, "griffier seat|2|@archief:x")
        yield room
        await driver.fetchval("SELECT pg_advisory_unlock_all()")
    async with archive.pool.acquire() as connection:
        for table in ("room", "media", "seat", "alarm", "canary_round", "gap", "interruption", "message"):
            await connection.execute(f"DELETE FROM {table} WHERE org = 2")


async def test_every_number_is_that_of_the_organisation(archive, holdings):
    told = await read(archive)
    assert told["records",] >= 3
    assert told["unreadable", "withheld:other"] >= 1
    assert told["gaps", "open"] == 1
    assert told["gaps", "not-visible"] == told["stretches", "failed"] == told["media", "waiting"] == 0
    assert told["media", "failed"] == 1
    assert (told["rooms", "joined"], told["rooms", "left"], told["rooms_without_notice",]) == (1, 1, 1)
    assert told["alarms", "removed"] == 1
    assert told["channels_not_covered",] == 1
    assert told["unreadable", "bridge:undecryptable"] == 1
    assert told.get(("unreadable", "no-key"), 0) == 0, "what no key came for is counted in the ledger"
    assert (told["capturing", "@archief:x"], told["signed", "@archief:x"]) == (1, 1)
    # What a seat said of itself is not believed once nobody holds its lock.
    assert (told["capturing", "@archief2:x"], told["signed", "@archief2:x"]) == (0, 0)
    assert 10 <= told["seconds_since_sync", "@archief:x"] < 60
    assert (told["canary_complete",], told["canary_heard",], told["canary_overdue",]) == (0, 1, 0)
    assert (told["canary_parts_expected",], told["canary_parts_arrived",], told["canary_completeness_ratio",]) == (4, 2, 0.5)
    assert told["canary_latency_seconds", "message", "last"] == told["canary_latency_seconds", "message", "p95"] == 0.12
    assert ("canary_latency_seconds", "file", "last") not in told


async def test_there_is_nothing_in_them_of_people_rooms_or_what_is_said(archive, holdings):
    settings = Settings(organisation={"id": 2})
    async with tenant_tx(archive.pool, 2) as tx:
        text = (await subject.metrics(tx, settings)).decode()
    for secret in ("minister", "geheim", holdings, "said-no"):
        assert secret not in text


async def test_without_a_canary_there_is_nothing_of_one_and_an_empty_archive_has_its_zeros(archive):
    async with archive.pool.acquire() as connection:
        await connection.execute("DELETE FROM canary_round WHERE org = 2")
    told = await read(archive)
    assert not [name for name, *_ in told if name.startswith("canary")]
    assert told["rooms", "joined"] == 0


def test_a_canary_that_fell_silent_is_overdue():
    last = Round(datetime.now(UTC), None, True, dict.fromkeys(PARTS, 5))
    now = datetime.now(UTC)
    told = rounds.Summary(last, now - timedelta(minutes=16), 0, 0, {})
    values = {sample.name: sample.value for family in subject.canary(told, 5, now) for sample in family.samples}
    assert values["griffier_canary_overdue"] == 1
    assert values["griffier_canary_seconds_since_round"] == 960


async def test_beyond_the_bound_the_number_of_records_is_an_estimate(archive, monkeypatch, holdings):
    async with tenant_tx(archive.pool, 1) as tx:
        await append(tx, archive.vault, [archive.arrival({"body": f"{number}"}, holdings) for number in range(40)])
    async with archive.pool.acquire() as connection:
        await connection.execute("ANALYZE record")
        total = await connection.fetchval("SELECT count(*) FROM record")
    monkeypatch.setattr(subject, "EXACT", 1)
    told = await read(archive)
    assert told["records",] == total >= 43


def test_a_cause_that_a_sender_made_up_is_no_label():
    counted = {"no-key": 3, "withheld:m.unverified": 2, 'withheld:"} 9': 4, "withheld:nl.x": 1, "vreemd": 5, "withheld": 1}
    assert dict(subject.by_cause(counted)) == {
        ("no-key",): 3,
        ("withheld:m.unverified",): 2,
        ("withheld:other",): 6,
        ("other",): 5,
    }
