"""
Shipments in PostgreSQL: one statement locks what a batch needs, at most two write.

Rows are locked by order id, and new ones are inserted by order id after that, so that two workers
wait for each other in one direction only.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from orderflow.contracts.events import StockLine
from orderflow.contracts.ids import OrderId
from orderflow.messaging.errors import Transient
from orderflow.messaging.postgres import RESOURCE, Cursor, array, columns
from orderflow.services.fulfilment.model import Decision, Shipment, ShipmentStatus


def lock(cursor: Cursor, order_ids: Collection[OrderId]) -> dict[OrderId, Shipment]:
    """Lock the shipments of these orders until the transaction ends, and return them."""
    cursor.execute(_LOCK, (array(sorted(order_ids)),))
    return {shipment.order_id: shipment for shipment in map(_shipment, cursor)}


def write(cursor: Cursor, decision: Decision) -> None:
    """
    Write what was decided about locked rows.

    Raises Transient when another worker has opened a shipment for one of the orders since they
    were locked: the batch is handled again, and then finds it.
    """
    if decision.opened:
        opened = sorted(decision.opened, key=lambda shipment: shipment.order_id)
        cursor.execute(_OPEN, _columns(opened))
        if cursor.rowcount != len(opened):
            raise Transient("another worker opened a shipment of the same order", resource=RESOURCE)

    if decision.moved:
        cursor.execute(_MOVE, _columns(decision.moved))


def page(
    cursor: Cursor,
    *,
    customer_id: str | None,
    statuses: Sequence[ShipmentStatus],
    before: str | None,
    limit: int,
) -> list[Shipment]:
    """
    Up to `limit` shipments before order id `before`, which sorts by age, the newest order first.

    Of one customer, or of all; in one of `statuses`, or in any.
    """
    before = before or _BEHIND_ALL
    if customer_id is not None:
        wanted = array([status.value for status in statuses or ShipmentStatus])
        cursor.execute(_PAGE_OF_CUSTOMER, (customer_id, wanted, before, limit))
    elif statuses:
        wanted = array([status.value for status in statuses])
        cursor.execute(_PAGE_OF_EACH_STATUS, (wanted, before, limit, limit))
    else:
        cursor.execute(_PAGE, (before, limit))
    return [_shipment(row) for row in cursor]


def find(cursor: Cursor, order_id: str) -> Shipment | None:
    cursor.execute(_FIND, (order_id,))
    row = cursor.fetchone()
    return None if row is None else _shipment(row)


def _columns(shipments: Sequence[Shipment]) -> list[str]:
    """The fields of `Shipment`, in their order, each as an array."""
    return columns(map(_row, shipments))


def _row(shipment: Shipment) -> tuple[object, ...]:
    *fields, lines = (getattr(shipment, name) for name in Shipment.__struct_fields__)
    return (*fields, None if lines is None else msgspec.json.encode(lines).decode())


def _shipment(row: tuple[object, ...]) -> Shipment:
    fields = dict(zip(Shipment.__struct_fields__, row, strict=True))
    fields["status"] = ShipmentStatus(str(fields["status"]))
    if fields["lines"] is not None:
        fields["lines"] = msgspec.convert(fields["lines"], tuple[StockLine, ...])
    return Shipment(**fields)  # type: ignore[arg-type]


_SELECT = """
SELECT order_id, customer_id, status, version, reason, prepared_at, tracked_at, closed_at,
       called_off_at, paid_at, reserved_at, lines
FROM shipment
"""
_LOCK = f"{_SELECT} WHERE order_id = ANY(%s::text[]) ORDER BY order_id FOR UPDATE"
_NEWEST_FIRST = "ORDER BY order_id DESC LIMIT %s"
_BEHIND_ALL = "\U0010ffff"
_PAGE = f"{_SELECT} WHERE order_id < %s {_NEWEST_FIRST}"
_PAGE_OF_CUSTOMER = f"""
{_SELECT} WHERE customer_id = %s AND status = ANY (%s::text[]) AND order_id < %s {_NEWEST_FIRST}
"""
# A page of each status, from its place in the index; a range, so that the planner can't take the
# order from the primary key and walk through all that have another status.
_PAGE_OF_EACH_STATUS = f"""
SELECT page.* FROM unnest(%s::text[]) AS wanted (status), LATERAL (
    {_SELECT}
    WHERE shipment.status BETWEEN wanted.status AND wanted.status AND order_id < %s
    ORDER BY shipment.status DESC, order_id DESC LIMIT %s
) AS page {_NEWEST_FIRST}
"""  # noqa: S608 - constants
_FIND = f"{_SELECT} WHERE order_id = %s"
_OPEN = """
INSERT INTO shipment (order_id, customer_id, status, version, reason, prepared_at, tracked_at,
                      closed_at, called_off_at, paid_at, reserved_at, lines)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::int[], %s::text[], %s::timestamptz[],
                     %s::timestamptz[], %s::timestamptz[], %s::timestamptz[], %s::timestamptz[],
                     %s::timestamptz[], %s::jsonb[])
ON CONFLICT DO NOTHING
"""
_MOVE = """
UPDATE shipment SET status = moved.status, version = moved.version, reason = moved.reason,
                    prepared_at = moved.prepared_at, tracked_at = moved.tracked_at,
                    closed_at = moved.closed_at, called_off_at = moved.called_off_at,
                    paid_at = moved.paid_at, reserved_at = moved.reserved_at, lines = moved.lines
FROM unnest(%s::text[], %s::text[], %s::text[], %s::int[], %s::text[], %s::timestamptz[],
            %s::timestamptz[], %s::timestamptz[], %s::timestamptz[], %s::timestamptz[],
            %s::timestamptz[], %s::jsonb[])
     AS moved (order_id, customer_id, status, version, reason, prepared_at, tracked_at, closed_at,
               called_off_at, paid_at, reserved_at, lines)
WHERE shipment.order_id = moved.order_id
"""
