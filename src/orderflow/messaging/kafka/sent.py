"""Counts messages that were sent, once the transaction that they were in is committed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from orderflow.messaging.event import CE_TYPE, Headers
from orderflow.messaging.telemetry import counter

DEAD_LETTER = "dead letter"
TYPE_AT = 2

SENT = counter(
    "messaging_client_sent_messages",
    "Messages that were sent, in committed transactions.",
    ("messaging_destination_name", "orderflow_event_type"),
    namespace="",
)


def count_sent(records: Iterable[tuple[str, Headers]]) -> None:
    """Count committed messages, given by their topics and headers, by the types of their events."""
    counts = Counter((topic, _type_in(headers)) for topic, headers in records)
    for (topic, event_type), count in counts.items():
        SENT.labels(topic, event_type.decode().rpartition(".")[2]).inc(count)


def count_dead_letters(topics: Iterable[str]) -> None:
    """Count committed dead letters, given by their topics."""
    for topic, count in Counter(topics).items():
        SENT.labels(topic, DEAD_LETTER).inc(count)


def _type_in(headers: Headers) -> bytes:
    """The event's type; empty for a message that is no event, as one of a changelog of facts."""
    # Where our own writers put it: a search costs a microsecond, and there are many messages.
    if len(headers) > TYPE_AT and headers[TYPE_AT][0] == CE_TYPE:
        return headers[TYPE_AT][1]
    return next((value for name, value in headers if name == CE_TYPE), b"")
