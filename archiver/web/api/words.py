"""The forms that words and numbers have in requests and answers."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema

RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
WHOLE = re.compile(r"-?\d{1,18}", re.ASCII)


def _whole(value: Any) -> Any:
    """Only digits: what else pydantic takes for a number is no number in a schema."""
    if isinstance(value, str) and not WHOLE.fullmatch(value):
        raise ValueError("a whole number is wanted")
    return value


def _moment(value: Any) -> Any:
    if not isinstance(value, datetime) and not (isinstance(value, str) and RFC3339.fullmatch(value)):
        raise ValueError("a moment as RFC 3339 writes it is wanted")
    return value


def _within(value: datetime) -> datetime:
    """At the edge of the calendar there are moments that UTC has no year for."""
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("no such moment") from None


def moment_of(text: str) -> datetime:
    """A moment of a cursor of ours."""
    return datetime.fromisoformat(text)


def fit(value: Any) -> Any:
    """Text from a message as JSON can carry it: what is no character is shown as such."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


Whole = BeforeValidator(_whole)
Moment = Annotated[
    datetime, BeforeValidator(_moment), AfterValidator(_within), WithJsonSchema({"type": "string", "format": "date-time"})
]  # fmt: skip
"""A moment, with its offset from UTC."""
Text = Annotated[str, BeforeValidator(fit)]
"""Words of people, or what a homeserver called something."""
RoomId = Annotated[
    str,
    StringConstraints(pattern=r"^![^\x00-\x20]{1,254}$"),
    Field(description="The Matrix room id.", examples=["!kamer:rijk.example"]),
]
EventId = Annotated[
    str,
    StringConstraints(pattern=r"^\$[^\x00-\x20]{1,254}$"),
    Field(description="The Matrix event id of the message.", examples=["$9gYb0e0bLhTnRZcrLkqxS0pB3l0XfY2mJv5tQnWmE8o"]),
]
Cursor = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,1000}$"),
    Field(description="Where to go on: `next` of the page before. It holds for the list that gave it only."),
]


def at_most(most: int, usual: int) -> Any:
    """The type of a parameter `limit`."""
    return Annotated[int, Field(ge=1, le=most, description=f"At most so many; {usual} unless told."), Whole]
