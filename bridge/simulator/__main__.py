"""`python -m bridge.simulator`: stands in for WhatsApp, speaking the Cloud API's HTTP on loopback."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path

import yaml

from bridge.simulator.server import Simulator, serve


def main() -> int:
    """Run the simulator until stopped."""
    parser = argparse.ArgumentParser(
        prog="python -m bridge.simulator", description="A local stand-in for the WhatsApp Cloud API."
    )
    parser.add_argument("--config", type=Path, required=True, help="a YAML file with the section `simulator`")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(_run(Simulator(**yaml.safe_load(args.config.read_text())["simulator"])))
    return 0


async def _run(simulator: Simulator) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(simulator, stop)


if __name__ == "__main__":
    sys.exit(main())
