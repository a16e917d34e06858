"""
What operators' commands do to an order.

A retry appends the events again that caused what the order waits for, with their ids and their
bytes; what the outbox does not contain any more is made anew. Payment then publishes the outcome
that it has recorded, with the same id as before, and charges or refunds nothing twice. A service
that never handled that outcome handles it now; all others recognise its id.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from orderflow.contracts.events import (
    CancelReason,
    Event,
    OrderCancelled,
    OrderCreated,
    OrderStatus,
    PaymentMode,
    PaymentRequested,
)
from orderflow.contracts.ids import OrderId
from orderflow.messaging.errors import OrderflowError, Transient
from orderflow.messaging.event import EventId, read_clock
from orderflow.messaging.postgres import RESOURCE, Cursor, outbox
from orderflow.messaging.postgres.outbox import OutboxRow
from orderflow.services.order import queries, repository
from orderflow.services.order.change_events import payment_request
from orderflow.services.order.changes import (
    Encode,
    Origin,
    outbox_row,
    traceparent_of,
    write_changes,
)
from orderflow.services.order.commands import Overtaken
from orderflow.services.order.model import HistoryEntry, Order, PaymentState, WaitingFor
from orderflow.services.order.rules import cancel, demand_retry, with_note

OPERATOR, RETRY = "operator", "retry"
"""Type and id of a retry as the cause of a revision."""

ROW_WITHIN = timedelta(hours=1)
"""How far the outbox row's time may be from the history's: the order waited in a queue between."""


class RetriedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """`repeated`: the retained event was appended again; otherwise a new one was made."""

    event_id: EventId
    event_type: str
    repeated: bool


class Retried(msgspec.Struct, frozen=True, kw_only=True):
    """What went out again for an order, and which fact is to come of it."""

    order: Order
    awaited: WaitingFor
    events: tuple[RetriedEvent, ...]


class RetriedAlready(OrderflowError):
    """What the order waits for was asked for a moment ago. `wait`: after how long it may be."""

    def __init__(self, awaited: WaitingFor, wait: timedelta) -> None:
        super().__init__(f"{_WORDS[awaited]} was asked for again, and the answer is on its way")
        self.wait = wait


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """
    What an operator wants of an order. `expected_revision`: the one that the operator has seen.

    `retry_every`: how often what it waits for may be asked for again.
    """

    order_id: OrderId
    origin: Origin
    expected_revision: int | None = None
    retry_every: timedelta = timedelta(0)


def retry(cursor: Cursor, wish: Wish, *, encode: Encode) -> Retried | None:
    """
    Cause once more what the order waits for; None if there is no such order.

    Raises Overtaken, NothingToRetry or RetriedAlready; or Transient if the order changed meanwhile.
    """
    order_id, origin = wish.order_id, wish.origin
    seen = repository.find(cursor, order_id)
    if seen is None:
        return None
    _demand_revision(seen, wish)
    awaited = demand_retry(seen)
    _demand_pause(cursor, seen, awaited, every=wish.retry_every)

    # Before the lock: the order's facts must not wait for this search.
    causes = _causes(cursor, seen, awaited)
    order = repository.lock(cursor, [order_id])[order_id]
    if order.revision != seen.revision:
        raise Transient("the order moved on meanwhile: look again", resource=RESOURCE)

    change = with_note(order, f"An operator asked again: {_WORDS[awaited]}", now=read_clock())
    traceparent = traceparent_of(change.after, origin)
    rows = [
        row or outbox_row(event, traceparent=traceparent, encode=encode) for row, event in causes
    ]
    write_changes(cursor, [change], origin=origin, encode=encode, more_rows=rows)
    return Retried(
        order=change.after,
        awaited=awaited,
        events=tuple(
            RetriedEvent(
                event_id=row.metadata.id,
                event_type=row.metadata.type.rpartition(".")[2],
                repeated=retained is not None,
            )
            for row, (retained, _event) in zip(rows, causes, strict=True)
        ),
    )


def cancel_by_operator(cursor: Cursor, wish: Wish, *, encode: Encode) -> Order | None:
    """
    Cancel the order; a payment is refunded. None without such an order.

    Raises Overtaken or NotAllowed.
    """
    order = repository.lock(cursor, [wish.order_id]).get(wish.order_id)
    if order is None:
        return None

    _demand_revision(order, wish)
    change = cancel(order, reason=CancelReason.OPERATOR, now=read_clock())
    write_changes(cursor, [change], origin=wish.origin, encode=encode)
    return change.after


def _demand_revision(order: Order, wish: Wish) -> None:
    if wish.expected_revision not in (None, order.revision):
        raise Overtaken(order)


def _demand_pause(cursor: Cursor, order: Order, awaited: WaitingFor, *, every: timedelta) -> None:
    """Raises RetriedAlready while the answer to an earlier retry may be on its way."""
    last = queries.commanded_at(cursor, order.order_id, command=RETRY, by=OPERATOR)
    # What an order waits for since then is another thing: nobody has asked for that again.
    if last is None or last < order.waiting_since:
        return
    wait = last + every - read_clock()
    if wait > timedelta(0):
        raise RetriedAlready(awaited, min(wait, every))


def _causes(
    cursor: Cursor, order: Order, awaited: WaitingFor
) -> list[tuple[OutboxRow | None, Event]]:
    """
    What causes what the order waits for: the retained row, if there is one, and the event to make
    anew otherwise.

    The request before the cancellation: payment refuses a request that it never received once it
    knows that the order is closed, and that refusal ends the wait as well.
    """
    causes: list[tuple[OutboxRow | None, Event]] = []
    if order.payment.state is PaymentState.REQUESTED or awaited is WaitingFor.STOCK:
        causes.append((_payment_request(cursor, order), payment_request(order)))
    if awaited in (WaitingFor.REFUND, WaitingFor.RELEASE):
        event = _cancellation(cursor, order)
        causes.append((_retained(cursor, order, OrderCancelled, event.occurred_at), event))
    return causes


def _cancellation(cursor: Cursor, order: Order) -> OrderCancelled:
    """The order's cancellation, as its history has it."""
    entry = next(
        entry
        for entry in repository.history(cursor, order.order_id, facts_too=False)
        if entry.status == OrderStatus.CANCELLED
    )

    return OrderCancelled(
        order_id=order.order_id,
        customer_id=order.customer_id,
        version=entry.version,
        reason=_reason(entry),
        description=entry.description,
        occurred_at=entry.occurred_at,
    )


def _reason(entry: HistoryEntry) -> CancelReason:
    """Why an order was cancelled, by what caused it."""
    if entry.cause_type == "deadline":
        return CancelReason(entry.cause_id)
    reasons = {"command": CancelReason.CUSTOMER, "operator": CancelReason.OPERATOR}
    # What is left is a fact: inventory had too little.
    return reasons.get(entry.cause_type, CancelReason.OUT_OF_STOCK)


def _payment_request(cursor: Cursor, order: Order) -> OutboxRow | None:
    """The row that requested the current payment attempt."""
    by_order = order.payment.attempt == 1 and order.payment_mode is PaymentMode.AUTOMATIC
    event, command = (OrderCreated, "place") if by_order else (PaymentRequested, "pay")
    at = queries.commanded_at(cursor, order.order_id, command=command)
    return None if at is None else _retained(cursor, order, event, at)


def _retained(cursor: Cursor, order: Order, event: type[Event], at: datetime) -> OutboxRow | None:
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
