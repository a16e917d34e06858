"""
Status changes in PostgreSQL: four statements for a batch, three queries for the funnel.

An order's row is the lock under which its changes are added, and rows are locked by order id. So
whoever adds a change sees the changes before and after it, if they are there, and records on the
earlier one when and for which status it was left.

What the funnel says is in sums that each batch adds to, last, in one statement: all workers share
those rows, and hold them only until their commit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, LiteralString

from orderflow.contracts.events import OrderEvent, OrderStatus
from orderflow.messaging.postgres import Cursor, columns
from orderflow.services.analytics.model import (
    BUCKET_GROWTH,
    Counts,
    Funnel,
    Hour,
    Passage,
    Stay,
    newest,
    stay_of,
)


def count_changes(cursor: Cursor, events: Sequence[OrderEvent]) -> None:
    """Add those of these changes that are not there yet; bring orders and sums up to date."""
    # Orders first: this takes their locks, under which their changes are joined.
    moves = _move_orders(cursor, newest(events))
    entries = _rows(
        cursor,
        _ADD,
        ((event.order_id, event.version, event.status.value, event.timestamp) for event in events),
    )
    stays = _rows(cursor, _JOIN, ((event.order_id, event.version) for event in events))

    # Sums last: all workers share their rows. What is repeated adds nothing.
    if moves or entries or stays:
        _count(cursor, Counts(moves=moves, entries=entries, stays=stays))


def _move_orders(cursor: Cursor, latest: Sequence[OrderEvent]) -> list[Any]:
    return _rows(
        cursor, _MOVE, ((event.order_id, event.status.value, event.version) for event in latest)
    )


def _rows(cursor: Cursor, statement: LiteralString, given: Iterable[Sequence[object]]) -> list[Any]:
    cursor.execute(statement, columns(given))
    return list(cursor)


def _count(cursor: Cursor, counts: Counts) -> None:
    # By their keys: two workers wait for each other in one direction only.
    hours = sorted((hour, status, *rest) for status, hour, *rest in counts.entries)
    cursor.execute(
        _COUNT,
        (
            *columns(counts.by_status()),
            *(columns(hours) or _NONE),
            *(columns(sorted(counts.stays)) or _NONE),
        ),
    )


def funnel(cursor: Cursor, *, hours: int) -> Funnel:
    """All sums of one snapshot; by hour, those of the `hours` up to the last event."""
    # One snapshot for all three queries: their counts agree with one another.
    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    cursor.execute(_STATUSES)
    statuses = {OrderStatus(status): (entered, now) for status, entered, now in cursor}

    cursor.execute(_STAYS)
    passages, stays = _passages_and_stays(cursor)
    entered = {status: entered for status, (entered, _) in statuses.items()}

    cursor.execute(_BY_HOUR, (hours - 1,))
    rows = [
        (hour, OrderStatus(status), orders, last_at) for hour, status, orders, last_at in cursor
    ]
    return Funnel(
        current={status: statuses.get(status, (0, 0))[1] for status in OrderStatus},
        passages=(*passages, *_not_left(entered, passages)),
        stays=stays,
        hours=tuple(
            Hour(hour=hour, status=status, count=orders)
            for hour, status, orders, _ in sorted(rows, key=lambda row: (row[0], _LIFE[row[1]]))
        ),
        last_event_at=max((last_at for *_, last_at in rows), default=None),
    )


def _passages_and_stays(
    rows: Iterable[tuple[str, str, int, int]],
) -> tuple[list[Passage], tuple[Stay, ...]]:
    left: defaultdict[tuple[OrderStatus, OrderStatus], int] = defaultdict(int)
    buckets: defaultdict[OrderStatus, defaultdict[int, int]] = defaultdict(lambda: defaultdict(int))
    for status, left_to, bucket, orders in rows:
        left[OrderStatus(status), OrderStatus(left_to)] += orders
        buckets[OrderStatus(status)][bucket] += orders

    passages = [
        Passage(status=status, to=to, orders=orders) for (status, to), orders in left.items()
    ]
    return passages, tuple(
        stay_of(status, buckets[status]) for status in OrderStatus if status in buckets
    )


def _not_left(entered: dict[OrderStatus, int], passages: Iterable[Passage]) -> list[Passage]:
    still = dict(entered)
    for passage in passages:
        still[passage.status] -= passage.orders
    return [Passage(status=status, to=None, orders=orders) for status, orders in still.items()]


_NONE = ("{}",) * 4
_LIFE = {status: place for place, status in enumerate(OrderStatus)}
# The row of an order that is not behind is locked, too: ON CONFLICT locks before it compares.
_MOVE = """
WITH moved AS (
    INSERT INTO followed_order (order_id, status, version)
    SELECT * FROM unnest(%s::text[], %s::text[], %s::int[])
    ON CONFLICT (order_id) DO UPDATE SET status = excluded.status, version = excluded.version
                           WHERE followed_order.version < excluded.version
    RETURNING old.status AS before, new.status AS after
)
SELECT before, after, count(*) FROM moved GROUP BY before, after
"""
_ADD = """
WITH added AS (
    INSERT INTO status_change (order_id, version, status, entered_at)
    SELECT * FROM unnest(%s::text[], %s::int[], %s::text[], %s::timestamptz[])
    ON CONFLICT DO NOTHING RETURNING status, entered_at
)
SELECT status, date_trunc('hour', entered_at, 'UTC') AS hour, count(*), max(entered_at)
FROM added GROUP BY status, hour
"""
# Each new change may be the one that its predecessor was left for, or the one that was left. The
# clocks of two order processes may differ by some milliseconds: a stay is never negative.
_JOIN = f"""
WITH joined AS (
    UPDATE status_change AS earlier SET left_at = later.entered_at, left_to = later.status
    FROM unnest(%s::text[], %s::int[]) AS added (order_id, version)
         JOIN status_change AS later ON later.order_id = added.order_id
                                        AND later.version IN (added.version, added.version + 1)
    WHERE earlier.order_id = later.order_id AND earlier.version = later.version - 1
      AND earlier.left_at IS NULL
    RETURNING earlier.status, earlier.left_to,
              greatest(extract(epoch FROM earlier.left_at - earlier.entered_at)::float8, 0) AS s
)
SELECT status, left_to, floor(ln(1 + 1000 * s) / ln({BUCKET_GROWTH}::float8))::int AS bucket,
       count(*)
FROM joined GROUP BY status, left_to, bucket
"""  # noqa: S608 - a constant
_COUNT = """
WITH of_status AS (
    INSERT INTO funnel_status AS total (status, entered, current)
    SELECT * FROM unnest(%s::text[], %s::bigint[], %s::bigint[])
    ON CONFLICT (status) DO UPDATE SET entered = total.entered + excluded.entered,
                                       current = total.current + excluded.current
),
of_hour AS (
    INSERT INTO funnel_hour AS total (hour, status, orders, last_at)
    SELECT * FROM unnest(%s::timestamptz[], %s::text[], %s::bigint[], %s::timestamptz[])
    ON CONFLICT (hour, status) DO UPDATE SET orders = total.orders + excluded.orders,
                                             last_at = greatest(total.last_at, excluded.last_at)
)
INSERT INTO funnel_stay AS total (status, left_to, bucket, orders)
SELECT * FROM unnest(%s::text[], %s::text[], %s::int[], %s::bigint[])
ON CONFLICT (status, left_to, bucket) DO UPDATE SET orders = total.orders + excluded.orders
"""
_STATUSES = "SELECT status, entered, current FROM funnel_status"
_STAYS = "SELECT status, left_to, bucket, orders FROM funnel_stay"
_BY_HOUR = """
SELECT hour, status, orders, last_at FROM funnel_hour
WHERE hour >= (SELECT max(hour) FROM funnel_hour) - %s * interval '1 hour'
"""
