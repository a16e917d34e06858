"""
What inventory decided about an order, announced again: for an operator whose order missed it.

The retained events are appended to the outbox again, with their ids and their bytes: whoever never
handled them handles them now; all others recognise their ids.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from orderflow.contracts.ids import OrderId
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.event import EventId
from orderflow.messaging.postgres import Cursor, outbox

ROW_WITHIN = timedelta(hours=1)
"""How far an outbox row's time may be from the reservation's."""


class NotRetained(OrderflowError):
    """The outbox does not contain the order's events any more."""


class Announced(msgspec.Struct, frozen=True, kw_only=True):
    event_id: EventId
    event_type: str


def announce(cursor: Cursor, order_id: OrderId) -> list[Announced] | None:
    """
    Append the order's events again, in their order; None if nothing was decided about the order.

    Raises NotRetained.
    """
    cursor.execute(_TIMES, (order_id,))
    times = cursor.fetchone()
    if times is None:
        return None

    decided_at, changed_at = times
    rows = outbox.find_retained(
        cursor, key=order_id, since=decided_at - ROW_WITHIN, until=changed_at + ROW_WITHIN
    )
    if not rows:
        raise NotRetained(f"the events of order {order_id} are older than the outbox")

    outbox.append(cursor, rows)
    return [
        Announced(event_id=row.metadata.id, event_type=row.metadata.type.rpartition(".")[2])
        for row in rows
    ]


_TIMES = "SELECT created_at, updated_at FROM reservation WHERE order_id = %s"
