"""Whether what a business sends has the form that Meta asks for, kind by kind."""

from __future__ import annotations

from typing import Any

from bridge.simulator.errors import GraphError
from bridge.simulator.templates import filled
from bridge.simulator.world import FILES, Account, World

MAX_TEXT = 4096
MAX_CAPTION = 1024
KINDS = frozenset({"text", "reaction", "location", "contacts", "interactive", "template", *FILES})
# Which media types a message of a type may have; a document may be anything that can be uploaded.
FITS = {"image": ("image/jpeg", "image/png"), "video": ("video/",), "audio": ("audio/",), "sticker": ("image/webp",)}


class Checks:
    """Each check returns a template's text and category, or what stands for those; it raises GraphError."""

    def __init__(self, world: World) -> None:
        self._world = world

    def check(self, account: Account, kind: str, part: Any) -> tuple[str, str]:
        """Check one message of a kind; returns its text where that stands elsewhere, and its category."""
        if kind == "template":
            template, text = filled(account, part)
            return text, template.category.lower()
        if kind in FILES:
            self._file(account, kind, part)
        else:
            {
                "text": self._text,
                "reaction": self._reaction,
                "location": self._location,
                "contacts": self._contacts,
                "interactive": self._interactive,
            }[kind](part)
        return "", "service"

    def _text(self, part: Any) -> None:
        _need(part, "body")
        _at_most("text['body']", part["body"], MAX_TEXT)

    def _file(self, account: Account, kind: str, part: Any) -> None:
        if isinstance(part, dict) and part.get("link") and not part.get("id"):
            raise GraphError(131053, "Downloading media from weblink failed. Uploaded media only, here.")
        _need(part, "id")
        stored = self._world.media.get(str(part["id"]))
        if stored is None or stored.account_id != account.id or stored.until < self._world.now():
            raise GraphError(131009, f"{kind}['id'] is no uploaded media.")
        if not self._world.knobs.any_media and not stored.media_type.startswith(FITS.get(kind, ("",))):
            raise GraphError(131053, f"Media of type {stored.media_type} can't be sent as {kind}.")
        if "caption" in part:
            if kind in ("audio", "sticker"):
                raise GraphError(100, f'Unexpected key "caption" on param "{kind}".')
            _at_most(f"{kind}['caption']", part["caption"], MAX_CAPTION)

    def _reaction(self, part: Any) -> None:
        _need(part, "message_id")
        if "emoji" not in part:
            raise GraphError(131008, "The parameter emoji is required; empty to take a reaction away.")
        if self._world.knobs.strict and str(part["message_id"]) not in self._world.messages:
            raise GraphError(131009, "message_id is not found.")

    def _location(self, part: Any) -> None:
        _need(part, "latitude", "longitude")
        try:
            fits = abs(float(part["latitude"])) <= 90 and abs(float(part["longitude"])) <= 180
        except (TypeError, ValueError):
            fits = False
        if not fits:
            raise GraphError(131009, "latitude or longitude is none.")

    def _contacts(self, part: Any) -> None:
        if not isinstance(part, list):
            raise GraphError(100, "Param contacts must be an array.")
        for person in part:
            _need(person, "name")
            _need(person["name"], "formatted_name")

    def _interactive(self, part: Any) -> None:
        _need(part, "type", "action")
        kind, action = part["type"], part["action"]
        if kind != "product":
            _need(part.get("body"), "text")
            _at_most("interactive['body']['text']", part["body"]["text"], MAX_TEXT if kind == "list" else 1024)
        if kind == "button" and not 1 <= len(action.get("buttons", [])) <= 3:
            raise GraphError(131009, "interactive['action']['buttons'] must be between 1 and 3.")
        if kind == "list" and sum(len(section.get("rows", [])) for section in action.get("sections", [])) > 10:
            raise GraphError(131009, "Total row count exceed max allowed count: 10.")


def _need(part: Any, *names: str) -> None:
    for name in names:
        if not isinstance(part, dict) or part.get(name) in (None, "", []):
            raise GraphError(131008, f"The parameter {name} is required.")


def _at_most(name: str, text: Any, most: int) -> None:
    if len(str(text)) > most:
        raise GraphError(100, f"Param {name} must be at most {most} characters long.")
