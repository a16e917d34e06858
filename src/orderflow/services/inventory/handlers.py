"""The use case: payments reserve stock, refunds release it, shipments take it."""

from __future__ import annotations

from collections.abc import Sequence

from orderflow.messaging.event import read_clock
from orderflow.messaging.listener import Caused, Received
from orderflow.messaging.postgres import Cursor
from orderflow.services.inventory import repository
from orderflow.services.inventory.model import decide, skus_to_lock


def move_stock(cursor: Cursor, batch: Sequence[Received]) -> list[Caused]:
    """Lock, decide, write: as many statements for a batch as for one record."""
    events = [received.event for received in batch]

    # Reservations before stock, always: two workers then wait for each other in one direction.
    # And the reservations say which SKUs are needed.
    reservations = repository.lock_reservations(cursor, {event.order_id for event in events})
    stock = repository.lock_stock(cursor, skus_to_lock(events, reservations))

    now = read_clock()
    decision = decide(events, stock=stock, reservations=reservations, now=now)
    repository.write(cursor, decision, now=now)
    return [(batch[position], event) for position, event in decision.events]
