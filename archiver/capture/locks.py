"""Who holds an advisory lock, as Postgres shows it (pg_locks)."""

from __future__ import annotations


def is_held(name: str) -> str:
    """The condition on pg_locks that a lock on `hashtextextended(name, 0)` is held in this database; `name` is SQL."""
    return f"""
        locktype = 'advisory' AND granted AND objsubid = 1
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND ((classid::bigint << 32) | objid::bigint) = hashtextextended({name}, 0)
    """  # noqa: S608 - our own expressions
