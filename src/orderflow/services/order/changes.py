"""
Writing a change of an order: its row, its history and the outbox rows of its events, as one act.

Commands, facts, the sweeper and operators all write changes; an `Origin` names who or what did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain

import msgspec

from orderflow.contracts import topics
from orderflow.contracts.events import (
    Event,
    OrderCancelled,
    OrderCreated,
    OrderEvent,
    OrderShipped,
    PaymentRequested,
)
from orderflow.messaging.event import EventId, started
from orderflow.messaging.postgres import Cursor, outbox
from orderflow.messaging.postgres.outbox import OutboxRow
from orderflow.services.order import repository, settled
from orderflow.services.order.change_events import events
from orderflow.services.order.model import HistoryEntry, Order
from orderflow.services.order.repository import Saved
from orderflow.services.order.rules import Change
from orderflow.services.order.traces import changed_in

SOURCE = "/orderflow/order"

Encode = Callable[[str, msgspec.Struct], bytes]
"""The record value of an event on a topic."""

TOPIC_OF: Mapping[type[Event], str] = {
    OrderCreated: topics.ORDERS.name,
    OrderCancelled: topics.ORDERS.name,
    OrderShipped: topics.ORDERS.name,
    PaymentRequested: topics.ORDERS.name,
    OrderEvent: topics.ORDER_EVENTS.name,
}


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """
    What caused a change, as the history records it, and the request's trace. Only an order without
    a trace of its own continues the request's.

    `type` and `id`: a `command` and its name, a `deadline` and the cancel reason, an `operator`
    and the act, or an event's type and id. `actor` and `reason`: who gave the command, and why.
    """

    type: str
    id: str
    actor: str | None = None
    reason: str | None = None
    traceparent: str | None = None


def write_changes(
    cursor: Cursor,
    changes: Sequence[Change],
    *,
    origin: Origin,
    encode: Encode,
    more_rows: Sequence[OutboxRow] = (),
) -> None:
    """
    Write changes of locked orders: rows, history, and the outbox rows of their events.

    `more_rows` go into the outbox after those. Raises Transient if an order is not at the revision
    that was locked.
    """
    rows_of_changes = [
        [
            outbox_row(event, traceparent=traceparent_of(change.after, origin), encode=encode)
            for event in events(change)
        ]
        for change in changes
    ]
    saved = [
        Saved(change=change, entry=history_entry(change, _order_event_id(rows), origin=origin))
        for change, rows in zip(changes, rows_of_changes, strict=True)
    ]

    # Orders before the outbox: if an order has changed since it was locked, nothing is appended.
    repository.save(cursor, saved)
    outbox.append(cursor, [*chain.from_iterable(rows_of_changes), *more_rows])
    settled.observe(changes)


def traceparent_of(order: Order, origin: Origin) -> str | None:
    """The trace that the events of a change continue: the order's, else the request's."""
    context = changed_in(order)
    return origin.traceparent if context is None else str(context)


def outbox_row(event: Event, *, traceparent: str | None, encode: Encode) -> OutboxRow:
    """
    The outbox row of an event that an HTTP request, the sweeper or an operator caused.

    It gets a new event id and no causation id, because it starts a chain. Events that a record
    caused get theirs from the kit's `Publisher`.
    """
    topic = TOPIC_OF[type(event)]
    return OutboxRow(
        topic=topic,
        key=event.order_id,
        payload=encode(topic, event),
        metadata=started(event, source=SOURCE, traceparent=traceparent),
    )


def history_entry(change: Change, event_id: EventId | None, *, origin: Origin) -> HistoryEntry:
    """The history entry of a change; `event_id` is its OrderEvent's, None without one."""
    order = change.after

    return HistoryEntry(
        revision=order.revision,
        version=order.version,
        status=order.status,
        description=change.description,
        occurred_at=order.updated_at,
        event_id=event_id,
        cause_type=origin.type,
        cause_id=origin.id,
        actor=origin.actor,
        reason=origin.reason,
    )


def _order_event_id(rows: Sequence[OutboxRow]) -> EventId | None:
    ids = (row.metadata.id for row in rows if row.metadata.type == OrderEvent.type_name())
    return next(ids, None)
