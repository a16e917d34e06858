"""
Many orders at once, for reading: pages, and what is past its deadline.

Newest first is by order id: it is a UUIDv7, which begins with the millisecond of its making (RFC 9562), so the primary
key gives the order, the cursor and the time span.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from orderflow.contracts.events import OrderStatus
from orderflow.contracts.ids import CustomerId, OrderId
from orderflow.messaging.postgres import Cursor
from orderflow.services.order import repository
from orderflow.services.order.model import Order, WaitingFor

CLOCK_SLACK = timedelta(minutes=1)
"""An id is made after its `created_at` was read; if the clock was set in between, by at most this."""

Cutoffs = Mapping[WaitingFor, datetime]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """
    Which orders. `created_from` ≤ created < `created_to`; `before`: only older ones than this.

    `overdue`: only those that have waited since their cutoff or longer.
    """

    limit: int
    customer_id: CustomerId | None = None
    statuses: tuple[OrderStatus, ...] = ()
    created_from: datetime | None = None
    created_to: datetime | None = None
    before: OrderId | None = None
    overdue: Cutoffs | None = None


def page(cursor: Cursor, wanted: Wanted) -> list[Order]:
    """Newest first, at most `limit`."""
    conditions: dict[str, tuple[object, ...]] = {}
    if wanted.customer_id is not None:
        conditions["customer_id = %s"] = (wanted.customer_id,)
    if wanted.statuses:
        conditions["status = ANY (%s)"] = ([status.value for status in wanted.statuses],)
    if (start := wanted.created_from) is not None:
        conditions["created_at >= %s AND order_id >= %s"] = (start, _first_id(start - CLOCK_SLACK))
    if (end := wanted.created_to) is not None:
        conditions["created_at < %s AND order_id < %s"] = (end, _first_id(end + CLOCK_SLACK))
    if wanted.before is not None:
        conditions["order_id < %s"] = (wanted.before,)
    if wanted.overdue is not None:
        past = " OR ".join(["(waiting_for = %s AND waiting_since <= %s)"] * len(wanted.overdue))
        conditions[f"({past})"] = tuple(bound for pair in wanted.overdue.items() for bound in pair)
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    bounds = [bound for of_one in conditions.values() for bound in of_one]
    cursor.execute(
        f"{repository.SELECT} {where} ORDER BY order_id DESC LIMIT %s".encode(),
        [*bounds, wanted.limit],
    )
    return [repository.order_of(*row) for row in cursor]


def unpaid(cursor: Cursor, *, since: datetime, limit: int) -> dict[OrderId, int]:
    """Orders that have waited for a pay command since then or longer, longest first, with their revisions."""
    cursor.execute(_UNPAID, (WaitingFor.PAY.value, since, limit))
    return {OrderId(str(order_id)): revision for order_id, revision in cursor}


def commanded_at(cursor: Cursor, order_id: OrderId, command: str) -> datetime | None:
    """When that command was last obeyed."""
    cursor.execute(_COMMANDED_AT, (order_id, command))
    row = cursor.fetchone()
    return row[0] if row else None


def _first_id(moment: datetime) -> UUID:
    """Below every id that is made from then on."""
    return UUID(int=max(0, int(moment.timestamp() * 1000)) << 80)


_UNPAID = """
SELECT order_id, revision FROM orders WHERE waiting_for = %s AND waiting_since <= %s ORDER BY waiting_since LIMIT %s
"""
_COMMANDED_AT = """
SELECT max(occurred_at) FROM order_history WHERE order_id = %s AND cause_type = 'command' AND cause_id = %s
"""
