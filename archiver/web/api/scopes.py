"""What a personal access token is for. It never opens more than its owner may open now."""

from __future__ import annotations

from enum import StrEnum

from archiver.export.catalogue import N_
from archiver.web.roles import READERS, READING, Role


class Scope(StrEnum):
    """A part of the API."""

    ROOMS = "read:rooms"
    MESSAGES = "read:messages"
    FILES = "read:files"
    SEARCH = "search"
    CHANNELS = "read:channels"
    EXPORTS = "exports"
    AUDIT = "read:audit"
    HEALTH = "read:health"
    PEOPLE = "read:people"
    MANAGE_PEOPLE = "admin:people"


# Whose work it belongs to; the routes' own rules are in archiver.web.access, and hold besides.
FOR: dict[Scope, frozenset[Role]] = {
    Scope.ROOMS: READING,
    Scope.MESSAGES: READING,
    Scope.FILES: READING,
    Scope.SEARCH: READING,
    Scope.CHANNELS: READERS | {Role.ADMIN},
    Scope.EXPORTS: READERS,
    Scope.AUDIT: frozenset({Role.AUDITOR}),
    Scope.HEALTH: frozenset({Role.ADMIN}),
    Scope.PEOPLE: frozenset({Role.ADMIN}),
    Scope.MANAGE_PEOPLE: frozenset({Role.ADMIN}),
}
ABOUT: dict[Scope, str] = {
    Scope.ROOMS: N_("Conversations: their names, members and completeness"),
    Scope.MESSAGES: N_("Messages, their versions and their proof"),
    Scope.FILES: N_("Files that came with messages"),
    Scope.SEARCH: N_("Search in messages"),
    Scope.CHANNELS: N_("Numbers on other networks, and when they were not covered"),
    Scope.EXPORTS: N_("Exports of conversations"),
    Scope.AUDIT: N_("The audit trail"),
    Scope.HEALTH: N_("Whether the archive captures, and its alarms"),
    Scope.PEOPLE: N_("Roles given, and who is signed in"),
    Scope.MANAGE_PEOPLE: N_("Give and take roles, end sessions"),
}


def open_to(roles: frozenset[Role]) -> list[Scope]:
    """The scopes that somebody with these roles can give a token."""
    return [scope for scope in Scope if FOR[scope] & roles]
