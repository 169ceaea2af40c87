"""The keys with which homeservers sign events (Matrix specification, server-server API, "Retrieving server keys")."""

from __future__ import annotations

import logging
from datetime import datetime

from archiver.capture.client import CaptureError, Homeserver
from archiver.db import Connection
from archiver.ledger.canonical import JsonObject
from archiver.ledger.event import VerifyKey, verify_json, verify_key
from archiver.ledger.record import moment

log = logging.getLogger(__name__)

LOAD = "SELECT server_name, key_id, public_key FROM server_key"
SAVE = """
    INSERT INTO server_key (server_name, key_id, public_key, valid_until) VALUES ($1, $2, $3, $4)
    ON CONFLICT (server_name, key_id) DO UPDATE SET valid_until = greatest(server_key.valid_until, excluded.valid_until)
"""

Found = list[tuple[str, str, str, datetime | None]]
"""(server name, key id, public key in unpadded base64, valid until)."""


class ServerKeys:
    """The known keys, asked of the homeserver when a new one turns up."""

    def __init__(self, server: Homeserver, own_name: str) -> None:
        self._server = server
        self._own_name = own_name
        self._asked: set[tuple[str, str]] = set()
        self.known: dict[tuple[str, str], VerifyKey] = {}

    async def load(self, tx: Connection) -> None:
        """Read the keys that were kept before."""
        for row in await tx.fetch(LOAD):
            self._learn(row["server_name"], row["key_id"], row["public_key"])

    async def learn(self, wanted: set[tuple[str, str]]) -> Found:
        """Ask for the unknown (server name, key id) pairs, once each; return what was found, to be kept."""
        found: Found = []
        new = {pair for pair in wanted if pair not in self.known and pair not in self._asked}
        self._asked |= new
        for server_name in sorted({name for name, _ in new}):
            try:
                for answer in await self._ask(server_name):
                    found += verified(answer, server_name)
            except CaptureError as error:
                log.warning("The signing keys of %s can't be had: %s", server_name, error)
        for name, key_id, key, _ in found:
            self._learn(name, key_id, key)
        return found

    async def _ask(self, server_name: str) -> list[JsonObject]:
        if server_name == self._own_name:
            return [await self._server.call("GET", "/_matrix/key/v2/server")]
        answer = await self._server.call("GET", f"/_matrix/key/v2/query/{server_name}")
        return [keys for keys in answer.get("server_keys", []) if isinstance(keys, dict)]

    def _learn(self, server_name: str, key_id: str, public_key: str) -> None:
        try:
            key = verify_key(public_key)
        except ValueError:
            log.warning("The signing key %s of %s is not an Ed25519 key.", key_id, server_name)
        else:
            self.known[server_name, key_id] = key


async def keep(tx: Connection, found: Found) -> None:
    """Keep the keys with the events they verify."""
    if found:
        await tx.executemany(SAVE, found)


def verified(answer: JsonObject, server_name: str) -> Found:
    """The keys in a server's key answer, old ones too, if the answer is signed by one of its own present keys."""
    present = answer.get("verify_keys")
    if answer.get("server_name") != server_name or not isinstance(present, dict):
        return []
    keys = {key_id: part.get("key") for key_id, part in present.items() if isinstance(part, dict)}
    if not any(isinstance(key, str) and verify_json(answer, server_name, key_id, key) for key_id, key in keys.items()):
        return []
    until = moment(answer.get("valid_until_ts"))
    old = answer.get("old_verify_keys")
    expired = {key_id: part for key_id, part in (old if isinstance(old, dict) else {}).items() if isinstance(part, dict)}
    rows: Found = [(server_name, key_id, key, until) for key_id, key in keys.items() if isinstance(key, str)]
    rows += [
        (server_name, key_id, part["key"], moment(part.get("expired_ts")))
        for key_id, part in expired.items()
        if isinstance(part.get("key"), str)
    ]
    return rows
