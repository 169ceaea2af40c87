"""The connection pool, the transaction of one organisation, and the migrations."""

from archiver.db.pool import UNHURRIED, Connection, DatabaseError, Pool, as_organisation, connect, tenant_tx
from archiver.db.schema import SchemaError, migrate, require_current

__all__ = [
    "UNHURRIED",
    "Connection",
    "DatabaseError",
    "Pool",
    "SchemaError",
    "as_organisation",
    "connect",
    "migrate",
    "require_current",
    "tenant_tx",
]
