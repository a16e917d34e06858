"""The use case: count the status changes of orders."""

from __future__ import annotations

from collections.abc import Sequence

from orderflow.messaging.listener import Caused, Received
from orderflow.messaging.postgres import Cursor
from orderflow.services.analytics import repository
from orderflow.services.analytics.model import newest


def count_changes(cursor: Cursor, batch: Sequence[Received]) -> list[Caused]:
    """As many statements for a batch as for one record. Publishes nothing."""
    events = [received.event for received in batch]
    # Orders first: this takes their locks, under which their changes are joined.
    repository.move_orders(cursor, newest(events))
    repository.add_changes(cursor, events)
    return []
