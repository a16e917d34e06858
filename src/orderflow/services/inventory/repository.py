"""
Stock and reservations in PostgreSQL: two statements lock what a batch needs, at most three write.
What people record of stock is in `movements`.

Every worker takes its locks in one order: reservations, then stock, each by key; new reservations
last, by key. So two workers wait for each other in one direction only.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import msgspec

from orderflow.contracts.events import StockLine
from orderflow.contracts.ids import CustomerId, OrderId, PaymentId, Sku
from orderflow.messaging.errors import Transient
from orderflow.messaging.failpoints import failpoint
from orderflow.messaging.postgres import RESOURCE, Cursor, array, columns
from orderflow.services.inventory.model import (
    Decision,
    Reservation,
    ReservationStatus,
    Stock,
    StockChange,
)


def lock_reservations(cursor: Cursor, order_ids: Collection[OrderId]) -> dict[OrderId, Reservation]:
    """Lock the reservations of these orders until the transaction ends, and return them."""
    cursor.execute(_LOCK_RESERVATIONS, (array(sorted(order_ids)),))
    return {order_id: _reservation(order_id, *rest) for order_id, *rest in cursor}


def lock_stock(cursor: Cursor, skus: Collection[Sku]) -> list[Stock]:
    """Lock those of these SKUs that exist until the transaction ends, and return them."""
    if not skus:
        return []
    cursor.execute(_LOCK_STOCK, (array(sorted(skus)),))
    return [_stock(*row) for row in cursor]


def write(cursor: Cursor, decision: Decision, *, now: datetime) -> None:
    """
    Write what was decided about locked rows.

    Raises Transient when another worker has opened a reservation for one of the orders since they
    were locked: the batch is handled again, and then finds it.
    """
    if decision.changes:
        changes = columns(_change_row(change) for change in decision.changes)
        cursor.execute(_CHANGE, (*changes, now, *_shipment_columns(decision)))
    # A death here: stock has changed, reservations have not; the transaction undoes both.
    failpoint("inventory.between_lines")

    if decision.opened:
        # Last and by key: an insert waits for whoever inserts the same key.
        opened = sorted(decision.opened, key=lambda reservation: reservation.order_id)
        cursor.execute(_OPEN, (now, now, *columns(map(_reservation_row, opened))))
        if cursor.rowcount != len(opened):
            raise Transient(
                "another worker opened a reservation for the same order", resource=RESOURCE
            )

    if decision.closed:
        statuses = columns((closed.order_id, closed.status.value) for closed in decision.closed)
        cursor.execute(_CLOSE, (now, *statuses))


def stock_page(cursor: Cursor, *, after: str, limit: int) -> list[Stock]:
    """Up to `limit` SKUs after `after`, in order."""
    cursor.execute(_STOCK_PAGE, (after, limit))
    return [_stock(*row) for row in cursor]


def find_stock(cursor: Cursor, sku: Sku) -> Stock | None:
    cursor.execute(_FIND_STOCK, (sku,))
    row = cursor.fetchone()
    return None if row is None else _stock(*row)


def find_reservation(cursor: Cursor, order_id: OrderId) -> Reservation | None:
    cursor.execute(
        "SELECT customer_id, payment_id, status, lines FROM reservation WHERE order_id = %s",
        (order_id,),
    )
    row = cursor.fetchone()
    return None if row is None else _reservation(order_id, *row)


def _shipment_columns(decision: Decision) -> list[str]:
    lines = decision.shipments
    return [
        array([line.order_id for line in lines]),
        array([line.sku for line in lines]),
        array([line.quantity for line in lines]),
    ]


def _change_row(change: StockChange) -> tuple[object, ...]:
    return (change.sku, change.on_hand, change.reserved, change.shipped, change.movements)


def _reservation_row(reservation: Reservation) -> tuple[object, ...]:
    return (
        reservation.order_id,
        reservation.customer_id,
        reservation.payment_id,
        reservation.status.value,
        msgspec.json.encode(reservation.lines).decode(),
    )


def _stock(*row: object) -> Stock:
    return Stock(**dict(zip(Stock.__struct_fields__, row, strict=True)))  # type: ignore[arg-type]


def _reservation(
    order_id: OrderId,
    customer_id: CustomerId,
    payment_id: PaymentId,
    status: str,
    lines: list[dict[str, object]],
) -> Reservation:
    return Reservation(
        order_id=order_id,
        customer_id=customer_id,
        payment_id=payment_id,
        status=ReservationStatus(status),
        lines=msgspec.convert(lines, tuple[StockLine, ...]),
    )


_LOCK_RESERVATIONS = """
SELECT order_id, customer_id, payment_id, status, lines FROM reservation
WHERE order_id = ANY(%s::text[]) ORDER BY order_id FOR UPDATE
"""
_STOCK = "SELECT sku, on_hand, reserved, shipped, received, corrected, movements FROM stock"
_LOCK_STOCK = f"{_STOCK} WHERE sku = ANY(%s::text[]) ORDER BY sku FOR UPDATE"
_STOCK_PAGE = f"{_STOCK} WHERE sku > %s ORDER BY sku LIMIT %s"
_FIND_STOCK = f"{_STOCK} WHERE sku = %s"
# Differences, not new values: should a lock ever be missing, no change is lost, and the table's
# constraint refuses to oversell. What left is recorded by the same statement, which sees the rows
# as they were before its own change: a join with what it changed would have no index.
_CHANGE = """
WITH changed AS (
    UPDATE stock SET on_hand = stock.on_hand + change.on_hand,
                     reserved = stock.reserved + change.reserved,
                     shipped = stock.shipped + change.shipped,
                     movements = stock.movements + change.movements
    FROM unnest(%s::text[], %s::int[], %s::int[], %s::int[], %s::int[])
         AS change (sku, on_hand, reserved, shipped, movements)
    WHERE stock.sku = change.sku
)
INSERT INTO stock_movement (order_id, sku, sequence, kind, quantity, on_hand, occurred_at)
SELECT order_id, sku, stock.movements + row_number() OVER earlier, 'SHIPMENT', -quantity,
       stock.on_hand - sum(quantity) OVER earlier, %s
FROM unnest(%s::text[], %s::text[], %s::int[])
     WITH ORDINALITY AS shipped (order_id, sku, quantity, position)
JOIN stock USING (sku)
WINDOW earlier AS (PARTITION BY sku ORDER BY position)
"""
_OPEN = """
INSERT INTO reservation (order_id, customer_id, payment_id, status, lines, created_at, updated_at)
SELECT opened.*, %s, %s
FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::jsonb[]) AS opened
ON CONFLICT DO NOTHING
"""
_CLOSE = """
UPDATE reservation SET status = closed.status, updated_at = %s
FROM unnest(%s::text[], %s::text[]) AS closed (order_id, status)
WHERE reservation.order_id = closed.order_id
"""
