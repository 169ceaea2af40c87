"""What is wrong with the archive in the admin's own language: the words of `griffier doctor`, of the seats and of the alarms."""

from __future__ import annotations

import re

from archiver.web.texts import PageLanguage

# English as the parts say it, and the text of it to translate: what is in brackets goes into the places named.
PHRASES: tuple[tuple[str, str], ...] = (
    # What was looked at.
    (r"capture", "Capture"),
    (r"capture as (?P<what>.+)", "Capture by %(what)s"),
    (r"the database", "The database"),
    (r"the folder of files", "The folder of files"),
    (r"the clock", "The clock"),
    (r"the homeserver", "The homeserver"),
    (r"the homeserver's profiles", "The homeserver's profiles"),
    (r"devices on other homeservers", "Devices on other homeservers"),
    (r"the device of (?P<what>.+)", "The device of %(what)s"),
    (r"the notice in every room", "The notice in every room"),
    (r"events that others point at and that are missing", "Missing messages"),
    (r"stretches of history that the homeserver refuses", "History that the homeserver does not give"),
    (r"messages that can't be read yet", "Messages that can't be read yet"),
    (r"files that could not be fetched", "Files that could not be fetched"),
    (r"files that the virus scanner could not judge", "Files that the virus scanner could not judge"),
    (r"alarm can't-join", "The archiver can't join a room"),
    (r"alarm removed", "The archiver was removed from a room"),
    (r"alarm no-notice", "A room does not show that it is archived"),
    (r"alarm canary", "The canary"),
    (r"alarm disappearing-messages", "A timer deletes messages from people's phones"),
    (r"alarm bridge:(?P<what>.+)", "The bridge: %(what)s"),
    (r"alarm (?P<what>.+)", "Alarm: %(what)s"),
    # What is wrong with it.
    (r"no archiver was ever started", "No archiver was ever started."),
    (r"it was never started", "It was never started."),
    (r"no process drives it", "No process drives it."),
    (r"the process that drives it is frozen", "The process that drives it is frozen."),
    (r"the homeserver does not show its device as cross-signed", "The homeserver does not show its device as signed."),
    (r"no sync has been committed for a minute", "Nothing was brought in for a minute."),
    (r"it is starting", "It is starting."),
    (r"it is not signed", "Its device is not signed."),
    (r"it is (?P<what>.+)", "It says of itself: %(what)s."),
    (r"it takes no writes", "It takes nothing in."),
    (r"(?P<what>.+) can't be written to", "%(what)s can't be written to."),
    (r"(?P<what>.+) has (?P<much>\d+) MB left", "%(what)s has %(much)s MB left."),
    (r"it differs (?P<what>\d+) s from the homeserver's", "It differs %(what)s seconds from the homeserver's."),
    (r"it was not looked at", "It was not looked at."),
    (r"there are (?P<what>\d+)", "There are %(what)s."),
    (r"it is not confirmed in (?P<what>.+)", "It is not confirmed in %(what)s."),
    (r"it took too long", "It took too long to look at."),
    (
        r"it shows profiles to whoever is not signed in: set require_auth_for_profile_requests",
        "It shows people's profiles to whoever is not signed in (require_auth_for_profile_requests).",
    ),
    (
        r"it shows profiles to all its users: set limit_profile_requests_to_users_who_share_rooms",
        "It shows people's profiles to all its users (limit_profile_requests_to_users_who_share_rooms).",
    ),
    # What to do about it.
    (r"Start 'griffier archive' and look at what it says\.", "Start 'griffier archive' and look at what it says."),
    (r"Start 'griffier archive', or look in its log\.", "Start 'griffier archive', or look in its log."),
    (r"See that Synapse runs, and that homeserver\.url is right\.", "See that Synapse runs, and that homeserver.url is right."),
    (
        r"Give the configuration with --config, or set homeserver\.url\.",
        "Fill in homeserver.url in the settings of the web application too.",
    ),
    (r"Run doctor with their settings too\.", "Run 'griffier doctor' with their settings too."),
    (
        r"The archiver needs the level that a message takes there; its log says what was refused\.",
        "The archiver needs the level that a message takes in the room; its log says what was refused.",
    ),
    (
        r"Set homeserver\.admin_token; 'griffier rooms --json' tells where\.",
        "Set homeserver.admin_token: with it, the archiver can ask for what it isn't shown. The rooms are named below.",
    ),
    (r"The log of 'griffier archive' tells why\.", "The log of 'griffier archive' tells why."),
    (
        r"Their senders' clients must share the key; each shows its reason\.",
        "Their senders' apps must share the key; the conversation shows the reason of each.",
    ),
    (
        r"The log of 'griffier archive' tells why; they are not tried again\.",
        "The log of 'griffier archive' tells why; they are not tried again.",
    ),
    (
        r"Try archiver\.scan_command by hand, as the same user\.",
        "Try archiver.scan_command by hand, as the same user.",
    ),
    (r"It ends by itself when it is over\.", "It ends by itself when it is over."),
    (
        r"It is a standby or read-only: check database\.url\.",
        "It is a standby or read-only: check database.url.",
    ),
    (r"Make room, or set files_dir\.", "Make room, or set files_dir."),
    (r"Set both by NTP\.", "Set both clocks by NTP."),
    (
        r"It is signed anew every minute; the log of 'griffier archive' tells why that fails\.",
        "Signing is tried again every minute; the log of 'griffier archive' tells why it fails.",
    ),
    (
        r"Set it to true in homeserver\.yaml: contacts' names are nobody else's\.",
        "Set it to true in homeserver.yaml: contacts' names are nobody else's.",
    ),
)  # fmt: skip
# What to do about an alarm, by its kind.
TO_DO = {
    "can't-join": "Have somebody in the room invite the archiver. It is tried again by itself.",
    "removed": "Find out who removed it, and have them invite it again. What is said meanwhile is not archived.",
    "no-notice": "Give the archiver the level that a message takes in the room.",
    "canary": "See whether 'griffier archive', the homeserver and 'griffier canary' run; 'griffier status' shows what lacks.",
    "disappearing-messages": "The archive keeps them. Agree with the official that the timer is switched off.",
    "bridge:poison": "Look at the bridged numbers: what failed is listed there, and can be tried again.",
    "bridge:unknown-number": "Give the number to an official (bridged numbers): what waits is carried over then.",
    "bridge:rejected-delivery": "Look at the bridged numbers: what was set aside is listed there with the reason.",
    "bridge:account": "Look at the account at Meta, and test the number on the page of the bridged numbers.",
    "bridge:unreachable": "WhatsApp or the way to it is down. It is tried again by itself.",
    "bridge:webhook-unreachable": "See that the proxy in front of bridge.webhook_url runs and lets Meta through.",
    "bridge:seat": "Ask the official to accept the invitation to the room.",
}


def told(say: PageLanguage, text: str) -> str:
    """A phrase in the reader's language; what is not known stays as it is."""
    for pattern, message in PHRASES:
        if found := re.fullmatch(pattern, text):
            words: str = say.gettext(message)
            return words % found.groupdict() if found.groupdict() else words
    return text


def problem(say: PageLanguage, text: str) -> str:
    """What is wrong, where several things may be."""
    return " ".join(told(say, part) for part in text.split("; "))


def to_do(say: PageLanguage, what: str, otherwise: str) -> str:
    """What to do about it."""
    kind = what.removeprefix("alarm ")
    return say.gettext(TO_DO[kind]) if kind in TO_DO else told(say, otherwise)
