"""`make bench`, or `python -m tests.bench ledger catchup` for some of it."""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from pathlib import Path

from tests.bench import bridged, catchup, growth, latency, ledger, reading, search, sessions
from tests.bench.archive import reachable

IDEAS = {
    "ledger": ledger.run,
    "growth": growth.run,
    "latency": latency.run,
    "catchup": catchup.run,
    "sessions": sessions.run,
    "search": search.run,
    "reading": reading.run,
    "bridge": bridged.run,
}


async def main(names: list[str]) -> None:
    """Measure what is named, or everything, each in a folder of its own that is removed afterwards."""
    for name in names or IDEAS:
        with tempfile.TemporaryDirectory(prefix="griffier-bench-") as folder:
            await IDEAS[name](reachable(Path(folder)))


if __name__ == "__main__":
    if unknown := set(sys.argv[1:]) - set(IDEAS):
        sys.exit(f"There is no {', '.join(sorted(unknown))}; there are {', '.join(IDEAS)}.")
    logging.getLogger("nio").setLevel(logging.CRITICAL)
    asyncio.run(main(sys.argv[1:]))
