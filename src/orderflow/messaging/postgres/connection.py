"""
Connections to PostgreSQL with time-outs, a pool, and which of the driver's errors time heals.

Every connection: time zone UTC, `statement_timeout` 10 s, `lock_timeout` 3 s,
`idle_in_transaction_session_timeout` 10 s, so that the locks of a stopped process block its
successor no longer than that. A server that falls silent is noticed within 15 s: see
`bounded_connection`. Services import the driver's types from here, never from the driver.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from typing import Any, NamedTuple

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool as _ConnectionPool
from psycopg_pool import PoolTimeout

from orderflow.messaging.error_text import error_words
from orderflow.messaging.errors import (
    ConfigurationError,
    Contention,
    Transient,
    Unavailable,
    Unfit,
)
from orderflow.messaging.postgres.bounded_connection import (
    CHECK_WITHIN_S,
    BoundedConnection,
)
from orderflow.messaging.postgres.pipelined_cursor import PipelinedCursor
from orderflow.messaging.settings import DatabaseSettings

Connection = BoundedConnection
Cursor = psycopg.Cursor[TupleRow]
ConnectionPool = _ConnectionPool[Connection]
DatabaseError = psycopg.Error
UniqueViolation = errors.UniqueViolation
CheckViolation = errors.CheckViolation
DataError = psycopg.DataError

RESOURCE = "database"
CONNECT_TIMEOUT_S = 5
POOL_TIMEOUT_S = 3.0
BRIEF_LOCK_TIMEOUT = "500ms"
RECONNECT_WITHIN_S = 5.0
"""The pool doubles its back-off up to this; a checkout after it begins anew."""
SILENCE = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""
How the kernel notices a server whose host is gone: 5 + 3 × 3 s after the last answer, and 15 s
after what it did not acknowledge. Without these it takes hours. A host that acknowledges for a
server that hangs needs the limit of `BoundedConnection` besides.
"""

_SESSION = {
    "TimeZone": "UTC",
    "statement_timeout": "10s",
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "10s",
}
_NO_MORE: Mapping[str, str] = {}

BY_KEY = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}
"""
Session settings for connections that only look rows up by their keys.

Without them a statement that was planned while its tables were small, or had no statistics, scans
whole tables, batch after batch.
"""

# The server undid the work, and the same work may succeed at once: serialization failure, deadlock.
_UNDONE = {"40001", "40P01"}
# The work waited too long for a lock, or was cancelled, as a rule by its statement_timeout.
_CONTENTION = {"55P03", "57014"}
# The server, or this connection, is gone, going, starting or full.
_GONE_CLASSES = {"08", "53", "58"}
_GONE = {"57P01", "57P02", "57P03", "57P05", "25P03", "25P04"}
# Read-only: as a rule it is about to be taken over from, or to take over.
_READ_ONLY = "25006"
# The server is not what this program was made for: refused logins (28); no such database, schema,
# table, column, function, other object, or unique index for an ON CONFLICT; no privilege. A
# deployment before its migration, or a wrong address: nothing that a record could say.
_UNFIT_CLASSES = {"28"}
_UNFIT = {"3D000", "3F000", "42P01", "42703", "42883", "42704", "42P10", "42501"}

_BRIEFLY: ContextVar[bool] = ContextVar("briefly", default=False)

_Acts = list[Callable[[], None]]
_AFTER_COMMIT: ContextVar[_Acts | None] = ContextVar("after_commit", default=None)


def conninfo(
    dsn: str, *, application_name: str, session: dict[str, str] | None = None, **parameters: Any
) -> str:
    """
    `dsn` with application name, time-outs and session settings; the DSN's own options win, and its
    own `keepalives…` and `tcp_user_timeout`.
    """
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
        **silence(theirs),
        **parameters,
    )


class Address(NamedTuple):
    """Where a connection string leads: for drivers that take its parts."""

    host: str
    port: int
    database: str
    user: str


def address_of(settings: DatabaseSettings) -> Address:
    """
    The parts of a connection string; the user is `postgres` if it names none.

    Raises ConfigurationError when it names no host or no database.
    """
    parts = conninfo_to_dict(settings.dsn.get_secret_value())
    host, database = parts.get("host"), parts.get("dbname")
    if not host or not database:
        raise ConfigurationError(
            "a connection string names no host or no database; both are needed, as in "
            "postgresql://user@host:5432/database"
        )

    return Address(
        str(host),
        int(parts.get("port") or 5432),
        str(database),
        str(parts.get("user") or "postgres"),
    )


def silence(theirs: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of `SILENCE` that `theirs` does not set."""
    return {name: value for name, value in SILENCE.items() if name not in theirs}


def connect(
    settings: DatabaseSettings,
    *,
    application_name: str,
    autocommit: bool = False,
    session: Mapping[str, str] = _NO_MORE,
) -> Connection:
    """
    One connection for the caller alone; `session` adds server settings to the kit's.

    Raises Unavailable when the database can't be reached within 5 s. A statement without an answer
    for 15 s closes the connection, with an error that `transient` turns into Unavailable.
    """
    target = conninfo(
        settings.dsn.get_secret_value(),
        application_name=application_name,
        session={**_SESSION, **session},
    )
    with unavailable_when_transient():
        return Connection.connect(target, autocommit=autocommit)


def open_pool(settings: DatabaseSettings, *, application_name: str) -> ConnectionPool:
    """
    A pool of at most `pool_size_max` connections, open at once and filled in the background.

    It opens also while the database is away; then each checkout fails within 4 s, with an error
    that `transient` turns into Unavailable. A connection that broke, or is silent for 1 s, is
    replaced at its checkout.
    """
    return _ConnectionPool(
        conninfo(settings.dsn.get_secret_value(), application_name=application_name),
        connection_class=Connection,
        min_size=1,
        max_size=settings.pool_size_max,
        timeout=POOL_TIMEOUT_S,
        reconnect_timeout=RECONNECT_WITHIN_S,
        check=_check,
        name=application_name,
        open=True,
    )


def _check(connection: Connection) -> None:
    with connection.answering_within(CHECK_WITHIN_S):
        _ConnectionPool.check_connection(connection)


@contextmanager
def reading(pool: ConnectionPool) -> Iterator[Cursor]:
    """
    A cursor on a connection of `pool`, in one transaction that ends with the block.

    A driver error that time heals, at checkout or in the block, is raised as Transient or
    Unavailable; all others pass unchanged.
    """
    with (
        _acting_after(),
        unavailable_when_transient(),
        pool.connection() as connection,
        connection.cursor() as cursor,
    ):
        yield cursor


def writing(pool: ConnectionPool) -> AbstractContextManager[Cursor]:
    """As `reading`, for a block that writes: commits when it ends, rolls back when it raises."""
    return reading(pool)


def after_commit(act: Callable[[], None]) -> None:
    """
    Call `act`, which must not raise, once the transaction of this thread's `Session.transaction` or
    `writing` is committed; outside of one, at once.

    It is not called when the transaction is rolled back, when its outcome is unknown, or when the
    process ends in between: for measurements, not for effects.
    """
    acts = _AFTER_COMMIT.get()
    if acts is None:
        act()
    else:
        acts.append(act)


@contextmanager
def _acting_after() -> Iterator[None]:
    acts: _Acts = []
    token = _AFTER_COMMIT.set(acts)
    try:
        yield
    finally:
        _AFTER_COMMIT.reset(token)

    for act in acts:
        act()


def wait_briefly(cursor: Cursor) -> None:
    """From here on the cursor's transaction waits half a second for a lock, not 3 s."""
    cursor.execute(f"SET LOCAL lock_timeout = '{BRIEF_LOCK_TIMEOUT}'")


@contextmanager
def waiting_briefly() -> Iterator[None]:
    """
    In this block a `Session.transaction` waits half a second for a lock, not 3 s: for whoever knows
    that somebody holds one for longer, and has other work.
    """
    token = _BRIEFLY.set(True)
    try:
        yield
    finally:
        _BRIEFLY.reset(token)


class Session:
    """
    One connection for one thread, opened at the first use, and again after it broke or could not
    serve.

    A driver error that time heals is raised as Transient, Contention or Unavailable; all others
    pass unchanged.
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

    def transaction(self) -> AbstractContextManager[Cursor]:
        """
        A cursor in a transaction of its own: it commits when the block ends, and is rolled back
        when it raises.
        """
        return self._cursor(lambda connection: connection.transaction())

    def statement(self) -> AbstractContextManager[Cursor]:
        """
        A cursor for one statement, which is a transaction of its own: one round trip instead of
        three.
        """
        # A brief wait for locks is a setting of the transaction, so it needs one.
        return self.transaction() if _BRIEFLY.get() else self._cursor(nullcontext)

    @contextmanager
    def _cursor(
        self, begin: Callable[[Connection], AbstractContextManager[object]]
    ) -> Iterator[Cursor]:
        with _acting_after(), unavailable_when_transient():
            connection = self._open()
            try:
                with begin(connection), connection.cursor() as cursor:
                    if _BRIEFLY.get():
                        wait_briefly(cursor)
                    yield cursor
            except psycopg.Error as error:
                # A server that became read-only stays so for this connection: the next one may
                # reach another server.
                if isinstance(transient(error), Unavailable):
                    self.close()
                raise
            finally:
                if connection.broken:
                    self.close()

    @contextmanager
    def pipelined(self) -> Iterator[Cursor]:
        """
        As `transaction`, with a cursor whose statements are sent without waiting for their answers:
        see `pipelined_cursor`. An error that no fetch has met is raised at the end of the block,
        and then nothing is committed.
        """
        with _acting_after(), unavailable_when_transient():
            connection = self._open()
            try:
                with connection.pipeline() as pipeline:
                    cursor = PipelinedCursor(connection, pipeline)
                    cursor.execute("BEGIN")
                    if _BRIEFLY.get():
                        wait_briefly(cursor)
                    yield cursor
                    cursor.execute("COMMIT")
                # Without an error, after one that the block has met and swallowed.
                if cursor.statusmessage != "COMMIT":
                    raise psycopg.InternalError("COMMIT of a transaction that had failed")
            except psycopg.Error as error:
                if isinstance(transient(error), Unavailable):
                    self.close()
                raise
            finally:
                self._roll_back(connection)

    def _roll_back(self, connection: Connection) -> None:
        """End what is still open on `connection`, or close it."""
        if not (connection.broken or connection.closed):
            if connection.info.transaction_status == TransactionStatus.IDLE:
                return
            with suppress(psycopg.Error):
                connection.rollback()
                return
        self.close()

    def close(self) -> None:
        """Close the connection; the next `transaction` opens another."""
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


def transient(error: BaseException) -> Transient | None:
    """
    The kit's error for a driver's error that time heals; None for any other.

    Unavailable: server or connection are gone, or the server is read-only. Unfit: it is not what
    this program was made for (not migrated yet, no privilege). Contention: a lock or statement
    time-out.
    Transient: the server undid the work. The caller raises the result `from error`. Source:
    PostgreSQL's error codes, appendix A.
    """
    if not isinstance(error, psycopg.Error):
        return None

    # Without what the driver adds: hosts, users, and the row that the work was about.
    state, words = error.sqlstate, error_words(error) or type(error).__name__
    reason = _reason(state)
    if state in _UNDONE:
        why = f"the database undid the work: {words}"
        return Transient(why, resource=RESOURCE, reason=reason)
    if state in _CONTENTION:
        why = f"the work took too long: {words}"
        return Contention(why, resource=RESOURCE, reason=reason)
    is_unfit = state is not None and (state in _UNFIT or state[:2] in _UNFIT_CLASSES)
    if is_unfit or state == _READ_ONLY:
        why = f"the database is not ready: {words}"
        return (Unfit if is_unfit else Unavailable)(why, resource=RESOURCE, reason=reason)

    # Without a state the error is the driver's own: the server never answered.
    lost = state is None and isinstance(
        error, (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout)
    )
    if lost or (state is not None and (state in _GONE or state[:2] in _GONE_CLASSES)):
        why = f"the database is away: {words}"
        return Unavailable(why, resource=RESOURCE, reason=reason)
    return None


@contextmanager
def unavailable_when_transient() -> Iterator[None]:
    """Raise a driver error that time heals as Transient or Unavailable; others pass unchanged."""
    try:
        yield
    except psycopg.Error as error:
        healing = transient(error)
        if healing is None:
            raise
        raise healing from error


_LACKS = "lacks a table, column or other object: run its migrations"
_REASONS: Mapping[str, str] = {
    "25006": "is read-only",
    "28": "refuses the login",
    "3D000": "does not exist",
    "3F000": _LACKS,
    "40": "undid the work",
    "42501": "refuses a privilege",
    "42": _LACKS,
    "53": "has no connection, memory or disk left",
    "55P03": "a lock is not free",
    "57014": "a statement took too long",
    "57P": "is stopping, or starting",
}


def _reason(state: str | None) -> str:
    """What an error code means, for everybody."""
    state = state or ""
    for length in (5, 3, 2):
        if state[:length] in _REASONS:
            return _REASONS[state[:length]]
    return "does not answer"
