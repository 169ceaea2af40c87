"""Waiting that ends at once when the process is told to stop."""

from __future__ import annotations

import asyncio
import contextlib


async def stopped(stop: asyncio.Event, seconds: float) -> bool:
    """Wait so long, or until told to stop; returns whether that was said."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
    return stop.is_set()
