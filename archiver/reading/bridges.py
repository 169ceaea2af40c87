"""Whom the archive believes: the accounts of bridges, as the archivers' settings name them (`archiver.bridges`)."""

from __future__ import annotations

from dataclasses import dataclass

from archiver.db import Connection
from archiver.ledger.claims import believed

FIND = "SELECT DISTINCT unnest(bridges) AS pattern FROM seat WHERE org = $1"


@dataclass(frozen=True, slots=True)
class Bridges:
    """The patterns; an account that fits one is a bridge's: its bot, or a ghost of somebody on another network."""

    patterns: tuple[str, ...] = ()

    def __contains__(self, user_id: object) -> bool:
        return believed(user_id, self.patterns)


async def bridges(tx: Connection, org: int) -> Bridges:
    """The bridges that the organisation's archivers believe."""
    return Bridges(tuple(sorted(row["pattern"] for row in await tx.fetch(FIND, org))))
