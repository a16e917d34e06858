"""
The database's write-ahead log while years of orders are generated: no slot may lose it, and its
readers must be through before anything is measured.
"""

from __future__ import annotations

from orderflow.bench.service_data import open_connection
from orderflow.stack.parts import postgres
from orderflow.stack.supervise.component import Component
from orderflow.trials.harness import wait_for

READ_WITHIN_S = 3_600.0
BEHIND_MAX = 16 * 1024 * 1024
"""Bytes of log between a reader and the end: what a busy flow has under way, too."""


def keep_whole_log(part: Component) -> Component:
    """
    The database server without a limit to what a slot may hold; another component as it is.

    A million orders are some gigabytes of log: beyond the limit a slot is lost, and its relay
    refuses to start, as it should where rows may be unpublished.
    """
    return postgres.with_settings(part, {"max_slot_wal_keep_size": "-1"})


def wait_until_read(dsn: str) -> None:
    """
    Until all slots' readers, also those that connect again, have read the log to its end. Raises
    OrderflowError if one has not within an hour.
    """
    with open_connection(dsn) as connection:

        def is_read() -> bool:
            row = connection.execute(_BEHIND).fetchone()
            return row is not None and int(row[0]) < BEHIND_MAX

        wait_for(is_read, within_s=READ_WITHIN_S, what="the log is not read to its end")


_BEHIND = """
SELECT coalesce(max(pg_current_wal_lsn() - confirmed_flush_lsn), 0) FROM pg_replication_slots
"""
