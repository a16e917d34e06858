"""
The partitions of the outbox table: one per UTC day, made 7 days ahead, dropped 7 days after it.
And what was decided about held rows, deleted after 35 days.

A partition is dropped only when all its rows are published. A DEFAULT partition takes the rows of a
day that has none, as after a long stop. Nothing here waits long for a lock: what can't be locked
within `lock_timeout` is tried again a minute later.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta

import msgspec

from orderflow.messaging.error_text import error_text
from orderflow.messaging.postgres import CheckViolation, Connection, DatabaseError, transient
from orderflow.messaging.postgres.outbox import RETENTION_DAYS, TABLE
from orderflow.messaging.relay.held_store import delete_old_decisions
from orderflow.messaging.telemetry import logger

DAYS_AHEAD = 7
LOCK_TIMEOUT_MS = 1_000
DELETE_ROWS_MAX = 10_000

log = logger("relay.partitions")


class PartitionPlan(msgspec.Struct, frozen=True):
    """Days whose partitions to make, and to drop."""

    make: tuple[date, ...]
    drop: tuple[date, ...]


def horizon(now: datetime, published_through: datetime | None) -> date:
    """
    The first day to keep: days before it are older than the retention and published.

    The day of a row is that of its transaction's start, and no transaction lasts a day: so a day is
    published when everything that committed until the end of the following day is.
    """
    if published_through is None:
        return date.min
    return min(
        now.date() - timedelta(days=RETENTION_DAYS), published_through.date() - timedelta(days=1)
    )


def plan(
    now: datetime, *, existing: Collection[date], published_through: datetime | None
) -> PartitionPlan:
    """
    The partitions to make and to drop now.

    `published_through`: every row that committed before is on Kafka. None: unknown, drop nothing.
    """
    wanted = [now.date() + timedelta(days=days) for days in range(DAYS_AHEAD + 1)]
    first_kept = horizon(now, published_through)
    return PartitionPlan(
        make=tuple(day for day in wanted if day not in existing),
        drop=tuple(sorted(day for day in existing if day < first_kept)),
    )


class PartitionKeeper:
    """Makes and drops one database's outbox partitions; remembers how far they are published."""

    def __init__(self) -> None:
        self._mark: tuple[datetime, int] | None = None
        self._published_through: datetime | None = None

    def try_to_keep(self, connection: Connection, *, position: int) -> None:
        """One round, as `keep`; a database that refuses it is told in a line of the log."""
        try:
            self.keep(connection, position=position)
        except DatabaseError as error:
            # A row without a partition of its day goes to the default one: no reason to stop.
            log.warning(
                "outbox partitions were not looked after",
                reason=error_text(transient(error) or error),
            )

    def keep(self, connection: Connection, *, position: int) -> PartitionPlan:
        """
        Do one round on an autocommit connection; `position` is that of a relay that streams.

        Each statement is a transaction of its own: after a failure the next round does the rest.
        Raises DatabaseError, of a lock time-out too.
        """
        now = self._note_published(connection, position)
        connection.execute(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
        days = plan(now, existing=_existing(connection), published_through=self._published_through)

        for day in days.make:
            _make(connection, day)

        for day in days.drop:
            connection.execute(f"DROP TABLE {_name(day)}")
            log.info("outbox partition dropped", day=day.isoformat())

        if self._published_through is not None:
            _delete_stale(connection, before=horizon(now, self._published_through))
        delete_old_decisions(connection)
        return days

    def _note_published(self, connection: Connection, position: int) -> datetime:
        """
        Mark the log's end now; when the position has passed the mark, all before it is published.

        Returns the database's clock.
        """
        row = connection.execute(
            "SELECT now(), (pg_current_wal_insert_lsn() - '0/0')::bigint"
        ).fetchone()
        assert row is not None
        now: datetime = row[0].astimezone(UTC)

        if self._mark is not None and position >= self._mark[1]:
            self._published_through, self._mark = self._mark[0], None
        if self._mark is None:
            self._mark = (now, row[1])
        return now


def _existing(connection: Connection) -> set[date]:
    rows = connection.execute(_EXISTING, (TABLE,))
    return {datetime.strptime(name, "%Y%m%d").replace(tzinfo=UTC).date() for (name,) in rows}


def _make(connection: Connection, day: date) -> None:
    start, end = _midnight(day), _midnight(day + timedelta(days=1))

    try:
        with connection.transaction():
            # Attached, not created in place: ATTACH takes a lock that does not block writers, while
            # CREATE … PARTITION OF would wait for every open transaction.
            connection.execute(
                f"CREATE TABLE {_name(day)} (LIKE {TABLE} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
            )
            connection.execute(
                f"ALTER TABLE {TABLE} ATTACH PARTITION {_name(day)} "
                f"FOR VALUES FROM ('{start.isoformat()}') TO ('{end.isoformat()}')"
            )
    except CheckViolation:
        log.info(
            "rows of this day are in the default partition, and stay there", day=day.isoformat()
        )


def _delete_stale(connection: Connection, *, before: date) -> None:
    """Old rows of the default partition, in transactions of at most `DELETE_ROWS_MAX`."""
    deleted = DELETE_ROWS_MAX
    while deleted == DELETE_ROWS_MAX:
        parameters = (_midnight(before), DELETE_ROWS_MAX)
        deleted = connection.execute(_DELETE_STALE, parameters).rowcount


def _name(day: date) -> str:
    return f"{TABLE}_p{day:%Y%m%d}"


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


_DELETE_STALE = f"""
DELETE FROM {TABLE}_default WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM {TABLE}_default WHERE created_at < %s ORDER BY created_at LIMIT %s
))
"""  # noqa: S608 - a constant name
_EXISTING = r"""
SELECT substring(child.relname FROM '_p(\d{8})$')
FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
WHERE inhparent = %s::regclass AND child.relname ~ '_p\d{8}$'
"""
