"""`python -m bridge`: the bridge as a program."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

import asyncpg
import yaml

from bridge.settings import Bridge, Settings, SettingsError


def main() -> int:
    """Run the bridge, or write its registration."""
    parser = argparse.ArgumentParser(prog="python -m bridge", description="WhatsApp ⇄ Matrix.")
    parser.add_argument("--config", type=Path, required=True, help="the configuration file; see config/griffier.yaml")
    parser.add_argument("--registration", type=Path, metavar="OUT", help="write the registration that Synapse loads, and stop")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("mau").setLevel(logging.WARNING)  # at lower levels it names rooms and people
    try:
        settings = Settings.load(args.config).bridge
        if args.registration:
            args.registration.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(args.registration, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                yaml.safe_dump(settings.registration(), file, sort_keys=False)
            return 0
        asyncio.run(_run(settings))
    except SettingsError as error:
        print(f"bridge: {error}", file=sys.stderr)
        return 2
    except (OSError, asyncpg.PostgresError, ValueError) as error:
        print(f"bridge: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(settings: Bridge) -> None:
    from bridge.app import run

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run(settings, stop)


if __name__ == "__main__":
    sys.exit(main())
