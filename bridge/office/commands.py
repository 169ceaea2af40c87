"""What can be said to the bridge's bot: the words, in Dutch and in English, and who may say them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches

# Meta's tokens begin with EAA, an app secret is 32 hexadecimal digits; anything as long as a token is taken for one.
SECRET = re.compile(r"\bEAA[0-9A-Za-z]{16,}|\b[0-9a-f]{32}\b|[0-9A-Za-z_.-]{80,}")
PHONE = re.compile(r"(?<!\S)\+\d[\d ()./-]*\d(?!\S)")


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its words, how it is used, and who may use it."""

    name: str
    dutch: tuple[str, ...]
    english: tuple[str, ...]
    usage: tuple[str, str]  # Dutch, English
    about: tuple[str, str]
    least: int = 0  # arguments
    most: int = 0
    admins_only: bool = True

    def usage_line(self, language: str) -> str:
        """How it is used, in a language."""
        return self.usage[language == "en"]


COMMANDS = (
    Command("help", ("help", "hulp", "?"), ("help",), ("help", "help"), ("deze lijst", "this list"), 0, 9, admins_only=False),
    Command(
        "list", ("lijst",), ("list",), ("lijst [NUMMER]", "list [NUMBER]"),
        ("de nummers en van wie ze zijn, of van wie een nummer was", "the numbers and whose they are, or whose a number was"),
        0, 1, admins_only=False,
    ),
    Command(
        "status", ("status",), ("status",), ("status", "status"),
        ("hoe het met de verbindingen staat", "how the connections are"), 0, 0, admins_only=False,
    ),
    Command(
        "test", ("test",), ("test",), ("test NUMMER", "test NUMBER"),
        ("vraag WhatsApp nu naar een nummer", "ask WhatsApp about a number now"), 1, 1, admins_only=False,
    ),
    Command(
        "colleague", ("collega",), ("colleague",),
        ("collega erbij|weg NUMMER @naam:server", "colleague add|remove NUMBER @name:server"),
        ("laat een collega meelezen en meeschrijven", "let a colleague read and write with a number"), 3, 3,
    ),
    Command(
        "connect", ("verbind",), ("connect",), ("verbind ACCOUNT-ID", "connect ACCOUNT-ID"),
        ("verbind een WhatsApp Business-account", "connect a WhatsApp Business account"), 1, 1,
    ),
    Command(
        "assign", ("wijs toe", "toewijzen"), ("assign",),
        ("wijs toe NUMMER-ID @naam:server [ACCOUNT-ID]", "assign NUMBER-ID @name:server [ACCOUNT-ID]"),
        ("geef een nummer aan een bewindspersoon of medewerker", "give a number to an official"), 2, 3,
    ),
    Command(
        "pause", ("pauzeer",), ("pause",), ("pauzeer NUMMER", "pause NUMBER"),
        ("breng niets meer over; alles wacht tot u het hervat", "carry nothing over; all of it waits until you resume"), 1, 1,
    ),
    Command(
        "resume", ("hervat",), ("resume",), ("hervat NUMMER", "resume NUMBER"), ("breng weer over", "carry over again"), 1, 1,
    ),
    Command(
        "disconnect", ("ontkoppel",), ("disconnect",), ("ontkoppel NUMMER|ACCOUNT-ID", "disconnect NUMBER|ACCOUNT-ID"),
        ("bedien een nummer niet meer, of vergeet een account", "serve a number no longer, or forget an account"), 1, 1,
    ),
    Command(
        "failed", ("mislukt",), ("failed",), ("mislukt", "failed"),
        ("wat niet kon worden overgebracht", "what could not be carried over"), 0, 0,
    ),
    Command(
        "retry", ("opnieuw",), ("retry",), ("opnieuw [NUMMER-UIT-DE-LIJST]", "retry [ITEM-OF-THE-LIST]"),
        ("breng alsnog over wat mislukte: alles van WhatsApp, of één", "carry over what failed: all of WhatsApp's, or one"), 0, 1,
    ),
    Command(
        "history", ("geschiedenis",), ("history",), ("geschiedenis NUMMER", "history NUMBER"),
        ("laat WhatsApp de geschiedenis van de telefoon sturen", "have WhatsApp send the phone's history"), 1, 1,
    ),
)  # fmt: skip

WORDS = {word: (command, "nl") for command in COMMANDS for word in command.dutch}
WORDS |= {
    word: (command, "" if word in command.dutch else "en") for command in COMMANDS for word in command.english
}  # the same word in both languages says nothing of the language


@dataclass(frozen=True, slots=True)
class Asked:
    """A command as somebody gave it."""

    command: Command
    language: str
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NotACommand:
    """Something that is no command, or one that is used wrongly: `command` is the one that was meant, or the nearest."""

    language: str
    command: Command | None
    wrong_use: bool = False


def parse(text: str, language: str) -> Asked | NotACommand:
    """Read a command; `language` is the one that was spoken last, for words that both languages have."""
    line = " ".join(text.split())
    line = re.sub(r"^!(wa\s+)?", "", line, flags=re.IGNORECASE)
    low = line.casefold()
    words = sorted((word for word in WORDS if low == word or low.startswith(f"{word} ")), key=len, reverse=True)
    if not words:
        first = low.split(" ")[0] if low else ""
        near = get_close_matches(first, WORDS, n=1, cutoff=0.6) or get_close_matches(low[:40], WORDS, n=1, cutoff=0.6)
        command, spoken = WORDS[near[0]] if near else (None, "")
        return NotACommand(spoken or language, command)
    command, spoken = WORDS[words[0]]
    rest = PHONE.sub(lambda found: re.sub(r"[^\d+]", "", found[0]), line[len(words[0]) :].strip())
    arguments = tuple(rest.split())
    if not command.least <= len(arguments) <= command.most:
        return NotACommand(spoken or language, command, wrong_use=True)
    return Asked(command, spoken or language, arguments)


def holds_secret(text: str) -> bool:
    """Whether somebody pasted what looks like a token or an app secret."""
    return SECRET.search(text) is not None


def allowed(command: Command, *, admin: bool, owns_a_number: bool) -> bool:
    """Whether a person may use a command at all; of which number is looked at when it is known."""
    return admin or (owns_a_number and not command.admins_only) or command.name == "help"
