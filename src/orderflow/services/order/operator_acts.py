"""
What operators' commands do to an order.

A retry appends the events again that caused what the order waits for, with their ids and their
bytes. Payment then publishes the outcome that it has recorded, with the same id as before, and
charges or refunds nothing twice. A service that never handled that outcome handles it now; all
others recognise its id.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from orderflow.contracts.events import (
    CancelReason,
    Event,
    OrderCancelled,
    OrderCreated,
    PaymentMode,
    PaymentRequested,
)
from orderflow.contracts.ids import OrderId
from orderflow.messaging.errors import Transient
from orderflow.messaging.event import EventId, read_clock
from orderflow.messaging.postgres import RESOURCE, Cursor, outbox
from orderflow.messaging.postgres.outbox import OutboxRow
from orderflow.services.order import queries, repository
from orderflow.services.order.change_events import payment_request
from orderflow.services.order.changes import Encode, Origin, outbox_row, write_changes
from orderflow.services.order.model import Order, PaymentState, WaitingFor
from orderflow.services.order.rules import NothingToRetry, cancel, demand_retry, with_note

ROW_WITHIN = timedelta(hours=1)
"""How far the outbox row's time may be from the history's: the order waited in a queue between."""

NOT_RETAINED = "what caused it is not retained any more"


class RetriedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """`repeated`: the retained event was appended again; otherwise a new one was made."""

    event_id: EventId
    event_type: str
    repeated: bool


class Retried(msgspec.Struct, frozen=True, kw_only=True):
    """What went out again for an order, and which fact is to come of it."""

    order_id: OrderId
    awaited: WaitingFor
    events: tuple[RetriedEvent, ...]


def retry(cursor: Cursor, order_id: OrderId, *, origin: Origin, encode: Encode) -> Retried | None:
    """
    Cause once more what the order waits for; None if there is no such order.

    Raises NothingToRetry, or Transient if the order changed meanwhile.
    """
    seen = repository.find(cursor, order_id)
    if seen is None:
        return None
    awaited = demand_retry(seen)

    # Before the lock: the outbox has no index, and the order's facts must not wait for this search.
    retained = _retained_causes(cursor, seen, awaited)
    order = repository.lock(cursor, [order_id])[order_id]
    if order.revision != seen.revision:
        raise Transient("the order moved on meanwhile: look again", resource=RESOURCE)

    change = with_note(order, f"An operator asked again: {_WORDS[awaited]}", now=read_clock())
    rows = retained
    if not rows:
        if awaited is not WaitingFor.PAYMENT:
            raise NothingToRetry(order, NOT_RETAINED)
        rows = [outbox_row(payment_request(change.after), origin=origin, encode=encode)]

    write_changes(cursor, [change], origin=origin, encode=encode, more_rows=rows)
    return Retried(
        order_id=order_id,
        awaited=awaited,
        events=tuple(
            RetriedEvent(
                event_id=row.metadata.id,
                event_type=row.metadata.type.rpartition(".")[2],
                repeated=bool(retained),
            )
            for row in rows
        ),
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


def _retained_causes(cursor: Cursor, order: Order, awaited: WaitingFor) -> list[OutboxRow]:
    """
    The rows whose events cause what the order waits for, as far as the outbox still contains them.

    The request before the cancellation: payment refuses a request that it never received once it
    knows that the order is closed, and that refusal ends the wait as well.
    """
    rows: list[OutboxRow | None] = []
    if order.payment.state is PaymentState.REQUESTED or awaited is WaitingFor.STOCK:
        rows.append(_payment_request(cursor, order))
    if awaited in (WaitingFor.REFUND, WaitingFor.RELEASE):
        cancelled_at = queries.cancelled_at(cursor, order.order_id)
        rows.append(_retained(cursor, order, OrderCancelled, cancelled_at))
    return [row for row in rows if row is not None]


def _payment_request(cursor: Cursor, order: Order) -> OutboxRow | None:
    """The row that requested the current payment attempt."""
    by_order = order.payment.attempt == 1 and order.payment_mode is PaymentMode.AUTOMATIC
    event, command = (OrderCreated, "place") if by_order else (PaymentRequested, "pay")
    return _retained(
        cursor, order, event, queries.commanded_at(cursor, order.order_id, command=command)
    )


def _retained(
    cursor: Cursor, order: Order, event: type[Event], at: datetime | None
) -> OutboxRow | None:
    if at is None:
        return None
    return outbox.find_last(
        cursor,
        key=order.order_id,
        event_type=event.type_name(),
        since=at - ROW_WITHIN,
        until=at + ROW_WITHIN,
    )


_WORDS = {
    WaitingFor.PAYMENT: "the payment",
    WaitingFor.STOCK: "the payment, for its stock",
    WaitingFor.REFUND: "the refund",
    WaitingFor.RELEASE: "the refund, for its stock",
}
