"""
What operators' commands cause.

To retry is to publish again the event that asked for the payment, under its id and with its bytes. Payment then
announces the outcome that it has recorded, under the same id as before, and charges nothing twice; who never handled
that announcement does so now, and all others know it by its id.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from orderflow.contracts.events import CancelReason, OrderCreated, PaymentMode, PaymentRequested
from orderflow.contracts.ids import OrderId
from orderflow.messaging.errors import Transient
from orderflow.messaging.event import EventId, read_clock
from orderflow.messaging.postgres import Cursor, outbox
from orderflow.messaging.postgres.outbox import OutboxRow
from orderflow.services.order import queries, repository
from orderflow.services.order.handlers import Cause, Encode, act, told
from orderflow.services.order.model import Order, WaitingFor
from orderflow.services.order.rules import (
    NothingToRetry,
    cancel,
    demand_retry,
    noted,
    payment_request,
)

ROW_WITHIN = timedelta(hours=1)
"""The row was added when the history says, but for a queue and another clock."""


class Retried(msgspec.Struct, frozen=True, kw_only=True):
    """`repeated`: the event that went out before, as it was."""

    order_id: OrderId
    event_id: EventId
    event_type: str
    repeated: bool


def retry(cursor: Cursor, order_id: OrderId, traceparent: str, encode: Encode) -> Retried | None:
    """None if there is no such order. Raises NothingToRetry, or Transient if the order moved meanwhile."""
    seen = repository.find(cursor, order_id)
    if seen is None:
        return None
    awaited = demand_retry(seen)
    # Found before the order is locked: the outbox has no index, and facts may come in meanwhile.
    row = _request_of(cursor, seen)
    order = repository.lock(cursor, [order_id])[order_id]
    if order.revision != seen.revision:
        raise Transient("the order moved on meanwhile: look again", resource="database")
    change = noted(
        order,
        f"An operator asked again for payment, attempt {order.payment.attempt}",
        now=read_clock(),
    )
    repeated = row is not None
    if row is None:
        if awaited is not WaitingFor.PAYMENT:
            raise NothingToRetry(order, "what asked for its payment is not retained any more")
        row = told(payment_request(change.after), traceparent=traceparent, encode=encode)
    cause = Cause(type="operator", id="retry", traceparent=traceparent)
    act(cursor, [change], cause=cause, encode=encode, besides=[row])
    return Retried(
        order_id=order_id,
        event_id=row.metadata.id,
        event_type=row.metadata.type.rpartition(".")[2],
        repeated=repeated,
    )


def cancel_by_operator(
    cursor: Cursor, order_id: OrderId, traceparent: str, encode: Encode
) -> Order | None:
    """The cancelled order, None if there is none; what was paid is refunded. Raises NotAllowed."""
    order = repository.lock(cursor, [order_id]).get(order_id)
    if order is None:
        return None
    change = cancel(order, reason=CancelReason.OPERATOR, now=read_clock())
    act(
        cursor,
        [change],
        cause=Cause(type="operator", id="cancel", traceparent=traceparent),
        encode=encode,
    )
    return change.after


def _request_of(cursor: Cursor, order: Order) -> OutboxRow | None:
    """The row that asked for the current attempt, if the outbox still has it."""
    with_order = order.payment.attempt == 1 and order.payment_mode is PaymentMode.AUTOMATIC
    asked = OrderCreated if with_order else PaymentRequested
    asked_at = queries.commanded_at(cursor, order.order_id, "place" if with_order else "pay")
    if asked_at is None:
        return None
    return outbox.find_last(
        cursor,
        key=order.order_id,
        event_type=asked.type_name(),
        since=asked_at - ROW_WITHIN,
        until=asked_at + ROW_WITHIN,
    )
