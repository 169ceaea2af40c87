"""The inbox and the outbox as tables: what comes next in a conversation, which conversations have something to do."""

from __future__ import annotations

from dataclasses import dataclass

HISTORY = "history|"  # begins the name of a conversation that is brought in behind what is said now
BEHIND = (HISTORY, "behind|")  # and those of what has no haste (migration 12)
KNOWN = 1000  # lanes held in memory; what is beyond stays in the database until there is room


@dataclass(frozen=True, slots=True)
class Queue:
    """One direction: its table, the columns of a lane and of the item's own id, and how to tell whose number it is."""

    table: str
    lane: str
    key: str
    number: str
    marks: bool  # whether what is under way is marked, because the other side doesn't know it when it gets it twice

    @property
    def _columns(self) -> str:
        marks = (
            "extract(epoch FROM now() - started_at)::float8 AS started, unsure_until IS NOT NULL AS settled,"
            " coalesce((SELECT count(*) >= max(parts) FROM carried WHERE carried.event_id = item.event_id), false) AS carried"
            if self.marks
            else "NULL::float8 AS started, false AS settled, false AS carried"
        )
        return (
            f"id, {self.key} AS key, sealed, state, attempts, verdict, problem, {self.number} AS number, due_at, {marks},"
            " coalesce(extract(epoch FROM now() - waits_since), 0)::float8 AS waited, waits_for"
        )

    @property
    def next(self) -> str:
        """The next item of a lane: one that waited beside it and may be tried again, or the first in line."""
        return f"""
            (SELECT {self._columns}, 0 AS turn FROM {self.table} AS item
             WHERE {self.lane} = $1 AND state = 'aside' AND due_at <= now() ORDER BY id LIMIT 1)
            UNION ALL
            (SELECT * FROM (SELECT {self._columns}, 1 AS turn FROM {self.table} AS item
                            WHERE {self.lane} = $1 AND state = 'waiting' ORDER BY id LIMIT 1) AS first
             WHERE due_at <= now())
            ORDER BY turn LIMIT 1
        """  # noqa: S608 - our own constants, here and below

    @property
    def lanes(self) -> str:
        """Lanes with something to do, the longest waiting first; the index is walked from lane to lane, not row by row."""
        return f"""
            WITH RECURSIVE walk AS (
                (SELECT {self.lane} AS lane, id FROM {self.table} WHERE state = 'waiting' ORDER BY 1, 2 LIMIT 1)
                UNION ALL
                SELECT after.lane, after.id FROM walk, LATERAL (
                    SELECT {self.lane} AS lane, id FROM {self.table} WHERE state = 'waiting' AND {self.lane} > walk.lane
                    ORDER BY 1, 2 LIMIT 1) AS after
            ), open AS (
                SELECT lane, id FROM walk
                UNION ALL
                SELECT DISTINCT ON ({self.lane}) {self.lane}, id FROM {self.table} WHERE state = 'aside' AND due_at <= now()
            )
            SELECT open.lane FROM open JOIN {self.table} AS item USING (id)
            WHERE item.due_at <= now() AND NOT coalesce({self.number}, '') = ANY($1)
            ORDER BY {" OR ".join(f"starts_with(open.lane, '{name}')" for name in BEHIND)}, id LIMIT {KNOWN}
        """  # noqa: S608

    @property
    def finish(self) -> str:
        mark = ", started_at = NULL, unsure_until = NULL" if self.marks else ""
        return f"""
            UPDATE {self.table} SET state = $2, problem = $3, awaits = CASE WHEN verdict = $2 THEN awaits END, verdict = NULL,
                   finished_at = now(){mark}
            WHERE id = $1 AND state IN ('waiting', 'aside')
        """  # noqa: S608

    @property
    def judge(self) -> str:
        """What an item comes to, though people are still to be told: the telling has attempts of its own."""
        return f"""
            UPDATE {self.table} SET verdict = $2, problem = $3, awaits = $4, attempts = 0, due_at = now()
            WHERE id = $1 AND state IN ('waiting', 'aside')
        """  # noqa: S608

    @property
    def tell_later(self) -> str:
        return f"""
            UPDATE {self.table} SET attempts = attempts + $2, due_at = now() + make_interval(secs => $3)
            WHERE id = $1 AND state IN ('waiting', 'aside')
        """  # noqa: S608

    @property
    def again(self) -> str:
        """What waits longer for the same goes on counting; the time that it waited for something else is over."""
        mark = ", started_at = CASE WHEN $8 THEN started_at END, unsure_until = NULL" if self.marks else ""
        return f"""
            UPDATE {self.table} SET state = $2, attempts = attempts + $3, problem = $4, awaits = $6,
                   due_at = now() + make_interval(secs => $5),
                   waits_since = CASE WHEN waits_for = $7 THEN coalesce(waits_since, now()) ELSE now() END, waits_for = $7{mark}
            WHERE id = $1 AND state IN ('waiting', 'aside')
        """  # noqa: S608


# While nothing was carried over, nothing that is waited for could come.
FRESH = "UPDATE {table} SET waits_since = now() WHERE state IN ('waiting', 'aside') AND waits_for = 'not-yet'"
# Another process may have ended between giving a message to WhatsApp and remembering it.
RESTART = "UPDATE outbox SET unsure_until = NULL, due_at = now() WHERE state = 'waiting' AND started_at IS NOT NULL"
START = """
    UPDATE outbox SET started_at = now(), unsure_until = NULL WHERE id = $1 AND state IN ('waiting', 'aside') RETURNING true
"""
# WhatsApp has not been heard of since: its word may still be on its way.
UNHEARD = "UPDATE outbox SET due_at = now() + make_interval(secs => $2) WHERE id = $1 AND state IN ('waiting', 'aside')"
SETTLE = """
    UPDATE outbox SET unsure_until = now(), due_at = now() + make_interval(secs => $2)
    WHERE id = $1 AND state IN ('waiting', 'aside')
"""

_HISTORY_NUMBER = "split_part(conversation, '|', CASE WHEN starts_with(conversation, 'history|') THEN 2 ELSE 1 END)"
INBOX = Queue("inbox", "conversation", "dedupe", _HISTORY_NUMBER, marks=False)
OUTBOX = Queue("outbox", "lane", "event_id", "(SELECT number_id FROM portal WHERE portal.room_id = item.room_id)", marks=True)


def column(text: str) -> str:
    """Text made fit for a Postgres column."""
    return text[:1000].replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
