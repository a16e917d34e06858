"""
Status changes in PostgreSQL: three statements for a batch, five queries for the funnel.

An order's row is the lock under which its changes are added, and rows are locked by order id. So
whoever adds a change sees the changes before and after it, if they are there, and records on the
earlier one when and for which status it was left.
"""

from __future__ import annotations

from collections.abc import Sequence

from orderflow.contracts.events import OrderEvent, OrderStatus
from orderflow.messaging.postgres import Cursor, array
from orderflow.services.analytics.model import SECONDS_DIGITS, Funnel, Hour, Passage, Stay


def move_orders(cursor: Cursor, newest: Sequence[OrderEvent]) -> None:
    """Lock the orders of these events, one for each, and move on those that are behind."""
    cursor.execute(
        _MOVE,
        (
            array([event.order_id for event in newest]),
            array([event.status.value for event in newest]),
            array([event.version for event in newest]),
        ),
    )


def add_changes(cursor: Cursor, events: Sequence[OrderEvent]) -> None:
    """Add the changes of locked orders that are not there yet, and join each to its neighbours."""
    orders = array([event.order_id for event in events])
    versions = array([event.version for event in events])
    statuses = array([event.status.value for event in events])
    times = array([event.timestamp for event in events])

    cursor.execute(_ADD, (orders, versions, statuses, times))
    cursor.execute(_JOIN, (orders, versions))


def funnel(cursor: Cursor, *, hours: int) -> Funnel:
    """All counts of one snapshot; by hour, those of the `hours` up to the last event."""
    # One snapshot for all five queries: their counts agree with one another.
    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")

    cursor.execute(_CURRENT)
    current = {OrderStatus(status): count for status, count in cursor}

    cursor.execute(_PASSAGES)
    passages = tuple(_passage(*row) for row in cursor)

    cursor.execute(_STAYS)
    stays = tuple(_stay(*row) for row in cursor)

    cursor.execute(_BY_HOUR, (hours - 1,))
    by_hour = tuple(
        Hour(hour=hour, status=OrderStatus(status), count=count) for hour, status, count in cursor
    )

    cursor.execute("SELECT max(entered_at) FROM status_change")
    last = cursor.fetchone()
    return Funnel(
        current=dict.fromkeys(OrderStatus, 0) | current,
        passages=passages,
        stays=stays,
        hours=by_hour,
        last_event_at=last[0] if last else None,
    )


def _passage(status: str, to: str | None, orders: int) -> Passage:
    return Passage(
        status=OrderStatus(status), to=None if to is None else OrderStatus(to), orders=orders
    )


def _stay(status: str, orders: int, percentiles: list[float]) -> Stay:
    p50_s, p95_s = (round(value, SECONDS_DIGITS) for value in percentiles)
    return Stay(status=OrderStatus(status), orders=orders, p50_s=p50_s, p95_s=p95_s)


# The row of an order that is not behind is locked, too: ON CONFLICT locks before it compares.
_MOVE = """
INSERT INTO followed_order (order_id, status, version)
SELECT * FROM unnest(%s::text[], %s::text[], %s::int[])
ON CONFLICT (order_id) DO UPDATE SET status = excluded.status, version = excluded.version
                       WHERE followed_order.version < excluded.version
"""
_ADD = """
INSERT INTO status_change (order_id, version, status, entered_at)
SELECT * FROM unnest(%s::text[], %s::int[], %s::text[], %s::timestamptz[])
ON CONFLICT DO NOTHING
"""
# Each new change may be the one that its predecessor was left for, or the one that was left.
_JOIN = """
UPDATE status_change AS earlier SET left_at = later.entered_at, left_to = later.status
FROM unnest(%s::text[], %s::int[]) AS added (order_id, version)
     JOIN status_change AS later ON later.order_id = added.order_id
                                    AND later.version IN (added.version, added.version + 1)
WHERE earlier.order_id = later.order_id AND earlier.version = later.version - 1
  AND earlier.left_at IS NULL
"""
_CURRENT = "SELECT status, count(*) FROM followed_order GROUP BY status"
_PASSAGES = "SELECT status, left_to, count(*) FROM status_change GROUP BY status, left_to"
# The clocks of two order processes may differ by some milliseconds: a stay is never negative.
_STAYS = """
SELECT status, count(*), percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (
           ORDER BY greatest(extract(epoch FROM left_at - entered_at), 0)::float8)
FROM status_change WHERE left_at IS NOT NULL GROUP BY status ORDER BY min(version), status
"""
_BY_HOUR = """
SELECT date_trunc('hour', entered_at, 'UTC') AS hour, status, count(*) FROM status_change
WHERE entered_at >= (SELECT date_trunc('hour', max(entered_at), 'UTC') FROM status_change)
                    - %s * interval '1 hour'
GROUP BY hour, status ORDER BY hour, min(version), status
"""
