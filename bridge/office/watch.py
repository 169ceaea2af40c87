"""The watch over every number: heartbeat, silence, what WhatsApp says of the connection; interruptions begin and end here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import asyncpg

from bridge.network import AccountChanged, NumberProblem
from bridge.numbers import Number, Numbers
from bridge.office.alarm import Alarms
from bridge.office.interruption import Interruptions
from bridge.office.probing import TOKEN_CODES, Asks, Probe, answers_itself, probe
from bridge.office.pulse import BEAT_EVERY, Pulse, silent_since, was_down
from bridge.relay.failed import IN, REJECTED
from bridge.relay.queues import INBOX
from bridge.sealing import Seal
from bridge.settings import Bridge
from bridge.stopping import stopped

log = logging.getLogger(__name__)

# What of WhatsApp could not be carried over. A number that is not served has an alarm of its own; what failed on its way out is
# told to its sender, and rung for by the relay where the message is not to blame.
POISON = f"""
    SELECT count(*) FROM inbox WHERE {IN} AND {INBOX.number} = ANY ($1::text[])
"""  # noqa: S608 - our own constant
SET_ASIDE = f"SELECT count(*) FROM rejected WHERE {REJECTED}"  # noqa: S608
GONE_EVENTS = frozenset({"PARTNER_REMOVED", "ACCOUNT_OFFBOARDED", "ACCOUNT_DELETED", "DISABLED_UPDATE"})
BACK_EVENTS = frozenset({"ACCOUNT_RECONNECTED", "PARTNER_ADDED"})
WARNINGS = frozenset({"ACCOUNT_VIOLATION", "ACCOUNT_RESTRICTION"})
SHARED = timedelta(days=180)  # of history that WhatsApp shares once a number is connected
DOWN_DETAIL = (
    "De brug stond stil; wat WhatsApp in die tijd niet kwijt kon, levert het nog dagen later af. · "
    "The bridge was down; what WhatsApp could not deliver then, it still delivers for days."
)
SILENT_DETAIL = (
    "Er is iets verzonden, maar WhatsApp meldt niets terug. Controleer de webhook bij Meta en de proxy ervoor. · "
    "Something was sent, but WhatsApp reports nothing back. Check the webhook at Meta, and the proxy in front of it."
)


class Watch:
    """Looks after the connection as long as the bridge runs."""

    def __init__(
        self,
        settings: Bridge,
        pool: asyncpg.Pool,
        seal: Seal,
        numbers: Numbers,
        pulse: Pulse,
        interruptions: Interruptions,
        alarms: Alarms,
        graph: Asks,
        http: aiohttp.ClientSession,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._seal = seal
        self._numbers = numbers
        self._pulse = pulse
        self._interruptions = interruptions
        self._alarms = alarms
        self._graph = graph
        self._http = http
        self._since = datetime.now(UTC)
        self._unreached: dict[str, datetime] = {}
        self._no_handshake: datetime | None = None
        self._shaken: datetime | None = None
        self.last: dict[str, tuple[datetime, Probe]] = {}

    async def start(self) -> None:
        """Take up where the last run ended; the time between is an interruption of every number that was to be covered."""
        self._since = datetime.now(UTC)
        down = was_down(await self._pulse.load(self._pool), self._since)
        if down is not None:
            log.warning("The bridge was down since %s.", down.isoformat(timespec="seconds"))
            for number in self._numbers.all():
                if not number.paused:
                    await self._interruptions.past(number.id, "bridge-down", down, self._since, DOWN_DETAIL)
        await self._pulse.beat(self._pool, self._since)

    async def run(self, stop: asyncio.Event) -> None:
        """Until told to stop."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._repeat(self.look, BEAT_EVERY, stop))
            tasks.create_task(self._repeat(self.probe_all, self._settings.probe_every, stop))
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            await self._pulse.beat(self._pool, datetime.now(UTC))

    async def look(self) -> None:
        """The heartbeat, and what the database alone can tell."""
        now = datetime.now(UTC)
        await self._pulse.beat(self._pool, now)
        await self._numbers.load(self._pool, self._seal)
        for number in self._numbers.all():
            await self._listen(number, now)
        served = [number.id for number in self._numbers.all()]
        await self._count("poison", "inbox", "WhatsApp → Matrix", await self._pool.fetchval(POISON, served))
        await self._count("rejected-delivery", "", "webhook", await self._pool.fetchval(SET_ASIDE))

    async def probe_all(self) -> None:
        """Ask WhatsApp about every number, and the webhook about itself."""
        await self._shake_hands()
        for number in self._numbers.all():
            await self.probe(number)

    async def probe(self, number: Number) -> Probe:
        """Ask WhatsApp about one number, and write down what follows from its answer."""
        result, now = await probe(self._graph, number), datetime.now(UTC)
        self.last[number.id] = now, result
        for cause, holds in result.causes.items():
            if holds:
                await self._interruptions.begin(number.id, cause, now, result.problem)
            else:
                await self._interruptions.end(number.id, cause, now)
        if result.good:
            await self._alarms.clear("account", number.id)
        if result.reachable:
            self._unreached.pop(number.id, None)
            await self._alarms.clear("unreachable", number.id)
        elif now - self._unreached.setdefault(number.id, now) >= timedelta(seconds=self._settings.silent_after):
            await self._count("unreachable", number.id, number.display_phone_number, 1)
        return result

    async def account_changed(self, change: AccountChanged) -> str:
        """WhatsApp says that an account or a number was taken from us, or is back (Meta: account_update)."""
        if change.topic != "account_update":
            return "kept"
        now, told, ban = datetime.now(UTC), f"{change.event} {change.reason}".strip(), change.raw.get("ban_info")
        lifted = isinstance(ban, dict) and ban.get("waba_ban_state") == "REINSTATE"
        for number in self._meant(change):
            if change.event in BACK_EVENTS or lifted:
                await self._interruptions.end(number.id, "disconnected", now)
            elif change.event in GONE_EVENTS or "disconnection_info" in change.raw:
                await self._interruptions.begin(number.id, "disconnected", now, told)
            elif change.event in WARNINGS:
                await self._alarms.ring("account", number.id, f"{number.display_phone_number}: {told}", whole=True)
        return "done"

    async def number_problem(self, problem: NumberProblem) -> str:
        """WhatsApp says that something about a number went wrong, of no message in particular."""
        at, told = problem.at or datetime.now(UTC), f"{problem.title} ({problem.code})"
        if problem.cause == "history-refused":
            await self._interruptions.past(problem.number_id, "history-refused", at - SHARED, at, told)
        else:
            await self._alarms.ring(
                "account", problem.number_id, f"{self._numbers.display(problem.number_id)}: {told}", whole=True
            )
        return "done"

    async def account_problem(self, number_id: str, code: int, text: str) -> None:
        """A request showed that something is the matter with the account. The next good answer ends it."""
        number = self._numbers.of(number_id)
        if number is None:
            return  # a token that is only being tried
        if code in TOKEN_CODES:
            await self._interruptions.begin(number_id, "token-refused", datetime.now(UTC), text)
        await self._alarms.ring("account", number_id, f"{number.display_phone_number}: {text}", whole=True)

    def _meant(self, change: AccountChanged) -> list[Number]:
        """The numbers that a change is about: one, or all of the account."""
        digits = _digits(change.number)
        return [
            number
            for number in self._numbers.all()
            if (number.id == change.number_id if change.number_id else True)
            and (_digits(number.display_phone_number) == digits if digits else True)
            and (number.waba_id in ("", change.account_id))
        ]

    async def _listen(self, number: Number, now: datetime) -> None:
        limit = timedelta(seconds=self._settings.silent_after)
        signs = self._pulse.of(number.id)
        # After a start WhatsApp has as long again to deliver what waited.
        since = silent_since(signs, now, limit) if now - self._since > limit else None
        if since is None and self._no_handshake is not None and now - self._no_handshake > limit:
            since = max(self._no_handshake, signs.heard_at or self._no_handshake)
            since = since if now - since > limit else None
        if since is not None and not number.paused:
            await self._interruptions.begin(number.id, "webhook-silent", since, SILENT_DETAIL)
        else:
            await self._interruptions.end(number.id, "webhook-silent", now)

    async def _shake_hands(self) -> None:
        url = self._settings.webhook_url
        if not url:
            return
        problem = await answers_itself(self._http, url, self._settings.verify_token.get_secret_value())
        now = datetime.now(UTC)
        if not problem:
            self._no_handshake, self._shaken = None, now
            await self._alarms.clear("webhook-unreachable", "")
            return
        # Not covered since the last time that it answered, which is as much as can be known.
        self._no_handshake = self._no_handshake or self._shaken or now
        if now - self._no_handshake >= timedelta(seconds=self._settings.silent_after):
            await self._count("webhook-unreachable", "", f"bridge.webhook_url ({problem})", 1)

    async def _count(self, kind: str, about: str, subject: str, count: int) -> None:
        """An alarm that lasts as long as there is something to count."""
        if count:
            await self._alarms.ring(kind, about, subject, count, whole=True)
        else:
            await self._alarms.clear(kind, about)

    async def _repeat(self, work: Any, every: float, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await work()
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
                log.warning("The watch could not look: the bridge's database does not answer (%s).", type(error).__name__)
            except Exception as error:
                log.warning("The watch could not look: %s.", type(error).__name__)
            await stopped(stop, every)


def _digits(number: str) -> str:
    return "".join(letter for letter in number if letter.isdecimal())
