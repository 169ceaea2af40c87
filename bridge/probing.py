"""Asking WhatsApp whether a number is still connected, and ourselves whether we can be called (Meta: phone numbers, webhooks)."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from urllib.parse import quote

import aiohttp

from bridge.network import NetworkError
from bridge.numbers import Number

FIELDS = "id,display_phone_number,verified_name,quality_rating,status,platform_type,is_on_biz_app,health_status"
GONE = frozenset({"DISCONNECTED", "BANNED", "DELETED", "MIGRATED", "UNVERIFIED", "PENDING"})
CODE = re.compile(r"\((-?\d+)\)\s*$")
TOKEN_CODES = frozenset({10, 102, 190, 463, 467})
PROBED = ("token-refused", "disconnected", "not-connected")


class Asks(Protocol):
    """The Graph API."""

    async def request(
        self, method: str, path: str, number_id: str, *, body: Any = None, data: Any = None, params: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Raises NetworkError."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What a number answered. None where it can't be told."""

    reachable: bool
    token_good: bool | None = None
    status: str = ""
    quality: str = ""
    name: str = ""
    display: str = ""
    on_phone: bool | None = None  # in use in the WhatsApp Business app as well (coexistence)
    subscribed: bool | None = None
    problem: str = ""
    causes: dict[str, bool] = field(default_factory=dict)  # cause of an interruption: whether it holds

    @property
    def good(self) -> bool:
        """Whether all that could be asked was answered well."""
        return self.reachable and self.token_good is True and not any(self.causes.values())


def judge(answer: dict[str, Any] | NetworkError, subscription: dict[str, Any] | NetworkError | None) -> Probe:
    """What two answers of the Graph API say: a number's own fields, and the apps subscribed to its account (None: not asked)."""
    if isinstance(answer, NetworkError):
        code = code_of(answer)
        if code is None:
            return Probe(False, problem=str(answer)[:300])
        told = Probe(True, problem=str(answer)[:300])
        if code in TOKEN_CODES or 200 <= code < 300:
            return replace(told, token_good=False, causes={"token-refused": True})
        if code in (100, 803):  # the token is good, and there is no such number, or not for this token
            return replace(told, token_good=True, causes={"token-refused": False, "not-connected": True})
        return told  # a busy WhatsApp tells nothing of the number
    status = str(answer.get("status", "")).upper()
    causes = {"token-refused": False}
    if status:
        causes["disconnected"] = status in GONE
    subscribed = None
    if isinstance(subscription, dict) and isinstance(subscription.get("data"), list):
        subscribed = bool(subscription["data"])
        causes["not-connected"] = not subscribed
    elif subscription is None:
        causes["not-connected"] = False
    on_phone = answer.get("is_on_biz_app")
    return Probe(
        True,
        True,
        status,
        str(answer.get("quality_rating", "")),
        str(answer.get("verified_name", "")),
        str(answer.get("display_phone_number", "")),
        on_phone if isinstance(on_phone, bool) else None,
        subscribed,
        f"status {status}" if causes.get("disconnected") else "" if subscribed is not False else "no app is subscribed",
        causes,
    )


def code_of(error: NetworkError) -> int | None:
    """Meta's code for an error; None when Meta did not answer at all."""
    code = getattr(error, "code", None)
    if isinstance(code, int):
        return code or None
    found = CODE.search(str(error))
    return int(found[1]) if found else None


async def probe(graph: Asks, number: Number) -> Probe:
    """Ask WhatsApp about a number. Changes nothing there."""
    try:
        answer = await graph.request("GET", quote(number.id, safe=""), number.id, params={"fields": FIELDS})
    except NetworkError as error:
        return judge(error, None)
    subscription: dict[str, Any] | NetworkError | None = None
    if waba_id := number.waba_id or _account(answer):
        try:
            subscription = await graph.request("GET", f"{quote(waba_id, safe='')}/subscribed_apps", number.id)
        except NetworkError as error:
            subscription = error
    return judge(answer, subscription)


def _account(answer: dict[str, Any]) -> str:
    """The account of a number, which Meta names beside the number's health; where nobody has set it."""
    health = answer.get("health_status")
    entities = health.get("entities") if isinstance(health, dict) else None
    for one in entities if isinstance(entities, list) else []:
        if isinstance(one, dict) and one.get("entity_type") == "WABA":
            return str(one.get("id", ""))
    return ""


async def answers_itself(http: aiohttp.ClientSession, url: str, verify_token: str) -> str:
    """Shake hands with our own webhook at the address that Meta calls; returns what is wrong, or nothing."""
    challenge = secrets.token_hex(16)
    query = {"hub.mode": "subscribe", "hub.challenge": challenge, "hub.verify_token": verify_token}
    try:
        async with http.get(url, params=query, timeout=aiohttp.ClientTimeout(total=15), allow_redirects=False) as response:
            told = (await response.content.read(200)).decode("utf-8", "replace")
            if response.status != 200:
                return f"HTTP {response.status}"
            return "" if told == challenge else "another program answers there"
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return type(error).__name__
