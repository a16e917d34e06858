"""Orders in PostgreSQL: one statement for each step, whatever the batch's size."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from orderflow.contracts.events import OrderLine, OrderStatus, PaymentMode
from orderflow.contracts.ids import CustomerId, OrderId, PaymentId
from orderflow.messaging.errors import Transient
from orderflow.messaging.event import EventId
from orderflow.messaging.postgres import RESOURCE, Cursor, UniqueViolation, array, columns
from orderflow.services.order.model import (
    HistoryEntry,
    Order,
    Payment,
    PaymentState,
    StockState,
    waiting_for,
)
from orderflow.services.order.rules import Change


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """What one revision writes. Several revisions of one order come in their order."""

    change: Change
    entry: HistoryEntry


def find_many(cursor: Cursor, order_ids: Sequence[OrderId]) -> dict[OrderId, Order]:
    """Those of these orders that exist, without a lock."""
    cursor.execute(_FIND_MANY, (array(order_ids),))
    return {order.order_id: order for order in (order_of(*row) for row in cursor)}


def find(cursor: Cursor, order_id: OrderId) -> Order | None:
    cursor.execute(_FIND, (order_id,))
    row = cursor.fetchone()
    return None if row is None else order_of(*row)


def lock(cursor: Cursor, order_ids: Sequence[OrderId]) -> dict[OrderId, Order]:
    """Lock those of these orders that exist until the transaction ends, and return them."""
    # By id, always: two transactions then wait for each other in one direction only.
    cursor.execute(_LOCK, (array(sorted(set(order_ids))),))
    return {order.order_id: order for order in (order_of(*row) for row in cursor)}


def lock_free(cursor: Cursor, order_ids: Sequence[OrderId]) -> dict[OrderId, Order]:
    """Lock and return as `lock` does, but only those that nobody holds; waits for none."""
    cursor.execute(_LOCK_FREE, (array(sorted(set(order_ids))),))
    return {order.order_id: order for order in (order_of(*row) for row in cursor)}


def save(cursor: Cursor, saved: Sequence[Saved]) -> None:
    """
    Bring locked orders to their last revision, and write the history of every revision.

    Raises Transient if a row is not at the revision that was locked; the caller must roll back.
    """
    if not saved:
        return
    locked_revisions = {
        revision.change.before.order_id: revision.change.before.revision
        for revision in reversed(saved)
    }
    orders = {revision.change.after.order_id: revision.change.after for revision in saved}

    entries = [_history_row(revision.change.after.order_id, revision.entry) for revision in saved]
    rows = [(*_update_row(order), locked_revisions[order_id]) for order_id, order in orders.items()]

    # The lock makes both impossible. Should a lock ever be missing, no change is overwritten.
    why = "an order changed although it was locked"
    try:
        cursor.execute(_SAVE, [*columns(rows), *columns(entries)])
        updated = cursor.fetchone()
    except UniqueViolation as error:
        raise Transient(why, resource=RESOURCE) from error
    if updated != (len(orders),):
        raise Transient(why, resource=RESOURCE)


def history(cursor: Cursor, order_id: OrderId, *, facts_too: bool) -> list[HistoryEntry]:
    """The status changes of an order, oldest first; with `facts_too` every revision."""
    cursor.execute(_HISTORY, (order_id, facts_too))
    return [_history_entry(*row) for row in cursor]


def _update_row(order: Order) -> tuple[object, ...]:
    return (
        order.order_id,
        order.status.value,
        order.version,
        order.revision,
        order.payment.attempt,
        order.payment.state.value,
        order.payment.payment_id,
        order.payment.reason,
        order.payment.message,
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
        entry.actor,
        entry.reason,
    )


def _history_entry(  # noqa: PLR0913, PLR0917 - a row has as many columns as it has
    revision: int,
    version: int,
    status: str,
    description: str,
    occurred_at: datetime,
    event_id: EventId | None,
    cause_type: str,
    cause_id: str,
    actor: str | None,
    reason: str | None,
) -> HistoryEntry:
    return HistoryEntry(
        revision=revision,
        version=version,
        status=status,
        description=description,
        occurred_at=occurred_at,
        event_id=event_id,
        cause_type=cause_type,
        cause_id=cause_id,
        actor=actor,
        reason=reason,
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
    payment_reason: str | None,
    payment_message: str | None,
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
    traceparent: str | None,
) -> Order:
    """The order of a row that `SELECT` read."""
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
            reason=payment_reason,
            message=payment_message,
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
        traceparent=traceparent,
    )


# The history is not joined with what was updated: by their keys alone, two lists of a batch are
# compared each with each. If one order was not updated, the caller rolls both back.
_SAVE = """
WITH updated AS (
    UPDATE orders SET status = changed.status, version = changed.version,
                      revision = changed.revision, payment_attempt = changed.payment_attempt,
                      payment_state = changed.payment_state, payment_id = changed.payment_id,
                      payment_reason = changed.payment_reason,
                      payment_message = changed.payment_message,
                      stock = changed.stock, payment_method = changed.payment_method,
                      ship_when_reserved = changed.ship_when_reserved,
                      updated_at = changed.updated_at, waiting_for = changed.waiting_for,
                      waiting_since = changed.waiting_since
    FROM unnest(%s::uuid[], %s::text[], %s::int[], %s::int[], %s::smallint[], %s::text[],
                %s::uuid[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bool[],
                %s::timestamptz[], %s::text[], %s::timestamptz[], %s::int[])
         AS changed (order_id, status, version, revision, payment_attempt, payment_state,
                     payment_id, payment_reason, payment_message, stock, payment_method,
                     ship_when_reserved, updated_at, waiting_for, waiting_since, locked_revision)
    WHERE orders.order_id = changed.order_id AND orders.revision = changed.locked_revision
    RETURNING orders.order_id
), recorded AS (
    INSERT INTO order_history (order_id, revision, version, status, description, occurred_at,
                               event_id, cause_type, cause_id, actor, reason)
    SELECT * FROM unnest(%s::uuid[], %s::int[], %s::int[], %s::text[], %s::text[],
                         %s::timestamptz[], %s::uuid[], %s::text[], %s::text[], %s::text[],
                         %s::text[])
)
SELECT count(*) FROM updated
"""
SELECT = """
SELECT order_id, customer_id, status, version, revision, payment_attempt, payment_state,
       payment_id, payment_reason, payment_message, stock, payment_mode, payment_method, lines,
       amount_minor, currency, created_at, updated_at, waiting_since, ship_when_reserved,
       traceparent
FROM orders
"""
_FIND = f"{SELECT} WHERE order_id = %s"
_FIND_MANY = f"{SELECT} WHERE order_id = ANY (%s::uuid[])"
_LOCK = f"{SELECT} WHERE order_id = ANY (%s::uuid[]) ORDER BY order_id FOR NO KEY UPDATE"
_LOCK_FREE = f"{_LOCK} SKIP LOCKED"
_HISTORY = """
SELECT revision, version, status, description, occurred_at, event_id, cause_type, cause_id, actor,
       reason
FROM order_history WHERE order_id = %s AND (event_id IS NOT NULL OR %s) ORDER BY revision
"""
