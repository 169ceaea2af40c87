"""The command line: `griffier`. Exit codes: 0 done, 1 the check or job failed, 2 wrong use."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import logging
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from archiver.settings import Settings, SettingsError

if TYPE_CHECKING:
    from archiver.db import Pool
    from archiver.ledger.chain import Head
    from archiver.ledger.sealing import Vault
    from archiver.reading.completeness import Completeness


# Control characters, and those that change the direction of what follows.
STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class CommandError(Exception):
    """The command can't be done; the message says what to do."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    # The options that may stand on either side of the command have no default of their own: see parser().
    args = parser().parse_args(arguments, argparse.Namespace(config=None, json=False, verbose=False))
    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    try:
        if args.command == "demo":
            from archiver.demo.command import run

            return run(args)
        if args.command == "bridge":
            bridge(args)
        settings = Settings.load(args.config)
        return int(asyncio.run(args.work(settings, args)))
    except SettingsError as error:
        print(f"griffier: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 1
    except Exception as error:
        if not _expected(error):
            raise
        print(f"griffier {args.command}: {error}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    """The commands and their options; --config, --json and --verbose may stand before or after the command."""
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--config", type=Path, help="the configuration file (also GRIFFIER_CONFIG)")
    common.add_argument("--json", action="store_true", help="print JSON, for programs")
    common.add_argument("--verbose", action="store_true", help="log more")
    whole = argparse.ArgumentParser(prog="griffier", description="Government chat with the archive built in.", parents=[common])
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, work: Callable[..., Awaitable[int]] | None, about: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=about, description=about, parents=[common])
        made.set_defaults(work=work)
        return made

    from archiver.demo.command import add_arguments

    add_arguments(command("demo", None, "start the whole chain on this machine, with sample conversations"))
    command("migrate", migrate, "make or update the tables, the organisation and its key")
    command("archive", archive, "capture messages, until stopped")
    command("web", web, "serve the web application, until stopped")
    carry = command("bridge", None, "carry WhatsApp conversations, until stopped; or with one of its options, do that and stop")
    carry.add_argument("--registration", metavar="OUT", help="write the registration that Synapse loads")
    carry.add_argument("--connect", metavar="ACCOUNT", help="connect a WhatsApp Business account")
    carry.add_argument("--token-file", metavar="FILE", help="with --connect: the file that holds its access token")
    carry.add_argument("--secret-file", metavar="FILE", help="with --connect: its app secret, where the app is another")
    sing = command("canary", canary, "send test messages every few minutes and look whether they are archived, until stopped")
    sing.add_argument("--once", action="store_true", help="one round now; exit code 1 when not all of it was archived")
    command("rooms", rooms, "list the conversations")
    command("status", status, "whether messages are being captured, and what is missing")
    command("doctor", doctor, "what is wrong with capture, and what to do about it")
    command("recovery-key", recovery_key, "show the key of the room keys' backup on the homeserver")
    command("rebuild", rebuild, "make the reading view again from the ledger")
    from archiver.web.commands import add_role_arguments, add_session_arguments

    add_role_arguments(command("role", role, "who has which role in the web application; give and take them"))
    add_session_arguments(command("session", session, "who is signed in to the web application; sign them out"))
    check = command("trail", trail, "whether the chain of the audit trail fits; exit code 1 when it does not")
    check.add_argument("--known", type=_head, metavar="NUMBER:LINK", help="a head that you kept: it must still be in the chain")
    from archiver.web.admin.arguments import add_arguments as add_official_arguments

    add_official_arguments(command("official", official, "who the officials are, and when: list, add, end and import them"))
    find = command("search", search, "search in all messages")
    find.add_argument("query", nargs="*", help='words that must all occur; OR, NOT or -word, (brackets) and "a phrase" work too')
    find.add_argument("--limit", type=_count, default=50, help="how many to print (default 50)")
    add_search_arguments(find)
    give = command("export", export, "write a conversation to a file")
    give.add_argument("room", help="the room id, or a part of its name")
    give.add_argument("--format", default="html", help="html or jsonl (default html)")
    give.add_argument("--out", type=Path, required=True, help="the file to write")
    give.add_argument(
        "--from", dest="start", type=_moment, help="from this day or time on (ISO 8601; Europe/Amsterdam unless stated)"
    )
    give.add_argument("--to", dest="end", type=_moment, help="until before this day or time")
    give.add_argument("--force", action="store_true", help="replace the file if it exists")
    give.add_argument("--changes", action="store_true", help="jsonl: lines for what happened in the room too (kind: state)")
    give.add_argument("--language", choices=("nl", "en"), help="of the cover and the labels")
    return whole


def add_search_arguments(find: argparse.ArgumentParser) -> None:
    """The filters of a search and its order; with one of them, it needs no word."""
    from archiver.reading.facts import HAS
    from archiver.reading.sweep import NEWEST, ORDERS

    find.add_argument("--sender", default="", help="a Matrix id, or part of it or of a name")
    find.add_argument("--official", default="", help="a Matrix id: in the conversations of this official")
    find.add_argument("--room", default="", help="a room id, or part of a name")
    find.add_argument("--network", default="", help="matrix, whatsapp, …")
    find.add_argument("--from", dest="start", type=_moment, help="from this day or time on (Europe/Amsterdam unless stated)")
    find.add_argument("--to", dest="end", type=_moment, help="until before this day or time")
    find.add_argument("--has", action="append", default=[], choices=HAS, help="only messages with this; may be repeated")
    find.add_argument("--sort", choices=ORDERS, default=NEWEST, help=f"the order (default {NEWEST})")


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 1 to 1000")
    return int(text)


def _moment(text: str) -> datetime:
    from archiver.export.language import ZONE

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a day or time such as 2026-03-01 or 2026-03-01T14:30") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=ZONE)


def _head(text: str) -> Head:
    from archiver.ledger.chain import Head

    try:
        return Head.read(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _expected(error: Exception) -> bool:
    """Whether an error is one whose message tells a person what to do."""
    import asyncpg

    from archiver.capture.client import CaptureError
    from archiver.db import DatabaseError, SchemaError
    from archiver.export import ExportError
    from archiver.ledger.sealing import SealingError
    from archiver.reading.rooms import NoSuchRoom
    from archiver.reading.scope import NotKnown
    from archiver.reading.words import NothingToSearch
    from archiver.web.admin.commands import OfficialError
    from archiver.web.roles import RoleError

    kinds = (
        CommandError, CaptureError, DatabaseError, SchemaError, ExportError, SealingError, NoSuchRoom, NotKnown, NothingToSearch,
        RoleError, OfficialError,
    )  # fmt: skip
    return isinstance(error, (*kinds, asyncpg.PostgresError, OSError))


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[tuple[Pool, Vault]]:
    """The archive's database and keys."""
    from archiver.db import connect, require_current, tenant_tx
    from archiver.ledger.sealing import FileKey, Vault

    async with connect(settings.database.url.get_secret_value(), settings.database.pool_size) as pool:
        await require_current(pool)
        async with tenant_tx(pool, settings.organisation.id) as tx:
            vault = await Vault.open(tx, settings.organisation.id, FileKey.load(settings.keys))
        yield pool, vault


def actor() -> str:
    """Who is at the command line, for the audit trail."""
    return f"cli:{getpass.getuser()}"


def stopping() -> asyncio.Event:
    """An event that SIGINT and SIGTERM set."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def migrate(settings: Settings, args: argparse.Namespace) -> int:
    """Tables, organisation, key file."""
    from archiver import db
    from archiver.ledger.sealing import FileKey, Vault

    async with db.connect(settings.database.url.get_secret_value()) as pool:
        done = await db.migrate(pool)
        organisation = settings.organisation
        async with db.tenant_tx(pool, organisation.id) as tx:
            known = await tx.fetchval("SELECT true FROM organisation WHERE org = $1", organisation.id)
            # A new key beside an existing archive would hide that the right one is missing.
            key = FileKey.load(settings.keys, create=not known)
            await Vault.set_up(tx, organisation.id, organisation.name, key)
            await Vault.open(tx, organisation.id, key)
    _print(args, {"applied": done}, f"{len(done)} migration(s) applied; the key is in {settings.keys}.")
    return 0


async def archive(settings: Settings, _: argparse.Namespace) -> int:
    """The archiver; beside it, the reading view is kept up to date and the canary is seen to live."""
    from archiver.capture import service
    from archiver.oversight.canary import watch
    from archiver.reading import project

    async def alongside(pool: Pool, vault: Vault, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(project.run(pool, vault, stop))
            tasks.create_task(watch(settings, pool, vault, stop))

    await service.run(settings, alongside, stopping())
    return 0


def bridge(args: argparse.Namespace) -> NoReturn:
    """The bridge is a program of its own: this one becomes it. Raises SettingsError."""
    config = args.config or os.environ.get("GRIFFIER_CONFIG")
    if not config:
        raise SettingsError("The bridge needs a configuration file: give --config, or set GRIFFIER_CONFIG.")
    given = {name: getattr(args, name) for name in ("registration", "connect", "token_file", "secret_file")}
    options = [part for name, value in given.items() if value for part in (f"--{name.replace('_', '-')}", value)]
    os.execv(sys.executable, [sys.executable, "-m", "bridge", "--config", str(config), *options])  # noqa: S606


async def canary(settings: Settings, args: argparse.Namespace) -> int:
    """The canary: rounds until stopped, or one; exit code 1 when that one is incomplete."""
    from archiver.oversight import canary as canaries
    from archiver.oversight.rounds import Round
    from archiver.stopping import or_stop

    def tell(done: Round) -> None:
        took = ", ".join(f"{part} {milliseconds} ms" for part, milliseconds in done.took.items())
        lacking = "; ".join(f"{part}: {why}" for part, why in done.lacking.items())
        heard = "" if done.heard else " The receiver could not read the message."
        _print(args, done.to_json(), (f"INCOMPLETE {lacking}." if lacking else f"complete: {took}.") + heard)

    canaries.require(settings)
    if not args.once and not settings.canary.every:
        raise SettingsError("The canary is off. Set canary.every to the minutes between two rounds, or give --once.")
    stop = stopping()
    async with opened(settings) as (pool, vault):
        if not args.once:
            await canaries.run(settings, pool, vault, stop, tell)
            return 0
        done = await or_stop(canaries.once(settings, pool, vault), stop)
    if done is not None:
        tell(done)
    return 0 if done is not None and done.complete else 1


async def web(settings: Settings, _: argparse.Namespace) -> int:
    """The web application."""
    from archiver.web import app

    await app.run(settings, stopping())
    return 0


async def role(settings: Settings, args: argparse.Namespace) -> int:
    """Roles in the web application."""
    from archiver.web import commands

    if args.do != "list" and not (args.person and args.role):
        print(f"griffier role: name a person and a role: griffier role {args.do} PERSON ROLE", file=sys.stderr)
        return 2
    async with opened(settings) as (pool, vault):
        _print(args, *await commands.role(pool, vault.org, actor(), settings, args))
    return 0


async def session(settings: Settings, args: argparse.Namespace) -> int:
    """Sessions of the web application."""
    from archiver.web import commands

    if args.do == "revoke" and not args.which:
        print("griffier session: name a session or a person: griffier session revoke WHICH", file=sys.stderr)
        return 2
    async with opened(settings) as (pool, vault):
        _print(args, *await commands.session(pool, vault.org, actor(), settings, args))
    return 0


async def trail(settings: Settings, args: argparse.Namespace) -> int:
    """The chain of the audit trail, all of it; exit code 1 when it is broken."""
    from archiver.db import tenant_tx
    from archiver.ledger.audit import note
    from archiver.ledger.chain import CHECK, TOLERANCE, verify

    async with opened(settings) as (pool, vault):
        found = await verify(pool, vault, known=args.known)
        link, problem, late = found.link.hex(), found.problem or None, found.late or None
        async with tenant_tx(pool, vault.org) as tx:
            await note(tx, vault.org, actor(), CHECK, number=found.number, link=link, problem=problem, late=late)
    moment = f", {found.at:%Y-%m-%d %H:%M:%S %Z}" if found.at else ""
    text = f"The chain of the trail fits up to and including act {found.number}{moment}."
    if found.known is not None:
        text += f" It is the one of which link {found.known} was kept."
    text += f"\nKeep this outside the archive, for a later --known: {found.head}"
    if found.late:
        text += (
            f"\nLATE: {found.late} acts were linked more than {TOLERANCE.seconds // 60} minutes after, or before, they say they "
            f"were done, the newest of them at {found.late_at:%Y-%m-%d %H:%M:%S %Z}. So it is after the web application stood "
            "still, and so it is when acts were put in or linked again: of these the chain shows nothing."
        )
    if found.problem == "stray":
        text += "\nBROKEN: acts were put into the trail, or taken out of the queue for the chain, outside the archive."
    elif found.problem == "rewritten":
        text += "\nBROKEN: a link that an earlier check saw, or that you kept, is gone or another: the trail was made again."
    elif found.problem:
        text += f"\nBROKEN at act {found.number + 1}: {found.problem}. Keep everything as it is and find out who had access."
    told = {"intact": found.intact, "number": found.number, "link": link, "head": str(found.head), "problem": problem}
    told |= {"late": found.late, "late_at": found.late_at.isoformat() if found.late_at else None, "known": found.known}
    _print(args, told | {"at": found.at.isoformat() if found.at else None}, text)
    return 0 if found.intact else 1


async def official(settings: Settings, args: argparse.Namespace) -> int:
    """Officials."""
    from archiver.web.admin import commands

    async with opened(settings) as (pool, vault):
        _print(args, *await commands.official(pool, vault, actor(), args))
    return 0


async def rooms(settings: Settings, args: argparse.Namespace) -> int:
    """All conversations."""
    from archiver.db import tenant_tx
    from archiver.ledger.audit import note
    from archiver.reading.rooms import rooms as find

    async with opened(settings) as (pool, vault):
        async with tenant_tx(pool, vault.org) as tx:
            await note(tx, vault.org, actor(), "list rooms")
        async with tenant_tx(pool, vault.org) as tx:
            found = await find(tx, vault)
    listed = [
        {
            "room_id": room.room_id, "name": room.name, "messages": room.messages, "encrypted": room.encrypted,
            "network": room.network, "unreadable": room.unreadable, "deleted": room.deleted, "pruned": room.pruned,
            **_completeness(room.completeness), "fetching": room.fetching,
            "archiver_is_member": room.seated, "notice_confirmed": room.noticed,
            "last_at": room.last_at.isoformat() if room.last_at else None,
            "portal": room.portal.to_json() if room.portal else None,
        }
        for room in found
    ]  # fmt: skip
    lines = []
    for room in found:
        lines.append(f"{room.messages:>7}  {room.room_id:<46}  {room.name}")
        if portal := room.portal:
            whose = f"{portal.official or 'whose is not known'}, says {portal.told_by}"
            lines.append(f"         {portal.network_name} {portal.channel or '?'} on {portal.receiver or '?'} of {whose}")
        lines += [
            f"         missing: {gap.event_id}, before {gap.before_at:%Y-%m-%d %H:%M:%S %Z}: {gap.cause or 'being looked for'}"
            if gap.before_at
            else f"         missing: {gap.event_id}: {gap.cause or 'being looked for'}"
            for gap in room.completeness.shown
        ]
    _print(args, {"rooms": listed}, "\n".join(lines) or "No conversation has been archived yet.")
    return 0


def _completeness(known: Completeness) -> dict[str, Any]:
    """Up to where nothing is missing, and what is."""
    return {
        "holes": known.holes,
        "unseen": known.unseen,
        "closed_up_to": known.closed_up_to,
        "closed_at": known.closed_at.isoformat() if known.closed_at else None,
        "gaps": [
            {
                "event_id": gap.event_id,
                "cause": gap.cause,
                "found_at": gap.found_at.isoformat(),
                "before": gap.before_at.isoformat() if gap.before_at else None,
            }
            for gap in known.shown
        ],
    }


async def search(settings: Settings, args: argparse.Namespace) -> int:
    """Search; prints the newest first unless told otherwise."""
    from archiver.db import tenant_tx
    from archiver.ledger.audit import note
    from archiver.reading.rooms import rooms as list_rooms
    from archiver.reading.scope import scope
    from archiver.reading.search import search as find

    query = " ".join(args.query)
    written = {name: getattr(args, name) for name in ("sender", "official", "room", "network") if getattr(args, name)}
    used = [*written, *(name for name in ("start", "end") if getattr(args, name)), *(f"has {what}" for what in args.has)]
    async with opened(settings) as (pool, vault):
        async with tenant_tx(pool, vault.org) as tx:
            told = {"filters": ", ".join(used)} if used else {}
            await note(tx, vault.org, actor(), "search", words=len(query.split()), **told)
        async with tenant_tx(pool, vault.org) as tx:
            filters = await scope(tx, vault, **written, start=args.start, end=args.end, has=frozenset(args.has))
            found = await find(tx, vault, query, filters, order=args.sort, limit=args.limit)
            names = {room.room_id: room for room in await list_rooms(tx, vault, list(found.shown()))}
        async with tenant_tx(pool, vault.org) as tx:  # what is shown is in the audit trail before it is shown (promise 5)
            await note(tx, vault.org, actor(), "search results", shown=found.shown())
    hits: list[dict[str, Any]] = []
    for hit in found.hits:
        record, room = hit.message.record, names.get(hit.message.record.room_id)
        hits.append(
            {
                "event_id": record.event_id, "room_id": record.room_id, "room": room.name if room else None,
                "sender": record.sender, "sent_at": record.sent_at.isoformat(), "body": hit.message.body, "snippet": hit.snippet,
                "deleted": hit.message.deletion is not None,
            }
        )  # fmt: skip
    lines = [
        f"{hit.message.record.sent_at.astimezone():%Y-%m-%d %H:%M:%S %z}  {told['room'] or told['room_id']}  {told['sender']}\n"
        f"    {hit.snippet}"
        for hit, told in zip(found.hits, hits, strict=True)
    ]
    more = "+" if found.more_than else ""
    lines.append(f"{found.total}{more} found.")
    if found.reached is not None:
        lines.append(f"There was no time to look beyond {found.reached.sent_at.isoformat()}: give --to or --from.")
    _print(args, {"hits": hits, "total": found.total, "more": found.more_than}, "\n".join(lines))
    return 0


STATUS = """
    SELECT (SELECT count(*) FROM record) AS records, (SELECT count(*) FROM message) AS messages,
           (SELECT count(*) FROM record WHERE unreadable IS NOT NULL) AS unreadable,
           (SELECT count(*) FROM message WHERE unreadable LIKE 'bridge:%') AS not_carried_over,
           (SELECT count(*) FROM unread) AS not_shown_yet,
           (SELECT count(*) FROM stretch WHERE failed IS NULL) AS stretches_to_fetch,
           (SELECT count(*) FROM stretch WHERE failed IS NOT NULL) AS stretches_failed, (SELECT count(*) FROM oddity) AS oddities,
           (SELECT count(*) FROM media WHERE state = 'waiting') AS files_waiting,
           (SELECT count(*) FROM media WHERE state = 'failed') AS files_failed,
           (SELECT count(*) FROM media WHERE scan = 'waiting') AS files_to_scan,
           (SELECT count(*) FROM media WHERE scan = 'infected') AS files_infected,
           (SELECT count(*) FROM room WHERE membership = 'join') AS rooms,
           (SELECT count(*) FROM room WHERE membership = 'join' AND notice_seen_at IS NULL) AS rooms_without_notice,
           (SELECT count(*) FROM room WHERE membership <> 'join') AS rooms_left,
           (SELECT count(*) FROM gap WHERE state <> 'filled' AND cause IS DISTINCT FROM 'not-visible') AS missing_events,
           (SELECT count(*) FROM interruption WHERE until_at IS NULL) AS channels_not_covered,
           (SELECT count(*) FROM alarm) AS alarms
"""


async def status(settings: Settings, args: argparse.Namespace) -> int:
    """The state of capture; exit code 1 unless every archiver captures."""
    from archiver.capture.standing import standings, whole
    from archiver.db import tenant_tx
    from archiver.ledger.alarm import sounding
    from archiver.oversight import rounds
    from archiver.reading.interruption import interruptions

    async with opened(settings) as (pool, vault), tenant_tx(pool, vault.org) as tx:
        counts = dict(await tx.fetchrow(STATUS))
        seats = await standings(tx, settings)
        alarms = await sounding(tx, vault.org)
        sung = await rounds.summary(tx, vault.org)
        uncovered = [each for each in await interruptions(tx, vault.org) if each.until_at is None]
    capturing = whole(seats)
    told = [
        {
            "user_id": seat.user_id,
            "device_id": seat.device_id,
            "state": seat.state,
            "capturing": seat.capturing,
            "seen_at": seat.seen_at.isoformat() if seat.seen_at else None,
        }
        for seat in seats
    ]
    lines = [f"{'capturing' if capturing else 'NOT CAPTURING'}"]
    lines += [f"  {seat['user_id']} {seat['device_id']}: {seat['state']}, last sync {seat['seen_at']}" for seat in told]
    lines += [f"  {name.replace('_', ' '):<22} {value}" for name, value in counts.items()]
    canary = sung.to_json(settings.canary.every, datetime.now(UTC)) if sung else None
    lines += [
        f"  canary                 {line}" for line in (sung.lines(settings.canary.every, datetime.now(UTC)) if sung else [])
    ]
    lines += [
        f"  NOT COVERED {each.network} {each.number or each.number_id or 'all numbers'} of {each.official or 'whom is not known'}"
        f": {each.cause} (since {each.from_at:%Y-%m-%d %H:%M %Z}, says {each.told_by})"
        for each in uncovered
    ]
    lines += [
        f"  ALARM {each['kind']} {each['subject']}: {each['detail']} (since {each['raised_at']:%Y-%m-%d %H:%M %Z})"
        for each in alarms
    ]
    sounding_now = [each | {"raised_at": each["raised_at"].isoformat()} for each in alarms]
    value = {"capturing": capturing, "seats": told, **counts, "canary": canary, "alarms": sounding_now}
    _print(args, value | {"interruptions": [each.to_json() for each in uncovered]}, "\n".join(lines))
    return 0 if capturing else 1


async def doctor(settings: Settings, args: argparse.Namespace) -> int:
    """Everything that capture needs; exit code 1 when something is wrong."""
    from archiver.capture.doctor import examine

    async with opened(settings) as (pool, vault):
        found = [finding async for finding in examine(settings, pool, vault)]
    lines = [
        f"PROBLEM  {finding.what}: {finding.problem}. {finding.advice}" if finding.problem else f"ok       {finding.what}"
        for finding in found
    ]
    told = [
        {"what": finding.what, "problem": finding.problem or None, "advice": finding.advice if finding.problem else None}
        for finding in found
    ]
    sick = any(finding.problem for finding in found)
    _print(args, {"healthy": not sick, "findings": told}, "\n".join(lines))
    return 1 if sick else 0


async def recovery_key(settings: Settings, args: argparse.Namespace) -> int:
    """The recovery key of each archiver account; exit code 1 when there is none."""
    from archiver.capture.key_backup import recovery_key as written
    from archiver.capture.seat import Secrets
    from archiver.db import tenant_tx
    from archiver.ledger.audit import note

    async with opened(settings) as (pool, vault):
        async with tenant_tx(pool, vault.org) as tx:  # with it, whoever can sign in to the homeserver can read everything
            await note(tx, vault.org, actor(), "recovery key")
        async with tenant_tx(pool, vault.org) as tx:
            rows = await tx.fetch("SELECT user_id, sealed_secrets, backup_version FROM seat WHERE org = $1", vault.org)
    kept = [(row, Secrets.read(vault.unwrap(row["sealed_secrets"], f"seat|{row['user_id']}")).backup_key) for row in rows]
    keys = [
        {"user_id": row["user_id"], "version": row["backup_version"], "recovery_key": written(key)} for row, key in kept if key
    ]
    lines = [f"{each['user_id']} (version {each['version']}): {each['recovery_key']}" for each in keys]
    _print(args, {"keys": keys}, "\n".join(lines) or "There is no backup of room keys: archiver.key_backup was never on.")
    return 0 if keys else 1


async def rebuild(settings: Settings, args: argparse.Namespace) -> int:
    """The reading view, made again."""
    from archiver.reading import project

    async with opened(settings) as (pool, vault):
        total = await project.rebuild(pool, vault, lambda done, of: _progress(f"{done} of {of} records"))
    _print(args, {"records": total}, f"The reading view was made again from {total} records.")
    return 0


async def export(settings: Settings, args: argparse.Namespace) -> int:
    """A conversation to a file."""
    from archiver.db import tenant_tx
    from archiver.export import EXPORTERS, Transcript
    from archiver.export.transcript import audited, whole_file
    from archiver.ledger.files import FileStore
    from archiver.reading.bridged import bridged as beside
    from archiver.reading.rooms import rooms_called

    exporter = EXPORTERS.get(args.format)
    if exporter is None:
        print(f"griffier export: there is no format '{args.format}'; there are {', '.join(EXPORTERS)}.", file=sys.stderr)
        return 2
    if args.start and args.end and args.start >= args.end:
        print(
            "griffier export: the period is empty. --to is left out itself: for one whole day, give the next day.",
            file=sys.stderr,
        )
        return 2
    async with opened(settings) as (pool, vault):
        async with tenant_tx(pool, vault.org) as tx:
            room = await rooms_called(tx, vault, args.room)
            bridged = await beside(tx, vault, room, args.start, args.end)
        transcript = Transcript(
            pool=pool, vault=vault, files=FileStore(settings.files), room=room, organisation=settings.organisation.name,
            made_at=datetime.now(UTC), made_by=actor(), language=args.language or settings.organisation.language,
            start=args.start, end=args.end, changes=args.changes, bridged=bridged,
            progress=lambda done: _progress(f"{done} of {room.messages} messages"),
        )  # fmt: skip
        await audited(transcript, exporter.name)
        with whole_file(args.out, force=args.force) as out:
            written = await exporter.write(transcript, out)
    told = {
        "file": str(args.out),
        "messages": written,
        "unreadable": room.unreadable,
        "holes": room.completeness.holes,
        "fetching": room.fetching,
        "portal": room.portal.to_json() if room.portal else None,
        "interruptions": [each.to_json() for each in bridged.interruptions],
    }
    holes = room.completeness.holes
    gaps = f" {holes} hole(s), {room.unreadable} unreadable." if holes or room.unreadable else ""
    gaps += f" {len(bridged.interruptions)} time(s) not covered by the bridge." if bridged.interruptions else ""
    _print(args, told, f"{room.name} ({room.room_id}): {written} messages written to {args.out}.{gaps}")
    return 0


def _print(args: argparse.Namespace, value: dict[str, Any], text: str) -> None:
    # Messages can hold what a terminal's encoding can't, and what would steer it: both are escaped.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    print(json.dumps(value) if args.json else STEERING.sub(lambda found: ascii(found[0])[1:-1], text), flush=True)


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
