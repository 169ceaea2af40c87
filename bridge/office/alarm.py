"""Alarms: what an admin must look at, each told once when it begins and once when it is gone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from bridge.relay.relay import column

KEY = "nl.griffier.alarm"
RAISE = """
    INSERT INTO alarm (id, kind, subject, count) VALUES ($1, $2, $3, $4)
    ON CONFLICT (id) DO UPDATE SET
        subject = excluded.subject,
        count = CASE WHEN $5 THEN excluded.count WHEN alarm.cleared_at IS NULL THEN alarm.count + excluded.count
                     ELSE excluded.count END,
        since = CASE WHEN alarm.cleared_at IS NULL THEN alarm.since ELSE now() END,
        told = CASE WHEN alarm.cleared_at IS NULL THEN alarm.told ELSE '' END,
        cleared_at = NULL
"""
# What was never told needs no end told either.
CLEAR = """
    UPDATE alarm SET cleared_at = now(), told = CASE told WHEN '' THEN 'cleared' ELSE told END
    WHERE id = $1 AND cleared_at IS NULL RETURNING id
"""
COLUMNS = "id, kind, subject, count, since, cleared_at"
OPEN = f"SELECT {COLUMNS} FROM alarm WHERE cleared_at IS NULL ORDER BY since, id"  # noqa: S608 - our own constant
UNTOLD = f"""
    SELECT {COLUMNS} FROM alarm WHERE told = '' OR (told = 'raised' AND cleared_at IS NOT NULL) ORDER BY since, id LIMIT 50
"""  # noqa: S608
TOLD = "UPDATE alarm SET told = $2 WHERE id = $1 AND since = $3"

KINDS = {
    "poison": (
        "berichten konden niet worden overgebracht; ze zijn bewaard. Stuur opnieuw (van WhatsApp) of opnieuw out-… (erheen)",
        "messages could not be carried over; they have been kept. Send retry (from WhatsApp) or retry out-… (to it)",
    ),
    "unknown-number": (
        "WhatsApp levert berichten af voor een nummer dat de brug niet bedient; ze zijn bewaard. Wijs het nummer toe",
        "WhatsApp delivers messages for a number that the bridge does not serve; they have been kept. Assign the number",
    ),
    "rejected-delivery": (
        "afleveringen van WhatsApp zijn apart gezet; ze zijn bewaard. Bekijk de reden, en stuur: opnieuw",
        "deliveries of WhatsApp were set aside; they have been kept. Look at the reason, and send: retry",
    ),
    "seat": (
        "iemand die voor het nummer spreekt is niet in de kamer van een gesprek, en is opnieuw uitgenodigd",
        "somebody who speaks for the number is not in the room of a conversation, and has been invited again",
    ),
    "account": ("WhatsApp meldt een probleem met het account", "WhatsApp reports a problem with the account"),
    "unreachable": ("WhatsApp antwoordt niet", "WhatsApp does not answer"),
    "webhook-unreachable": (
        "het eigen webhookadres antwoordt niet; WhatsApp kan dan niets afleveren",
        "the webhook's own address does not answer; WhatsApp can deliver nothing then",
    ),
}


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alarm. `subject` says what it is about, in no words of any message."""

    id: str
    kind: str
    subject: str
    count: int
    since: datetime
    cleared_at: datetime | None

    def content(self) -> dict[str, Any]:
        """The notice in the management room: for people, and for the archive."""
        dutch, english = KINDS.get(self.kind, (self.kind, self.kind))
        about = f"{self.subject} ({self.count})" if self.count > 1 else self.subject
        if self.cleared_at is None:
            body = f"🚨 {about}: {dutch}. · {english}."
        else:
            body = f"✅ {about}: dit alarm is voorbij. · This alarm is over."
        return {
            "msgtype": "m.notice",
            "body": body,
            KEY: {
                "id": self.id,
                "network": "whatsapp",
                "kind": self.kind,
                "subject": self.subject,
                "count": self.count,
                "since": int(self.since.timestamp() * 1000),
                "cleared": self.cleared_at is not None,
            },
        }


class Alarms:
    """All of them, in the bridge's database."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def ring(self, kind: str, about: str, subject: str, count: int = 1, *, whole: bool = False) -> None:
        """Something is wrong. `about` tells alarms of one kind apart; `count` is added, or with `whole` is all there is."""
        await self._pool.execute(RAISE, name(kind, about), kind, column(subject)[:300], count, whole)

    async def clear(self, kind: str, about: str) -> bool:
        """It is over; returns whether it was not."""
        return await self._pool.fetchval(CLEAR, name(kind, about)) is not None

    async def open(self) -> list[Alarm]:
        """Those that are not over, the oldest first."""
        return [Alarm(**row) for row in await self._pool.fetch(OPEN)]

    async def untold(self) -> list[Alarm]:
        """Those whose beginning or end has not been told yet."""
        return [Alarm(**row) for row in await self._pool.fetch(UNTOLD)]

    async def told(self, alarm: Alarm) -> None:
        """It has been told as it was."""
        await self._pool.execute(TOLD, alarm.id, "cleared" if alarm.cleared_at else "raised", alarm.since)


def name(kind: str, about: str) -> str:
    """The stable id of an alarm."""
    return column(f"{kind}|{about}")[:300]
