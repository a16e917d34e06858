"""
The spans of a relay: one for each row that it sends, linked to the batch's.

They are recorded once the batch's Kafka transaction is committed, and are the same spans if another
relay has to send the rows again.
"""

from __future__ import annotations

from collections.abc import Sequence

from orderflow.messaging.kafka.send_spans import Sending, batch_span, send_span, traced
from orderflow.messaging.relay.records import ProducerRecord
from orderflow.messaging.telemetry.trace_context import new_trace
from orderflow.messaging.telemetry.traces import is_on, nanoseconds, record_spans
from orderflow.messaging.work.clock import Clock


class RowTraces:
    """One batch: `begin` before it is sent, `end` when it is committed."""

    def __init__(self, service: str, clock: Clock) -> None:
        self._service = service
        self._clock = clock
        self._began_ns = 0
        self._sendings: list[Sending] = []
        self._rows = 0

    def begin(self, rows: Sequence[ProducerRecord]) -> list[ProducerRecord]:
        """The rows as they are to be sent: the `traceparent` of each names its sending."""
        self._sendings = []
        if not is_on():
            return list(rows)
        self._rows = len(rows)
        self._began_ns = nanoseconds(self._clock.now())
        return [self._traced(row) for row in rows]

    def end(self) -> None:
        """All of them are committed."""
        sendings, self._sendings = self._sendings, []
        if not sendings:
            return

        batch = new_trace(ratio=1.0)
        within = self._began_ns, nanoseconds(self._clock.now())
        record_spans([send_span(sending, within, (batch,)) for sending in sendings])
        name = f"batch of {self._service}-relay"
        record_spans([batch_span(name, sends=True, context=batch, within=within, count=self._rows)])

    def _traced(self, row: ProducerRecord) -> ProducerRecord:
        sending = traced(row)
        if sending is None:
            return row
        self._sendings.append(sending)
        return ProducerRecord(row.topic, row.key, row.value, sending[0][3])
