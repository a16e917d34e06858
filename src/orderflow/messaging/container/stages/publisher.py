"""Turns what a handler returned into records or outbox rows, each chained to its cause."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import uuid_utils

from orderflow.messaging.container.stages.intake import BulkRecord
from orderflow.messaging.errors import ConfigurationError, OrderflowError
from orderflow.messaging.event import (
    AVRO_HEADER,
    CE_CAUSATION_ID,
    CE_CORRELATION_ID,
    CE_ID,
    CE_SOURCE,
    CE_SUBJECT,
    CE_TIME,
    CE_TYPE,
    SPECVERSION_HEADER,
    TRACEPARENT,
    TRACESTATE,
    EventId,
    Headers,
    Metadata,
    derived_id,
    rfc3339_ms,
    to_headers,
)
from orderflow.messaging.kafka.headers import record_bytes
from orderflow.messaging.kafka.transactions import Produced
from orderflow.messaging.listener import Caused, Listener, Received
from orderflow.messaging.postgres.outbox import OutboxRow
from orderflow.messaging.schemas.avro import Encoder
from orderflow.messaging.telemetry.trace_context import process_span_id, sampled, send_span_id
from orderflow.messaging.telemetry.traces import is_on

T = TypeVar("T", str, str | None)

LONG_BYTES = 16 * 1024
BATCH_BYTES = 512
"""Room for the batch's own header, within a topic's limit."""


class DoesNotFit(OrderflowError, ValueError):
    """The event is larger than its topic takes."""


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
        source = (CE_SOURCE, listener.source.encode())
        self._ours = {
            name: ((SPECVERSION_HEADER,), ((CE_TYPE, name.encode()), source))
            for name in self._routes
        }
        namespace = uuid_utils.UUID(str(listener.namespace))

        def make_id(name: str) -> bytes:
            return str(uuid_utils.uuid5(namespace, name)).encode()

        self._make_id = make_id

    def records(self, caused: Iterable[Caused]) -> list[Produced]:
        """
        Raises DoesNotFit for an event that its topic would refuse, ConfigurationError for one that
        has no topic.
        """
        return [
            (topic, key.encode(), value, headers)
            for topic, key, value, headers, _metadata in self._published(caused, self._sent)
        ]

    def bulk_records(self, caused: Iterable[tuple[BulkRecord, Any]]) -> list[Produced]:
        """
        As `records`, for causes in bulk; the same ids, headers and bytes.

        Raises DoesNotFit also for an event that `records` might take: it is long.
        """
        published: list[Produced] = []
        counts: dict[tuple[str, str], int] = {}
        encode, make_id, ours = self._encoder.encode, self._make_id, self._ours
        for cause, event in caused:
            type_name = event.type_name()
            topic, bytes_max = self._routes[type_name]
            counted = (cause.id, type_name)
            index = counts[counted] = counts.get(counted, -1) + 1

            value = encode(topic, event)
            if len(value) + LONG_BYTES > bytes_max:
                raise DoesNotFit(f"{type_name} of {len(value)} bytes is long")

            before, between = ours[type_name]
            subject = event.subject.encode()
            theirs = cause.headers
            headers = [
                *before,
                (CE_ID, make_id(f"{cause.id}/{type_name}/{index}")),
                *between,
                (CE_TIME, rfc3339_ms(event.happened_at).encode()),
                (CE_SUBJECT, subject),
                (CE_CAUSATION_ID, cause.id.encode()),
                (CE_CORRELATION_ID, theirs.get(CE_CORRELATION_ID) or subject),
                AVRO_HEADER,
            ]
            if TRACEPARENT in theirs:
                event_id = headers[1][1].decode()
                traceparent = self._sent_as(theirs[TRACEPARENT].decode(), event_id)
                headers.append((TRACEPARENT, traceparent.encode()))
            if TRACESTATE in theirs:
                headers.append((TRACESTATE, theirs[TRACESTATE]))
            published.append((topic, event.key.encode(), value, headers))
        return published

    def rows(self, caused: Iterable[Caused]) -> list[OutboxRow]:
        """As `records`."""
        return [
            OutboxRow(topic=topic, key=key, payload=value, metadata=metadata)
            for topic, key, value, _headers, metadata in self._published(caused, self._caused_by)
        ]

    def _published(
        self, caused: Iterable[Caused], trace: Callable[[Metadata, str], str | None]
    ) -> Iterator[tuple[str, str, bytes, Headers, Metadata]]:
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
            key: str = event.key
            metadata = self._metadata(cause, event, type_name, index, trace)
            headers = to_headers(metadata)
            # Here, where it is this record's failure; the broker would refuse the whole turn.
            size = record_bytes(key.encode(), value, headers) + BATCH_BYTES
            if size > bytes_max:
                what = f"{type_name} of {size} bytes, key and headers included,"
                raise DoesNotFit(f"{what} does not fit on {topic} (at most {bytes_max})")
            yield topic, key, value, headers, metadata

    def _metadata(
        self,
        cause: Received,
        event: Any,
        type_name: str,
        index: int,
        trace: Callable[[Metadata, str], str | None],
    ) -> Metadata:
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
            traceparent=trace(parent, str(event_id)),
            tracestate=parent.tracestate,
        )

    def _sent(self, cause: Metadata, event_id: str) -> str | None:
        """The `traceparent` of a record: it names the record's sending."""
        return self._sent_as(cause.traceparent, event_id)

    def _caused_by(self, cause: Metadata, _event_id: str) -> str | None:
        """The `traceparent` of an outbox row: it names the cause's processing, until it is sent."""
        context = sampled(cause.traceparent) if is_on() else None
        if context is None:
            return cause.traceparent
        return str(context.at(process_span_id(self._listener.group, str(cause.id))))

    def _sent_as(self, traceparent: T, event_id: str) -> T | str:
        # While this process records no spans it names none, and the trace goes on without it.
        context = sampled(traceparent) if is_on() else None
        return traceparent if context is None else str(context.at(send_span_id(event_id)))
