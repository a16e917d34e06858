"""
The spans of one listener: a record's processing, the sending of what it caused, and the batch.

They are recorded after a record is finished for good, as its log line is, so an aborted turn leaves
none. A record whose trace is not sampled costs one comparison.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from orderflow.messaging.container.records.record import Record, RecordTrace
from orderflow.messaging.container.records.uncommitted import BulkTaken
from orderflow.messaging.dead_letters.letter import replay_count
from orderflow.messaging.event import CE_CORRELATION_ID, CE_ID, CE_TYPE, TRACEPARENT
from orderflow.messaging.kafka.headers import id_text
from orderflow.messaging.kafka.send_spans import batch_span, send_span, sendings_of
from orderflow.messaging.kafka.transactions import Produced
from orderflow.messaging.telemetry.trace_context import (
    TraceContext,
    dead_letter_span_id,
    derived_span_id,
    new_trace,
    process_span_id,
    sampled,
)
from orderflow.messaging.telemetry.traces import (
    Attributes,
    Moment,
    Span,
    is_on,
    nanoseconds,
    record_spans,
)
from orderflow.messaging.work.clock import Clock

MOMENTS_MAX = 32
"""Of one record's failures: a record may wait for days, a span must stay small."""


class RecordTraces:
    """Collects the spans of a turn, and hands them over with `write`."""

    def __init__(self, group: str, clock: Clock) -> None:
        self._group = group
        self._clock = clock
        self._spans: list[Span] = []
        self._began: datetime | None = None
        self._batch = new_trace(ratio=1.0)

    def begin(self, record: Record) -> None:
        """`record` was read just now."""
        if not is_on():
            return
        context = sampled(record.progress.received.attributes.text(TRACEPARENT))
        if context is not None:
            record.progress.trace = RecordTrace(context, nanoseconds(self._clock.now()))

    def begin_turn(self) -> None:
        """What is finished from now on is one batch."""
        self._began = self._clock.now() if is_on() else None

    def context(self, record: Record) -> TraceContext | None:
        """The span of the record's processing, for what is called meanwhile."""
        trace = record.progress.trace
        if trace is None:
            return None
        event_id = record.progress.received.attributes.id
        return trace.context.at(process_span_id(self._group, event_id))

    def note(self, record: Record, name: str, attributes: Attributes) -> None:
        """Something happened to `record` that its span should show."""
        trace = record.progress.trace
        if trace is not None and len(trace.moments) < MOMENTS_MAX:
            trace.moments.append(Moment(name, nanoseconds(self._clock.now()), attributes))

    def add(self, records: Iterable[Record], outcome: str) -> None:
        """These records are finished for good."""
        # A record that nothing here handles is on its way elsewhere: that is no step of the order.
        if self._began is None or outcome == "skipped":
            return
        now = nanoseconds(self._clock.now())
        for record in records:
            trace = record.progress.trace
            if trace is None and record.progress.received is None:
                trace = _trace_of_unread(record, now)
            if trace is not None:
                self._spans.append(self._span(record, trace, outcome, now))

    def add_bulk(self, bulk: Iterable[BulkTaken]) -> None:
        """As `add`, for records that were handled in bulk."""
        if self._began is None:
            return
        began, now = nanoseconds(self._began), nanoseconds(self._clock.now())
        for taken in bulk:
            for record in taken.handled:
                context = sampled(record.headers.get(TRACEPARENT, b"").decode())
                if context is not None:
                    self._spans.append(self._bulk_span(taken, record, context, (began, now)))

    def add_sent(self, sent: Iterable[Produced], began: datetime) -> None:
        """What this listener caused was sent in a transaction that began then, and is committed."""
        if self._began is not None:
            within = nanoseconds(began), nanoseconds(self._clock.now())
            self._spans += [
                send_span(sending, within, (self._batch,))
                for sending in sendings_of(sent, group=self._group)
            ]

    def add_letters(self, dead: Iterable[tuple[Record, Produced]], began: datetime) -> None:
        """As `add_sent`, for dead letters, which are sent with the `traceparent` that they had."""
        if self._began is None:
            return
        within = nanoseconds(began), nanoseconds(self._clock.now())
        for record, letter in dead:
            trace = record.progress.trace or _trace_of_unread(record, within[0])
            if trace is not None:
                event_id, _type, _order_id, headers = _identity(record)
                span_id = dead_letter_span_id(self._group, event_id, replay_count(headers))
                parent_id = self._span_id(record, event_id, "dead letter")
                sending = letter, trace.context.at(span_id), parent_id
                self._spans.append(send_span(sending, within, (self._batch,)))

    def write(self) -> None:
        """Hand over the turn's spans, each processing linked to the batch's."""
        spans, self._spans = self._spans, []
        if not spans or self._began is None:
            return

        within = nanoseconds(self._began), nanoseconds(self._clock.now())
        count = sum(span.kind == "consumer" for span in spans)
        name = f"batch of {self._group}"
        spans.append(batch_span(name, sends=False, context=self._batch, within=within, count=count))
        record_spans(spans)
        self._batch = new_trace(ratio=1.0)

    def _span(self, record: Record, trace: RecordTrace, outcome: str, now: int) -> Span:
        event_id, type_name, order_id, headers = _identity(record)
        replays = replay_count(headers)
        place = record.partition.topic, record.partition.number, record.offset
        progress = record.progress

        return Span(
            name=f"process {place[0]}",
            kind="consumer",
            context=trace.context.at(self._span_id(record, event_id, outcome)),
            parent_id=trace.context.span_id,
            started_ns=trace.began_ns,
            ended_ns=now,
            attributes={
                **self._attributes(*place, event_id, type_name),
                "orderflow.order_id": order_id,
                "orderflow.outcome": outcome,
                "orderflow.attempts": progress.attempts + (outcome == "handled"),
            },
            moments=trace.moments,
            links=(
                *_link_of_replay(trace.context, self._group, event_id, replays),
                self._batch,
            ),
            error="given up: a dead letter" if outcome == "dead letter" else "",
        )

    def _span_id(self, record: Record, event_id: str, outcome: str) -> str:
        # Only one processing of an event has effects: what it caused names it by the event alone.
        if outcome == "handled":
            return process_span_id(self._group, event_id)
        return derived_span_id(outcome, self._group, event_id, record.place)

    def _bulk_span(
        self, taken: BulkTaken, record: Any, context: TraceContext, within: tuple[int, int]
    ) -> Span:
        topic, number = taken.partition.topic, taken.partition.number
        type_name = record.headers.get(CE_TYPE, b"").decode()

        return Span(
            name=f"process {topic}",
            kind="consumer",
            context=context.at(process_span_id(self._group, record.id)),
            parent_id=context.span_id,
            started_ns=within[0],
            ended_ns=within[1],
            attributes={
                **self._attributes(topic, number, record.offset, record.id, type_name),
                "orderflow.outcome": "handled",
            },
            links=(self._batch,),
        )

    def _attributes(
        self, topic: str, partition: int, offset: int, event_id: str, type_name: str
    ) -> Mapping[str, str | int]:
        return {
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": topic,
            "messaging.destination.partition.id": str(partition),
            "messaging.kafka.offset": offset,
            "messaging.consumer.group.name": self._group,
            "messaging.message.id": event_id,
            "orderflow.event_type": type_name.rpartition(".")[2],
        }


def _trace_of_unread(record: Record, now: int) -> RecordTrace | None:
    """The trace of a record that could not be read, by its headers."""
    for name, value in record.progress.headers or ():
        if name == TRACEPARENT and value is not None:
            context = sampled(value.decode(errors="replace"))
            return None if context is None else RecordTrace(context, now)
    return None


def _identity(record: Record) -> tuple[str, str, str, Sequence[tuple[str, bytes | None]]]:
    """Event id, type, order id and headers, as far as they can be read."""
    headers = record.progress.headers or ()
    received = record.progress.received
    if received is not None:
        attributes = received.attributes
        order_id = attributes.text(CE_CORRELATION_ID)
        return attributes.id, attributes.text(CE_TYPE), order_id, headers
    # Anybody may have written these headers: what is no id is not repeated.
    event_id = id_text(dict(headers).get(CE_ID)) or record.place
    return event_id, "", "", headers


def _link_of_replay(
    context: TraceContext, group: str, event_id: str, replays: int
) -> tuple[TraceContext, ...]:
    """A replayed record's link to the dead letter that it was before."""
    if not replays:
        return ()
    return (context.at(dead_letter_span_id(group, event_id, replays - 1)),)
