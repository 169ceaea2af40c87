"""The bridge's accounts on the homeserver: its bot, and a ghost for each contact, made when it first speaks."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from mautrix.util.async_db import Database

from bridge.ghost import Account, Devices
from bridge.settings import Bridge


class NeverMade(Exception):  # noqa: N818 - named for what it is
    """An account that has no device yet."""


class Accounts:
    """Every account that has been used since the start."""

    def __init__(self, settings: Bridge, crypto: Database) -> None:
        self._settings = settings
        self._crypto = crypto
        self._pickle_key = pickle_key(settings)
        self._making: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # one ghost's waits for no other's
        self._by_id: dict[str, Account] = {}
        self.devices = Devices()
        self.bot = self._by_id[settings.bot] = self._account(settings.bot)
        self.signed = False  # whether the server shows the bot's device as cross-signed

    async def start(self) -> None:
        """Sign in as the bot and make its device ready."""
        await self.bot.register("WhatsApp-brug")
        if self._settings.encryption:
            self.signed = await self.bot.start_encryption()

    async def close(self) -> None:
        """Close every account's connection."""
        for account in self._by_id.values():
            await account.close()

    def of(self, user_id: str) -> Account | None:
        """An account that is in use."""
        return self._by_id.get(user_id)

    def is_ours(self, user_id: str) -> bool:
        """Whether an account is the bot's or a ghost's."""
        before, _, after = self._settings.ghost("{user}").partition("{user}")
        return user_id == self._settings.bot or (user_id.startswith(before) and user_id.endswith(after))

    async def ghost(self, local: str) -> Account:
        """The account that stands for somebody, made when they first speak; `local` is its part of the Matrix id."""

        async def prepare(account: Account) -> None:
            await account.register()
            if self._settings.encryption:
                await account.start_encryption()

        return await self._ready(self._settings.ghost(local), prepare)

    async def official(self, user_id: str) -> Account:
        """The account of an official, for what they typed on their phone: we may use it, and leave their identity alone."""

        async def prepare(account: Account) -> None:
            if self._settings.encryption:
                await account.start_encryption(sign=False)

        return await self._ready(user_id, prepare)

    async def member(self, user_id: str) -> Account | None:
        """A ghost by its Matrix id, as it was made before; None for everybody else."""
        if user_id == self.bot.user_id or not self.is_ours(user_id):
            return None

        async def prepare(account: Account) -> None:
            if not await account.store.get_device_id():
                raise NeverMade
            await account.start_encryption()

        try:
            return await self._ready(user_id, prepare)
        except NeverMade:
            return None

    async def _ready(self, user_id: str, prepare: Callable[[Account], Awaitable[None]]) -> Account:
        """An account made ready once, however many ask for it at once."""
        if (ready := self._by_id.get(user_id)) is not None:
            return ready
        async with self._making[user_id]:
            if user_id not in self._by_id:
                account = self._account(user_id)
                try:
                    await prepare(account)
                except BaseException:
                    await account.close()
                    raise
                self._by_id[user_id] = account
        self._making.pop(user_id, None)
        return self._by_id[user_id]

    def _account(self, user_id: str) -> Account:
        token = self._settings.as_token.get_secret_value()
        return Account(user_id, self._settings.homeserver_url, token, self._crypto, self._pickle_key, self.devices)


def localpart(contact: str) -> str:
    """A contact's id as a part of a Matrix id, no two alike (specification, appendix "Mapping from other character sets")."""
    plain = frozenset("0123456789abcdefghijklmnopqrstuvwxyz.-")

    def written(letter: str) -> str:
        return letter if letter in plain else f"_{letter.lower()}" if letter.isalpha() else f"={ord(letter):02x}"

    return "".join(map(written, contact))


def pickle_key(settings: Bridge) -> str:
    """The key of the Olm pickles, derived from the bridge's own key file."""
    raw = settings.key_file.read_bytes().strip()
    return HKDF(hashes.SHA256(), 32, None, b"griffier bridge pickles").derive(raw).hex()


def clean(text: str, length: int) -> str:
    """Text from outside as a name or a notice may hold it."""
    return "".join(letter for letter in text if letter.isprintable() or letter == "\n")[:length].strip()
