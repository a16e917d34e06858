"""Records and their headers for any event: the kit's own tests use this, so it knows no order."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from orderflow.messaging.event import EventId, Metadata, started, to_headers
from orderflow.messaging.listener import Publishable, Received

SOURCE = "/test"


def metadata(event: Publishable, event_id: UUID | None = None) -> Metadata:
    """The metadata of an event that starts a chain; with an id of its own unless one is given."""
    return started(event, source=SOURCE, event_id=EventId(event_id) if event_id else None)


def headers(event: Publishable, event_id: UUID | None = None) -> Any:
    """The metadata as Kafka headers."""
    return to_headers(metadata(event, event_id))


def received(event: Publishable, *, topic: str, event_id: UUID | None = None) -> Received:
    """The record that a handler gets for `event`."""
    return Received(
        event=event,
        metadata=metadata(event, event_id),
        topic=topic,
        partition=0,
        offset=0,
        key=event.key.encode(),
    )
