"""
Reading many orders: pages, and orders past their deadline.

Newest first is by order id. An id is a UUIDv7, which begins with the millisecond of its making (RFC
9562), so the primary key gives the order, the cursor and the time span. Orders past their deadline
come by the time since which they wait, from the index of what waits.

Each statement reads at most a page of each status, or of each thing that can be waited for: however
many orders there are, and however few of them match.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from orderflow.contracts.events import OrderStatus
from orderflow.contracts.ids import CustomerId, OrderId
from orderflow.messaging.postgres import Cursor, array
from orderflow.services.order import repository
from orderflow.services.order.model import Order, WaitingFor

CLOCK_SLACK = timedelta(minutes=1)
"""How far an id's time may be from its order's `created_at`: the clock is read twice."""

OVERDUE_COUNT_MAX = 10_000
"""Whoever has more than that many overdue orders need not know how many more."""

Cutoffs = Mapping[WaitingFor, datetime]
WaitPosition = tuple[datetime, OrderId]
"""The last order of a page of overdue ones: since when it waits, and its id."""

Parameters = tuple[object, ...]
Conditions = dict[str, Parameters]


class OrderFilter(msgspec.Struct, frozen=True, kw_only=True):
    """
    Which orders to read. `created_from` ≤ created < `created_to`; `before`: only older orders.

    `overdue`: only orders that have waited since their cutoff or longer, and of those only the ones
    behind `after`.
    """

    limit: int
    customer_id: CustomerId | None = None
    statuses: tuple[OrderStatus, ...] = ()
    created_from: datetime | None = None
    created_to: datetime | None = None
    before: OrderId | None = None
    overdue: Cutoffs | None = None
    after: WaitPosition | None = None


def page(cursor: Cursor, wanted: OrderFilter) -> list[Order]:
    """
    The orders that match, at most `limit`: the newest first, or, of those that are overdue, the
    one that has waited longest.
    """
    if wanted.overdue is None:
        statement, parameters = _newest(wanted)
    else:
        statement, parameters = _overdue(wanted, wanted.overdue)
    cursor.execute(statement.encode(), parameters)
    return [repository.order_of(*row) for row in cursor]


def _newest(wanted: OrderFilter) -> tuple[str, Parameters]:
    conditions = _conditions(wanted)
    if wanted.before is not None:
        conditions["order_id < %s"] = (wanted.before,)
    if not wanted.statuses:
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        statement = f"{repository.SELECT} {where} {_NEWEST_FIRST}"
        return statement, (*_values(conditions), wanted.limit)

    # A page of each status, not the newest with any of them: behind those there may be millions.
    statuses = array([*dict.fromkeys(status.value for status in wanted.statuses)])
    return (
        _PAGE_OF_EACH_STATUS.format(more=_more(conditions)),
        (statuses, *_values(conditions), wanted.limit, wanted.limit),
    )


def _overdue(wanted: OrderFilter, cutoffs: Cutoffs) -> tuple[str, Parameters]:
    conditions = _conditions(wanted)
    if wanted.statuses:
        statuses = array([status.value for status in wanted.statuses])
        conditions["status = ANY (%s::text[])"] = (statuses,)
    if wanted.after is not None:
        conditions["(waiting_since, order_id) > (%s, %s)"] = wanted.after

    # By what is waited for, each from its place in the index: together they are not in its order.
    awaited = array([each.value for each in cutoffs])
    return (
        _PAGE_OF_EACH_WAIT.format(more=_more(conditions)),
        (awaited, array([*cutoffs.values()]), *_values(conditions), wanted.limit, wanted.limit),
    )


def _conditions(wanted: OrderFilter) -> Conditions:
    """The conditions of a WHERE clause, each with its parameters."""
    conditions: Conditions = {}
    if wanted.customer_id is not None:
        conditions["customer_id = %s"] = (wanted.customer_id,)

    # The id narrows the scan of the primary key; the time decides.
    if (start := wanted.created_from) is not None:
        conditions["created_at >= %s AND order_id >= %s"] = (start, _first_id(start - CLOCK_SLACK))
    if (end := wanted.created_to) is not None:
        conditions["created_at < %s AND order_id < %s"] = (end, _first_id(end + CLOCK_SLACK))
    return conditions


def _more(conditions: Conditions) -> str:
    return "".join(f" AND {condition}" for condition in conditions)


def _values(conditions: Conditions) -> Parameters:
    return tuple(value for values in conditions.values() for value in values)


def unpaid(cursor: Cursor, *, since: datetime, limit: int) -> dict[OrderId, int]:
    """The revisions of orders that wait for a pay command since `since` or longer, oldest first."""
    cursor.execute(_UNPAID, (WaitingFor.PAY.value, since, limit))
    return {OrderId(str(order_id)): revision for order_id, revision in cursor}


def commanded_at(
    cursor: Cursor, order_id: OrderId, *, command: str, by: str = "command"
) -> datetime | None:
    """
    When that command was last executed on the order; None if never. `by`: the type of its cause,
    `command` or `operator`.
    """
    cursor.execute(_COMMANDED_AT, (order_id, by, command))
    row = cursor.fetchone()
    return row[0] if row else None


class OverdueCount(msgspec.Struct, frozen=True, kw_only=True):
    """
    Orders past their deadline, at most `OVERDUE_COUNT_MAX`, and since when the oldest waits.
    """

    orders: int
    since: datetime | None


def overdue_counts(cursor: Cursor, cutoffs: Cutoffs) -> dict[WaitingFor, OverdueCount]:
    """How many orders are past their deadline, by what they wait for. Reads the index only."""
    names = [awaited.value for awaited in cutoffs]
    cursor.execute(_OVERDUE, (names, [*cutoffs.values()], OVERDUE_COUNT_MAX))
    return {
        WaitingFor(awaited): OverdueCount(orders=orders, since=since)
        for awaited, orders, since in cursor
    }


def _first_id(moment: datetime) -> UUID:
    """A UUID below every id that is made from then on."""
    return UUID(int=max(0, int(moment.timestamp() * 1000)) << 80)


_NEWEST_FIRST = "ORDER BY order_id DESC LIMIT %s"
_LONGEST_FIRST = "ORDER BY waiting_since, order_id LIMIT %s"
# A range, and the status in the order: with `=` the planner takes the order from the primary key
# when it guesses that many have the status, and walks through all those that have not.
_PAGE_OF_EACH_STATUS = f"""
SELECT page.* FROM unnest(%s::text[]) AS wanted (status), LATERAL (
    {repository.SELECT}
    WHERE orders.status BETWEEN wanted.status AND wanted.status {{more}}
    ORDER BY orders.status DESC, order_id DESC LIMIT %s
) AS page {_NEWEST_FIRST}
"""  # noqa: S608 - constants, here and below
_PAGE_OF_EACH_WAIT = f"""
SELECT page.* FROM unnest(%s::text[], %s::timestamptz[]) AS wanted (awaited, cutoff), LATERAL (
    {repository.SELECT}
    WHERE waiting_for = wanted.awaited AND waiting_since <= wanted.cutoff {{more}}
    {_LONGEST_FIRST}
) AS page {_LONGEST_FIRST}
"""  # noqa: S608
_UNPAID = """
SELECT order_id, revision FROM orders
WHERE waiting_for = %s AND waiting_since <= %s ORDER BY waiting_since LIMIT %s
"""
_OVERDUE = """
SELECT waiting_for, counted.orders, counted.since
FROM unnest(%s::text[], %s::timestamptz[]) AS wanted (waiting_for, cutoff),
     LATERAL (
         SELECT count(*) AS orders, min(waiting_since) AS since
         FROM (SELECT waiting_since FROM orders
               WHERE orders.waiting_for = wanted.waiting_for AND waiting_since <= cutoff
               ORDER BY waiting_since LIMIT %s) AS overdue
     ) AS counted
"""
_COMMANDED_AT = """
SELECT max(occurred_at) FROM order_history
WHERE order_id = %s AND cause_type = %s AND cause_id = %s
"""
