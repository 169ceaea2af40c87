"""The business numbers that the bridge serves: whose they are, and with which token WhatsApp lets us speak for them.

What is known stands in the bridge's database, to which the settings file adds; this is the copy in memory that everybody asks.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import asyncpg
from cryptography.exceptions import InvalidTag

from bridge.network import NetworkError
from bridge.sealing import Seal
from bridge.settings import Bridge

ACCOUNTS = "SELECT waba_id, name, token, app_secret FROM account WHERE removed_at IS NULL"
NUMBERS = """
    SELECT number_id AS id, waba_id, display AS display_phone_number, label, per_second AS messages_per_second,
           paused_at IS NOT NULL AS paused
    FROM number WHERE removed_at IS NULL ORDER BY added_at, number_id
"""
PEOPLE = "SELECT number_id, user_id, role, valid_from, valid_until FROM assignment ORDER BY valid_from, id"

NOT_CONNECTED = (
    "de brug heeft geen toegangstoken voor dit nummer. Uw beheerder moet het WhatsApp-account verbinden · "
    "the bridge has no access token for this number. Your admin must connect the WhatsApp account"
)
SETTINGS_ACCOUNT = ""
"""The id of the account whose token the settings file holds, while bridge.waba_id is not set."""


@dataclass(frozen=True, slots=True)
class BusinessAccount:
    """A WhatsApp Business account (WABA)."""

    waba_id: str
    name: str = ""
    token: str = field(default="", repr=False)
    app_secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Number:
    """A business number, the official whose it is, and the colleagues who may speak for it too."""

    id: str
    display_phone_number: str
    official: str = ""
    waba_id: str = SETTINGS_ACCOUNT
    label: str = ""
    messages_per_second: float = 0  # 0: as bridge.messages_per_second says
    paused: bool = False
    colleagues: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tenure:
    """How long a number was an official's."""

    official: str
    since: datetime
    until: datetime | None  # None: it still is


class Numbers:
    """Every number by its id, and every account."""

    def __init__(self, settings: Bridge) -> None:
        self._settings = settings
        self._by_id = {
            n.id: Number(
                n.id,
                n.display_phone_number,
                n.official,
                n.account or settings.waba_id,
                messages_per_second=n.messages_per_second,
            )
            for n in settings.numbers
        }
        self._accounts = self._of_settings()
        self._before: dict[str, frozenset[str]] = {}
        self._tenures: dict[str, list[Tenure]] = {}
        self._candidates: dict[str, str] = {}

    def all(self) -> list[Number]:
        """Every number that is served, paused ones too."""
        return list(self._by_id.values())

    def accounts(self) -> list[BusinessAccount]:
        """Every business account."""
        return list(self._accounts.values())

    def of(self, number_id: str) -> Number | None:
        """The number with this id, if the bridge serves it."""
        return self._by_id.get(number_id)

    def display(self, number_id: str) -> str:
        """The number as people write it; its id when we don't serve it."""
        number = self.of(number_id)
        return number.display_phone_number if number else number_id

    def officials(self, number_id: str) -> frozenset[str]:
        """The Matrix accounts that may speak for it: its official and the colleagues that were added."""
        number = self.of(number_id)
        return frozenset({number.official, *number.colleagues} - {""}) if number else frozenset()

    def once_officials(self, number_id: str) -> frozenset[str]:
        """Those who could speak for it before, and can no longer."""
        return self._before.get(number_id, frozenset()) - self.officials(number_id)

    def paused(self, number_id: str) -> bool:
        """Whether nothing is to be carried over for it now."""
        number = self.of(number_id)
        return number is not None and number.paused

    def official(self, number_id: str) -> str:
        """Whose number it is."""
        number = self.of(number_id)
        return number.official if number else ""

    def official_at(self, number_id: str, at: datetime | None) -> str:
        """Whose number it was then, and so whose conversation it is what was said then; empty when it was nobody's."""
        tenures = self._tenures.get(number_id)
        return whose(tenures, at) if tenures and at is not None else self.official(number_id)

    def several(self, official: str) -> bool:
        """Whether somebody has more than one number: then each conversation says through which it goes."""
        return sum(number.official == official for number in self._by_id.values()) > 1

    def token(self, number_id: str) -> str:
        """The access token of a number's account, or of the account with this id; never another's. Raises NetworkError."""
        if number_id in self._candidates:
            return self._candidates[number_id]
        number = self.of(number_id)
        account = self._accounts.get(number.waba_id if number else number_id)
        if account is None or not account.token:
            raise NetworkError(NOT_CONNECTED, final=False, scope="number", after=60, code=190)
        return account.token

    def account(self, number_id: str) -> str:
        """The id of the WhatsApp business account that the number belongs to; empty when it is not set."""
        number = self.of(number_id)
        return number.waba_id if number else ""

    def per_second(self, number_id: str) -> float:
        """How many messages a second the number may send."""
        number = self.of(number_id)
        return float((number.messages_per_second if number else 0) or self._settings.messages_per_second)

    def account_of(self, number_id: str) -> BusinessAccount | None:
        """The account of a number that we serve."""
        number = self.of(number_id)
        return self._accounts.get(number.waba_id) if number else None

    def secret(self, account: BusinessAccount) -> str:
        """The app secret that the account's deliveries are signed with."""
        return account.app_secret or self._settings.app_secret.get_secret_value()

    @contextmanager
    def candidate(self, token: str) -> Iterator[str]:
        """A token that is only being tried: requests for the id that this gives use it."""
        key = f"candidate:{secrets.token_hex(8)}"
        self._candidates[key] = token
        try:
            yield key
        finally:
            del self._candidates[key]

    async def load(self, pool: asyncpg.Pool, seal: Seal) -> None:
        """Read everything again. An account whose token can't be opened keeps its numbers and speaks for none."""
        accounts, numbers, people = await pool.fetch(ACCOUNTS), await pool.fetch(NUMBERS), await pool.fetch(PEOPLE)
        known = self._of_settings()
        for row in accounts:
            known[row["waba_id"]] = BusinessAccount(
                row["waba_id"], row["name"], _opened(seal, row, "token"), _opened(seal, row, "app_secret")
            )
        officials: dict[str, str] = {}
        colleagues: dict[str, list[str]] = {}
        tenures: dict[str, list[Tenure]] = {}
        ever: dict[str, set[str]] = {}
        for row in people:
            ever.setdefault(row["number_id"], set()).add(row["user_id"])
            present = row["valid_until"] is None
            if row["role"] == "official":
                tenures.setdefault(row["number_id"], []).append(Tenure(row["user_id"], row["valid_from"], row["valid_until"]))
            if present and row["role"] == "official":
                officials[row["number_id"]] = row["user_id"]
            elif present:
                colleagues.setdefault(row["number_id"], []).append(row["user_id"])
        self._accounts = known
        self._tenures = tenures
        self._before = {number_id: frozenset(users) for number_id, users in ever.items()}
        self._by_id = {
            row["id"]: Number(
                **row, official=officials.get(row["id"], ""), colleagues=tuple(sorted(colleagues.get(row["id"], [])))
            )
            for row in numbers
        }

    def _of_settings(self) -> dict[str, BusinessAccount]:
        """The accounts that the settings file names, all with its one token."""
        token = self._settings.access_token.get_secret_value()
        named = {number.account for number in self._settings.numbers if number.account}
        return {waba_id: BusinessAccount(waba_id, "", token) for waba_id in {self._settings.waba_id, *named}}


def whose(tenures: Sequence[Tenure], at: datetime) -> str:
    """The official of a moment, from all of a number's, the first first; empty when it was nobody's.

    The network tells times in whole seconds: what was said in the second of a change is the next official's. What was said
    before the first is the first's, whose phone it was; what was said between two tenures of one official is that one's.
    """
    at = at.replace(microsecond=0) + timedelta(seconds=1)
    before = [tenure for tenure in tenures if tenure.since < at]
    after = [tenure for tenure in tenures if tenure.since >= at]
    if not before:
        return after[0].official if after else ""
    last = before[-1]
    if last.until is None or last.until >= at or (after and after[0].official == last.official):
        return last.official
    return ""


def sealed_as(waba_id: str, part: str) -> str:
    """What a sealed secret of an account is bound to: moved to another row, it can't be opened."""
    return f"account|{waba_id}|{part}"


def _opened(seal: Seal, row: Any, part: str) -> str:
    if row[part] is None:
        return ""
    try:
        return seal.open(row[part], sealed_as(row["waba_id"], part)).decode()
    except (InvalidTag, ValueError):
        return ""
