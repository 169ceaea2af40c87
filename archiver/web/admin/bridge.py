"""The WhatsApp bridge's provisioning API, as the admin's pages call it (docs/admin.md). The bridge notes for whom it did what."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from yarl import URL

from archiver.settings import BridgeApi

PREFIX = "/_griffier/provision/v1"
PATIENCE = aiohttp.ClientTimeout(total=20, connect=3)  # seconds; the bridge asks WhatsApp in between
LARGEST = 5_000_000  # bytes of an answer

Given = TypeVar("Given")


class BridgeError(Exception):
    """It can't be had from the bridge, or be done by it."""


class NotSet(BridgeError):  # noqa: N818 - these name what is the matter
    """The settings name no bridge."""


class Away(BridgeError):  # noqa: N818
    """The bridge does not answer, or not as it should; the message says how, for the log and the admin."""


class Refuses(BridgeError):  # noqa: N818
    """The bridge does not do it, and says why."""

    def __init__(self, status: int, english: str, dutch: str) -> None:
        super().__init__(english)
        self.status, self.english, self.dutch = status, english, dutch

    def told(self, code: str) -> str:
        """Why, in a language."""
        return self.dutch if code == "nl" else self.english


class Shape(BaseModel):
    """A part of an answer; what we don't know of is left out."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Account(Shape):
    waba_id: str
    name: str = ""


class FoundNumber(Shape):
    id: str
    display_phone_number: str = ""
    name: str = ""


class Number(Shape):
    id: str
    display_phone_number: str
    official: str
    waba_id: str
    label: str
    paused: bool
    colleagues: tuple[str, ...]


class Probe(Shape):
    """What WhatsApp says of a number; None where it can't be told."""

    good: bool
    reachable: bool
    token_good: bool | None = None
    status: str = ""
    quality: str = ""
    name: str = ""
    on_phone: bool | None = None
    subscribed: bool | None = None
    problem: str = ""


class NumberHealth(Shape):
    number: Number
    probe: Probe | None = None
    probed_at: datetime | None = None


class Interruption(Shape):
    number_id: str
    display: str = ""
    cause: str
    detail: str = ""
    began_at: datetime
    ended_at: datetime | None = None


class Alarm(Shape):
    kind: str
    subject: str
    count: int
    since: datetime


class Health(Shape):
    numbers: tuple[NumberHealth, ...]
    interruptions: tuple[Interruption, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    waiting: dict[str, int] = {}


class Failure(Shape):
    item: str
    state: str
    problem: str
    attempts: int
    arrived_at: datetime
    number_id: str = ""


class Assignment(Shape):
    user_id: str
    role: str
    valid_from: datetime
    valid_until: datetime | None = None
    set_by: str = ""
    ended_by: str | None = None


class Bridge:
    """The bridge, asked in the name of somebody. Each question raises BridgeError."""

    def __init__(self, http: aiohttp.ClientSession, settings: BridgeApi, by: str) -> None:
        self._http = http
        self._url = settings.url.rstrip("/") + PREFIX
        token = settings.token.get_secret_value()
        # A header takes no line break and no letter beyond ASCII.
        self._headers = {"Authorization": f"Bearer {token}", "X-On-Behalf-Of": quote(by, safe=" !#$&'()*+,/:;=?@[]|~")[:100]}

    async def health(self) -> Health:
        """How every number is."""
        return await self._ask("GET", "/health", Health)

    async def accounts(self) -> tuple[Account, ...]:
        """The business accounts that have a token."""
        return (await self._ask("GET", "/accounts", dict[str, tuple[Account, ...]]))["accounts"]

    async def connect(self, waba_id: str, token: str, app_secret: str, name: str) -> tuple[FoundNumber, ...]:
        """Add an account or give it a new token; its numbers at WhatsApp."""
        body = {"waba_id": waba_id, "token": token, "app_secret": app_secret or None, "name": name}
        return (await self._ask("POST", "/accounts", dict[str, tuple[FoundNumber, ...]], body))["numbers"]

    async def forget(self, waba_id: str) -> None:
        """Forget an account's token."""
        await self._ask("DELETE", f"/accounts/{_part(waba_id)}", Any)

    async def assign(self, number_id: str, official: str, waba_id: str, label: str) -> None:
        """Give a number to an official, adding it where it is new."""
        body = {"id": number_id, "official": official, "waba_id": waba_id, "label": label}
        await self._ask("POST", "/numbers", Any, body)

    async def assignments(self, number_id: str) -> tuple[Assignment, ...]:
        """Whose a number was, and when, the latest first."""
        path = f"/numbers/{_part(number_id)}/assignments"
        return (await self._ask("GET", path, dict[str, tuple[Assignment, ...]]))["assignments"]

    async def interruptions(self, number_id: str) -> tuple[Interruption, ...]:
        """When a number was not covered, the latest first."""
        path = f"/interruptions?number={_part(number_id)}"
        return (await self._ask("GET", path, dict[str, tuple[Interruption, ...]]))["interruptions"]

    async def do(self, number_id: str, what: str) -> None:
        """Pause, resume or test a number, or ask for its history."""
        await self._ask("POST", f"/numbers/{_part(number_id)}/{what}", Any, {})

    async def remove(self, number_id: str) -> None:
        """Serve a number no longer."""
        await self._ask("DELETE", f"/numbers/{_part(number_id)}", Any)

    async def colleague(self, number_id: str, user_id: str, *, may: bool) -> None:
        """Let a colleague speak for a number, or no longer."""
        await self._ask("PUT" if may else "DELETE", f"/numbers/{_part(number_id)}/colleagues/{_part(user_id)}", Any)

    async def failed(self) -> tuple[Failure, ...]:
        """What could not be carried over; nothing of its content."""
        return (await self._ask("GET", "/failed", dict[str, tuple[Failure, ...]]))["failed"]

    async def retry(self, item: str) -> int:
        """Try again, one item or all that came from WhatsApp; how many."""
        return (await self._ask("POST", "/failed/retry", dict[str, int], {"item": item}))["done"]

    async def _ask(self, method: str, path: str, gives: type[Given], body: Any = None) -> Given:
        try:
            url = URL(self._url + path, encoded=True)
            async with self._http.request(method, url, json=body, headers=self._headers, allow_redirects=False) as answer:
                raw = b""
                async for chunk in answer.content.iter_chunked(65_536):
                    raw += chunk
                    if len(raw) > LARGEST:
                        raise Away("its answer is too long")
                if answer.status >= 400:
                    raise _problem(answer.status, raw)
                if answer.status != 200:
                    raise Away(f"it answers with status {answer.status}")
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Away(f"it does not answer ({type(error).__name__})") from None
        try:
            return TypeAdapter(gives).validate_json(raw)
        except (ValidationError, KeyError):
            raise Away("its answer can't be read: is it of the same version?") from None


@asynccontextmanager
async def bridge(settings: BridgeApi, by: str) -> AsyncIterator[Bridge]:
    """The bridge, in the name of an admin. Raises NotSet."""
    if not settings.url or not settings.token.get_secret_value():
        raise NotSet("web.bridge.url and web.bridge.token are not set")
    async with aiohttp.ClientSession(timeout=PATIENCE) as http:
        yield Bridge(http, settings, by)


def _problem(status: int, raw: bytes) -> BridgeError:
    if status == 401:
        return Away("it does not accept web.bridge.token")
    try:
        told = TypeAdapter(dict[str, Any]).validate_json(raw)
    except ValidationError:
        told = {}
    english = str(told.get("title") or f"status {status}")[:500]
    return Refuses(status, english, str(told.get("detail") or english)[:500])


def _part(text: str) -> str:
    """A part of a path. Dots alone would lead elsewhere."""
    return quote(text, safe="") if text.strip(".") else "%2E"
