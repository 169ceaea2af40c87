"""What is wrong with the archive in the admin's own language: the words of `griffier doctor`, of the seats and of the alarms."""

from __future__ import annotations

import re

from archiver.export.catalogue import N_
from archiver.web.language import ReaderLanguage

# English as the parts say it, and the text of it to translate: what is in brackets goes into the places named.
PHRASES: tuple[tuple[str, str], ...] = (
    # What was looked at.
    (r"capture", N_("Capture")),
    (r"capture as (?P<what>.+)", N_("Capture by %(what)s")),
    (r"the database", N_("The database")),
    (r"the folder of files", N_("The folder of files")),
    (r"the clock", N_("The clock")),
    (r"the homeserver", N_("The homeserver")),
    (r"the homeserver's profiles", N_("The homeserver's profiles")),
    (r"devices on other homeservers", N_("Devices on other homeservers")),
    (r"the device of (?P<what>.+)", N_("The device of %(what)s")),
    (r"the notice in every room", N_("The notice in every room")),
    (r"events that others point at and that are missing", N_("Missing messages")),
    (r"stretches of history that the homeserver refuses", N_("History that the homeserver does not give")),
    (r"messages that can't be read yet", N_("Messages that can't be read yet")),
    (r"files that could not be fetched", N_("Files that could not be fetched")),
    (r"files that the virus scanner could not judge", N_("Files that the virus scanner could not judge")),
    (r"alarm can't-join", N_("The archiver can't join a room")),
    (r"alarm removed", N_("The archiver was removed from a room")),
    (r"alarm no-notice", N_("A room does not show that it is archived")),
    (r"alarm canary", N_("The canary")),
    (r"alarm disappearing-messages", N_("A timer deletes messages from people's phones")),
    (r"alarm bridge:(?P<what>.+)", N_("The bridge: %(what)s")),
    (r"alarm (?P<what>.+)", N_("Alarm: %(what)s")),
    # What is wrong with it.
    (r"no archiver was ever started", N_("No archiver has been started yet.")),
    (r"it was never started", N_("It was never started.")),
    (r"no process drives it", N_("No process drives it.")),
    (r"the process that drives it is frozen", N_("The process that drives it is frozen.")),
    (r"the homeserver does not show its device as cross-signed", N_("The homeserver does not show its device as signed.")),
    (r"no sync has been committed for a minute", N_("Nothing was brought in for a minute.")),
    (r"it is starting", N_("It is starting.")),
    (r"it is not signed", N_("Its device is not signed.")),
    (r"it is (?P<what>.+)", N_("It says of itself: %(what)s.")),
    (r"it takes no writes", N_("It takes nothing in.")),
    (r"(?P<what>.+) can't be written to", N_("%(what)s can't be written to.")),
    (r"(?P<what>.+) has (?P<much>\d+) MB left", N_("%(what)s has %(much)s MB left.")),
    (r"it differs (?P<what>\d+) s from the homeserver's", N_("It differs %(what)s seconds from the homeserver's.")),
    (r"it was not looked at", N_("It was not looked at.")),
    (r"there are (?P<what>\d+)", N_("There are %(what)s.")),
    (r"it is not confirmed in (?P<what>.+)", N_("It is not confirmed in %(what)s.")),
    (r"it took too long", N_("It took too long to look at.")),
    (
        r"it shows profiles to whoever is not signed in: set require_auth_for_profile_requests",
        N_("It shows people's profiles to whoever is not signed in (require_auth_for_profile_requests)."),
    ),
    (
        r"it shows profiles to all its users: set limit_profile_requests_to_users_who_share_rooms",
        N_("It shows people's profiles to all its users (limit_profile_requests_to_users_who_share_rooms)."),
    ),
    # What to do about it.
    (r"Start 'griffier archive' and look at what it says\.", N_("Start 'griffier archive' and look at what it says.")),
    (r"Start 'griffier archive', or look in its log\.", N_("Start 'griffier archive', or look in its log.")),
    (r"See that Synapse runs.*", N_("See that Synapse runs, and that homeserver.url is right.")),
    (
        r"Give the configuration with --config, or set homeserver\.url\.",
        N_("Fill in homeserver.url in the settings of the web application too."),
    ),
    (r"Run doctor with their settings too\.", N_("Run 'griffier doctor' with their settings too.")),
    (
        r"The archiver needs the level that a message takes there; its log says what was refused\.",
        N_("The archiver needs the level that a message takes in the room; its log says what was refused."),
    ),
    (
        r"Set homeserver\.admin_token; 'griffier rooms --json' tells where\.",
        N_("Set homeserver.admin_token: with it, the archiver can ask for what it isn't shown. The rooms are named below."),
    ),
    (r"The log of 'griffier archive' tells why\.", N_("The log of 'griffier archive' tells why.")),
    (
        r"Their senders' clients must share the key; each shows its reason\.",
        N_("Their senders' apps must share the key; the conversation shows the reason of each."),
    ),
    (
        r"The log of 'griffier archive' tells why; they are not tried again\.",
        N_("The log of 'griffier archive' tells why; they are not tried again."),
    ),
    (
        r"Try archiver\.scan_command by hand, as the same user\.",
        N_("Try archiver.scan_command by hand, as the same user."),
    ),
    (r"It ends by itself when it is over\.", N_("It ends by itself when it is over.")),
    (
        r"It is a standby or read-only: check database\.url\.",
        N_("It is a standby or read-only: check database.url."),
    ),
    (r"Make room, or set files_dir\.", N_("Make room, or set files_dir.")),
    (r"Set both by NTP\.", N_("Set both clocks by NTP.")),
    (
        r"It is signed anew every minute; the log of 'griffier archive' tells why that fails\.",
        N_("Signing is tried again every minute; the log of 'griffier archive' tells why it fails."),
    ),
    (
        r"Set it to true in homeserver\.yaml: contacts' names are nobody else's\.",
        N_("Set it to true in homeserver.yaml: contacts' names are nobody else's."),
    ),
)  # fmt: skip
# What to do about an alarm, by its kind.
TO_DO = {
    "can't-join": N_("Have somebody in the room invite the archiver. It is tried again by itself."),
    "removed": N_("Find out who removed it, and have them invite it again. What is said meanwhile is not archived."),
    "no-notice": N_("Give the archiver the level that a message takes in the room."),
    "canary": N_("See whether 'griffier archive', the homeserver and 'griffier canary' run; 'griffier status' shows what lacks."),
    "disappearing-messages": N_("The archive keeps them. Agree with the official that the timer is switched off."),
    "bridge:poison": N_("Look at the bridged numbers: what failed is listed there, and can be tried again."),
    "bridge:unknown-number": N_("Give the number to an official (bridged numbers): what waits is carried over then."),
    "bridge:rejected-delivery": N_("Look at the bridged numbers: what was set aside is listed there with the reason."),
    "bridge:account": N_("Look at the account at Meta, and test the number on the page of the bridged numbers."),
    "bridge:unreachable": N_("WhatsApp or the way to it is down. It is tried again by itself."),
    "bridge:webhook-unreachable": N_("See that the proxy in front of bridge.webhook_url runs and lets Meta through."),
    "bridge:seat": N_("Ask the official to accept the invitation to the room."),
}


def told(say: ReaderLanguage, text: str) -> str:
    """A phrase in the reader's language; what is not known stays as it is."""
    for pattern, message in PHRASES:
        if found := re.fullmatch(pattern, text):
            words: str = say.gettext(message)
            return words % found.groupdict() if found.groupdict() else words
    return text


def problem(say: ReaderLanguage, text: str) -> str:
    """What is wrong, where several things may be."""
    return " ".join(told(say, part) for part in text.split("; "))


def to_do(say: ReaderLanguage, what: str, otherwise: str) -> str:
    """What to do about it."""
    kind = what.removeprefix("alarm ")
    return say.gettext(TO_DO[kind]) if kind in TO_DO else told(say, otherwise)
