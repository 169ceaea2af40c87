"""`griffier demo`: start everything, say where it is, stay until told to stop."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from pathlib import Path

from archiver.demo import people
from archiver.demo.ports import DEFAULT_BASE, DemoError, Ports
from archiver.demo.stack import Stack


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `griffier demo`."""
    parser.add_argument("--bare", action="store_true", help="without the sample conversations")
    parser.add_argument("--data-dir", type=Path, default=Path("data/demo"), help="where everything is kept between runs")
    parser.add_argument("--port-base", type=int, default=DEFAULT_BASE, help=f"first of eight ports (default {DEFAULT_BASE})")
    about = "also send the canary's test messages every so many minutes (default: not)"
    parser.add_argument("--canary", type=float, default=0, metavar="MINUTES", help=about)


def run(args: argparse.Namespace) -> int:
    """Run the demo until SIGINT or SIGTERM; returns the exit code."""
    try:
        asyncio.run(_run(args))
    except DemoError as error:
        print(f"griffier demo: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(args: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()
    started = False

    def told_to_stop() -> None:
        stop.set()
        if not started and main is not None:
            main.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told_to_stop)
    began = time.monotonic()
    _say(f"Griffier start in {args.data_dir} …")
    try:
        async with Stack(args.data_dir, Ports(args.port_base), _say, args.canary) as stack:
            started = True
            _say(f"Alles draait na {time.monotonic() - began:.0f} s · everything runs")
            if args.json:
                print(stack.contract.json(), flush=True)
            if not args.bare:
                await _sample(stack, stop)
            if not args.json and not stop.is_set():
                _say(welcome(stack))
            await stop.wait()
            _say("Griffier stopt … · stopping")
    except asyncio.CancelledError:
        if not stop.is_set():
            raise


async def _sample(stack: Stack, stop: asyncio.Event) -> None:
    from archiver.demo.sample import send

    async def fill() -> None:
        await stack.register_officials()
        await send(stack, _say)

    sending = asyncio.create_task(fill())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({sending, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not sending.done():
        sending.cancel()
        return
    if error := sending.exception():
        raise DemoError(f"The sample conversations could not be sent: {error}") from error


def welcome(stack: Stack) -> str:
    """What a newcomer needs to know next."""
    web, matrix = stack.contract.web, stack.contract.homeserver
    lines = ["", "Lees het archief · read the archive:", f"    {web}", "  Kies bij het inloggen wie u bent · choose who you are:"]
    lines += [f"    {each.person.name:<18} {each.about}" for each in people.SIGN_INS]
    lines += [
        "Speel iemand op WhatsApp · play somebody on WhatsApp:",
        f"    {stack.contract.simulator}/phone/{people.CITIZEN.wa_id}   {people.CITIZEN.name}",
        "Opdrachtregel · command line, for example:",
        f"    griffier --config {stack.data_dir / 'griffier.yaml'} rooms",
        f"Chat mee met Element op homeserver · chat with Element on homeserver {matrix}:",
    ]
    for person in people.MINISTRY:
        password = stack.secrets.get(f"password_{person.localpart}") or stack.secrets["operator_password"]
        lines.append(f"    {person.localpart:<18} {password}   {person.name}, {person.role}")
    lines += ["", "Stoppen: Ctrl-C · stop: Ctrl-C"]
    return "\n".join(lines)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
