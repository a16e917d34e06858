"""
The span of a record's sending.

A record's `traceparent` names this very span (`send_span_id`), whoever sends the record: its
consumers continue from there. Until it is sent, a row's `traceparent` names the span that caused
the event, which becomes the parent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from orderflow.messaging.event import (
    CE_CAUSATION_ID,
    CE_CORRELATION_ID,
    CE_ID,
    CE_TYPE,
    DLT_ORIGINAL_TOPIC,
    TRACEPARENT,
)
from orderflow.messaging.kafka.headers import id_text
from orderflow.messaging.kafka.transactions import Produced
from orderflow.messaging.telemetry.trace_context import (
    TraceContext,
    process_span_id,
    sampled,
    send_span_id,
)
from orderflow.messaging.telemetry.traces import Span

Sending = tuple[Produced, TraceContext, str]
"""A record, the context that its `traceparent` has, and the id of the parent."""


def traced(record: Produced) -> Sending | None:
    """
    An outbox row's record with the `traceparent` of its sending instead of its cause's; None if it
    is not sampled, and is sent as it is.
    """
    topic, key, value, pairs = record
    cause = _context(pairs)
    if cause is None:
        return None
    own = cause.at(send_span_id(_text(dict(pairs).get(CE_ID))))
    header = (TRACEPARENT, str(own).encode())
    pairs = [header if name == TRACEPARENT else (name, kept) for name, kept in pairs]
    return (topic, key, value, pairs), own, cause.span_id


def sendings_of(records: Iterable[Produced], *, group: str) -> Iterator[Sending]:
    """
    As `traced`, of records that the group's processing of their causes made: they have the
    `traceparent` of their sending already.
    """
    for record in records:
        context = _context(record[3])
        if context is not None:
            cause_id = _text(dict(record[3]).get(CE_CAUSATION_ID))
            yield record, context, process_span_id(group, cause_id)


def send_span(sending: Sending, within: tuple[int, int], links: Sequence[TraceContext]) -> Span:
    """The span of a sending that began and ended at these times, in nanoseconds since 1970."""
    (topic, _key, _value, pairs), context, parent_id = sending
    headers = dict(pairs)
    # The headers of a dead letter's record may be anybody's: what is no id is not repeated.
    is_letter = DLT_ORIGINAL_TOPIC in headers
    type_name = "" if is_letter else _text(headers.get(CE_TYPE))

    return Span(
        name=f"send {topic}",
        kind="producer",
        context=context,
        parent_id=parent_id,
        started_ns=within[0],
        ended_ns=within[1],
        attributes={
            "messaging.system": "kafka",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": topic,
            "messaging.message.id": id_text(headers.get(CE_ID)),
            "orderflow.event_type": type_name.rpartition(".")[2],
            "orderflow.order_id": id_text(headers.get(CE_CORRELATION_ID)),
        },
        links=links,
    )


def batch_span(
    name: str, *, sends: bool, context: TraceContext, within: tuple[int, int], count: int
) -> Span:
    """
    The span of a batch of so many messages: a trace of its own, to which the messages' are linked.
    """
    return Span(
        name=name,
        kind="producer" if sends else "consumer",
        context=context,
        parent_id=None,
        started_ns=within[0],
        ended_ns=within[1],
        attributes={
            "messaging.system": "kafka",
            "messaging.operation.type": "send" if sends else "process",
            "messaging.operation.name": "batch",
            "messaging.batch.message_count": count,
        },
    )


def _context(pairs: Sequence[tuple[str, bytes | None]]) -> TraceContext | None:
    # From the end, where it stands; most records are not sampled, and cost no more than this.
    for name, value in reversed(pairs):
        if name == TRACEPARENT:
            return sampled(_text(value))
    return None


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")
