"""
Stock and reservations in PostgreSQL: two statements lock what a batch needs, at most three write.

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
        cursor.execute(_CHANGE, columns(_change_row(change) for change in decision.changes))
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
    cursor.execute(
        "SELECT sku, on_hand, reserved, shipped FROM stock WHERE sku > %s ORDER BY sku LIMIT %s",
        (after, limit),
    )
    return [_stock(*row) for row in cursor]


def find_stock(cursor: Cursor, sku: Sku) -> Stock | None:
    cursor.execute("SELECT sku, on_hand, reserved, shipped FROM stock WHERE sku = %s", (sku,))
    row = cursor.fetchone()
    return None if row is None else _stock(*row)


def put_on_hand(cursor: Cursor, sku: Sku, on_hand: int) -> Stock | None:
    """Set the pieces on hand, of a new SKU too. None: more are reserved, so nothing is changed."""
    cursor.execute(_PUT_ON_HAND, (sku, on_hand))
    row = cursor.fetchone()
    return None if row is None else _stock(*row)


def find_reservation(cursor: Cursor, order_id: OrderId) -> Reservation | None:
    cursor.execute(
        "SELECT customer_id, payment_id, status, lines FROM reservation WHERE order_id = %s",
        (order_id,),
    )
    row = cursor.fetchone()
    return None if row is None else _reservation(order_id, *row)


def _change_row(change: StockChange) -> tuple[object, ...]:
    return (change.sku, change.on_hand, change.reserved, change.shipped)


def _reservation_row(reservation: Reservation) -> tuple[object, ...]:
    return (
        reservation.order_id,
        reservation.customer_id,
        reservation.payment_id,
        reservation.status.value,
        msgspec.json.encode(reservation.lines).decode(),
    )


def _stock(sku: Sku, on_hand: int, reserved: int, shipped: int) -> Stock:
    return Stock(sku=sku, on_hand=on_hand, reserved=reserved, shipped=shipped)


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
_LOCK_STOCK = """
SELECT sku, on_hand, reserved, shipped FROM stock
WHERE sku = ANY(%s::text[]) ORDER BY sku FOR UPDATE
"""
# Differences, not new values: should a lock ever be missing, no change is lost, and the table's
# constraint refuses to oversell.
_CHANGE = """
UPDATE stock SET on_hand = stock.on_hand + change.on_hand,
                 reserved = stock.reserved + change.reserved,
                 shipped = stock.shipped + change.shipped
FROM unnest(%s::text[], %s::int[], %s::int[], %s::int[])
     AS change (sku, on_hand, reserved, shipped)
WHERE stock.sku = change.sku
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
_PUT_ON_HAND = """
INSERT INTO stock (sku, on_hand) VALUES (%s, %s)
ON CONFLICT (sku) DO UPDATE SET on_hand = excluded.on_hand
                      WHERE stock.reserved <= excluded.on_hand
RETURNING sku, on_hand, reserved, shipped
"""
