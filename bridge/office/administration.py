"""What an admin can do, whichever way it is asked: the commands in a chat and the provisioning API both come here."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import asyncpg

from bridge.network import NetworkError
from bridge.numbers import SETTINGS_ACCOUNT, BusinessAccount, Number, Numbers, sealed_as
from bridge.office import assigning
from bridge.office.alarm import Alarms
from bridge.office.interruption import Interruption, Interruptions
from bridge.office.probing import Asks, Probe
from bridge.office.watch import Watch
from bridge.relay.queues import INBOX
from bridge.relay.relay import Relay
from bridge.sealing import Seal
from bridge.settings import Bridge

log = logging.getLogger(__name__)

META_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
USER_ID = re.compile(r"@[0-9a-z._=/+-]+:[0-9A-Za-z.:\[\]-]+")

PUT_ACCOUNT = """
    INSERT INTO account (waba_id, name, token, app_secret, added_by) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (waba_id) DO UPDATE SET name = CASE excluded.name WHEN '' THEN account.name ELSE excluded.name END,
        token = excluded.token, app_secret = coalesce(excluded.app_secret, account.app_secret),
        added_at = now(), added_by = excluded.added_by, removed_at = NULL, removed_by = NULL
"""
PAUSE = "UPDATE number SET paused_at = now() WHERE number_id = $1 AND paused_at IS NULL"
RESUME = "UPDATE number SET paused_at = NULL WHERE number_id = $1 AND paused_at IS NOT NULL"
LABEL = "UPDATE number SET label = $2 WHERE number_id = $1"
# What waited for a pause to end need not wait for its next attempt, and the time that it waited is held against it nowhere.
DUE = f"""
    UPDATE inbox SET due_at = now(), waits_since = NULL, attempts = 0 WHERE state IN ('waiting', 'aside') AND {INBOX.number} = $1
"""  # noqa: S608 - our own constant
DUE_OUT = """
    UPDATE outbox SET due_at = now(), waits_since = NULL, attempts = 0 FROM portal
    WHERE portal.room_id = outbox.room_id AND portal.number_id = $1 AND state = 'waiting' AND waits_for = 'held'
"""
Seat = Callable[[str], Awaitable[int]]
"""Bring who is in a number's rooms in line with who may be; returns in how many that did not succeed yet."""


class Refusal(Exception):  # noqa: N818 - named for what it is
    """It can't be done as it was asked; says why, in Dutch and in English, without secrets. `status` is as HTTP has it."""

    def __init__(self, dutch: str, english: str, status: int = 400) -> None:
        super().__init__(english)
        self.dutch = dutch
        self.english = english
        self.status = status


@dataclass(frozen=True, slots=True)
class Health:
    """How the bridge is."""

    numbers: list[tuple[Number, Probe | None, datetime | None]]
    interruptions: list[Interruption]
    alarms: list[Any]
    waiting: dict[str, int]


class Administration:
    """The operations, each in one transaction where it writes."""

    def __init__(
        self,
        settings: Bridge,
        pool: asyncpg.Pool,
        seal: Seal,
        numbers: Numbers,
        interruptions: Interruptions,
        alarms: Alarms,
        watch: Watch,
        graph: Asks,
        relay: Relay,
        seat: Seat,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._seal = seal
        self._numbers = numbers
        self._interruptions = interruptions
        self._alarms = alarms
        self._watch = watch
        self._graph = graph
        self._relay = relay
        self._seat = seat

    # Accounts.

    def accounts(self) -> list[BusinessAccount]:
        """Every business account that has a token."""
        return [account for account in self._numbers.accounts() if account.token]

    async def connect(self, waba_id: str, token: str, app_secret: str, name: str, by: str) -> list[dict[str, str]]:
        """Add an account, or give it a new token; returns its numbers as WhatsApp lists them. Raises Refusal.

        The token is tried first: one that WhatsApp refuses replaces nothing.
        """
        _meta_id(waba_id)
        if not re.fullmatch(r"[!-~]{8,1000}", token):
            raise Refusal("Dat is geen toegangstoken.", "That is no access token.")
        with self._numbers.candidate(token) as candidate:
            try:
                answer = await self._graph.request("GET", f"{quote(waba_id, safe='')}/phone_numbers", candidate)
                await self._graph.request("POST", f"{quote(waba_id, safe='')}/subscribed_apps", candidate)
            except NetworkError as error:
                raise Refusal(f"WhatsApp aanvaardt dit niet: {error}", f"WhatsApp does not accept this: {error}", 409) from None
        sealed = self._seal.close(token.encode(), sealed_as(waba_id, "token"))
        secret = self._seal.close(app_secret.encode(), sealed_as(waba_id, "app_secret")) if app_secret else None
        await self._pool.execute(PUT_ACCOUNT, waba_id, name[:100], sealed, secret, by)
        await self._reload()
        return [
            {
                "id": str(row.get("id", "")),
                "display_phone_number": str(row.get("display_phone_number", "")),
                "name": str(row.get("verified_name", "")),
            }
            for row in answer.get("data", [])
            if isinstance(row, dict)
        ]

    async def disconnect_account(self, waba_id: str, by: str) -> None:
        """Forget an account's token. Raises Refusal while numbers of it are served."""
        if any(number.waba_id == waba_id for number in self._numbers.all()):
            raise Refusal("Ontkoppel eerst de nummers van dit account.", "Disconnect this account's numbers first.", 409)
        query = "UPDATE account SET removed_at = now(), removed_by = $2, token = '', app_secret = NULL WHERE waba_id = $1 AND removed_at IS NULL"  # noqa: E501
        if (await self._pool.execute(query, waba_id, by)).endswith(" 0"):
            raise Refusal("Dat account is er niet.", "There is no such account.", 404)
        await self._reload()

    # Numbers.

    def numbers(self) -> list[Number]:
        """Every number that is served."""
        return self._numbers.all()

    def number(self, which: str) -> Number:
        """The number with this id, display number or label. Raises Refusal."""
        wanted = "".join(letter for letter in which if letter.isdecimal())
        for number in self._numbers.all():
            written = "".join(letter for letter in number.display_phone_number if letter.isdecimal())
            if which == number.id or (number.label and which.casefold() == number.label.casefold()):
                return number
            if len(wanted) >= 6 and wanted.removeprefix("00") == written:
                return number
        raise Refusal(
            f"Het nummer {_shown(which)} is er niet. Stuur “lijst”.", f"There is no number {_shown(which)}. Send “list”.", 404
        )

    async def assign(
        self, number_id: str, official: str, by: str, *, display: str = "", waba_id: str = SETTINGS_ACCOUNT, label: str = ""
    ) -> Number:
        """Give a number to an official, adding it where it is new. Raises Refusal.

        The rooms that there are stay with whose number it was; from now on there are new ones.
        """
        _meta_id(number_id)
        self._local(official)
        known = self._numbers.of(number_id)
        if known is None and waba_id not in {account.waba_id for account in self.accounts()}:
            raise Refusal(
                "Dat account heeft geen toegangstoken. Stuur eerst “verbind”.",
                "That account has no access token. Send “connect” first.",
                409,
            )
        if known is None:
            found = await self._look_up(number_id, waba_id)
            display = display or found or number_id
        former = known.official if known else ""
        async with self._pool.acquire() as connection, connection.transaction():
            if known is None:
                await assigning.add(connection, number_id, waba_id, display, label, by)
            elif label:
                await connection.execute(LABEL, number_id, label)
            if former != official:
                await assigning.give(connection, number_id, official, by)
                await assigning.close(connection, number_id)
        await self._seated(number_id)
        if known is None:
            await self.retry_unknown(number_id)
        return self.number(number_id)

    async def pause(self, number_id: str, by: str) -> Number:
        """Carry nothing over for a number until it is resumed: what comes in is kept, what is to go out waits."""
        number = self.number(number_id)
        if (await self._pool.execute(PAUSE, number.id)).endswith(" 1"):
            await self._interruptions.begin(number.id, "paused", datetime.now(UTC), f"{by}")
        await self._reload()
        return self.number(number.id)

    async def resume(self, number_id: str, by: str) -> Number:
        """Carry over again, what was kept meanwhile first."""
        number = self.number(number_id)
        await self._pool.execute(RESUME, number.id)
        await self._reload()
        for waiting in (DUE, DUE_OUT):
            await self._pool.execute(waiting, number.id)
        await self._interruptions.end(number.id, "paused", datetime.now(UTC))
        return self.number(number.id)

    async def remove(self, number_id: str, by: str) -> None:
        """Serve a number no longer. Its rooms, and who it was of and when, stay."""
        number = self.number(number_id)
        async with self._pool.acquire() as connection, connection.transaction():
            await assigning.remove(connection, number.id, by)
        now = datetime.now(UTC)
        for one in await self._interruptions.open():
            if one.number_id == number.id:
                await self._interruptions.end(number.id, one.cause, now)
        await self._seated(number.id)

    async def add_colleague(self, number_id: str, user_id: str, by: str) -> Number:
        """Let a colleague read and answer what is said with a number, in the rooms that there are as well."""
        number = self.number(number_id)
        self._local(user_id)
        if user_id == number.official:
            raise Refusal("Het nummer is al van deze persoon.", "The number is this person's already.", 409)
        await assigning.add_colleague(self._pool, number.id, user_id, by)
        await self._seated(number.id)
        return self.number(number.id)

    async def remove_colleague(self, number_id: str, user_id: str, by: str) -> Number:
        """Take that back: no new words, and no seat in the rooms any more."""
        number = self.number(number_id)
        if user_id not in number.colleagues:
            raise Refusal("Dat is geen collega bij dit nummer.", "That is no colleague at this number.", 404)
        await assigning.remove_colleague(self._pool, number.id, user_id, by)
        await self._seated(number.id)
        return self.number(number.id)

    async def assignments(self, number_id: str) -> list[dict[str, Any]]:
        """Who might speak for a number, and when, the latest first."""
        return await assigning.history(self._pool, number_id)

    async def test(self, number_id: str) -> Probe:
        """Ask WhatsApp now how a number is."""
        return await self._watch.probe(self.number(number_id))

    async def history(self, number_id: str, by: str) -> None:
        """Have WhatsApp send the contacts and the history of a number in the WhatsApp Business app (coexistence). Raises Refusal.

        Once each, within 24 hours of connecting the number; who asks too late is told so by WhatsApp.
        """
        number = self.number(number_id)
        problems = []
        for kind in ("smb_app_state_sync", "history"):
            body = {"messaging_product": "whatsapp", "sync_type": kind}
            try:
                await self._graph.request("POST", f"{quote(number.id, safe='')}/smb_app_data", number.id, body=body)
            except NetworkError as error:
                problems.append(f"{kind}: {error}")
        log.info("The history of %s was asked for by %s.", number.id, by)
        if problems:
            told = "; ".join(problems)
            raise Refusal(f"WhatsApp weigert: {told}", f"WhatsApp refuses: {told}", 409)

    # What went wrong.

    async def failed(self) -> list[dict[str, Any]]:
        """What could not be carried over, the newest first, without anything of its content."""
        return await assigning.failed(self._pool)

    async def retry(self, item: str = "") -> int:
        """Try again what failed, one (`in-12`, `out-3`, `delivery-4`) or all of WhatsApp's; returns how many. Raises Refusal."""
        done = await assigning.retry(self._pool, self._seal, self._relay, self._numbers, item)
        if item and not done:
            raise Refusal(
                f"{_shown(item)} is er niet, of er is niets van over te brengen.",
                f"There is no {_shown(item)}, or nothing of it can be carried over.",
                404,
            )
        if not item or not (await self._relay.counts())["out_failed"]:
            await self._alarms.clear("poison", "outbox")
        await self._watch.look()
        return done

    async def retry_unknown(self, number_id: str) -> int:
        """Carry over after all what came for a number before we served it."""
        done = await assigning.retry_of(self._pool, self._relay, self._numbers, number_id)
        await self._alarms.clear("unknown-number", number_id)
        return done

    async def health(self) -> Health:
        """How every number is, what is interrupted, what an admin must look at."""
        last = self._watch.last
        numbers = [(n, last[n.id][1] if n.id in last else None, last[n.id][0] if n.id in last else None) for n in self.numbers()]
        return Health(numbers, await self._interruptions.open(), await self._alarms.open(), await self._relay.counts())

    async def interruptions(self, number_id: str = "") -> list[Interruption]:
        """The intervals that were not covered, the newest first."""
        return await self._interruptions.latest(number_id)

    async def _look_up(self, number_id: str, waba_id: str) -> str:
        """The number as people write it, if WhatsApp tells. Raises Refusal when WhatsApp knows it otherwise."""
        try:
            answer = await self._graph.request(
                "GET", quote(number_id, safe=""), waba_id, params={"fields": "id,display_phone_number"}
            )
        except NetworkError as error:
            log.warning("WhatsApp does not say which number %s is: %s", number_id, error)
            return ""
        return str(answer.get("display_phone_number", ""))

    def _local(self, user_id: str) -> None:
        if not USER_ID.fullmatch(user_id) or not user_id.endswith(f":{self._settings.server_name}"):
            server = self._settings.server_name
            raise Refusal(
                f"{_shown(user_id)} is geen Matrix-account hier: schrijf @naam:{server}.",
                f"{_shown(user_id)} is no Matrix account here: write @name:{server}.",
            )

    async def _reload(self) -> None:
        await self._numbers.load(self._pool, self._seal)

    async def _seated(self, number_id: str) -> None:
        """Its people have changed: so does who is in its rooms. Raises Refusal while that is not so everywhere."""
        await self._reload()
        if behind := await self._seat(number_id):
            raise Refusal(
                f"Het is vastgelegd, maar in {behind} kamer(s) nog niet doorgevoerd; de brug blijft het proberen.",
                f"It has been noted, but not yet carried through in {behind} room(s); the bridge keeps trying.",
                503,
            )


def _meta_id(text: str) -> None:
    if not META_ID.fullmatch(text):
        raise Refusal(f"{_shown(text)} is geen id van Meta.", f"{_shown(text)} is no id of Meta's.")


def _shown(text: str) -> str:
    """What somebody wrote, short and harmless enough to repeat."""
    return "".join(letter for letter in text if letter.isprintable())[:60]
