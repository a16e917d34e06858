"""
The door to PostgreSQL: connections with limits, a pool, migrations, and which failures time heals.

Every session: time zone UTC, `statement_timeout` 10 s, `lock_timeout` 3 s, `idle_in_transaction_session_timeout` 10 s,
so that a stopped process's locks never block its successor for longer. Services import what they need of the driver
from here, and nothing from the driver itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import psycopg
import yoyo
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool as _ConnectionPool
from psycopg_pool import PoolTimeout

from orderflow.messaging.errors import Transient, Unavailable
from orderflow.messaging.settings import DatabaseSettings

Connection = psycopg.Connection[TupleRow]
Cursor = psycopg.Cursor[TupleRow]
ConnectionPool = _ConnectionPool[Connection]
DatabaseError = psycopg.Error
UniqueViolation = errors.UniqueViolation
CheckViolation = errors.CheckViolation
DataError = psycopg.DataError

RESOURCE = "database"
CONNECT_TIMEOUT_S = 5
POOL_TIMEOUT_S = 3.0
MIGRATION_LOCK_WAIT_MS = 60_000

_MIGRATION_LOCK = (
    0x6F72_6465_7266_6C6F  # "orderflo": one number for all of ours; it is per database anyway.
)
_SESSION = {
    "TimeZone": "UTC",
    "statement_timeout": "10s",
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "10s",
}
_NO_MORE: Mapping[str, str] = {}

BY_KEY = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}
"""
For sessions that only ever look rows up by their keys. Without it a statement that was planned while its tables were
small, or without statistics, scans them whole, batch after batch.
"""

# The server is there and undid the work: deadlock, serialization failure, lock or statement time-out.
_UNDONE = {"40001", "40P01", "55P03", "57014"}
# The server, or this connection, is gone, going, starting, full, or read-only while it fails over.
_GONE_CLASSES = {"08", "53", "58"}
_ESCAPED_CONTROL = re.compile(rb"\\[bfnrtu]")
_GONE = {"57P01", "57P02", "57P03", "57P05", "25P03", "25P04", "25006"}


def conninfo(
    dsn: str, *, application_name: str, session: dict[str, str] | None = None, **parameters: Any
) -> str:
    """`dsn` with our name, our time-outs and the session's settings; options that the DSN has win over ours."""
    settings = " ".join(
        f"-c {name}={value}"
        for name, value in (session if session is not None else _SESSION).items()
    )
    theirs = conninfo_to_dict(dsn)
    return make_conninfo(
        dsn,
        application_name=application_name,
        connect_timeout=theirs.get("connect_timeout", CONNECT_TIMEOUT_S),
        options=f"{settings} {theirs.get('options') or ''}".strip(),
        **parameters,
    )


def connect(
    settings: DatabaseSettings,
    *,
    application_name: str,
    autocommit: bool = False,
    session: Mapping[str, str] = _NO_MORE,
) -> Connection:
    """
    One connection of the caller's own. Raises Unavailable when the database can't be reached within 5 s.

    `session`: server settings for it, beside ours.
    """
    target = conninfo(
        settings.dsn.get_secret_value(),
        application_name=application_name,
        session={**_SESSION, **session},
    )
    with unavailable_when_transient():
        return psycopg.connect(target, autocommit=autocommit)


def open_pool(settings: DatabaseSettings, *, application_name: str) -> ConnectionPool:
    """
    A pool of at most `pool_size_max` connections, open at once and filled in the background.

    It opens although the database is away: then each checkout fails within 3 s (`transient()` says Unavailable).
    A connection that died in the pool is noticed at checkout and replaced.
    """
    return _ConnectionPool(
        conninfo(settings.dsn.get_secret_value(), application_name=application_name),
        connection_class=Connection,
        min_size=1,
        max_size=settings.pool_size_max,
        timeout=POOL_TIMEOUT_S,
        check=_ConnectionPool.check_connection,
        name=application_name,
        open=True,
    )


@contextmanager
def reading(pool: ConnectionPool) -> Iterator[Cursor]:
    """
    A cursor on a connection of `pool`, in one transaction that ends with the block.

    A driver error that time heals, at checkout or in the block, is raised as Transient or
    Unavailable; all others pass unchanged.
    """
    with (
        unavailable_when_transient(),
        pool.connection() as connection,
        connection.cursor() as cursor,
    ):
        yield cursor


def writing(pool: ConnectionPool) -> AbstractContextManager[Cursor]:
    """As `reading`, for a block that writes: commits when it ends, rolls back when it raises."""
    return reading(pool)


class Session:
    """
    One connection of one thread, opened when it is needed and again after it broke.

    `transaction` commits when its block ends and rolls back when it raises; a driver error that time heals leaves it as
    Transient or Unavailable, all others unchanged.
    """

    def __init__(
        self,
        settings: DatabaseSettings,
        *,
        application_name: str,
        session: Mapping[str, str] = _NO_MORE,
    ) -> None:
        self._settings = settings
        self._session = session
        self._application_name = application_name
        self._connection: Connection | None = None

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        with unavailable_when_transient():
            connection = self._open()
            try:
                with connection.transaction(), connection.cursor() as cursor:
                    yield cursor
            finally:
                if connection.broken:
                    self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = connect(
                self._settings,
                application_name=self._application_name,
                autocommit=True,
                session=self._session,
            )
        return self._connection


def array(values: Sequence[object]) -> str:
    """
    `values` as the literal of an array, to be bound and cast (`%s::text[]`): what `unnest` takes.

    Text, numbers, None, UUIDs, aware datetimes, enums and bytes. JSON's form is nearly PostgreSQL's, and is written in
    C: a tenth of the driver's time for a list, and lists are most of what a group commit costs.
    """
    plain = [f"\\x{value.hex()}" if isinstance(value, bytes) else value for value in values]
    encoded = msgspec.json.encode(plain)
    if _ESCAPED_CONTROL.search(encoded):
        return "{" + ",".join(_quoted(value) for value in plain) + "}"
    return "{" + encoded[1:-1].decode() + "}"


def columns(rows: Iterable[Sequence[object]]) -> list[str]:
    """`rows` by column, each as an array literal: what one `unnest` of several arrays takes."""
    return [array(column) for column in zip(*rows, strict=True)]


def _quoted(value: object) -> str:
    """One element, with control characters as they are: JSON's escapes for them mean nothing to PostgreSQL."""
    if value is None:
        return "NULL"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def transient(error: BaseException) -> Transient | None:
    """
    How `error` heals: Unavailable (server or connection away), Transient (work undone), None (a fault: it does not).

    The caller raises the result `from error`. Source: PostgreSQL's error codes, appendix A.
    """
    if not isinstance(error, psycopg.Error):
        return None
    state = error.sqlstate
    if state in _UNDONE:
        return Transient(f"the database undid the work: {_first_line(error)}", resource=RESOURCE)
    lost = state is None and isinstance(
        error, (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout)
    )
    if lost or (state is not None and (state in _GONE or state[:2] in _GONE_CLASSES)):
        return Unavailable(f"the database is away: {_first_line(error)}", resource=RESOURCE)
    return None


@contextmanager
def unavailable_when_transient() -> Iterator[None]:
    """Within, a driver error that time heals is raised as Transient or Unavailable; all others pass unchanged."""
    try:
        yield
    except psycopg.Error as error:
        healing = transient(error)
        if healing is None:
            raise
        raise healing from error


def migrate(dsn: str, directory: Path) -> list[str]:
    """
    Apply the migrations of `directory` (`NNNN.name.sql`, each in a transaction of its own) that are still missing.

    Returns the ids it applied, in order. Several processes may call it at once: an advisory lock lets one work, the
    others wait up to 60 s and find nothing left. After a kill the next call goes on where the last commit was.
    """
    with _one_at_a_time(dsn), yoyo.get_backend(_yoyo_url(dsn)) as backend:
        backend.break_lock()  # Ours is the advisory lock; a row in yoyo's table can only be left by a kill.
        missing = backend.to_apply(yoyo.read_migrations(str(directory)))
        applied = [migration.id for migration in missing]
        backend.apply_migrations(missing)
    return applied


def pending(dsn: str, directory: Path) -> list[str]:
    """The ids of the migrations that `migrate` would apply. Writes nothing but the migration library's own tables."""
    with _one_at_a_time(dsn), yoyo.get_backend(_yoyo_url(dsn)) as backend:
        return [
            migration.id for migration in backend.to_apply(yoyo.read_migrations(str(directory)))
        ]


@contextmanager
def _one_at_a_time(dsn: str) -> Iterator[None]:
    session = {"lock_timeout": str(MIGRATION_LOCK_WAIT_MS)}
    target = conninfo(dsn, application_name="migrate", session=session)
    with unavailable_when_transient():
        lock = psycopg.connect(target, autocommit=True)
    with lock, unavailable_when_transient():
        lock.execute("SELECT pg_advisory_lock(%s)", (_MIGRATION_LOCK,))
        yield


def _yoyo_url(dsn: str) -> str:
    """yoyo knows URLs only; the driver takes every libpq parameter from the query."""
    return f"postgresql+psycopg:///?{urlencode(conninfo_to_dict(dsn))}"


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
