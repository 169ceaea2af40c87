"""What is not in a conversation, shown in its place: what is missing, and when a number was not covered. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from archiver.reading.completeness import Gap
from archiver.reading.interruption import Interruption
from archiver.reading.timeline import Row

Lack = Gap | Interruption


@dataclass(frozen=True, slots=True)
class Strand:
    """A row of a page, with what is not there just before it; the last has no row."""

    row: Row | None
    lacks: tuple[Lack, ...] = ()


def weave(
    rows: Sequence[Row], gaps: Iterable[Gap], interruptions: Iterable[Interruption], *, first: bool, last: bool
) -> list[Strand]:
    """The rows of a page and the lacks between them; `first` and `last` say whether the page holds a conversation's begin or end.

    A gap is shown before the earliest event that points at it; where that is no row of its own (a reaction), before what was
    said next. A lack of before the page's first row is the page before's, unless there is none.
    """
    at_row: dict[str, list[Lack]] = {}
    by_time: list[tuple[datetime, Lack]] = []
    ids = {row.event_id for row in rows}
    for gap in gaps:
        if gap.before_id in ids:
            at_row.setdefault(gap.before_id or "", []).append(gap)
        elif gap.before_at is not None:
            by_time.append((gap.before_at, gap))
    by_time += [(each.from_at, each) for each in interruptions]
    waiting = sorted(by_time, key=lambda each: each[0])
    if not first and rows:
        waiting = [each for each in waiting if each[0] > rows[0].sent_at]
    strands = []
    for row in rows:
        before = [lack for moment, lack in waiting if moment <= row.sent_at]
        waiting = waiting[len(before) :]
        strands.append(Strand(row, (*before, *at_row.get(row.event_id, ()))))
    if last and waiting:
        strands.append(Strand(None, tuple(lack for _, lack in waiting)))
    return strands
