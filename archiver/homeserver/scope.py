"""Which rooms are archived: the same answer in the guard, which Synapse loads, and in capture. Imports nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

KINDS = ("private", "public", "direct")


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose rooms, and which kinds of rooms. Patterns are whole Matrix ids in which `*` stands for anything."""

    officials: tuple[str, ...] = ("*",)
    except_officials: tuple[str, ...] = ()
    kinds: tuple[str, ...] = KINDS

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Scope:
        """Read a section of a configuration. Raises ValueError naming what is wrong."""
        unknown = set(config) - {"officials", "except_officials", "kinds"}
        if unknown:
            raise ValueError(f"scope: there is no {min(unknown)!r}; there are officials, except_officials and kinds")
        for name, value in config.items():
            if not isinstance(value, list | tuple) or not all(isinstance(part, str) for part in value):
                raise ValueError(f"scope.{name} must be a list of texts")
        made = cls(**{name: tuple(value) for name, value in config.items()})
        if not set(made.kinds) <= set(KINDS):
            raise ValueError(f"scope.kinds may hold {', '.join(KINDS)}")
        return made

    def has_official(self, user_id: str) -> bool:
        """Whether this account's conversations are archived."""
        return matches(user_id, self.officials) and not matches(user_id, self.except_officials)

    @property
    def every_kind(self) -> bool:
        """Whether a room's kind makes no difference."""
        return set(self.kinds) == set(KINDS)

    def covers(self, members: Iterable[str], kinds: Iterable[str]) -> bool:
        """Whether a room with these members is archived: one official in scope is enough. All that it may be must be in scope."""
        return set(kinds) <= set(self.kinds) and any(self.has_official(member) for member in members)


def matches(user_id: str, patterns: tuple[str, ...]) -> bool:
    """Whether an account fits one of these patterns."""
    return any(fnmatchcase(user_id, pattern) for pattern in patterns)


def share(room_id: str, archivers: tuple[str, ...]) -> str:
    """Which of several archivers takes a room: always the same one, each about as many."""
    # Not Python's hash(), which differs between processes.
    return archivers[sum(room_id.encode()) % len(archivers)]
