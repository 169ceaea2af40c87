"""Webhooks: signed over the exact bytes, batched, repeated until they are answered with 200; and each thing that can go wrong."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import hmac
import itertools
import json
import logging
import random
import secrets
import time
from collections import deque
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from bridge.simulator.bodies import entry, envelope
from bridge.simulator.world import Account, World

log = logging.getLogger(__name__)

MAX_BODY = 3 * 1024 * 1024  # Meta: a delivery is at most 3 MB
LISTS = ("messages", "message_echoes", "statuses", "contacts", "state_sync", "errors")
REMEMBERED = 2000  # deliveries
IDS = frozenset(
    {"from", "to", "wa_id", "input", "recipient_id", "recipient_participant_id", "phone_number_id", "timestamp", "id"}
)


@dataclass(slots=True)
class Update:
    """One change for a webhook; `done` is set when a POST with it was answered with 200, or when it will never be sent."""

    account: Account
    field: str
    value: dict[str, Any]
    done: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    taken: bool = False  # answered with 200


@dataclass(slots=True)
class Delivery:
    """One POST as it went, for tests to look at."""

    id: int
    url: str
    updates: int
    size: int
    fields: list[str]
    raw: bytes
    at: float
    attempts: int = 0
    status: int = 0
    answered: float = 0  # seconds that the last answer took
    state: str = "waiting"  # waiting, done, given up


class Webhook:
    """Everything that is told to whoever subscribed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tasks: set[asyncio.Task[None]] = set()
        self._gathered: list[Update] = []
        self._flush: asyncio.TimerHandle | None = None
        self._http: aiohttp.ClientSession | None = None
        self._random = random.Random(0)  # noqa: S311 - repeatable, not secret
        self._count = itertools.count(1)
        self.log: deque[Delivery] = deque(maxlen=REMEMBERED)
        self.dropped = 0

    def soon(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside; it ends with the simulator."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def busy(self) -> int:
        """How much is still to be delivered."""
        return len(self._tasks) + len(self._gathered)

    def reseed(self) -> None:
        """Start the series of chances again."""
        self._random.seed(self._world.knobs.seed)

    async def stop(self) -> None:
        """Give up what has not been delivered."""
        if self._flush is not None:
            self._flush.cancel()
        for update in self._gathered:
            update.done.set()
        self._gathered.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._http is not None:
            await self._http.close()
            self._http = None

    def emit(self, account: Account, name: str, value: dict[str, Any]) -> Update:
        """Tell one change; returns at once."""
        knobs, update = self._world.knobs, Update(account, name, value)
        lost = knobs.silence == "lose" or self._random.random() < knobs.drop
        if lost or not account.subscribed or not account.webhook_url:
            self.dropped += 1
            update.done.set()
            return update
        twice = self._random.random() < knobs.duplicates
        self._gathered += [update, Update(account, name, value)] if twice else [update]
        wanted = max(knobs.batch_size, knobs.reorder)
        if len(self._gathered) >= wanted:
            self.flush()
        elif self._flush is None:
            self._flush = asyncio.get_running_loop().call_later(knobs.batch_wait, self.flush)
        return update

    def flush(self) -> None:
        """Send what was gathered."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        knobs = self._world.knobs
        updates, self._gathered = self._gathered, []
        if knobs.reorder > 1:
            self._random.shuffle(updates)
        for _, own in itertools.groupby(sorted(updates, key=lambda one: _target(one.account)), lambda one: _target(one.account)):
            rest = list(own)
            for start in range(0, len(rest), knobs.batch_size):
                for body, part in self._bodies(rest[start : start + knobs.batch_size]):
                    self.soon(self._deliver(part, body))

    def post(self, account: Account, raw: bytes) -> None:
        """Deliver these exact bytes, signed."""
        self.soon(self._deliver([Update(account, "", {})], raw))

    def _bodies(self, updates: list[Update]) -> Iterator[tuple[bytes, list[Update]]]:
        """The bytes of the POSTs for these updates, none above what Meta sends."""
        body = envelope(self._entries(updates))
        if self._world.knobs.integers:
            body = _integers(body)
        raw = escaped(body)
        if len(raw) > MAX_BODY and len(updates) > 1:
            half = len(updates) // 2
            yield from self._bodies(updates[:half])
            yield from self._bodies(updates[half:])
        else:
            yield raw, updates

    def _entries(self, updates: list[Update]) -> list[dict[str, Any]]:
        shape = self._world.knobs.batch_shape
        if shape == "mixed":
            shape = self._random.choice(("items", "changes", "entries"))
        told = [(update.account, {"value": dict(update.value), "field": update.field}) for update in updates]
        if shape == "items":
            told = list(_merged(told))
        if self._world.knobs.unknown:
            told = list(self._strange(told))
        if shape == "entries":
            return [entry(account, [change]) for account, change in told]
        entries: dict[str, dict[str, Any]] = {}
        for account, change in told:
            entries.setdefault(account.id, entry(account, []))["changes"].append(change)
        return list(entries.values())

    def _strange(self, told: list[tuple[Account, dict[str, Any]]]) -> Iterator[tuple[Account, dict[str, Any]]]:
        """The same, with things among it that nobody knows yet."""
        for account, change in told:
            yield account, change | {"value": change["value"] | {"nieuw_2027": {"x": [1, None, True]}}, "nieuw_2027": None}
        if told:
            strange = {"nieuw_2027": [{"id": secrets.token_hex(4)}], "metadata": told[0][1]["value"].get("metadata")}
            yield told[0][0], {"field": "nieuw_veld_2027", "value": strange}

    async def _deliver(self, updates: Sequence[Update], raw: bytes) -> None:
        """Call the webhook until it answers 200, as Meta does."""
        knobs, account = self._world.knobs, updates[0].account
        fields = sorted({update.field for update in updates})
        told = Delivery(next(self._count), account.webhook_url, len(updates), len(raw), fields, raw[: 1 << 16], time.time())
        self.log.append(told)
        try:
            await asyncio.sleep(self._random.uniform(*knobs.delay))
            end = time.monotonic() + knobs.give_up
            while not await self._attempt(told, account, raw):
                waits = self._world.knobs.retries
                if time.monotonic() > end:
                    told.state = "given up"
                    log.error("A delivery was given up after %d attempts.", told.attempts)
                    return
                await asyncio.sleep(waits[min(told.attempts, len(waits)) - 1])
            told.state = "done"
            for update in updates:
                update.taken = True
        finally:
            for update in updates:
                update.done.set()

    async def _attempt(self, told: Delivery, account: Account, raw: bytes) -> bool:
        while self._world.knobs.silence:  # noqa: ASYNC110 - a knob, turned by hand
            await asyncio.sleep(0.1)
        if self._http is None:
            self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=50))
        told.attempts += 1
        headers = {"Content-Type": "application/json", "User-Agent": "facebookexternalua"}
        headers |= self._signed(account, raw, told.attempts)
        began = time.monotonic()
        try:
            timeout = aiohttp.ClientTimeout(total=self._world.knobs.timeout)
            async with self._http.post(account.webhook_url, data=raw, headers=headers, timeout=timeout) as response:
                told.status, told.answered = response.status, time.monotonic() - began
                if response.status == 200:
                    return True
                log.warning("The webhook answered %d.", response.status)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            told.status = 0
            log.warning("The webhook does not answer: %s", type(error).__name__)
        return False

    def _signed(self, account: Account, raw: bytes, attempt: int) -> dict[str, str]:
        how = self._world.knobs.signature
        if how == "missing":
            return {}
        wrong = how == "wrong" or (how == "wrong-first" and attempt == 1)
        return {"X-Hub-Signature-256": signature(secrets.token_hex(16) if wrong else account.app_secret, raw)}

    async def handshake(self, account: Account, url: str = "", token: str = "") -> tuple[bool, str]:
        """Ask a webhook whether it is ours, as Meta does when it is set."""
        challenge = str(secrets.randbelow(10**9))
        asked = {"hub.mode": "subscribe", "hub.challenge": challenge, "hub.verify_token": token or account.verify_token}
        try:
            timeout = aiohttp.ClientTimeout(total=self._world.knobs.timeout)
            async with (
                aiohttp.ClientSession(timeout=timeout) as http,
                http.get(url or account.webhook_url, params=asked) as answer,
            ):
                said = await answer.text()
                return answer.status == 200 and said == challenge, f"HTTP {answer.status}"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return False, type(error).__name__


def signature(secret: str, raw: bytes) -> str:
    """X-Hub-Signature-256 of these bytes."""
    return "sha256=" + hmac.digest(secret.encode(), raw, hashlib.sha256).hex()


def escaped(body: dict[str, Any]) -> bytes:
    """JSON as Meta writes it: all that is not ASCII escaped in lower-case hexadecimal digits, and slashes too."""
    return json.dumps(body, ensure_ascii=True, separators=(",", ":")).replace("/", "\\/").encode()


def _target(account: Account) -> tuple[str, str]:
    return account.webhook_url, account.app_secret


def _merged(told: list[tuple[Account, dict[str, Any]]]) -> Iterator[tuple[Account, dict[str, Any]]]:
    """Neighbours of one number and one field become one change with longer lists."""
    last: tuple[Account, dict[str, Any]] | None = None
    for account, change in told:
        fits = last is not None and last[0] is account and last[1]["field"] == change["field"]
        if last is not None and fits and _mergeable(last[1]["value"], change["value"]):
            into = last[1]["value"]
            for name in LISTS:
                there, more = into.get(name, []), change["value"].get(name, [])
                if there or more:
                    into[name] = there + [item for item in more if name != "contacts" or item not in there]
            continue
        if last is not None:
            yield last
        last = account, {**change, "value": dict(change["value"])}
    if last is not None:
        yield last


def _mergeable(one: dict[str, Any], other: dict[str, Any]) -> bool:
    own = {name for name in (*one, *other) if name not in ("messaging_product", "metadata", "contacts")}
    return len(own) == 1 and own <= set(LISTS) and one.get("metadata") == other.get("metadata")


def _integers(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: _integer(name, inner) for name, inner in part.items()}
    return [_integers(inner) for inner in part] if isinstance(part, list) else part


def _integer(name: str, inner: Any) -> Any:
    number = name in IDS and isinstance(inner, str) and inner.isdigit() and inner[:1] != "0"
    return int(inner) if number else _integers(inner)
