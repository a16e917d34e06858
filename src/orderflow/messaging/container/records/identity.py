"""Which event a record carries, of which order and trace: what every line about a record names."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from msgspec import UNSET, UnsetType

from orderflow.messaging.container.records.record import Record
from orderflow.messaging.event import (
    ATTRIBUTE_BYTES_MAX,
    CE_CORRELATION_ID,
    CE_ID,
    CE_SUBJECT,
    TRACEPARENT,
)
from orderflow.messaging.kafka.headers import id_text
from orderflow.messaging.telemetry.trace_context import SPAN_ID_BYTES, TraceContext

Known = str | UnsetType
Ids = tuple[Known, Known, Known, Known]
"""Order, event, trace and span; UNSET where a record has none that can be read."""

NAMES = ("order_id", "event_id", "trace_id", "span_id")
NOTHING: Ids = (UNSET, UNSET, UNSET, UNSET)


class Identities:
    """
    The ids that lines of one group name. The span is that in which the group processes the event;
    it has an id in every trace, sampled or not.
    """

    def __init__(self, group: str) -> None:
        # As `process_span_id`, whose beginning is the same for all records of a group.
        self._begun = blake2b(f"process/{group}/".encode(), digest_size=SPAN_ID_BYTES)

    def of(self, record: Record) -> Ids:
        """The ids of a record, as far as it was read."""
        received = record.progress.received
        if received is None:
            headers = record.progress.headers
            return self.of_headers(dict(headers)) if headers else NOTHING

        attributes = received.attributes
        # Correlated by its subject, where a chain starts.
        order_id = attributes.text(CE_CORRELATION_ID) or attributes.text(CE_SUBJECT) or UNSET
        trace = self._trace(attributes.text(TRACEPARENT), attributes.id)
        return (order_id, attributes.id, *trace)

    def of_headers(self, headers: Mapping[str, bytes | None]) -> Ids:
        """As `of`, from headers that anybody may have written."""
        event_id = id_text(headers.get(CE_ID))
        order_id = id_text(headers.get(CE_CORRELATION_ID)) or id_text(headers.get(CE_SUBJECT))
        traceparent = headers.get(TRACEPARENT) or b""
        trace = self._trace(traceparent.decode("latin-1"), event_id)
        return (order_id or UNSET, event_id or UNSET, *trace)

    def about(self, record: Record) -> dict[str, Any]:
        """The fields of a line about one record: its place, its key, and the ids that it has."""
        key = record.key[:ATTRIBUTE_BYTES_MAX].decode(errors="backslashreplace")
        named = zip(NAMES, self.of(record), strict=True)
        ids = {name: value for name, value in named if value is not UNSET}
        return {"record": record.place, "key": key or None, **ids}

    def _trace(self, traceparent: str, event_id: str) -> tuple[Known, Known]:
        trace = TraceContext.parse(traceparent) if traceparent and event_id else None
        if trace is None:
            return UNSET, UNSET
        span = self._begun.copy()
        span.update(event_id.encode())
        return trace.trace_id, span.hexdigest()
