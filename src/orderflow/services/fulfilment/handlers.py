"""The use case: an order's status changes and its reserved stock move its shipment."""

from __future__ import annotations

from collections.abc import Sequence

from orderflow.messaging.listener import Caused, Received
from orderflow.messaging.postgres import Cursor
from orderflow.services.fulfilment import repository
from orderflow.services.fulfilment.model import decide


def move_shipments(cursor: Cursor, batch: Sequence[Received]) -> list[Caused]:
    """Lock, decide, write: as many statements for a batch as for one record. Publishes nothing."""
    events = [received.event for received in batch]
    shipments = repository.lock(cursor, {event.order_id for event in events})
    repository.write(cursor, decide(events, shipments))
    return []
