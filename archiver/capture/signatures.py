"""Signatures that could not be judged when their event came, checked when the server's key comes after all.

The record keeps what was known then; what is found later is a fact of its own beside it (`later_check`, promise 3).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from archiver.capture import server_keys
from archiver.capture.client import CaptureError
from archiver.capture.server_keys import SERVER_NAME, ServerKeys, believable, needed
from archiver.db import Connection, Pool, tenant_tx
from archiver.ledger.event import KeyRing, Rules, check, lacking, signed_form
from archiver.ledger.record import COLUMNS, Arrival, Record, unseal
from archiver.ledger.sealing import Vault
from archiver.stopping import pause

log = logging.getLogger(__name__)

BATCH = 500
AGAIN, MAX_AGAIN = 5.0, 86400.0  # seconds until a server is asked anew, and at most
WAIT = """
    INSERT INTO signature_wait (org, room_id, event_id, server_name)
    SELECT $1, w.* FROM unnest($2::text[], $3::text[], $4::text[]) AS w ON CONFLICT DO NOTHING
"""
WAIT_SERVER = """
    INSERT INTO server_wait (org, server_name, due_at)
    SELECT $1, name, now() + make_interval(secs => $3) FROM unnest($2::text[]) AS name ON CONFLICT DO NOTHING
"""
DUE = """
    SELECT server_name, attempts FROM server_wait
    WHERE org = $1 AND due_at <= now()
      AND EXISTS (SELECT FROM signature_wait AS w WHERE w.org = server_wait.org AND w.server_name = server_wait.server_name)
    ORDER BY due_at LIMIT 20
"""
ASKED = """
    UPDATE server_wait SET attempts = attempts + 1, due_at = now() + make_interval(secs => $3)
    WHERE org = $1 AND server_name = $2
"""
WAITING = f"""
    SELECT {COLUMNS}, (SELECT version FROM room WHERE room.org = record.org AND room.room_id = record.room_id) AS version
    FROM record
    WHERE org = $1 AND (room_id, event_id) IN (
        SELECT room_id, event_id FROM signature_wait
        WHERE org = $1 AND server_name = $2 AND (room_id, event_id) > ($3, $4) ORDER BY room_id, event_id LIMIT {BATCH})
    ORDER BY room_id, event_id
"""  # noqa: S608 - constants only
# Whoever takes the row writes the result: two processes never write it twice.
SETTLE = """
    DELETE FROM signature_wait
    WHERE org = $1 AND server_name = $2 AND (room_id, event_id) IN (SELECT * FROM unnest($3::text[], $4::text[]))
    RETURNING room_id, event_id
"""
ADD_CHECK = """
    INSERT INTO later_check (org, room_id, event_id, signed_by, unsigned_by) VALUES ($1, $2, $3, $4, $5)
"""
DONE = """
    UPDATE server_wait SET attempts = 0
    WHERE org = $1 AND server_name = $2 AND NOT EXISTS (SELECT FROM signature_wait AS w WHERE w.org = $1 AND w.server_name = $2)
"""


async def wait(tx: Connection, org: int, added: Sequence[Arrival], keys: KeyRing) -> None:
    """Note which of these events have a signature that can't be judged yet, in the transaction that adds the events."""
    waiting = [
        (arrival.room_id, arrival.event_id, server)
        for arrival in added
        if arrival.checks.unsigned_by
        for server in sorted(lacking(signed_form(arrival.event, arrival.rules), arrival.rules, keys))
        if SERVER_NAME.fullmatch(server) and server in arrival.checks.unsigned_by
    ]
    if waiting:
        await tx.execute(WAIT, org, *zip(*waiting, strict=True))
        await tx.execute(WAIT_SERVER, org, sorted({server for _, _, server in waiting}), AGAIN)


class Signatures:
    """Asks the servers whose keys are lacking, ever less often, and checks what waited for them."""

    def __init__(self, pool: Pool, vault: Vault, keys: ServerKeys) -> None:
        self._pool = pool
        self._vault = vault
        self._keys = keys

    async def run(self, stop: asyncio.Event) -> None:
        """Ask until told to stop."""
        while not stop.is_set():
            async with tenant_tx(self._pool, self._vault.org) as tx:
                due = await tx.fetch(DUE, self._vault.org)
            for row in due:
                await self.ask(row["server_name"], row["attempts"])
            await pause(stop, 1.0)

    async def ask(self, server_name: str, attempts: int) -> int:
        """Ask one server and check what waited for it; returns how many events were settled."""
        try:
            settled = await self._settle(server_name)
        except CaptureError as error:
            log.info("The signing keys of %s can't be had (attempt %d): %s", server_name, attempts + 1, error)
            settled = 0
        if settled:
            log.info("%d signature(s) of %s were checked with its key, which came later.", settled, server_name)
        async with tenant_tx(self._pool, self._vault.org) as tx:
            await tx.execute(ASKED, self._vault.org, server_name, min(MAX_AGAIN, AGAIN * 4.0 ** min(attempts, 10)))
            await tx.execute(DONE, self._vault.org, server_name)
        return settled

    async def _settle(self, server_name: str) -> int:
        """Ask for what is lacking and check, a batch at a time. Raises MatrixError, HomeserverUnreachable."""
        settled, place = 0, ("", "")
        while True:
            async with tenant_tx(self._pool, self._vault.org) as tx:
                rows = await tx.fetch(WAITING, self._vault.org, server_name, *place)
                waiting = [
                    (record, Rules(row["version"] or "11"))
                    for row, record in zip(rows, await unseal(tx, self._vault, rows), strict=True)
                ]
            if not waiting:
                return settled
            wanted = self._keys.lacking(needed((record.event for record, _ in waiting), believable()))
            found = await self._keys.ask(server_name, wanted) if wanted else []
            async with tenant_tx(self._pool, self._vault.org) as tx:
                await server_keys.keep(tx, self._vault.org, found)
                settled += await self._check(tx, server_name, waiting)
            place = rows[-1]["room_id"], rows[-1]["event_id"]

    async def _check(self, tx: Connection, server_name: str, waiting: Sequence[tuple[Record, Rules]]) -> int:
        """Check these events again; those whose signature can now be judged wait no longer."""
        judged = {}
        for record, rules in waiting:
            pdu = signed_form(record.event, rules)
            checks = check(pdu, record.event_id, rules, self._keys.known)
            if server_name in checks.signed_by or server_name not in lacking(pdu, rules, self._keys.known):
                judged[record.room_id, record.event_id] = checks
        if not judged:
            return 0
        taken = await tx.fetch(SETTLE, self._vault.org, server_name, *zip(*judged, strict=True))
        for row in taken:
            checks = judged[row["room_id"], row["event_id"]]
            told = list(checks.signed_by), list(checks.unsigned_by)
            await tx.execute(ADD_CHECK, self._vault.org, row["room_id"], row["event_id"], *told)
        return len(taken)
