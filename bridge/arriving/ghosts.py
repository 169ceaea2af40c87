"""Ghosts: one account for each person on WhatsApp, with the name that they give themselves."""

from __future__ import annotations

import json
import logging
import re

from mautrix.api import Method, Path
from mautrix.errors import MatrixRequestError

from bridge.accounts import Accounts, clean
from bridge.arriving.persons import Person, Persons
from bridge.ghost import Account
from bridge.network import Named

log = logging.getLogger(__name__)

IDENTIFIERS = "com.beeper.bridge.identifiers"


class Ghosts:
    """The ghosts of people."""

    def __init__(self, accounts: Accounts, persons: Persons) -> None:
        self._accounts = accounts
        self._persons = persons

    async def of(self, person: Person) -> Account:
        """Somebody's ghost, made when they first speak; its profile follows theirs (member events keep what it was)."""
        account = await self._accounts.ghost(person.localpart)
        # One profile for all who share a room with them: it holds no number that one of these was not told.
        name = f"{clean(person.named.name, 100) or called(person.localpart)} (WA)"
        profile = json.dumps([name, []])
        if profile != person.shown:
            await account.call(Method.PUT, Path.v3.profile[account.user_id].displayname, {"displayname": name})
            if "tel:" in person.shown:  # as it was written before
                await self._identify(account, [])
            await self._persons.keep_shown(person, profile)
        return account

    async def known(self, number_id: str, named: Named) -> Account | None:
        """The ghost of somebody whom a number knows by these names; None for a stranger."""
        person = await self._persons.find(number_id, named)
        return await self._accounts.ghost(person.localpart) if person is not None else None

    async def _identify(self, account: Account, identifiers: list[str]) -> None:
        """Their identifiers, where the homeserver keeps such fields (MSC4133)."""
        try:
            await account.call(Method.PUT, Path.v3.profile[account.user_id][IDENTIFIERS], {IDENTIFIERS: identifiers})
        except MatrixRequestError as error:
            log.debug("The homeserver keeps no %s: %s", IDENTIFIERS, error.http_status)


def called(localpart: str) -> str:
    """Somebody without a name, by what their ghost's Matrix id says already."""
    base = localpart.partition("=-")[0]
    return f"+{base}" if base.isdecimal() else re.sub("_(.)", lambda found: found[1].upper(), base)


def shown(person: Person) -> str:
    """Somebody as everybody may see them: never by the name in an official's own address book."""
    return clean(person.named.name, 100) or clean(person.named.shown, 100) or "?"
