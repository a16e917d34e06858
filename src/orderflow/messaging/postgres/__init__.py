"""
PostgreSQL: the room, beside the relay, that imports psycopg.

- `connection`: connections with time-outs, a pool, which errors time heals
- `arrays`: a batch of rows as the arguments of one statement
- `schema_migrations`: SQL files that are applied once each; `migrations/`: those of a follower
- `outbox`: rows that commit with an effect and become records
- `inbox`: the events whose effect is committed
- `group_commit`: one transaction for all work that waits
"""

from orderflow.messaging.postgres.arrays import array, columns
from orderflow.messaging.postgres.batch_size import BatchSize
from orderflow.messaging.postgres.connection import (
    BY_KEY,
    CONNECT_TIMEOUT_S,
    POOL_TIMEOUT_S,
    RESOURCE,
    CheckViolation,
    Connection,
    ConnectionPool,
    Cursor,
    DatabaseError,
    DataError,
    Session,
    UniqueViolation,
    address_of,
    after_commit,
    connect,
    conninfo,
    open_pool,
    reading,
    transient,
    unavailable_when_transient,
    waiting_briefly,
    writing,
)
from orderflow.messaging.postgres.schema_migrations import MIGRATION_LOCK_WAIT_MS, migrate, pending

__all__ = [
    "BY_KEY",
    "CONNECT_TIMEOUT_S",
    "MIGRATION_LOCK_WAIT_MS",
    "POOL_TIMEOUT_S",
    "RESOURCE",
    "BatchSize",
    "CheckViolation",
    "Connection",
    "ConnectionPool",
    "Cursor",
    "DataError",
    "DatabaseError",
    "Session",
    "UniqueViolation",
    "address_of",
    "after_commit",
    "array",
    "columns",
    "connect",
    "conninfo",
    "migrate",
    "open_pool",
    "pending",
    "reading",
    "transient",
    "unavailable_when_transient",
    "waiting_briefly",
    "writing",
]
