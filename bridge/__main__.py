"""`python -m bridge`: the bridge as a program."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import logging
import os
import signal
import sys
from pathlib import Path

import asyncpg
import yaml

from bridge.settings import Bridge, Settings, SettingsError


def main() -> int:
    """Run the bridge, or write its registration, or hand it an account's token."""
    parser = argparse.ArgumentParser(prog="python -m bridge", description="WhatsApp ⇄ Matrix.")
    parser.add_argument("--config", type=Path, required=True, help="the configuration file; see config/griffier.yaml")
    parser.add_argument("--registration", type=Path, metavar="OUT", help="write the registration that Synapse loads, and stop")
    parser.add_argument("--connect", metavar="ACCOUNT", help="connect a WhatsApp Business account, and stop")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="with --connect: the file that holds its access token")
    parser.add_argument(
        "--secret-file", type=Path, metavar="FILE", help="with --connect: its app secret, where the app is another"
    )
    args = parser.parse_args()
    if args.connect and not args.token_file:
        parser.error("--connect needs --token-file: a token on the command line can be seen by others")
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("mau").setLevel(logging.WARNING)  # at lower levels it names rooms and people
    from bridge.administration import Refusal

    try:
        settings = Settings.load(args.config).bridge
        if args.registration:
            args.registration.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(args.registration, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                yaml.safe_dump(settings.registration(), file, sort_keys=False)
            return 0
        if args.connect:
            secret = args.secret_file.read_text().strip() if args.secret_file else ""
            asyncio.run(_connect(settings, args.connect, args.token_file.read_text().strip(), secret))
            return 0
        asyncio.run(_run(settings))
    except SettingsError as error:
        print(f"bridge: {error}", file=sys.stderr)
        return 2
    except (OSError, asyncpg.PostgresError, ValueError, Refusal) as error:
        print(f"bridge: {error}", file=sys.stderr)
        return 1
    return 0


async def _connect(settings: Bridge, waba_id: str, token: str, secret: str) -> None:
    """A running bridge takes the account up within seconds."""
    from bridge.app import connect_account

    for number in await connect_account(settings, waba_id, token, secret, f"cli:{getpass.getuser()}"):
        print(f"{number['display_phone_number']} {number['name']}: {number['id']}")


async def _run(settings: Bridge) -> None:
    from bridge.app import run

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run(settings, stop)


if __name__ == "__main__":
    sys.exit(main())
