"""WhatsApp's 24 hours are counted from what the other side last said; what can't be known is left to WhatsApp itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from bridge.network import Incoming, Named
from bridge.window import Window

pytestmark = pytest.mark.postgres
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@dataclass
class Clock:
    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
async def pool(bridge_url: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(bridge_url, min_size=1, max_size=2) as made:
        yield made


def said(at: datetime | None, kind: str = "text") -> Incoming:
    return Incoming("106", Named(wa_id="316"), "wamid.1", at, kind, kind)


@pytest.mark.parametrize(
    ("hours", "closed"), [([0], False), ([23.99], False), ([24], True), ([30, 2], False), ([2, 30], False), ([-5], False)]
)
async def test_it_is_open_for_a_day_after_the_newest_word_whatever_the_order(pool, hours, closed):
    window = Window(pool, Clock())
    for ago in hours:
        await window.heard(said(NOON - timedelta(hours=ago)), "316")
    assert await window.closed("106", "316") is closed


async def test_a_clock_that_is_ahead_opens_it_no_longer_than_a_day_from_now(pool):
    clock = Clock()
    window = Window(pool, clock)
    await window.heard(said(NOON + timedelta(days=300)), "316")
    clock.now = NOON + timedelta(hours=24)
    assert await window.closed("106", "316")


@pytest.mark.parametrize("at", [None, NOON - timedelta(days=365)])
async def test_of_a_time_that_can_not_be_whatsapp_has_to_say_what_it_means(pool, at):
    window = Window(pool, Clock())
    await window.heard(said(NOON - timedelta(hours=30)), "316")
    assert await window.closed("106", "316")
    await window.heard(said(at), "316")
    assert not await window.closed("106", "316")


async def test_a_number_and_a_person_each_have_their_own(pool):
    window = Window(pool, Clock())
    await window.heard(said(NOON - timedelta(hours=30)), "316")
    assert [await window.closed(*place) for place in (("106", "316"), ("107", "316"), ("106", "317"))] == [True, False, False]


async def test_when_whatsapp_says_that_it_is_closed_it_is_until_something_is_said_after_that(pool):
    window = Window(pool, Clock())
    await window.shut("106", "316")
    assert await window.closed("106", "316")
    await window.heard(said(NOON), "316")
    assert not await window.closed("106", "316")
    await window.shut("106", "316", NOON - timedelta(minutes=5))  # a word of before that answer, come late
    assert not await window.closed("106", "316")
