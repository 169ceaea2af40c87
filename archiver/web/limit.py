"""How often one address may try to sign in."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from aiohttp import web

ADDRESSES = 10_000  # remembered; the one longest not seen is forgotten first


class Limit:
    """At most `number` a minute for each address, and at once no more than that."""

    def __init__(self, number: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._number = number
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, address: str) -> bool:
        """Whether this address may try now; counts as a try."""
        now = self._clock()
        left, at = self._left.pop(address, (float(self._number), now))
        left = min(self._number, left + (now - at) * self._number / 60)
        self._left[address] = (max(left - 1, 0) if left >= 1 else left, now)
        while len(self._left) > ADDRESSES:
            self._left.popitem(last=False)
        return left >= 1


def address(request: web.Request, proxies: tuple[str, ...]) -> str:
    """Whose request it is: behind proxies of ours, the last address in X-Forwarded-For that is none of them."""
    found = request.remote or ""
    if found in proxies:
        for told in reversed([part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",")]):
            if told not in proxies:
                return told[:64] or found
    return found
