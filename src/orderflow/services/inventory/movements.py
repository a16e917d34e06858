"""
What people record of stock: receipts and stock-takes, each with a movement.

Each command locks the SKU's row first, so it sees, and is seen by, whatever else changes the SKU:
reservations, shipments, other commands. Its numbers and its movement are one statement.
"""

from __future__ import annotations

import msgspec

from orderflow.contracts.ids import Sku
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.event import read_clock
from orderflow.messaging.http.actor import Actor
from orderflow.messaging.postgres import Cursor
from orderflow.services.inventory import repository
from orderflow.services.inventory.model import ON_HAND_MAX, Movement, MovementKind, Stock


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """A command: so many pieces came in. `key`: one receipt of a SKU, for good."""

    sku: Sku
    quantity: int
    key: str
    actor: Actor
    reason: str | None


class StockTake(msgspec.Struct, frozen=True, kw_only=True):
    """
    A command: so many pieces were counted, reserved ones included.

    `seen`: the last movement when they were counted; None: the SKU is new.
    """

    sku: Sku
    on_hand: int
    actor: Actor
    reason: str | None
    seen: int | None


class Overtaken(OrderflowError):
    """Pieces moved since they were counted, or there is no such SKU, or there is one already."""


class BelowReserved(OrderflowError):
    """More is reserved than was counted."""


class TooMany(OrderflowError):
    """More pieces would be on hand than the service counts."""


class KeyReused(OrderflowError):
    """The key belongs to another receipt of the SKU."""


def receive(cursor: Cursor, command: Receipt) -> Movement:
    """
    Record a receipt, of a new SKU too; a repeat returns the first one's movement.

    Raises KeyReused and TooMany.
    """
    stock = _locked(cursor, command.sku)
    if stock is None:
        _add(cursor, command.sku)
        stock = _locked(cursor, command.sku)
    assert stock is not None, "a SKU is never deleted"

    # After the lock: the first request with this key has committed, or has not begun.
    if (earlier := _find_receipt(cursor, command.sku, command.key)) is not None:
        if (earlier.quantity, earlier.reason) != (command.quantity, command.reason):
            raise KeyReused(f"a receipt of {earlier.quantity} of {command.sku} has this key")
        return earlier

    if stock.on_hand + command.quantity > ON_HAND_MAX:
        raise TooMany(f"{stock.on_hand} of {command.sku} are there, at most {ON_HAND_MAX} can be")
    return _record(
        cursor,
        command,
        MovementKind.RECEIPT,
        quantity=command.quantity,
        key=command.key,
    )


def take_stock(cursor: Cursor, command: StockTake) -> Stock:
    """
    Correct the pieces on hand to what was counted, with a movement even if nothing differs.

    Raises Overtaken and BelowReserved; then nothing is changed.
    """
    if command.seen is None and not _add(cursor, command.sku):
        raise Overtaken(f"{command.sku} exists already")
    stock = _locked(cursor, command.sku)
    if stock is None:
        raise Overtaken(f"there is no {command.sku}")

    if command.seen not in (None, stock.movements):
        raise Overtaken(
            f"{stock.on_hand} of {stock.sku} are there after movement {stock.movements},"
            f" not {command.seen}"
        )
    if command.on_hand < stock.reserved:
        raise BelowReserved(
            f"{stock.reserved} of {stock.sku} are reserved, {command.on_hand} can't be all there"
            " is: ship or release first"
        )

    difference = command.on_hand - stock.on_hand
    movement = _record(cursor, command, MovementKind.CORRECTION, quantity=difference)
    return msgspec.structs.replace(
        stock,
        on_hand=movement.on_hand,
        corrected=stock.corrected + difference,
        movements=movement.sequence,
    )


def page(cursor: Cursor, sku: Sku, *, before: int, limit: int) -> list[Movement]:
    """The SKU's movements with a sequence below `before`, the newest first."""
    cursor.execute(_PAGE, (sku, before, limit))
    return [_movement(*row) for row in cursor]


def _locked(cursor: Cursor, sku: Sku) -> Stock | None:
    return next(iter(repository.lock_stock(cursor, {sku})), None)


def _add(cursor: Cursor, sku: Sku) -> bool:
    """Add a SKU with nothing on hand; False if it exists."""
    cursor.execute("INSERT INTO stock (sku, on_hand) VALUES (%s, 0) ON CONFLICT DO NOTHING", (sku,))
    return cursor.rowcount == 1


def _find_receipt(cursor: Cursor, sku: Sku, key: str) -> Movement | None:
    cursor.execute(_FIND_RECEIPT, (sku, key))
    row = cursor.fetchone()
    return None if row is None else _movement(*row)


def _record(
    cursor: Cursor,
    command: Receipt | StockTake,
    kind: MovementKind,
    *,
    quantity: int,
    key: str | None = None,
) -> Movement:
    received = quantity if kind is MovementKind.RECEIPT else 0
    changes = (quantity, received, quantity - received, command.sku)
    noted = (key, command.actor, command.reason, read_clock())
    cursor.execute(_RECORD, (*changes, kind.value, quantity, *noted))
    row = cursor.fetchone()
    assert row is not None, "the row is locked"
    return _movement(*row)


def _movement(*row: object) -> Movement:
    fields = dict(zip(Movement.__struct_fields__, row, strict=True))
    fields["kind"] = MovementKind(str(fields["kind"]))
    return Movement(**fields)  # type: ignore[arg-type]


_MOVEMENT = """
SELECT sku, sequence, kind, quantity, on_hand, order_id, receipt_key, actor, reason, occurred_at
FROM stock_movement
"""
_PAGE = f"{_MOVEMENT} WHERE sku = %s AND sequence < %s ORDER BY sequence DESC LIMIT %s"
_FIND_RECEIPT = f"{_MOVEMENT} WHERE sku = %s AND receipt_key = %s"
_RECORD = """
WITH moved AS (
    UPDATE stock SET on_hand = on_hand + %s, received = received + %s, corrected = corrected + %s,
                     movements = movements + 1
    WHERE sku = %s RETURNING sku, movements, on_hand
)
INSERT INTO stock_movement
    (sku, sequence, on_hand, kind, quantity, receipt_key, actor, reason, occurred_at)
SELECT moved.sku, moved.movements, moved.on_hand, %s, %s, %s, %s, %s, %s FROM moved
RETURNING sku, sequence, kind, quantity, on_hand, order_id, receipt_key, actor, reason, occurred_at
"""
