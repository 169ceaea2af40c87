"""The bridge's accounts on the homeserver: its bot, and a ghost for each contact, made when it first speaks."""

from __future__ import annotations

import asyncio

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from mautrix.util.async_db import Database

from bridge.ghost import Account
from bridge.settings import Bridge


class Accounts:
    """Every account that has been used since the start."""

    def __init__(self, settings: Bridge, crypto: Database) -> None:
        self._settings = settings
        self._crypto = crypto
        self._pickle_key = pickle_key(settings)
        self._making = asyncio.Lock()
        self._by_id: dict[str, Account] = {}
        self.bot = self._account(settings.bot)
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

    async def ghost(self, contact: str, name: str) -> Account:
        """The account of a contact, made when it first speaks."""
        user_id = self._settings.ghost(localpart(contact))
        async with self._making:
            if user_id not in self._by_id:
                account = self._account(user_id)
                try:
                    await account.register(f"{clean(name, 100) or '+' + contact} (WA)")
                    if self._settings.encryption:
                        await account.start_encryption()
                except BaseException:
                    del self._by_id[user_id]
                    await account.close()
                    raise
            return self._by_id[user_id]

    def _account(self, user_id: str) -> Account:
        token = self._settings.as_token.get_secret_value()
        account = Account(user_id, self._settings.homeserver_url, token, self._crypto, self._pickle_key)
        self._by_id[user_id] = account
        return account


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
