"""Orders in PostgreSQL: one statement for each table and batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import chain

import msgspec

from orderflow.contracts.events import OrderLine, OrderStatus, PaymentMode
from orderflow.contracts.ids import CustomerId, OrderId, PaymentId, Sku
from orderflow.messaging.errors import Transient
from orderflow.messaging.event import EventId
from orderflow.messaging.postgres import Cursor, array, columns, outbox
from orderflow.messaging.postgres.outbox import OutboxRow
from orderflow.services.order import idempotency
from orderflow.services.order.idempotency import Claim, Held, KeyTaken
from orderflow.services.order.model import (
    HistoryEntry,
    Order,
    Payment,
    PaymentState,
    Product,
    StockState,
    waiting_for,
)
from orderflow.services.order.rules import Change


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """What one order writes, in one transaction."""

    order: Order
    entry: HistoryEntry
    outbox: tuple[OutboxRow, ...]


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """What one revision of an order writes. Several of one order come in their order."""

    change: Change
    entry: HistoryEntry


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """An order to be written, and the answer that its client will get once it is."""

    placed: Placed
    answer: bytes
    claim: Claim | None = None


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """The order is there. `repeated`: an earlier request with the same key made it."""

    order_id: OrderId
    answer: bytes
    repeated: bool = False


def writer(idempotency_hours: int) -> Callable[[Cursor, list[Placement]], list[Written | KeyTaken]]:
    lifetime = timedelta(hours=idempotency_hours)

    def write(cursor: Cursor, batch: list[Placement]) -> list[Written | KeyTaken]:
        asked = [(one.claim, one.placed.order.order_id, one.answer) for one in batch if one.claim]
        earlier = idempotency.claim(cursor, asked, lifetime=lifetime)
        fresh = [one.placed for one in batch if one.placed.order.order_id not in earlier]
        if fresh:
            _insert(cursor, fresh)
        return [
            _written(one, earlier[one.placed.order.order_id])
            if one.placed.order.order_id in earlier
            else Written(order_id=one.placed.order.order_id, answer=one.answer)
            for one in batch
        ]

    return write


def _written(asked: Placement, held: Held) -> Written | KeyTaken:
    """Nothing of what was asked: the key is another's."""
    if asked.claim is None or held.request_hash != asked.claim.request_hash:
        return KeyTaken()
    return Written(order_id=held.order_id, answer=held.answer, repeated=True)


def find_many(cursor: Cursor, order_ids: Sequence[OrderId]) -> dict[OrderId, Order]:
    """Those that exist, as they are now."""
    cursor.execute(_FIND_MANY, (array(order_ids),))
    return {order.order_id: order for order in (order_of(*row) for row in cursor)}


def find(cursor: Cursor, order_id: OrderId) -> Order | None:
    cursor.execute(_FIND, (order_id,))
    row = cursor.fetchone()
    return None if row is None else order_of(*row)


def lock(cursor: Cursor, order_ids: Sequence[OrderId]) -> dict[OrderId, Order]:
    """Those that exist, locked until the transaction ends; always in the same order, so that nobody waits in a ring."""
    cursor.execute(_LOCK, (array(sorted(set(order_ids))),))
    return {order.order_id: order for order in (order_of(*row) for row in cursor)}


def save(cursor: Cursor, saved: Sequence[Saved]) -> None:
    """
    Bring locked orders to their last revision, with the history of all.

    Raises Transient if a row is not at the revision that was locked: then nothing may be written.
    """
    if not saved:
        return
    first = {one.change.before.order_id: one.change.before.revision for one in reversed(saved)}
    last = {one.change.after.order_id: one.change.after for one in saved}
    cursor.execute(
        _UPDATE, columns((*_moving(order), first[order_id]) for order_id, order in last.items())
    )
    if cursor.rowcount != len(last):
        raise Transient("an order changed although it was locked", resource="database")
    cursor.execute(
        _INSERT_HISTORY,
        columns(_history_row(one.change.after.order_id, one.entry) for one in saved),
    )


def history(cursor: Cursor, order_id: OrderId, *, facts_too: bool) -> list[HistoryEntry]:
    cursor.execute(_HISTORY, (order_id, facts_too))
    return [
        HistoryEntry(
            revision=revision,
            version=version,
            status=status,
            description=description,
            occurred_at=occurred_at,
            event_id=event_id,
            cause_type=cause_type,
            cause_id=cause_id,
        )
        for revision, version, status, description, occurred_at, event_id, cause_type, cause_id in cursor
    ]


def catalogue(cursor: Cursor) -> dict[Sku, Product]:
    cursor.execute("SELECT sku, name, prices FROM product ORDER BY sku")
    return {sku: Product(sku=sku, name=name, prices=prices) for sku, name, prices in cursor}


def _insert(cursor: Cursor, batch: list[Placed]) -> None:
    cursor.execute(_INSERT_ORDERS, columns(_order_row(one.order) for one in batch))
    cursor.execute(
        _INSERT_HISTORY, columns(_history_row(one.order.order_id, one.entry) for one in batch)
    )
    outbox.append(cursor, list(chain.from_iterable(one.outbox for one in batch)))


def _order_row(order: Order) -> tuple[object, ...]:
    return (
        order.order_id,
        order.customer_id,
        order.status.value,
        order.version,
        order.revision,
        order.payment.attempt,
        order.payment.state.value,
        order.payment.payment_id,
        order.stock.value,
        order.payment_mode.value,
        order.payment_method,
        msgspec.json.encode(order.lines).decode(),
        order.amount_minor,
        order.currency,
        order.created_at,
        order.updated_at,
        order.ship_when_reserved,
        waiting_for(order),
        order.waiting_since,
    )


def _moving(order: Order) -> tuple[object, ...]:
    return (
        order.order_id,
        order.status.value,
        order.version,
        order.revision,
        order.payment.attempt,
        order.payment.state.value,
        order.payment.payment_id,
        order.stock.value,
        order.payment_method,
        order.ship_when_reserved,
        order.updated_at,
        waiting_for(order),
        order.waiting_since,
    )


def _history_row(order_id: OrderId, entry: HistoryEntry) -> tuple[object, ...]:
    return (
        order_id,
        entry.revision,
        entry.version,
        str(entry.status),
        entry.description,
        entry.occurred_at,
        entry.event_id and str(entry.event_id),
        entry.cause_type,
        entry.cause_id,
    )


def order_of(  # noqa: PLR0913, PLR0917 - a row has as many columns as it has
    order_id: object,
    customer_id: str,
    status: str,
    version: int,
    revision: int,
    attempt: int,
    payment_state: str,
    payment_id: EventId | None,
    stock: str,
    payment_mode: str,
    payment_method: str | None,
    lines: list[dict[str, object]],
    amount_minor: int,
    currency: str,
    created_at: datetime,
    updated_at: datetime,
    waiting_since: datetime,
    ship_when_reserved: bool,
) -> Order:
    return Order(
        order_id=OrderId(str(order_id)),
        customer_id=CustomerId(customer_id),
        status=OrderStatus(status),
        version=version,
        revision=revision,
        payment=Payment(
            attempt=attempt,
            state=PaymentState(payment_state),
            payment_id=None if payment_id is None else PaymentId(str(payment_id)),
        ),
        stock=StockState(stock),
        payment_mode=PaymentMode(payment_mode),
        payment_method=payment_method,
        lines=msgspec.convert(lines, tuple[OrderLine, ...]),
        amount_minor=amount_minor,
        currency=currency,
        created_at=created_at,
        updated_at=updated_at,
        waiting_since=waiting_since,
        ship_when_reserved=ship_when_reserved,
    )


_INSERT_ORDERS = """
INSERT INTO orders (order_id, customer_id, status, version, revision, payment_attempt, payment_state, payment_id, stock,
                    payment_mode, payment_method, lines, amount_minor, currency, created_at, updated_at,
                    ship_when_reserved, waiting_for, waiting_since)
SELECT * FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::int[], %s::int[], %s::smallint[], %s::text[], %s::uuid[],
                     %s::text[], %s::text[], %s::text[], %s::jsonb[], %s::bigint[], %s::text[], %s::timestamptz[],
                     %s::timestamptz[], %s::bool[], %s::text[], %s::timestamptz[])
"""
_INSERT_HISTORY = """
INSERT INTO order_history (order_id, revision, version, status, description, occurred_at, event_id, cause_type,
                           cause_id)
SELECT * FROM unnest(%s::uuid[], %s::int[], %s::int[], %s::text[], %s::text[], %s::timestamptz[], %s::uuid[],
                     %s::text[], %s::text[])
"""
_UPDATE = """
UPDATE orders SET status = changed.status, version = changed.version, revision = changed.revision,
                  payment_attempt = changed.payment_attempt, payment_state = changed.payment_state,
                  payment_id = changed.payment_id, stock = changed.stock, payment_method = changed.payment_method,
                  ship_when_reserved = changed.ship_when_reserved, updated_at = changed.updated_at,
                  waiting_for = changed.waiting_for, waiting_since = changed.waiting_since
FROM unnest(%s::uuid[], %s::text[], %s::int[], %s::int[], %s::smallint[], %s::text[], %s::uuid[], %s::text[],
            %s::text[], %s::bool[], %s::timestamptz[], %s::text[], %s::timestamptz[], %s::int[])
     AS changed (order_id, status, version, revision, payment_attempt, payment_state, payment_id, stock, payment_method,
                 ship_when_reserved, updated_at, waiting_for, waiting_since, locked_revision)
WHERE orders.order_id = changed.order_id AND orders.revision = changed.locked_revision
"""
SELECT = """
SELECT order_id, customer_id, status, version, revision, payment_attempt, payment_state, payment_id, stock,
       payment_mode, payment_method, lines, amount_minor, currency, created_at, updated_at, waiting_since,
       ship_when_reserved
FROM orders
"""
_FIND = f"{SELECT} WHERE order_id = %s"
_FIND_MANY = f"{SELECT} WHERE order_id = ANY (%s::uuid[])"
_LOCK = f"{SELECT} WHERE order_id = ANY (%s::uuid[]) ORDER BY order_id FOR NO KEY UPDATE"
_HISTORY = """
SELECT revision, version, status, description, occurred_at, event_id, cause_type, cause_id
FROM order_history WHERE order_id = %s AND (event_id IS NOT NULL OR %s) ORDER BY revision
"""
