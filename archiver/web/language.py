"""The reader's language: what exports say too, and the codes that only pages show."""

from __future__ import annotations

from archiver.export.language import Language
from archiver.web.acts import ACTS
from archiver.web.refusals import WHY
from archiver.web.roles import NAMES, RoleError


class ReaderLanguage(Language):
    """Texts, dates and codes of pages in one language."""

    def act(self, action: str) -> str:
        """An act of the audit trail."""
        return self.of(ACTS, action) or action

    def role(self, role: str) -> str:
        """What somebody does with the archive."""
        return self.of(NAMES, role) or role

    def why(self, reason: str) -> str:
        """Why somebody is refused, and what to do."""
        return self.of(WHY, reason) or reason

    def role_problem(self, error: RoleError) -> str:
        """Why a role was not given or taken."""
        words = {"role": self.role, "one": self.role, "other": self.role, "why": self.gettext}
        told = {name: words[name](value) if name in words else value for name, value in error.told.items()}
        text = self.gettext(error.text)
        return text % told if told else text
