"""What happened in a room, in plain words."""

from __future__ import annotations

from collections.abc import Callable

from archiver.export.language import Language
from archiver.ledger.canonical import JsonObject
from archiver.reading.happening import Happening
from archiver.reading.origin import timer

LIMIT = 500  # characters of what somebody wrote, in a line


def sentence(happening: Happening, say: Language, around: Callable[[str], str] = str) -> str:
    """One sentence; `around` is put around what people wrote, as names, so that it can't turn the sentence's direction."""
    telling = _Telling(happening, say, around)
    text = telling.member() if happening.about is not None else telling.of_room()
    reason = happening.after.get("reason") if happening.about is not None else None
    return f"{text} {say.gettext('Reason:')} {telling.name(reason)}" if isinstance(reason, str) and reason.strip() else text


def isolated(text: str) -> str:
    """A name between the marks that keep its direction to itself (Unicode, "Bidirectional Algorithm": FSI, PDI)."""
    return f"\N{FIRST STRONG ISOLATE}{text}\N{POP DIRECTIONAL ISOLATE}"


class _Telling:
    """One change being told."""

    def __init__(self, happening: Happening, say: Language, around: Callable[[str], str]) -> None:
        self.happening, self.say, self.around = happening, say, around
        self.was, self.now = happening.before, happening.after
        self.who, self.whom = self.name(happening.name(happening.record.sender)), self.name(happening.name(happening.about))

    def name(self, told: object) -> str:
        """What somebody wrote, cut off where it is too long for a line."""
        text = told if isinstance(told, str) else "?" if told is None else str(told)
        return self.around(text if len(text) <= LIMIT else text[:LIMIT] + "…")

    def member(self) -> str:
        _, about = self.say.gettext, self.happening.about
        texts = {
            "joined": _("%(whom)s joined the conversation."),
            "left": _("%(whom)s left the conversation."),
            "removed": _("%(who)s removed %(whom)s from the conversation."),
            "invited": _("%(who)s invited %(whom)s."),
            "declined": _("%(whom)s declined the invitation."),
            "uninvited": _("%(who)s withdrew the invitation of %(whom)s."),
            "banned": _("%(who)s removed %(whom)s and barred them from coming back."),
            "unbanned": _("%(who)s lifted the bar on %(whom)s."),
            "knocked": _("%(whom)s asked to join."),
            "withdrew": _("%(whom)s no longer asks to join."),
            "refused": _("%(who)s refused %(whom)s, who asked to join."),
            "renamed": _("%(old)s is now called %(new)s."),
            "pictured": _("%(whom)s changed their profile picture."),
            "profile": _("%(old)s is now called %(new)s and has another profile picture."),
            "same": _("%(whom)s sent their profile again; nothing changed."),
            "member": _("%(who)s set the membership of %(whom)s to something that has no name."),
        }
        old, new = (self.name(content.get("displayname") or about) for content in (self.was, self.now))
        return texts[self.happening.kind] % {"who": self.who, "whom": self.whom, "old": old, "new": new}

    def of_room(self) -> str:
        _, kind, now = self.say.gettext, self.happening.kind, self.now
        known = {"name": self.value, "topic": self.value, "address": self.value, "rights": self.rights, "timer": self.timer}
        if kind in known:
            return known[kind]()
        guests = now.get("guest_access") == "can_join"
        texts = {
            "created": _("%(who)s started this conversation."),
            "picture": _("%(who)s changed the picture of the conversation.")
            if now.get("url")
            else _("%(who)s removed the picture of the conversation."),
            "encryption": _("%(who)s switched on encryption: from here on only members can read what is said."),
            "visibility": _("%(who)s set who can read earlier messages: %(told)s."),
            "joining": _("%(who)s set who can join: %(told)s."),
            "guests": _("%(who)s lets guests without an account in.")
            if guests
            else _("%(who)s keeps guests without an account out."),
            "pinned": _("%(who)s changed which messages are pinned."),
            "replaced": _("%(who)s closed this conversation; it goes on in another one (%(told)s)."),
            "services": _("%(who)s set which accounts only serve here, such as the archiver and bridges."),
            "bridge": _("%(who)s says that this is a conversation on %(told)s."),
            "other": _("%(who)s changed a setting of the conversation (%(told)s)."),
        }
        told: dict[str, Callable[[], str]] = {
            "visibility": self.visibility,
            "joining": self.joining,
            "replaced": lambda: self.name(now.get("replacement_room")),
            "bridge": lambda: self.name(_network(now) or _network(self.was)),
        }
        of_type = self.name(self.happening.record.type)
        return texts[kind] % {"who": self.who, "told": told[kind]() if kind in told else of_type}

    def value(self) -> str:
        """A name, a topic or an address."""
        _ = self.say.gettext
        key = {"name": "name", "topic": "topic", "address": "alias"}[self.happening.kind]
        old, new = self.was.get(key), self.now.get(key)
        changed, given, taken, none = {
            "name": (
                _("%(who)s called the conversation “%(new)s”; it was “%(old)s”."),
                _("%(who)s called the conversation “%(new)s”."),
                _("%(who)s took away the conversation's name “%(old)s”."),
                _("%(who)s left the conversation without a name."),
            ),
            "topic": (
                _("%(who)s changed the topic to “%(new)s”; it was “%(old)s”."),
                _("%(who)s set the topic “%(new)s”."),
                _("%(who)s took away the topic “%(old)s”."),
                _("%(who)s left the conversation without a topic."),
            ),
            "address": (
                _("%(who)s changed the conversation's address to %(new)s; it was %(old)s."),
                _("%(who)s gave the conversation the address %(new)s."),
                _("%(who)s took away the conversation's address %(old)s."),
                _("%(who)s left the conversation without an address."),
            ),
        }[self.happening.kind]
        text = changed if old and new else given if new else taken if old else none
        return text % {"who": self.who, "old": self.name(old), "new": self.name(new)}

    def timer(self) -> str:
        """After how long messages disappear."""
        seconds = timer(self.now)
        if seconds is None:
            return self.say.gettext("%(who)s switched off disappearing messages.") % {"who": self.who}
        told = {"who": self.who, "time": self.say.duration(seconds)}
        return self.say.gettext("%(who)s set messages to disappear after %(time)s.") % told

    def rights(self) -> str:
        """Whose rights changed, and what may be done from which level."""
        _, happening = self.say.gettext, self.happening
        people = [(self.name(happening.name(user)), self.level(old), self.level(new)) for user, old, new in happening.levels()]
        if not self.was:
            told = "; ".join(_("%(whom)s is %(new)s") % {"whom": whom, "new": new} for whom, _old, new in people)
            return _("%(who)s set who may do what: %(told)s.") % {"who": self.who, "told": told or _("nobody in particular")}
        changes = [_("%(whom)s from %(old)s to %(new)s") % {"whom": whom, "old": old, "new": new} for whom, old, new in people]
        for what, old, new in happening.rules():
            names = {"what": self.name(what), "old": self.name(old), "new": self.name(new)}
            changes.append(_("%(what)s from level %(old)s to level %(new)s") % names)
        if not changes:
            return _("%(who)s set who may do what again; nothing changed.") % {"who": self.who}
        return _("%(who)s changed who may do what: %(told)s.") % {"who": self.who, "told": "; ".join(changes)}

    def level(self, level: str) -> str:
        """A level of rights as clients call it."""
        _ = self.say.gettext
        known = {"100": _("administrator (100)"), "50": _("moderator (50)"), "0": _("ordinary member (0)")}
        return known.get(level) or _("level %(level)s") % {"level": self.name(level)}

    def visibility(self) -> str:
        """Who can read what was said before they came."""
        _, value = self.say.gettext, self.now.get("history_visibility")
        texts = {
            "invited": _("members, from when they were invited"),
            "joined": _("members, from when they joined"),
            "shared": _("all members, also of before they joined"),
            "world_readable": _("everybody, also who is no member"),
        }
        return texts[value] if isinstance(value, str) and value in texts else self.name(value)

    def joining(self) -> str:
        """Who can come in."""
        _, value = self.say.gettext, self.now.get("join_rule")
        texts = {
            "public": _("everybody"),
            "invite": _("who is invited"),
            "private": _("who is invited"),
            "knock": _("who asks and is let in"),
            "restricted": _("members of certain other rooms, and who is invited"),
            "knock_restricted": _("members of certain other rooms, and who asks and is let in"),
        }
        return texts[value] if isinstance(value, str) and value in texts else self.name(value)


def _network(content: JsonObject) -> str | None:
    protocol = content.get("protocol")
    told = protocol.get("displayname") or protocol.get("id") if isinstance(protocol, dict) else None
    return told if isinstance(told, str) else None
