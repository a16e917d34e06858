"""
Shipments in PostgreSQL: one statement locks what a batch needs, at most two write what it came to.

Rows are locked by order id, new ones inserted by order id after that: two workers wait for each other in one direction.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from orderflow.contracts.ids import OrderId
from orderflow.messaging.errors import Transient
from orderflow.messaging.postgres import RESOURCE, Cursor, array
from orderflow.services.fulfilment.model import Decision, Shipment, ShipmentStatus


def lock(cursor: Cursor, order_ids: Collection[OrderId]) -> dict[OrderId, Shipment]:
    """The shipments of these orders, kept from others until the end of the transaction."""
    cursor.execute(_LOCK, (array(sorted(order_ids)),))
    return {shipment.order_id: shipment for shipment in map(_shipment, cursor)}


def write(cursor: Cursor, decision: Decision) -> None:
    """
    Write what was decided about locked rows.

    Raises Transient if somebody else has just opened a shipment of one of the orders: decided anew, it is found.
    """
    if decision.opened:
        cursor.execute(_OPEN, _columns(sorted(decision.opened, key=lambda one: one.order_id)))
        if cursor.rowcount != len(decision.opened):
            raise Transient("another worker opened a shipment of the same order", resource=RESOURCE)
    if decision.moved:
        cursor.execute(_MOVE, _columns(decision.moved))


def page(
    cursor: Cursor, *, status: ShipmentStatus | None, after: str, limit: int
) -> list[Shipment]:
    """Up to `limit` shipments behind `after`, by order id, which is by age; of one status, if that is asked for."""
    if status is None:
        cursor.execute(_PAGE, (after, limit))
    else:
        cursor.execute(_PAGE_OF_STATUS, (status.value, after, limit))
    return [_shipment(row) for row in cursor]


def find(cursor: Cursor, order_id: str) -> Shipment | None:
    cursor.execute(_FIND, (order_id,))
    row = cursor.fetchone()
    return None if row is None else _shipment(row)


def _columns(shipments: Sequence[Shipment]) -> list[str]:
    return [array([getattr(one, name) for one in shipments]) for name in Shipment.__struct_fields__]


def _shipment(row: tuple[object, ...]) -> Shipment:
    told = dict(zip(Shipment.__struct_fields__, row, strict=True))
    return Shipment(**{**told, "status": ShipmentStatus(str(told["status"]))})  # type: ignore[arg-type]


_LOCK = """
SELECT order_id, customer_id, status, version, reason, prepared_at, tracked_at, closed_at, called_off_at
FROM shipment WHERE order_id = ANY(%s::text[]) ORDER BY order_id FOR UPDATE
"""
_OPEN = """
INSERT INTO shipment (order_id, customer_id, status, version, reason, prepared_at, tracked_at, closed_at, called_off_at)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::int[], %s::text[], %s::timestamptz[], %s::timestamptz[],
                     %s::timestamptz[], %s::timestamptz[])
ON CONFLICT DO NOTHING
"""
_MOVE = """
UPDATE shipment SET status = moved.status, version = moved.version, reason = moved.reason,
                    prepared_at = moved.prepared_at, tracked_at = moved.tracked_at, closed_at = moved.closed_at,
                    called_off_at = moved.called_off_at
FROM unnest(%s::text[], %s::text[], %s::text[], %s::int[], %s::text[], %s::timestamptz[], %s::timestamptz[],
            %s::timestamptz[], %s::timestamptz[])
     AS moved (order_id, customer_id, status, version, reason, prepared_at, tracked_at, closed_at, called_off_at)
WHERE shipment.order_id = moved.order_id
"""
_PAGE = """
SELECT order_id, customer_id, status, version, reason, prepared_at, tracked_at, closed_at, called_off_at
FROM shipment WHERE order_id > %s ORDER BY order_id LIMIT %s
"""
_PAGE_OF_STATUS = """
SELECT order_id, customer_id, status, version, reason, prepared_at, tracked_at, closed_at, called_off_at
FROM shipment WHERE status = %s AND order_id > %s ORDER BY order_id LIMIT %s
"""
_FIND = """
SELECT order_id, customer_id, status, version, reason, prepared_at, tracked_at, closed_at, called_off_at
FROM shipment WHERE order_id = %s
"""
