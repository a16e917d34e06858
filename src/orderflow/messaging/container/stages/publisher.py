"""Turns what a handler returned into records or outbox rows, each chained to its cause."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.event import EventId, Metadata, derived_id, to_headers
from orderflow.messaging.kafka.transactions import Produced
from orderflow.messaging.listener import Caused, Listener, Received
from orderflow.messaging.postgres.outbox import OutboxRow
from orderflow.messaging.schemas.avro import Encoder

HEADERS_BYTES = 2_048
"""Room for our headers, within a topic's limit for a record."""


class Publisher:
    """
    Turns (cause, event) pairs into what is published.

    The id of an event is derived from its cause, its type and how many of that type the cause had
    before it: the same batch, and any other batch with that record, gives the same ids.
    """

    def __init__(self, listener: Listener, encoder: Encoder) -> None:
        self._listener = listener
        self._encoder = encoder
        self._routes = {
            name: (topic.name, topic.record_bytes_max)
            for topic in listener.publishes
            for name in topic.types
        }

    def records(self, caused: Iterable[Caused]) -> list[Produced]:
        """
        Raises ValueError for an event that its topic would refuse, ConfigurationError for one that
        has no topic.
        """
        return [
            (topic, event.key.encode(), value, to_headers(metadata))
            for topic, event, value, metadata in self._published(caused)
        ]

    def rows(self, caused: Iterable[Caused]) -> list[OutboxRow]:
        """As `records`."""
        return [
            OutboxRow(topic=topic, key=event.key, payload=value, metadata=metadata)
            for topic, event, value, metadata in self._published(caused)
        ]

    def _published(self, caused: Iterable[Caused]) -> Iterator[tuple[str, Any, bytes, Metadata]]:
        counts: dict[tuple[EventId, str], int] = {}
        encode = self._encoder.encode
        for cause, event in caused:
            type_name = event.type_name()
            try:
                topic, bytes_max = self._routes[type_name]
            except KeyError:
                name = self._listener.name
                raise ConfigurationError(
                    f"listener {name} publishes {type_name}, but to none of its topics"
                ) from None

            # Counted per cause, not per batch: the id must not depend on what else is in the wave.
            counted = (cause.metadata.id, type_name)
            index = counts[counted] = counts.get(counted, -1) + 1

            value = encode(topic, event)
            if len(value) + HEADERS_BYTES > bytes_max:
                size = f"{type_name} of {len(value)} bytes"
                raise ValueError(f"{size} does not fit on {topic} (at most {bytes_max})")
            yield topic, event, value, self._metadata(cause, event, type_name, index)

    def _metadata(self, cause: Received, event: Any, type_name: str, index: int) -> Metadata:
        parent = cause.metadata
        event_id = derived_id(
            self._listener.namespace, cause=parent.id, event_type=type_name, index=index
        )

        return Metadata(
            id=event_id,
            type=type_name,
            source=self._listener.source,
            time=event.happened_at,
            subject=event.subject,
            correlation_id=parent.correlation_id or event.subject,
            causation_id=str(parent.id),
            traceparent=parent.traceparent,
            tracestate=parent.tracestate,
        )
