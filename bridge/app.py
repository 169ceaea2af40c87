"""The bridge as a running thing: what WhatsApp calls, what Synapse calls, and the two relays between them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any

import aiohttp
import asyncpg
from aiohttp import web
from mautrix.crypto import PgCryptoStore
from mautrix.util.async_db import Database

from bridge.accounts import Accounts
from bridge.arriving.address_book import AddressBook
from bridge.arriving.arriving import Arriving
from bridge.arriving.contacts import Contacts
from bridge.arriving.fetching import Files
from bridge.arriving.ghosts import Ghosts
from bridge.arriving.groups import Groups
from bridge.arriving.meeting import Meeting
from bridge.arriving.missing import MissingFiles
from bridge.arriving.persons import Persons
from bridge.departing.departing import Departing
from bridge.departing.holding import Holding, heard_after, heard_in
from bridge.departing.missed import Missed
from bridge.departing.notices import Notices
from bridge.departing.opening import Opening
from bridge.departing.outsiders import Outsiders
from bridge.departing.overlooked import Overlooked
from bridge.departing.own import Own
from bridge.departing.receipts import Reading, Receipts
from bridge.departing.templates import Offers
from bridge.departing.window import Window
from bridge.listening import serving, tls
from bridge.network import ContactSynced, GroupChanged, Receipt
from bridge.network.cloud import Cloud
from bridge.numbers import Numbers
from bridge.office.health import Health
from bridge.office.office import Office
from bridge.portal.portal import Portals
from bridge.relay.relay import INBOX, OUTBOX, Pace, Relay
from bridge.relay.turn import turn
from bridge.sealing import Seal
from bridge.settings import Bridge, SettingsError
from bridge.transactions import Transactions
from bridge.webhook import Webhook

log = logging.getLogger(__name__)

MAX_TRANSACTION = 64 * 1024 * 1024


async def run(settings: Bridge, stop: asyncio.Event) -> None:
    """Bridge until `stop` is set. Raises SettingsError when a secret is missing: an empty one would let everybody in."""
    for name in ("as_token", "hs_token", "app_secret", "verify_token"):
        if not getattr(settings, name).get_secret_value():
            raise SettingsError(f"bridge.{name} is not set. Set it, or bridge.{name}_file.")
    seal = Seal.load(settings.key_file)
    async with turn(settings.database_url.get_secret_value(), stop) as ours, _opened(settings) as (pool, crypto, http):
        if not ours:
            return
        pace = Pace(settings.conversations_at_once, settings.wait_for_status_seconds, keep=settings.keep_done_days)
        numbers, relay, accounts = Numbers(settings), Relay(pool, seal, pace), Accounts(settings, crypto)
        cloud = Cloud(
            http,
            settings.graph_url,
            settings.graph_version,
            numbers.token,
            settings.media_max_bytes,
            per_second=numbers.per_second,
            account=numbers.account,
        )
        portals, persons, late = Portals(settings, pool, numbers, accounts), Persons(pool), MissingFiles(pool, seal)
        opening = Opening(accounts.bot, Missed(accounts, portals.members))
        office = Office(settings, pool, seal, numbers, accounts, portals, relay, cloud.graph, opening, http)
        address_book, ghosts, files = AddressBook(pool, seal), Ghosts(accounts, persons), Files(pool, seal, cloud)
        meeting = Meeting(settings, numbers, accounts, portals, persons, ghosts, address_book)
        notices, window = Notices(pool, accounts, portals), Window(pool)
        offers = Offers(pool, notices, cloud.templates)
        holding = Holding(portals, relay, notices, offers, window)
        receipts = Receipts(pool, portals, relay, cloud, notices, holding, window, ghosts.known)
        reading = Reading(pool, cloud, accounts)
        # What WhatsApp tells beside messages, and who carries it over; what is not here is kept in the inbox.
        handlers: dict[type, Callable[[Any], Awaitable[str]]] = {
            Receipt: receipts.take,
            GroupChanged: Groups(numbers, accounts, portals, persons, ghosts, meeting, files).carry,
            ContactSynced: Contacts(numbers, address_book, meeting).carry,
            **office.handlers,
        }
        arriving = Arriving(settings, numbers, accounts, portals, relay, cloud, meeting, files, late, handlers)
        own = Own(relay, accounts, puppets=settings.double_puppet)
        outsiders = Outsiders(numbers, accounts, opening, notices)
        departing = Departing(
            pool, numbers, accounts, portals, relay, cloud, opening, window, notices, offers, holding, receipts, reading, own,
            outsiders,
        )  # fmt: skip
        relay.twice = departing.perhaps_twice
        overlooked = Overlooked(pool, accounts.bot, relay, departing.wanted, settings.overlooked_seconds)
        outside = web.Application()
        outside.add_routes(Webhook(settings, cloud, relay, numbers, office.pulse, office.alarms).routes())
        outside.add_routes(Health(settings, pool, accounts, relay, office.interruptions, office.alarms).routes())
        homeserver = web.Application(client_max_size=MAX_TRANSACTION)
        homeserver.add_routes(
            Transactions(settings, accounts, portals.members, departing, reading, outsiders, relay, office.management).routes()
        )
        portals.seating.alarms = office.alarms
        try:
            await office.start()
            await accounts.start()
            async with (
                serving(
                    outside,
                    settings.webhook_host,
                    settings.webhook_port,
                    context=tls(settings),
                    patience=settings.webhook_timeout,
                ),
                serving(homeserver, settings.listen_host, settings.listen_port),
                office.open(stop),
                asyncio.TaskGroup() as tasks,
            ):
                place = f"{settings.webhook_host}:{settings.webhook_port}{settings.webhook_path}"
                log.info("The bridge is ready: webhook on http://%s", place)
                arrives = office.gate.inward(heard_in(arriving.carry, cloud.read, holding))
                gives_up = heard_after(arriving.not_carried, cloud.read, holding)
                sends = office.gate.outward(overlooked.in_turn(departing.carry), departing.waits)
                tasks.create_task(relay.run(INBOX, arrives, gives_up, stop))
                tasks.create_task(relay.run(OUTBOX, sends, departing.not_sent, stop))
                beside = relay.forget(stop), files.ahead(stop), overlooked.run(stop), late.run(arriving.fill, stop)
                for work in (*beside, portals.seating.run(stop)):
                    tasks.create_task(work)
        finally:
            await accounts.close()


@asynccontextmanager
async def _opened(settings: Bridge) -> AsyncIterator[tuple[asyncpg.Pool, Database, aiohttp.ClientSession]]:
    url = settings.database_url.get_secret_value()
    arguments = {"reset": _as_it_is}
    log_of_store = logging.getLogger("mau.db")
    crypto = Database.create(url, db_args=arguments, upgrade_table=PgCryptoStore.upgrade_table, log=log_of_store)
    most = settings.conversations_at_once + 6
    async with asyncpg.create_pool(url, min_size=2, max_size=most, reset=_as_it_is) as pool, aiohttp.ClientSession() as http:
        for file in sorted((resources.files("bridge") / "migrations").iterdir(), key=lambda file: file.name):
            await pool.execute(file.read_text())
        await crypto.start()
        try:
            yield pool, crypto, http
        finally:
            await crypto.stop()


async def _as_it_is(connection: asyncpg.Connection) -> None:
    """Nothing of ours changes a connection: cleaning it after each statement would take as long as the statement."""


async def connect_account(settings: Bridge, waba_id: str, token: str, secret: str, by: str) -> list[dict[str, str]]:
    """Connect a business account without a running bridge; returns its numbers. Raises Refusal, SettingsError."""
    seal = Seal.load(settings.key_file)
    async with _opened(settings) as (pool, crypto, http):
        numbers, accounts = Numbers(settings), Accounts(settings, crypto)
        cloud = Cloud(http, settings.graph_url, settings.graph_version, numbers.token, settings.media_max_bytes)
        portals, relay = Portals(settings, pool, numbers, accounts), Relay(pool, seal)
        opening = Opening(accounts.bot, Missed(accounts, portals.members))
        office = Office(settings, pool, seal, numbers, accounts, portals, relay, cloud.graph, opening, http)
        try:
            await numbers.load(pool, seal)
            return await office.administration.connect(waba_id, token, secret, "", by)
        finally:
            await accounts.close()
