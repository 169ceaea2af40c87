"""What Synapse calls: keys, device lists and events for us, committed and only then acknowledged (promise 1)."""

from __future__ import annotations

import hmac
import logging
from typing import Any, cast

from aiohttp import web
from mautrix.types import JSON, DeviceLists, DeviceOTKCount

from bridge.accounts import Accounts
from bridge.departing.departing import Departing
from bridge.departing.outsiders import Outsiders
from bridge.departing.receipts import Reading
from bridge.office.management import Management
from bridge.portal.members import Members
from bridge.relay.relay import Relay
from bridge.settings import Bridge

log = logging.getLogger(__name__)


class Transactions:
    """The application service, as Synapse sees it."""

    def __init__(
        self,
        settings: Bridge,
        accounts: Accounts,
        members: Members,
        departing: Departing,
        reading: Reading,
        outsiders: Outsiders,
        relay: Relay,
        management: Management,
    ) -> None:
        self._settings = settings
        self._accounts = accounts
        self._members = members
        self._departing = departing
        self._reading = reading
        self._outsiders = outsiders
        self._relay = relay
        self._management = management

    def routes(self) -> list[web.RouteDef]:
        """Where it answers; the second is how older homeservers call."""
        return [web.put(f"{prefix}/transactions/{{txn}}", self.take) for prefix in ("/_matrix/app/v1", "")]

    async def take(self, request: web.Request) -> web.Response:
        """Events for us: committed, and only then acknowledged (promise 1)."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        given = token if scheme == "Bearer" else request.query.get("access_token", "")
        if not hmac.compare_digest(given.encode("utf-8", "replace"), self._settings.hs_token.get_secret_value().encode()):
            return web.json_response({"errcode": "M_FORBIDDEN"}, status=403)
        body = await request.json()
        told = [event for event in body.get("events", []) if isinstance(event, dict)]
        self._see_who_is_there(told)
        for event in _part(body, "to_device", "de.sorunome.msc2409") or []:
            account = self._accounts.of(event.get("to_user_id", ""))
            if account is not None:
                await account.take_key(event)
        lists = _part(body, "device_lists", "org.matrix.msc3202") or {}
        # One user's broken device, or a server that does not answer now, must not cost the keys that came with it.
        try:
            if lists.get("changed"):
                self._accounts.devices.changed()
                await self._accounts.bot.olm.handle_device_lists(DeviceLists.deserialize(cast("JSON", lists)))
                self._accounts.devices.changed()
            for user_id, devices in (_part(body, "device_one_time_keys_count", "org.matrix.msc3202") or {}).items():
                for device_id, counts in devices.items():
                    await self._top_up(user_id, device_id, int(counts.get("signed_curve25519", 0)))
        except Exception as error:
            log.warning("Devices could not be brought up to date: %s", type(error).__name__)
        await self._commit_said(told)
        told = told + self._outsiders.told(told)
        if self._settings.send_read_receipts:
            told = told + self._reading.told(_part(body, "ephemeral", "de.sorunome.msc2409") or [])
        events = [event for event in told if await self._departing.wanted(event)]
        if events:
            await self._relay.take_out(events)
        return web.json_response({})

    def _see_who_is_there(self, events: list[dict[str, Any]]) -> None:
        """First of all: who has just come must get the keys of what is said next."""
        for event in events:
            if event.get("type") == "m.room.member":
                self._members.changed(str(event.get("room_id")))

    async def _commit_said(self, events: list[dict[str, Any]]) -> None:
        """What is said to the bot itself."""
        said = [event for event in events if await self._management.wanted(event)]
        if said:
            await self._management.take_in(said)

    async def _top_up(self, user_id: str, device_id: str, count: int) -> None:
        """Publish new one-time keys when the server runs out of them."""
        account = self._accounts.of(user_id)
        if account is not None and account.client.device_id == device_id and account.olm.account is not None:
            await account.olm.handle_otk_count(DeviceOTKCount(signed_curve25519=count, curve25519=0))


def _part(body: dict[str, Any], name: str, prefix: str) -> Any:
    """A part of a transaction under its stable or its unstable name."""
    return body.get(name) or body.get(f"{prefix}.{name}")
