"""How often one address, or one token, may ask."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

ADDRESSES = 10_000  # remembered; the one longest not seen is forgotten first


@dataclass(frozen=True, slots=True)
class Taken:
    """What a try found."""

    allowed: bool
    left: int  # tries that could follow at once
    wait: int  # seconds until there is one more; at least 1


class Limit:
    """At most `number` a minute for each address, and at once no more than that."""

    def __init__(self, number: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.number = number
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str) -> Taken:
        """Whether this address may try now; counts as a try."""
        now = self._clock()
        left, at = self._left.pop(address, (float(self.number), now))
        left = min(self.number, left + (now - at) * self.number / 60)
        after = max(left - 1, 0) if left >= 1 else left
        self._left[address] = after, now
        while len(self._left) > ADDRESSES:
            self._left.popitem(last=False)
        return Taken(left >= 1, int(after), max(math.ceil((1 - after % 1) * 60 / self.number), 1))

    def allows(self, address: str) -> bool:
        """Whether this address may try now; counts as a try."""
        return self.take(address).allowed


def address(request: web.Request, proxies: tuple[str, ...]) -> str:
    """Whose request it is: behind proxies of ours, the last address in X-Forwarded-For that is none of them."""
    found = request.remote or ""
    if found in proxies:
        for told in reversed([part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",")]):
            if told not in proxies:
                return told[:64] or found
    return found
