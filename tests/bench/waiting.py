"""Waiting for what another process does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def until(check: Callable[[], Awaitable[object]], seconds: float, every: float = 0.05) -> None:
    """Look `every` so many seconds; raises TimeoutError when it takes longer than `seconds`."""
    async with asyncio.timeout(seconds):
        while True:
            if await check():
                return
            await asyncio.sleep(every)
