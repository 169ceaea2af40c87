"""The parts of Meta's JSON that we know (Meta: webhooks, messages). Unknown fields are kept: new ones come without warning."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

Part = TypeVar("Part", bound="Loose")


class Loose(BaseModel):
    """A part of Meta's JSON: numbers may stand for texts, and what is null is not there."""

    model_config = ConfigDict(extra="allow", coerce_numbers_to_str=True)

    @model_validator(mode="before")
    @classmethod
    def without_nulls(cls, values: Any) -> Any:
        return {name: value for name, value in values.items() if value is not None} if isinstance(values, dict) else values


class Context(Loose):
    """What a message answers, or that it was passed on."""

    id: str = ""
    forwarded: bool = False
    frequently_forwarded: bool = False


class File(Loose):
    id: str = ""
    mime_type: str = "application/octet-stream"
    sha256: str = ""
    caption: str = ""
    filename: str = ""
    voice: bool = False
    animated: bool = False
    view_once: bool = False
    url: str = ""
    file_size: int = 0


class Profile(Loose):
    name: str = ""
    username: str = ""


class Contact(Loose):
    """Somebody, beside the messages that name them."""

    wa_id: str = ""
    user_id: str = ""
    parent_user_id: str = ""
    username: str = ""
    input: str = ""
    profile: Profile = Profile()


class Problem(Loose):
    """An error as Meta tells it."""

    code: int | None = None
    title: str = ""
    message: str = ""
    error_data: dict[str, Any] = {}

    @property
    def detail(self) -> str:
        return str(self.error_data.get("details", ""))


class Message(Loose):
    """What every message has. Only the first three are always there."""

    id: str
    timestamp: int
    type: str
    # `from` is absent for people with a user name whom we have not met (BSUID): then only `from_user_id` is there.
    from_user_id: str = ""
    from_parent_user_id: str = ""
    to: str = ""
    to_user_id: str = ""
    to_parent_user_id: str = ""
    group_id: str = ""

    @property
    def sender(self) -> str:
        return str((self.model_extra or {}).get("from") or "")


def known(model: type[Part], value: Any) -> Part | None:
    """A part, if it has the form that we know."""
    try:
        return model.model_validate(value)
    except ValidationError:
        return None


def moment(seconds: Any) -> datetime | None:
    """WhatsApp's own time; None for one that can't be, since what it belongs to is there all the same."""
    try:
        number = int(seconds)
    except (TypeError, ValueError, OverflowError):
        return None
    if not 0 <= number < 4_102_444_800:  # the year 2100
        return None
    return datetime.fromtimestamp(number, UTC)


def number_of(change: Any) -> str:
    """The id of the number of ours that a change is about; empty when it names none.

    Everybody asks this: who looks whether its signer may tell of that number, and who then does what it tells.
    """
    value = change.get("value") if isinstance(change, dict) else None
    about = value.get("metadata") if isinstance(value, dict) else None
    return words(about, "phone_number_id") or words(value, "phone_number_id")


def words(value: Any, *names: str) -> str:
    """The first of these fields that holds text or a number, as text; empty when none does."""
    for name in names:
        found = value.get(name) if isinstance(value, dict) else None
        if isinstance(found, str | int | float) and not isinstance(found, bool) and str(found):
            return str(found)
    return ""
