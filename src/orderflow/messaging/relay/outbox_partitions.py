"""
The outbox's partitions: one per UTC day, made 7 days ahead, dropped 7 days after their day when all of it is published.

A DEFAULT partition catches the rows of a day that has none, as after a long stop. Nothing here ever waits long for a
lock: what can't be had within `lock_timeout` is tried again a minute later.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta

import msgspec

from orderflow.messaging.postgres import CheckViolation, Connection
from orderflow.messaging.postgres.outbox import RETENTION_DAYS, TABLE
from orderflow.messaging.telemetry import logger

DAYS_AHEAD = 7
LOCK_TIMEOUT_MS = 1_000

log = logger("relay.partitions")


class PartitionPlan(msgspec.Struct, frozen=True):
    """Days whose partitions to make, and to drop."""

    make: tuple[date, ...]
    drop: tuple[date, ...]


def horizon(now: datetime, published_through: datetime | None) -> date:
    """
    Days before this one may go: older than the retention, and published a day ago at the latest.

    A row's day is that of its transaction's start; no transaction lives a day.
    """
    if published_through is None:
        return date.min
    return min(
        now.date() - timedelta(days=RETENTION_DAYS), published_through.date() - timedelta(days=1)
    )


def plan(
    now: datetime, *, existing: Collection[date], published_through: datetime | None
) -> PartitionPlan:
    """What to do now. `published_through`: every row committed before this moment is on Kafka; None: not known."""
    wanted = [now.date() + timedelta(days=days) for days in range(DAYS_AHEAD + 1)]
    gone = horizon(now, published_through)
    return PartitionPlan(
        make=tuple(day for day in wanted if day not in existing),
        drop=tuple(sorted(day for day in existing if day < gone)),
    )


class PartitionKeeper:
    """Keeps one database's outbox partitions, and remembers how far they are published."""

    def __init__(self) -> None:
        self._mark: tuple[datetime, int] | None = None
        self._published_through: datetime | None = None

    def keep(self, connection: Connection, *, position: int) -> PartitionPlan:
        """
        One round on an autocommit connection; `position` is the relay's, in a state in which it publishes.

        A failure leaves what was done so far; the next round goes on.
        """
        now = self._watch(connection, position)
        connection.execute(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
        days = plan(now, existing=_existing(connection), published_through=self._published_through)
        for day in days.make:
            _make(connection, day)
        for day in days.drop:
            connection.execute(f"DROP TABLE {_name(day)}")
            log.info("outbox partition dropped", day=day.isoformat())
        if self._published_through is not None:
            stale = _midnight(horizon(now, self._published_through))
            connection.execute(f"DELETE FROM {TABLE}_default WHERE created_at < %s", (stale,))  # noqa: S608 - constant
        return days

    def _watch(self, connection: Connection, position: int) -> datetime:
        """Mark the log's end now; when the position has passed the mark, all that committed before it is published."""
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
    rows = connection.execute(
        "SELECT substring(child.relname FROM '_p(\\d{8})$') FROM pg_inherits JOIN pg_class AS child"
        " ON child.oid = inhrelid WHERE inhparent = %s::regclass AND child.relname ~ '_p\\d{8}$'",
        (TABLE,),
    )
    return {datetime.strptime(name, "%Y%m%d").replace(tzinfo=UTC).date() for (name,) in rows}


def _make(connection: Connection, day: date) -> None:
    """
    Made apart and then attached: that takes a lock which writers do not notice, while CREATE … PARTITION OF would wait
    for every one of them.
    """
    bounds = f"FROM ('{_midnight(day).isoformat()}') TO ('{_midnight(day + timedelta(days=1)).isoformat()}')"
    try:
        with connection.transaction():
            connection.execute(
                f"CREATE TABLE {_name(day)} (LIKE {TABLE} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
            )
            connection.execute(
                f"ALTER TABLE {TABLE} ATTACH PARTITION {_name(day)} FOR VALUES {bounds}"
            )
    except CheckViolation:
        log.info(
            "rows of this day are in the default partition, and stay there", day=day.isoformat()
        )


def _name(day: date) -> str:
    return f"{TABLE}_p{day:%Y%m%d}"


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
