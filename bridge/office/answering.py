"""What the bot answers: a command is checked against who gives it, done, and told in the language it was given in."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime

import asyncpg

from bridge.numbers import Number
from bridge.office.administration import Administration, Refusal
from bridge.office.commands import COMMANDS, Asked, NotACommand, allowed, holds_secret, parse
from bridge.office.interruption import CAUSES
from bridge.office.management import Question, Reply
from bridge.office.probing import Probe
from bridge.settings import Bridge

log = logging.getLogger(__name__)

LINK_LIFE = 1800  # seconds
LINK = "INSERT INTO token_link (digest, waba_id, given_to, valid_until) VALUES ($1, $2, $3, now() + make_interval(secs => $4))"
ADD_WORDS = frozenset({"erbij", "toevoegen", "add"})
REMOVE_WORDS = frozenset({"weg", "verwijderen", "verwijder", "remove"})


class Desk:
    """Answers what admins and officials say to the bot."""

    def __init__(self, settings: Bridge, pool: asyncpg.Pool, administration: Administration) -> None:
        self._settings = settings
        self._pool = pool
        self._office = administration
        self._work: dict[str, Callable[[Asked, str], Awaitable[str]]] = {
            "help": self._help,
            "list": self._list,
            "status": self._status,
            "test": self._test,
            "colleague": self._colleague,
            "connect": self._connect,
            "assign": self._assign,
            "pause": self._pause,
            "resume": self._resume,
            "disconnect": self._disconnect,
            "failed": self._failed,
            "retry": self._retry,
            "history": self._history,
        }

    async def answer(self, said: Question) -> Reply | None:
        """What the bot says back."""
        if holds_secret(said.text):
            return Reply(
                _in(
                    said.language,
                    "Dat leek een toegangstoken of geheim. Die horen niet in een chat: uw bericht is verwijderd waar dat kon, "
                    "maar wel gearchiveerd. Trek het token in bij Meta, maak een nieuw, en stuur “verbind ACCOUNT-ID” voor een "
                    "veilige weg.",
                    "That looked like an access token or a secret. Those don't belong in a chat: your message was removed where "
                    "it could be, but it has been archived. Revoke the token at Meta, make a new one, and send “connect "
                    "ACCOUNT-ID” for a safe way.",
                ),
                said.language,
                redact=True,
            )
        asked = parse(said.text, said.language)
        language, admin = asked.language, said.sender in self._settings.admins
        if not admin and not self._own(said.sender):
            return Reply(
                _in(
                    language,
                    "Deze bot is voor beheerders en voor wie een WhatsApp-nummer heeft. Vraag uw beheerder om een nummer.",
                    "This bot is for admins and for those who have a WhatsApp number. Ask your admin for a number.",
                ),
                language,
            )
        if isinstance(asked, NotACommand):
            return Reply(self._not_a_command(asked), language)
        if not allowed(asked.command, admin=admin, owns_a_number=True):
            return Reply(_in(language, "Dat mag alleen een beheerder.", "Only an admin may do that."), language)
        try:
            text = await self._work[asked.command.name](asked, said.sender)
        except Refusal as refusal:
            text = _in(language, refusal.dutch, refusal.english)
        log.info("%s gave the command %s.", said.sender, asked.command.name)
        return Reply(text, language)

    def _own(self, user_id: str) -> list[Number]:
        """The numbers whose official a person is. A colleague reads and writes along, and manages nothing."""
        return [number for number in self._office.numbers() if number.official == user_id]

    def _number(self, asked: Asked, sender: str, position: int = 0) -> Number:
        """The number that is meant; somebody else's is as unknown to an official as one that isn't there. Raises Refusal."""
        number = self._office.number(asked.arguments[position])
        if sender not in self._settings.admins and number.official != sender:
            raise Refusal("Dat is geen nummer van u. Stuur “lijst”.", "That is no number of yours. Send “list”.", 403)
        return number

    def _not_a_command(self, asked: NotACommand) -> str:
        if asked.command is None:
            return _in(asked.language, "Die opdracht ken ik niet. Stuur “help”.", "I don't know that command. Send “help”.")
        usage = asked.command.usage_line(asked.language)
        if asked.wrong_use:
            return _in(asked.language, f"Gebruik: {usage}", f"Usage: {usage}")
        return _in(
            asked.language,
            f"Die opdracht ken ik niet. Bedoelt u: {usage}? Stuur “help” voor alle opdrachten.",
            f"I don't know that command. Did you mean: {usage}? Send “help” for all commands.",
        )

    async def _help(self, asked: Asked, sender: str) -> str:
        admin = sender in self._settings.admins
        lines = [
            f"• {command.usage_line(asked.language)} – {command.about[asked.language == 'en']}"
            for command in COMMANDS
            if allowed(command, admin=admin, owns_a_number=True)
        ]
        return "\n".join([_in(asked.language, "Wat u kunt sturen:", "What you can send:"), *lines])

    async def _list(self, asked: Asked, sender: str) -> str:
        if asked.arguments:
            number = self._number(asked, sender)
            rows = [
                f"  {_at(row['valid_from'])} – {_at(row['valid_until'])} {row['user_id']} ({row['role']})"
                for row in await self._office.assignments(number.id)
            ]
            return "\n".join([_line(number, asked.language), *rows])
        numbers = self._office.numbers() if sender in self._settings.admins else self._own(sender)
        if not numbers:
            return _in(asked.language, "Er zijn nog geen nummers.", "There are no numbers yet.")
        return "\n".join(_line(number, asked.language) for number in numbers)

    async def _status(self, asked: Asked, sender: str) -> str:
        health = await self._office.health()
        admin = sender in self._settings.admins
        mine = {number.id for number in self._own(sender)}
        lines = [
            f"• {number.display_phone_number}: {_probe(probe, asked.language)}" + (f" ({_at(at)})" if at else "")
            for number, probe, at in health.numbers
            if admin or number.id in mine
        ]
        for one in health.interruptions:
            if admin or one.number_id in mine:
                cause = CAUSES.get(one.cause, (one.cause, one.cause))[asked.language == "en"]
                since = _in(asked.language, "niet gedekt sinds", "not covered since")
                lines.append(f"⚠️ {one.display}: {since} {_at(one.began_at)}: {cause}")
        if admin:
            lines += [f"🚨 {alarm.kind}: {alarm.subject} ({alarm.count})" for alarm in health.alarms]
            waiting = ", ".join(f"{name} {count}" for name, count in health.waiting.items())
            lines.append(_in(asked.language, f"In de wachtrij: {waiting}", f"In the queues: {waiting}"))
        return "\n".join(lines) or _in(asked.language, "Er zijn nog geen nummers.", "There are no numbers yet.")

    async def _test(self, asked: Asked, sender: str) -> str:
        number = self._number(asked, sender)
        return f"{number.display_phone_number}: {_probe(await self._office.test(number.id), asked.language)}"

    async def _colleague(self, asked: Asked, sender: str) -> str:
        what = asked.arguments[0].casefold()
        number, user_id = self._number(asked, sender, 1), asked.arguments[2]
        if what in ADD_WORDS:
            number = await self._office.add_colleague(number.id, user_id, sender)
        elif what in REMOVE_WORDS:
            number = await self._office.remove_colleague(number.id, user_id, sender)
        else:
            usage = asked.command.usage_line(asked.language)
            return _in(asked.language, f"Gebruik: {usage}", f"Usage: {usage}")
        return _line(number, asked.language)

    async def _connect(self, asked: Asked, sender: str) -> str:
        waba_id = asked.arguments[0]
        if not waba_id.isascii() or not waba_id.isalnum() or len(waba_id) > 64:
            raise Refusal("Dat is geen account-id van Meta.", "That is no account id of Meta's.")
        if not self._settings.provisioning_url or not self._settings.provisioning_token.get_secret_value():
            return _in(
                asked.language,
                "Een token hoort niet in een chat. Zet het in een bestand op de server en voer daar uit:\n"
                f"python -m bridge --config BESTAND --connect {waba_id} --token-file TOKENBESTAND",
                "A token does not belong in a chat. Put it in a file on the server, and run there:\n"
                f"python -m bridge --config FILE --connect {waba_id} --token-file TOKENFILE",
            )
        secret = secrets.token_urlsafe(32)
        await self._pool.execute(LINK, hashlib.sha256(secret.encode()).digest(), waba_id, sender, LINK_LIFE)
        link = f"{self._settings.provisioning_url.rstrip('/')}/_griffier/provision/v1/connect/{secret}"
        return _in(
            asked.language,
            f"Een token hoort niet in een chat. Vul het in op deze pagina; de link werkt één keer, een half uur lang:\n{link}",
            f"A token does not belong in a chat. Fill it in on this page; the link works once, for half an hour:\n{link}",
        )

    async def _assign(self, asked: Asked, sender: str) -> str:
        which, official, *account = asked.arguments
        try:
            number_id = self._office.number(which).id
        except Refusal:
            if which.startswith("+"):
                raise
            number_id = which
        if not account:
            known = [one.waba_id for one in self._office.accounts()]
            account = known[:1] if len(known) == 1 else [""]
        number = await self._office.assign(number_id, official, sender, waba_id=account[0])
        return _line(number, asked.language)

    async def _pause(self, asked: Asked, sender: str) -> str:
        number = await self._office.pause(asked.arguments[0], sender)
        return _line(number, asked.language)

    async def _resume(self, asked: Asked, sender: str) -> str:
        return _line(await self._office.resume(asked.arguments[0], sender), asked.language)

    async def _disconnect(self, asked: Asked, sender: str) -> str:
        which = asked.arguments[0]
        if which in {account.waba_id for account in self._office.accounts()}:
            await self._office.disconnect_account(which, sender)
            return _in(asked.language, f"Account {which} is vergeten.", f"Account {which} is forgotten.")
        number = self._office.number(which)
        await self._office.remove(number.id, sender)
        shown = number.display_phone_number
        return _in(
            asked.language,
            f"{shown} wordt niet meer bediend. De kamers blijven. Wat WhatsApp nog aflevert, wordt bewaard.",
            f"{shown} is served no longer. Its rooms stay. What WhatsApp still delivers is kept.",
        )

    async def _failed(self, asked: Asked, sender: str) -> str:
        rows = await self._office.failed()
        if not rows:
            return _in(asked.language, "Er is niets mislukt.", "Nothing failed.")
        return "\n".join(f"• {row['item']} {row['arrived_at']:%d-%m-%Y %H:%M}: {row['problem']}" for row in rows[:30])

    async def _retry(self, asked: Asked, sender: str) -> str:
        done = await self._office.retry(asked.arguments[0] if asked.arguments else "")
        return _in(asked.language, f"{done} keer opnieuw in de wachtrij gezet.", f"{done} put back in line.")

    async def _history(self, asked: Asked, sender: str) -> str:
        await self._office.history(asked.arguments[0], sender)
        return _in(
            asked.language,
            "Gevraagd. WhatsApp stuurt de contacten en de geschiedenis in de komende minuten tot uren.",
            "Asked for. WhatsApp sends the contacts and the history within minutes to hours.",
        )


def _in(language: str, dutch: str, english: str) -> str:
    return english if language == "en" else dutch


def _line(number: Number, language: str) -> str:
    state = _in(language, " – gepauzeerd", " – paused") if number.paused else ""
    label = f" “{number.label}”" if number.label else ""
    more = _in(language, "; collega's: ", "; colleagues: ") + ", ".join(number.colleagues) if number.colleagues else ""
    return f"• {number.display_phone_number}{label} ({number.id}): {number.official}{more}{state}"


def _probe(probe: Probe | None, language: str) -> str:
    if probe is None:
        return _in(language, "nog niet bekend", "not known yet")
    if not probe.reachable:
        return _in(language, f"WhatsApp antwoordt niet: {probe.problem}", f"WhatsApp does not answer: {probe.problem}")
    if not probe.good:
        return _in(language, f"niet in orde: {probe.problem}", f"not well: {probe.problem}")
    details = ", ".join(part for part in (probe.status, probe.quality, probe.name) if part)
    phone = _in(language, ", ook in de app op de telefoon", ", also in the app on the phone") if probe.on_phone else ""
    return _in(language, "in orde", "well") + (f" ({details}{phone})" if details else "")


def _at(moment: datetime | None) -> str:
    return moment.astimezone().strftime("%d-%m-%Y %H:%M %Z") if moment else "…"
