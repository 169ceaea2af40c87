"""A WhatsApp of its own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.bridge.simulated import Sim, simulated


@pytest.fixture
async def sim() -> AsyncIterator[Sim]:
    """A simulator of its own, and its webhook."""
    async with simulated() as running:
        yield running
