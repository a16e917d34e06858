"""The use case: count the status changes of orders."""

from __future__ import annotations

from collections.abc import Sequence

from orderflow.messaging.listener import Caused, Received
from orderflow.messaging.postgres import Cursor
from orderflow.services.analytics import repository


def count_changes(cursor: Cursor, batch: Sequence[Received]) -> list[Caused]:
    """As many statements for a batch as for one record. Publishes nothing."""
    repository.count_changes(cursor, [received.event for received in batch])
    return []
