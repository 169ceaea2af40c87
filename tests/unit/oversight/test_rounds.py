"""A part of a canary's round counts as archived only when everything about it is well; rounds add up to what status tells."""

import dataclasses
import json
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from archiver.db import tenant_tx
from archiver.ledger import alarm
from archiver.oversight import rounds
from archiver.oversight.canary import notice_absence
from archiver.oversight.rounds import PARTS, Round, Sighting, is_overdue, lacks
from archiver.settings import Canary, Settings

SENT = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
GOOD = Sighting(
    sent_at=SENT, arrived_at=SENT + timedelta(milliseconds=87), id_matches=True, content_matches=True, signed=True,
    unreadable=None, doubts=(), file_state="stored", file_problem=None, shown=True, edited=True, deleted=True,
)  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_what_is_there_readable_and_checked_has_arrived(part):
    assert lacks(part, GOOD) is None
    assert GOOD.milliseconds == 87


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"id_matches": False}, "event id"),
        ({"content_matches": False}, "content"),
        ({"signed": False}, "signature"),
        ({"unreadable": "withheld:m.unverified"}, "can't be read: withheld:m.unverified"),
        ({"doubts": ("other-sender", "replayed")}, "other-sender, replayed"),
    ],
)
def test_what_is_there_and_not_in_order_has_not_arrived(part, change, told):
    assert told in lacks(part, dataclasses.replace(GOOD, **change))


@pytest.mark.parametrize(
    ("part", "change", "told"),
    [
        ("message", None, "not in the archive"),
        ("message", {"shown": False}, "reading view"),
        ("edit", {"edited": False}, "reading view"),
        ("deletion", {"deleted": False}, "reading view"),
        ("file", {"file_state": "waiting", "file_problem": "M_NOT_FOUND"}, "the file is waiting: M_NOT_FOUND"),
        ("file", {"file_state": None}, "the file is not noticed"),
    ],
)
def test_each_part_must_show_as_what_it_is(part, change, told):
    assert told in lacks(part, dataclasses.replace(GOOD, **change) if change else None)


def test_a_message_needs_no_edit_deletion_or_file_of_its_own():
    assert lacks("message", dataclasses.replace(GOOD, edited=False, deleted=False, file_state=None)) is None


def test_clocks_that_differ_give_no_negative_latency():
    assert dataclasses.replace(GOOD, arrived_at=SENT - timedelta(seconds=2)).milliseconds == 0


def test_a_round_is_complete_only_when_all_four_arrived():
    assert Round(SENT, "!x:x", True, dict.fromkeys(PARTS, 1)).complete
    assert not Round(SENT, "!x:x", True, {"message": 1, "edit": 1, "file": 1}).complete
    assert not Round(SENT, None, False).complete


def test_rounds_are_overdue_after_three_that_did_not_come_and_never_where_the_canary_is_off():
    assert not is_overdue(SENT, 5, SENT + timedelta(minutes=15))
    assert is_overdue(SENT, 5, SENT + timedelta(minutes=15, seconds=1))
    assert not is_overdue(SENT, 0, SENT + timedelta(days=9))


async def test_completeness_and_percentiles_are_those_of_the_last_24_hours(archive):
    now = datetime.now(UTC)
    async with tenant_tx(archive.pool, 1) as tx:
        assert await rounds.summary(tx, 1) is None
        for hours, took in ((30, 9000), (3, 100), (2, 200), (1, 300)):
            await rounds.keep(tx, 1, Round(now - timedelta(hours=hours), "!x:x", True, dict.fromkeys(PARTS, took)))
        await rounds.keep(
            tx, 1, Round(now, "!x:x", False, {"message": 900}, dict.fromkeys(PARTS[1:], "it is not in the archive"))
        )
        told = await rounds.summary(tx, 1)
    assert (told.expected, told.arrived, told.completeness) == (16, 13, 13 / 16)
    assert dataclasses.astuple(told.latency["message"]) == (900, 250.0, pytest.approx(810))
    assert dataclasses.astuple(told.latency["file"]) == (None, 200.0, pytest.approx(290))
    assert not told.last.complete
    assert "INCOMPLETE, not heard" in next(told.lines(5, now))
    assert json.loads(json.dumps(told.to_json(5, now)))["last"]["lacking"]["file"] == "it is not in the archive"


async def test_rounds_are_thrown_away_after_ninety_days_never_altered_and_an_organisations_own(archive):
    now = datetime.now(UTC)
    async with tenant_tx(archive.pool, 1) as tx:
        for days in (91, 89, 0):
            await rounds.keep(tx, 1, Round(now - timedelta(days=days), f"!{days}:x", True))
        kept = await tx.fetch("SELECT room_id FROM canary_round ORDER BY started_at")
        assert [row["room_id"] for row in kept] == ["!89:x", "!0:x"]
        assert await rounds.last_room(tx, 1) == "!0:x"
    async with tenant_tx(archive.pool, 1) as tx:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await tx.execute("UPDATE canary_round SET message_ms = 1")
    async with tenant_tx(archive.pool, 2) as tx:
        assert await tx.fetchval("SELECT count(*) FROM canary_round") == 0


async def test_the_alarm_sounds_when_no_round_comes_and_ends_where_the_canary_is_off(archive):
    settings = Settings(canary=Canary(every=5))
    since = datetime.now(UTC)
    async with tenant_tx(archive.pool, 1) as tx:
        await notice_absence(tx, settings, since, since + timedelta(minutes=14))
        assert await alarm.sounding(tx, 1) == []
        await notice_absence(tx, settings, since, since + timedelta(minutes=16))
        [sounding] = await alarm.sounding(tx, 1)
        assert sounding["kind"] == alarm.CANARY
        assert "no round has come since" in sounding["detail"]
        await notice_absence(tx, Settings(), since, since + timedelta(minutes=17))
        assert await alarm.sounding(tx, 1) == []
        # Once there is a round, its end counts.
        await rounds.keep(tx, 1, Round(since, None, False))
        ended_at = await rounds.last_end(tx, 1)
        await notice_absence(tx, settings, since - timedelta(days=1), ended_at + timedelta(minutes=14))
        assert await alarm.sounding(tx, 1) == []
