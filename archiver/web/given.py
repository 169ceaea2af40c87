"""A file that came with a message, as pages and programs are given it."""

from __future__ import annotations

import logging

from archiver.db import Connection
from archiver.ledger.sealing import SealingError
from archiver.web.context import Archive

log = logging.getLogger(__name__)

FILE = "SELECT address, scan FROM media WHERE org = $1 AND room_id = $2 AND event_id = $3 AND part = 'file' AND state = 'stored'"


class NotGiven(Exception):  # noqa: N818 - it names what it is
    """The file is not given: `kind` is not-found, not-scanned or infected."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


async def given(tx: Connection, archive: Archive, room_id: str, event_id: str, *, despite: bool) -> tuple[bytes, bool]:
    """The content, and whether it was found infected; that only `despite` the warning. Raises NotGiven.

    What a virus scanner has yet to see is not given.
    """
    kept = await tx.fetchrow(FILE, archive.vault.org, room_id, event_id)
    if kept is None:
        raise NotGiven("not-found")
    if kept["scan"] == "waiting":
        raise NotGiven("not-scanned")
    infected = kept["scan"] == "infected"
    if infected and not despite:
        raise NotGiven("infected")
    try:
        return await archive.files.read(archive.vault, tx, room_id, kept["address"]), infected
    except SealingError as error:
        log.warning("%s", error)
        raise NotGiven("not-found") from None
