"""
Stock and reservations in PostgreSQL: two statements lock what a batch needs, at most three write what it came to.

Locks are taken in one order by everybody: reservations, then stock, each by key; new reservations last, by key. So two
workers wait for each other in one direction only.
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
from orderflow.services.inventory.model import Decision, Move, Reservation, ReservationStatus, Stock


def lock_reservations(cursor: Cursor, order_ids: Collection[OrderId]) -> dict[OrderId, Reservation]:
    """The reservations of these orders, kept from others until the end of the transaction."""
    cursor.execute(_LOCK_RESERVATIONS, (array(sorted(order_ids)),))
    return {order_id: _reservation(order_id, *rest) for order_id, *rest in cursor}


def lock_stock(cursor: Cursor, skus: Collection[Sku]) -> list[Stock]:
    """The stock of those SKUs that are known, kept from others until the end of the transaction."""
    if not skus:
        return []
    cursor.execute(_LOCK_STOCK, (array(sorted(skus)),))
    return [_stock(*row) for row in cursor]


def write(cursor: Cursor, decision: Decision, *, now: datetime) -> None:
    """
    Write what was decided about locked rows.

    Raises Transient if somebody else has just opened a reservation for one of the orders: decided anew, it is found.
    """
    if decision.moves:
        cursor.execute(_MOVE, columns(_move_row(move) for move in decision.moves))
    failpoint("inventory.between_lines")
    if decision.opened:
        opened = sorted(decision.opened, key=lambda one: one.order_id)
        cursor.execute(_OPEN, (now, now, *columns(_reservation_row(one) for one in opened)))
        if cursor.rowcount != len(opened):
            raise Transient(
                "another worker opened a reservation for the same order", resource=RESOURCE
            )
    if decision.closed:
        closed = columns((one.order_id, one.status.value) for one in decision.closed)
        cursor.execute(_CLOSE, (now, *closed))


def stock_page(cursor: Cursor, *, after: str, limit: int) -> list[Stock]:
    """Up to `limit` SKUs behind `after`, in their order."""
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
    """There are `on_hand` pieces of `sku` now, which need not have been known; None: more than that are reserved."""
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


def _move_row(move: Move) -> tuple[object, ...]:
    return (move.sku, move.on_hand, move.reserved, move.shipped)


def _reservation_row(one: Reservation) -> tuple[object, ...]:
    lines = msgspec.json.encode(one.lines).decode()
    return (one.order_id, one.customer_id, one.payment_id, one.status.value, lines)


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
SELECT sku, on_hand, reserved, shipped FROM stock WHERE sku = ANY(%s::text[]) ORDER BY sku FOR UPDATE
"""
# By how much, not to what: should a lock ever be missing, the table's constraint says so, and nothing is oversold.
_MOVE = """
UPDATE stock SET on_hand = stock.on_hand + move.on_hand, reserved = stock.reserved + move.reserved,
                 shipped = stock.shipped + move.shipped
FROM unnest(%s::text[], %s::int[], %s::int[], %s::int[]) AS move (sku, on_hand, reserved, shipped)
WHERE stock.sku = move.sku
"""
_OPEN = """
INSERT INTO reservation (order_id, customer_id, payment_id, status, lines, created_at, updated_at)
SELECT opened.*, %s, %s FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::jsonb[]) AS opened
ON CONFLICT DO NOTHING
"""
_CLOSE = """
UPDATE reservation SET status = closed.status, updated_at = %s
FROM unnest(%s::text[], %s::text[]) AS closed (order_id, status)
WHERE reservation.order_id = closed.order_id
"""
_PUT_ON_HAND = """
INSERT INTO stock (sku, on_hand) VALUES (%s, %s)
ON CONFLICT (sku) DO UPDATE SET on_hand = excluded.on_hand WHERE stock.reserved <= excluded.on_hand
RETURNING sku, on_hand, reserved, shipped
"""
