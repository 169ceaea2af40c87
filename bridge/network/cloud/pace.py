"""No faster than WhatsApp allows: so many messages a second of a number, and to each person (Meta: throughput)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

PAIR_BURST, PAIR_SECONDS = 45, 6.0  # to one person: 45 at once, then one every six seconds (error 131056)
MARGIN = 0.95  # of a number's rate that is used: what was evenly spaced here may arrive less so
KNOWN = 10_000  # persons remembered; whoever was written to longest ago is full again anyway


@dataclass(slots=True)
class Bucket:
    """Tokens that come back with time; a taker may be told to wait, and those after it wait longer."""

    size: float
    rate: float  # tokens per second
    left: float
    at: float

    def take(self, now: float) -> float:
        """Take one; returns the seconds to wait before it may be used."""
        self.left = min(self.size, self.left + (now - self.at) * self.rate) - 1
        self.at = now
        return max(0.0, -self.left / self.rate)


class Pace:
    """The buckets of every number and of whom it writes to.

    A number's holds one: its messages go evenly, whichever conversations they are of, so that no second has more than it may.
    """

    def __init__(self, per_second: Callable[[str], float], clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._clock = clock
        self._numbers: dict[str, Bucket] = {}
        self._pairs: dict[tuple[str, str], Bucket] = {}

    def wait(self, number_id: str, contact: str) -> float:
        """Seconds until a message that is to be sent now may be. Who asks has taken its turn."""
        now, rate = self._clock(), max(0.1, self._per_second(number_id)) * MARGIN
        number = self._numbers.setdefault(number_id, Bucket(1, rate, 1, now))
        number.rate = rate
        pair = self._pairs.pop((number_id, contact), None) or Bucket(PAIR_BURST, 1 / PAIR_SECONDS, PAIR_BURST, now)
        self._pairs[number_id, contact] = pair
        if len(self._pairs) > KNOWN:
            del self._pairs[next(iter(self._pairs))]
        return max(number.take(now), pair.take(now))

    async def turn(self, number_id: str, contact: str) -> None:
        """Wait for one's turn."""
        if (seconds := self.wait(number_id, contact)) > 0:
            await asyncio.sleep(seconds)
