"""What mautrix-whatsapp tells of its linked phones (homeserver.status_endpoint): each disconnection is an interruption too."""

from __future__ import annotations

import hmac
from datetime import UTC, datetime

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bridge.interruption import Interruptions
from bridge.provisioning import PREFIX, problem
from bridge.settings import Bridge

GONE = frozenset({"BAD_CREDENTIALS", "LOGGED_OUT", "UNKNOWN_ERROR", "BRIDGE_UNREACHABLE"})
AWAY = frozenset({"TRANSIENT_DISCONNECT"})
BACK = frozenset({"CONNECTED", "BACKFILLING"})


class State(BaseModel):
    """One report; fields that we need not know are left out."""

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    state_event: str = Field(max_length=50)
    timestamp: int = Field(ge=0, le=4_102_444_800)  # seconds
    error: str | None = Field(None, max_length=200)
    reason: str | None = Field(None, max_length=200)
    user_id: str | None = Field(None, max_length=255)
    remote_id: str | None = Field(None, max_length=64)
    remote_name: str | None = Field(None, max_length=100)


class Linked:
    """POST …/linked, with mautrix-whatsapp's own as_token."""

    def __init__(self, settings: Bridge, interruptions: Interruptions) -> None:
        self._settings = settings
        self._interruptions = interruptions

    def routes(self) -> list[web.RouteDef]:
        """Where it answers."""
        return [web.post(f"{PREFIX}/linked", self.take)]

    async def take(self, request: web.Request) -> web.Response:
        """A report: committed, and then acknowledged."""
        token = self._settings.linked_token.get_secret_value()
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not token or not hmac.compare_digest(given.encode("utf-8", "replace"), token.encode()):
            return problem(401, "The bearer token is missing or wrong.")
        try:
            state = State.model_validate_json(await request.read())
        except ValidationError:
            return problem(422, "This is no state of a linked phone.")
        if state.remote_id:
            await self._note(state, state.remote_id)
        return web.json_response({})

    async def _note(self, state: State, remote_id: str) -> None:
        number, at = f"linked:{remote_id}", datetime.fromtimestamp(state.timestamp, UTC)
        whose = state.user_id or "", state.remote_name or f"+{remote_id}"
        if state.state_event in GONE | AWAY:
            cause = "disconnected"
            detail = f"mautrix-whatsapp: {state.state_event} {state.error or state.reason or ''}".strip()
            await self._interruptions.begin(number, cause, at, detail, whose=whose)
        elif state.state_event in BACK:
            await self._interruptions.end(number, "disconnected", at)
