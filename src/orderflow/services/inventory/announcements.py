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


class AnnouncedAlready(OrderflowError):
    """The order's events went out again a moment ago. `wait`: after how long they may once more."""

    def __init__(self, wait: timedelta) -> None:
        super().__init__("what was decided is on its way again")
        self.wait = wait


def announce(
    cursor: Cursor, order_id: OrderId, *, every: timedelta = timedelta(0)
) -> list[Announced] | None:
    """
    Append the order's events again, in their order; None if nothing was decided about the order.

    Raises NotRetained; and AnnouncedAlready if that was done less than `every` ago.
    """
    cursor.execute(_TIMES, (order_id,))
    times = cursor.fetchone()
    if times is None:
        return None

    now, decided_at, changed_at = times
    last = outbox.last_repeat(cursor, key=order_id, since=now - every)
    if last is not None and last + every > now:
        raise AnnouncedAlready(last + every - now)
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


# Locked: of two that ask at once, the second sees that the first has asked.
_TIMES = """
SELECT clock_timestamp(), created_at, updated_at FROM reservation WHERE order_id = %s FOR UPDATE
"""
