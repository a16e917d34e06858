"""Records and their headers for any event: the kit's own tests use this, so it knows no order."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from orderflow.messaging.event import Attributes, EventId, Metadata, started, to_headers
from orderflow.messaging.listener import Publishable, Received

SOURCE = "/test"


def metadata(
    event: Publishable, event_id: UUID | None = None, *, source: str | None = None
) -> Metadata:
    """
    The metadata of an event that starts a chain; with an id of its own unless one is given.
    `source`: that of the topic it is for, None if anybody may write there.
    """
    identity = EventId(event_id) if event_id else None
    return started(event, source=source or SOURCE, event_id=identity)


def headers(event: Publishable, event_id: UUID | None = None, *, source: str | None = None) -> Any:
    """The metadata as Kafka headers."""
    return to_headers(metadata(event, event_id, source=source))


def received(event: Publishable, *, topic: str, event_id: UUID | None = None) -> Received:
    """The record that a handler gets for `event`."""
    return Received(
        event=event,
        attributes=Attributes.of(metadata(event, event_id)),
        topic=topic,
        partition=0,
        offset=0,
        key=event.key.encode(),
    )
