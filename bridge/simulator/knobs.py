"""What a test can turn: how webhooks are delivered, how sends are judged, and which of the next calls fail."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from bridge.simulator.errors import GraphError

RETRIES = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Knobs(BaseModel):
    """All knobs with their settings at the start; chances run from 0 to 1, times are seconds."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    # How webhooks are delivered.
    batch_size: int = Field(default=1, ge=1, le=1000)  # updates in one POST, at most
    batch_wait: float = Field(default=0.3, ge=0, le=60)  # how long an update waits for others to fill its batch
    batch_shape: Literal["items", "changes", "entries", "mixed"] = "items"  # how the updates of a batch stand in it
    duplicates: float = Field(default=0, ge=0, le=1)  # chance that an update is delivered twice
    reorder: int = Field(default=1, ge=1, le=10_000)  # how many updates are gathered and shuffled
    delay: tuple[float, float] = (0, 0)  # before each POST, between these
    drop: float = Field(default=0, ge=0, le=1)  # chance that an update is never delivered
    signature: Literal["right", "wrong", "wrong-first", "missing"] = "right"
    retries: tuple[float, ...] = Field(default=RETRIES, min_length=1)  # waits between attempts; the last goes on
    give_up: float = Field(default=7 * 86400.0, gt=0)  # how long a POST is repeated until it is answered 200
    timeout: float = Field(default=10.0, gt=0)
    silence: Literal["", "hold", "lose"] = ""  # sends are accepted, no webhook comes; "hold": they come when it ends
    integers: bool = False  # ids that are all digits come as numbers
    unknown: bool = False  # every delivery also has fields, properties and a change that nobody knows
    seed: int = 0
    # How sends are judged.
    receipts: Literal["none", "sent", "delivered", "read"] = (
        "read"  # how far statuses go for contacts with no setting of their own
    )
    status_delay: float = Field(default=0, ge=0, le=3600)  # between two statuses of a message
    skip_delivered: bool = False  # `read` comes without `delivered`, as when the conversation is open
    refusals: Literal["answer", "status"] = "answer"  # where 131026 and 131047 are told: at once, or in a failed status
    strict: bool = False  # nobody is on WhatsApp or has written but who was seen here
    throughput: int = Field(default=0, ge=0)  # messages per second and number; 0: no limit
    pair_messages: int = Field(default=0, ge=0)  # messages to one contact per `pair_seconds`; 0: no limit
    pair_seconds: float = Field(default=6, gt=0)
    any_media: bool = False  # files of every type can be uploaded


class Fault(BaseModel):
    """What the next calls come to instead of what they should.

    `on`: send, read, upload, media, download, templates, phone, groups, account or any. `how`: "answer" with Meta's `code` (and
    HTTP `status`), "failed": accepted, then a failed status with `code`; "html": HTTP `status` with a page; "hang" for `seconds`;
    "close": the connection is cut before anything is done; "lost": it is done, and the connection cut before the answer;
    "corrupt": a downloaded file with other bytes.
    """

    model_config = ConfigDict(extra="forbid")

    on: str = "send"
    how: Literal["answer", "failed", "html", "hang", "close", "lost", "corrupt"] = "answer"
    code: int = 131000
    details: str = ""
    status: int = 0
    seconds: float = Field(default=30, ge=0, le=600)
    count: int = Field(default=1, ge=1)
    to: str = ""  # only for sends to this contact


class Faults:
    """The failures that wait for their call."""

    def __init__(self) -> None:
        self.waiting: list[Fault] = []

    def take(self, on: str, to: str = "") -> Fault | None:
        """The failure meant for this call, if any; counted."""
        for fault in self.waiting:
            if fault.on in (on, "any") and fault.to in ("", to, to.lstrip("+")):
                fault.count -= 1
                if not fault.count:
                    self.waiting.remove(fault)
                return fault
        return None


async def befall(fault: Fault | None, request: web.Request) -> web.Response | None:
    """Let a failure happen that keeps a call from being carried out. Raises GraphError."""
    if fault is None or fault.how in ("failed", "lost", "corrupt"):
        return None
    if fault.how == "answer":
        raise GraphError(fault.code, fault.details, status=fault.status)
    if fault.how == "html":
        page = "<html><body><h1>Sorry, something went wrong.</h1></body></html>"
        return web.Response(status=fault.status or 502, text=page, content_type="text/html")
    if fault.how == "hang":
        await asyncio.sleep(fault.seconds)
        raise GraphError(2)
    cut(request)
    return web.Response(status=503)


def cut(request: web.Request) -> None:
    """Close the connection of a request without an answer."""
    if request.transport is not None:
        request.transport.abort()


def changed(knobs: Knobs, values: dict[str, Any]) -> Knobs:
    """The knobs with some turned. Raises pydantic's ValidationError."""
    return Knobs.model_validate(knobs.model_dump() | values)
