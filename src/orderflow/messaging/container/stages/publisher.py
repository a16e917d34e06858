"""Turns what a handler returned into records or outbox rows, each chained to its cause."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from orderflow.messaging.derived_ids import DerivedIds
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
    Headers,
    rfc3339_ms,
)
from orderflow.messaging.kafka.headers import record_bytes
from orderflow.messaging.kafka.transactions import Produced
from orderflow.messaging.listener import Caused, Listener
from orderflow.messaging.postgres.outbox import RowTexts
from orderflow.messaging.schemas.avro import Encoder
from orderflow.messaging.telemetry.trace_context import process_span_id, sampled, send_span_id
from orderflow.messaging.telemetry.traces import is_on

LONG_BYTES = 16 * 1024
"""More than all headers whose length is bounded, the batch's own and every name."""
BATCH_BYTES = 512
"""Room for the batch's own header, within a topic's limit."""
UTF8_BYTES_MAX = 4


class DoesNotFit(OrderflowError, ValueError):
    """The event is larger than its topic takes."""


class CauseOfEvents(Protocol):
    """What an event takes from the record that caused it."""

    @property
    def id(self) -> str:
        """The id of its event, in the canonical form."""

    @property
    def headers(self) -> Mapping[str, bytes]:
        """Its headers: all of ours can be read."""


class _Route(NamedTuple):
    """Where events of one type go, and the headers that all of them have."""

    topic: str
    bytes_max: int
    type_header: tuple[str, bytes]


class _Made(NamedTuple):
    """An event ready to go: with it its cause, for what is passed on."""

    route: _Route
    key: str
    value: bytes
    id: str
    type_name: str
    time: str
    subject: str
    cause: CauseOfEvents


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
            name: _Route(topic.name, topic.record_bytes_max, (CE_TYPE, name.encode()))
            for topic in listener.publishes
            for name in topic.types
        }
        self._source_header = (CE_SOURCE, listener.source.encode())
        self._time: tuple[datetime | None, str] = (None, "")
        self._ids = DerivedIds(listener.namespace)

    def records(self, caused: Iterable[Caused]) -> list[Produced]:
        """
        Raises DoesNotFit for an event that its topic would refuse, ConfigurationError for one that
        has no topic.
        """
        return self.bulk_records((cause.attributes, event) for cause, event in caused)

    def bulk_records(self, caused: Iterable[tuple[CauseOfEvents, Any]]) -> list[Produced]:
        """As `records`, for causes in bulk; the same ids, headers and bytes."""
        return [self._record(made) for made in self._made(caused)]

    def rows(self, caused: Iterable[Caused]) -> list[RowTexts]:
        """As `records`."""
        pairs = ((cause.attributes, event) for cause, event in caused)
        return [self._row(made) for made in self._made(pairs)]

    def _made(self, caused: Iterable[tuple[CauseOfEvents, Any]]) -> Iterator[_Made]:
        counts: dict[tuple[str, str], int] = {}
        encode, make_id = self._encoder.encode, self._ids.make
        for cause, event in caused:
            type_name = event.type_name()
            route = self._routes.get(type_name)
            if route is None:
                name = self._listener.name
                raise ConfigurationError(
                    f"listener {name} publishes {type_name}, but to none of its topics"
                )

            # Counted per cause, not per batch: the id must not depend on what else is in the wave.
            counted = (cause.id, type_name)
            index = counts[counted] = counts.get(counted, -1) + 1

            key, subject = event.key, event.subject
            made = _Made(
                route,
                key,
                encode(route.topic, event),
                make_id(cause.id, f"{cause.id}/{type_name}/{index}"),
                type_name,
                self._time_text(event.happened_at),
                subject,
                cause,
            )
            # Here, where it is this record's failure; the broker would refuse the whole turn.
            texts_bytes_max = UTF8_BYTES_MAX * (len(key) + len(subject))
            if len(made.value) + texts_bytes_max + LONG_BYTES > route.bytes_max:
                self._refuse_too_long(made)
            yield made

    def _refuse_too_long(self, made: _Made) -> None:
        """Raise DoesNotFit if the record is larger than its topic takes."""
        topic, key, value, headers = self._record(made)
        size, most = record_bytes(key, value, headers) + BATCH_BYTES, made.route.bytes_max
        if size > most:
            what = f"{made.type_name} of {size} bytes, key and headers included,"
            raise DoesNotFit(f"{what} does not fit on {topic} (at most {most})")

    def _record(self, made: _Made) -> Produced:
        cause, theirs, event_id = made.cause, made.cause.headers, made.id
        subject = made.subject.encode()
        headers: Headers = [
            SPECVERSION_HEADER,
            (CE_ID, event_id.encode()),
            made.route.type_header,
            self._source_header,
            (CE_TIME, made.time.encode()),
            (CE_SUBJECT, subject),
            (CE_CAUSATION_ID, cause.id.encode()),
            (CE_CORRELATION_ID, theirs.get(CE_CORRELATION_ID) or subject),
            AVRO_HEADER,
        ]

        if TRACEPARENT in theirs:
            headers.append((TRACEPARENT, self._sent(theirs[TRACEPARENT], event_id)))
        if TRACESTATE in theirs:
            headers.append((TRACESTATE, theirs[TRACESTATE]))
        return made.route.topic, made.key.encode(), made.value, headers

    def _row(self, made: _Made) -> RowTexts:
        cause, theirs = made.cause, made.cause.headers
        correlation_id, tracestate = theirs.get(CE_CORRELATION_ID), theirs.get(TRACESTATE)

        return RowTexts(
            made.id,
            made.route.topic,
            made.key,
            made.type_name,
            made.value,
            self._listener.source,
            made.time,
            made.subject,
            cause.id,
            correlation_id.decode() if correlation_id else made.subject,
            self._caused_by(cause) if TRACEPARENT in theirs else None,
            None if tracestate is None else tracestate.decode(),
        )

    def _time_text(self, moment: datetime) -> str:
        """`ce_time`. The events of a batch have one moment, as a rule the very same object."""
        known, text = self._time
        if moment is not known:
            text = rfc3339_ms(moment)
            self._time = moment, text
        return text

    def _sent(self, traceparent: bytes, event_id: str) -> bytes:
        """The `traceparent` of a record: it names the record's sending."""
        # While this process records no spans it names none, and the trace goes on without it.
        context = sampled(traceparent.decode()) if is_on() else None
        return traceparent if context is None else str(context.at(send_span_id(event_id))).encode()

    def _caused_by(self, cause: CauseOfEvents) -> str:
        """The `traceparent` of an outbox row: it names the cause's processing, until it is sent."""
        traceparent = cause.headers[TRACEPARENT].decode()
        context = sampled(traceparent) if is_on() else None
        if context is None:
            return traceparent
        return str(context.at(process_span_id(self._listener.group, cause.id)))
