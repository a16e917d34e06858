"""The use case of the listener: facts from payment and inventory change orders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from orderflow.contracts import NAMESPACE
from orderflow.contracts.events import OrderEvent
from orderflow.contracts.ids import OrderId
from orderflow.messaging.errors import RecordFault
from orderflow.messaging.event import Metadata, derived_id, read_clock
from orderflow.messaging.listener import Caused, Received
from orderflow.messaging.postgres import Cursor
from orderflow.services.order import repository, settled
from orderflow.services.order.change_events import events
from orderflow.services.order.changes import Origin, history_entry
from orderflow.services.order.model import Order
from orderflow.services.order.repository import Saved
from orderflow.services.order.rules import Change, on_fact


class UnknownOrder(RecordFault):
    """
    A fact about an order that this database does not contain, or does not show yet.

    PostgreSQL hands a commit to the relay once it is on disk, and shows it to others a moment
    later; on a busy machine the order can be published, paid and back here before that. So it is
    tried again, and is a dead letter only then.
    """


def on_facts(cursor: Cursor, batch: Sequence[Received]) -> list[Caused]:
    """
    Record facts, then change the orders as the facts require.

    As many statements for a batch as for one record. Raises UnknownOrder.
    """
    orders = repository.lock(cursor, [received.event.order_id for received in batch])
    now = read_clock()

    saved: list[Saved] = []
    caused: list[Caused] = []
    for received in batch:
        changes = on_fact(_order_of(orders, received), received.event, now=now)
        saved += _saved(changes, received.metadata)
        caused += [(received, event) for change in changes for event in events(change)]
        # A later fact of the same batch finds the order as this one left it.
        orders |= {change.after.order_id: change.after for change in changes}

    repository.save(cursor, saved)
    settled.observe(revision.change for revision in saved)
    return caused


def _order_of(orders: Mapping[OrderId, Order], received: Received) -> Order:
    order_id = received.event.order_id
    if order_id not in orders:
        raise UnknownOrder(
            f"{received.metadata.type} {received.metadata.id} is about {order_id}: "
            "there is no such order"
        )
    return orders[order_id]


def _saved(changes: Sequence[Change], cause: Metadata) -> Iterator[Saved]:
    """The revisions that a fact makes, each with its history entry."""
    origin = Origin(type=cause.type, id=str(cause.id), traceparent=cause.traceparent)
    status_changes = 0
    for change in changes:
        event_id = None
        if change.is_of_status:
            # The id that the kit's Publisher derives for this OrderEvent: same cause, same index.
            event_id = derived_id(
                NAMESPACE, cause=cause.id, event_type=OrderEvent.type_name(), index=status_changes
            )
            status_changes += 1
        yield Saved(change=change, entry=history_entry(change, event_id, origin=origin))
