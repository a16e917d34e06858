"""
A line for each record that is finished: where it was, which event it carried, and how it ended for
this group.

A line is written after its record is finished for good, so what a line says has happened. Lines are
collected and written once a turn; those of the turn in which a process is killed are lost, the
records are not.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

from msgspec import UNSET, UnsetType

from orderflow.messaging.container.records.identity import Identities, Ids
from orderflow.messaging.container.records.partition import Partition
from orderflow.messaging.container.records.record import Record
from orderflow.messaging.container.records.uncommitted import BulkTaken
from orderflow.messaging.event import CE_TYPE
from orderflow.messaging.listener import Listener
from orderflow.messaging.telemetry import LogLine, wanted, write_lines
from orderflow.messaging.work.clock import Clock

Outcome = Literal["handled", "repeat", "skipped", "dead letter"]

LOGGER = "record"
LEVEL = "info"
WORDS: dict[Outcome, str] = {
    "handled": "handled by",
    "repeat": "known already to",
    "skipped": "skipped by",
    "dead letter": "dead letter of",
}


class RecordLine(LogLine, kw_only=True, gc=False):
    """
    `event` is the event's own headline, else its type's short name; None if the record has no
    readable type. `attempts`: how often the record had failed alone; `waited_ms`: for how long it
    had, since the first time. Neither is there for a record that never failed, nor are ids that it
    does not have.
    """

    topic: str
    partition: int
    offset: int
    key: str | None
    event: str | None
    group: str
    outcome: Outcome
    order_id: str | UnsetType = UNSET
    event_id: str | UnsetType = UNSET
    trace_id: str | UnsetType = UNSET
    span_id: str | UnsetType = UNSET
    attempts: int | UnsetType = UNSET
    waited_ms: int | UnsetType = UNSET

    def __str__(self) -> str:
        event, key = _printable(self.event or "something"), _printable(self.key or "nobody")
        place = f"{self.topic}-{self.partition}@{self.offset}"
        text = f"{place}  {event} of {key}  {WORDS[self.outcome]} {self.group}"
        if self.waited_ms is not UNSET:
            text += f", {self.waited_ms / 1000:.1f} s after it first failed"
        return text


class RecordLog:
    """Collects the lines of one listener; none if they are not `wanted`."""

    def __init__(self, listener: Listener, *, wanted: bool, clock: Clock) -> None:
        self._clock = clock
        self._group = listener.group
        self._ids = Identities(listener.group)
        self._wanted = wanted
        self._lines: list[LogLine] = []

    def add(self, records: Iterable[Record], outcome: Outcome) -> None:
        """Add a line for each of these records, which are finished for good."""
        if self._is_wanted:
            message = f"record: {outcome}"
            self._lines += [self._line(record, outcome, message) for record in records]

    def add_bulk(self, bulk: Iterable[BulkTaken]) -> None:
        """As `add`, for records that were handled in bulk."""
        if self._is_wanted:
            self._lines += [
                self._bulk_line(taken.partition, record)
                for taken in bulk
                for record in taken.handled
            ]

    @property
    def _is_wanted(self) -> bool:
        # Before lines are made: at a higher level all of them would be thrown away.
        return self._wanted and wanted(LEVEL)

    def write(self) -> None:
        """Write the collected lines, with one write."""
        if self._lines:
            lines, self._lines = self._lines, []
            write_lines(lines)

    def _line(self, record: Record, outcome: Outcome, message: str) -> RecordLine:
        ids, progress = self._ids.of(record), record.progress
        line = self._line_of(record.partition, record, _headline(record), outcome, message, ids)
        if progress.attempts:
            line.attempts = progress.attempts
        if progress.first_failure is not None:
            line.waited_ms = _milliseconds(self._clock.now(), progress.first_failure)
        return line

    def _bulk_line(self, partition: Partition, record: Any) -> RecordLine:
        event = getattr(record.event, "headline", None) or type(record.event).__name__
        ids = self._ids.of_headers(record.headers)
        return self._line_of(partition, record, event, "handled", "record: handled", ids)

    def _line_of(
        self,
        partition: Partition,
        record: Any,
        event: str | None,
        outcome: Outcome,
        message: str,
        ids: Ids,
    ) -> RecordLine:
        order_id, event_id, trace_id, span_id = ids

        return RecordLine(
            logger=LOGGER,
            message=message,
            topic=partition.topic,
            partition=partition.number,
            offset=record.offset,
            key=record.key.decode(errors="backslashreplace") or None,
            event=event,
            group=self._group,
            outcome=outcome,
            order_id=order_id,
            event_id=event_id,
            trace_id=trace_id,
            span_id=span_id,
        )


def _milliseconds(now: datetime, since: datetime) -> int:
    return max(0, round((now - since).total_seconds() * 1000))


def _headline(record: Record) -> str | None:
    received = record.progress.received
    if received is not None:
        headline: str | None = getattr(received.event, "headline", None)
        return headline or _short(received.attributes.text(CE_TYPE))
    for name, value in record.progress.headers or ():
        if name == CE_TYPE and value is not None:
            return _short(value.decode(errors="backslashreplace"))
    return None


def _short(type_name: str) -> str:
    return type_name.rpartition(".")[2]


def _printable(text: str) -> str:
    """Escape what would not print: keys and types of foreign records go to a terminal."""
    return text if text.isprintable() else ascii(text)
