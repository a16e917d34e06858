"""
What operators' commands do to an order.

A retry appends the event that requested the payment again, with its id and its bytes. Payment then
publishes the outcome that it has recorded, with the same id as before, and charges nothing twice.
A service that never handled that outcome handles it now; all others recognise its id.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from orderflow.contracts.events import CancelReason, OrderCreated, PaymentMode, PaymentRequested
from orderflow.contracts.ids import OrderId
from orderflow.messaging.errors import Transient
from orderflow.messaging.event import EventId, read_clock
from orderflow.messaging.postgres import RESOURCE, Cursor, outbox
from orderflow.messaging.postgres.outbox import OutboxRow
from orderflow.services.order import queries, repository
from orderflow.services.order.change_events import payment_request
from orderflow.services.order.changes import Encode, Origin, outbox_row, write_changes
from orderflow.services.order.model import Order, WaitingFor
from orderflow.services.order.rules import NothingToRetry, cancel, demand_retry, with_note

ROW_WITHIN = timedelta(hours=1)
"""How far the outbox row's time may be from the history's: the order waited in a queue between."""


class Retried(msgspec.Struct, frozen=True, kw_only=True):
    """`repeated`: the retained event was appended again; otherwise a new one was made."""

    order_id: OrderId
    event_id: EventId
    event_type: str
    repeated: bool


def retry(cursor: Cursor, order_id: OrderId, *, origin: Origin, encode: Encode) -> Retried | None:
    """
    Request the current payment attempt again; None if there is no such order.

    Raises NothingToRetry, or Transient if the order changed meanwhile.
    """
    seen = repository.find(cursor, order_id)
    if seen is None:
        return None
    awaited = demand_retry(seen)

    # Before the lock: the outbox has no index, and the order's facts must not wait for this search.
    row = _retained_request(cursor, seen)
    order = repository.lock(cursor, [order_id])[order_id]
    if order.revision != seen.revision:
        raise Transient("the order moved on meanwhile: look again", resource=RESOURCE)

    description = f"An operator asked again for payment, attempt {order.payment.attempt}"
    change = with_note(order, description, now=read_clock())
    repeated = row is not None
    if row is None:
        if awaited is not WaitingFor.PAYMENT:
            raise NothingToRetry(order, "what asked for its payment is not retained any more")
        row = outbox_row(payment_request(change.after), origin=origin, encode=encode)

    write_changes(cursor, [change], origin=origin, encode=encode, more_rows=[row])
    return Retried(
        order_id=order_id,
        event_id=row.metadata.id,
        event_type=row.metadata.type.rpartition(".")[2],
        repeated=repeated,
    )


def cancel_by_operator(
    cursor: Cursor, order_id: OrderId, *, origin: Origin, encode: Encode
) -> Order | None:
    """Cancel the order; a payment is refunded. None without such an order. Raises NotAllowed."""
    order = repository.lock(cursor, [order_id]).get(order_id)
    if order is None:
        return None

    change = cancel(order, reason=CancelReason.OPERATOR, now=read_clock())
    write_changes(cursor, [change], origin=origin, encode=encode)
    return change.after


def _retained_request(cursor: Cursor, order: Order) -> OutboxRow | None:
    """The row that requested the current payment attempt, if the outbox still contains it."""
    by_order = order.payment.attempt == 1 and order.payment_mode is PaymentMode.AUTOMATIC
    event, command = (OrderCreated, "place") if by_order else (PaymentRequested, "pay")
    requested_at = queries.commanded_at(cursor, order.order_id, command=command)
    if requested_at is None:
        return None

    return outbox.find_last(
        cursor,
        key=order.order_id,
        event_type=event.type_name(),
        since=requested_at - ROW_WITHIN,
        until=requested_at + ROW_WITHIN,
    )
