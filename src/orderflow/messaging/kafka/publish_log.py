"""
Lines about what was published: one for each committed transaction at level `info`, one for each
record at `debug`; and the ids of events that were not published.

Written after the commit only, so what a line says has happened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from msgspec import UNSET, UnsetType

from orderflow.messaging.event import CE_CORRELATION_ID, CE_ID, CE_SUBJECT, CE_TYPE, TRACEPARENT
from orderflow.messaging.kafka.headers import id_text
from orderflow.messaging.kafka.reports import Reports
from orderflow.messaging.kafka.transactions import Placed, Produced
from orderflow.messaging.telemetry import LogLine, wanted, write_lines
from orderflow.messaging.telemetry.trace_context import TraceContext, send_span_id

LOGGER = "publish"
NAMED_MAX = 10
"""How many keys, or events that were not published, a line names."""


class PublishedLine(LogLine, kw_only=True, gc=False):
    """
    A committed transaction. `topics` and `types`: how many records of each; `offsets`: the first
    and the last on each partition, as far as they were reported. `keys`: the first of them; `of`
    how many.
    """

    publisher: str
    records: int
    topics: Mapping[str, int]
    types: Mapping[str, int]
    keys: Sequence[str]
    keys_count: int
    offsets: Mapping[str, tuple[int, int]]

    def __str__(self) -> str:
        types = ", ".join(f"{count} {name}" for name, count in self.types.items())
        places = ", ".join(
            f"{place}@{first}" + (f"…{last}" if last > first else "")
            for place, (first, last) in self.offsets.items()
        )
        what = f"{self.publisher} published {self.records} records ({types})"
        return f"{what} of {self.keys_count} keys to {places or ', '.join(self.topics)}"


class PublishedRecordLine(LogLine, kw_only=True, gc=False):
    """One record of a committed transaction. `partition` and `offset`: as far as reported."""

    level: str = "debug"
    publisher: str
    topic: str
    partition: int | UnsetType = UNSET
    offset: int | UnsetType = UNSET
    key: str | None
    event: str
    order_id: str | UnsetType = UNSET
    event_id: str | UnsetType = UNSET
    trace_id: str | UnsetType = UNSET
    span_id: str | UnsetType = UNSET

    def __str__(self) -> str:
        place = (
            self.topic if self.offset is UNSET else f"{self.topic}-{self.partition}@{self.offset}"
        )
        return f"{place}  {self.event} of {self.key or 'nobody'}  published by {self.publisher}"


class PublishLog:
    """Writes the lines of one publisher: a relay, or a listener."""

    def __init__(self, publisher: str) -> None:
        self._publisher = publisher

    def committed(
        self, records: Sequence[Produced], reports: Reports, placed: Sequence[Placed] = ()
    ) -> None:
        """A transaction with these records is committed. Without records there is no line."""
        if not (records or placed) or not wanted("info"):
            return
        if wanted("debug"):
            write_lines([self._record(n, reports, *r) for n, r in enumerate(records)])

        topics = Counter(chain((r[0] for r in records), (p.topic for p in placed)))
        types = Counter([_type(record[3]) for record in records])
        keys = list(dict.fromkeys([record[1] for record in records]))
        line = PublishedLine(
            logger=LOGGER,
            message="published",
            publisher=self._publisher,
            records=len(records) + len(placed),
            topics=topics,
            types={_short(name): count for name, count in types.items()},
            keys=[_text(key) for key in keys[:NAMED_MAX]],
            keys_count=len(keys),
            offsets={f"{topic}-{n}": span for (topic, n), span in reports.ranges.items()},
        )
        write_lines([line])

    def _record(
        self,
        number: int,
        reports: Reports,
        topic: str,
        key: bytes | None,
        _value: bytes | None,
        headers: Any,
    ) -> PublishedRecordLine:
        named = dict(headers)
        event_id, order_id = named.get(CE_ID), named.get(CE_CORRELATION_ID) or named.get(CE_SUBJECT)
        line = PublishedRecordLine(
            logger=LOGGER,
            message="record: published",
            publisher=self._publisher,
            topic=topic,
            key=_text(key) or None,
            event=_short(named.get(CE_TYPE)),
            order_id=id_text(order_id) or UNSET,
            event_id=id_text(event_id) or UNSET,
        )

        trace = TraceContext.parse(_text(named.get(TRACEPARENT)))
        if trace is not None and event_id:
            line.trace_id, line.span_id = trace.trace_id, send_span_id(id_text(event_id))
        if number in reports.places:
            _topic, line.partition, line.offset = reports.places[number]
        return line


def unpublished(records: Iterable[Produced]) -> dict[str, Any]:
    """
    The fields of a line about records that were not published, or perhaps not: their event ids, at
    most ten, and how many more there are.
    """
    ids = _event_ids(records)
    named = list(islice(ids, NAMED_MAX))
    more = sum(1 for _ in ids)
    return {"event_ids": [*named, f"and {more} more"] if more else named} if named else {}


def _event_ids(records: Iterable[Produced]) -> Iterator[str]:
    for _topic, _key, _value, headers in records:
        named = (value for name, value in headers or () if name == CE_ID)
        yield id_text(next(named, None)) or "without id"


def _type(headers: Any) -> bytes | None:
    # Where the kit itself writes it; a dead letter's headers are in their writer's order.
    if len(headers) > 2 and headers[2][0] == CE_TYPE:
        value: bytes | None = headers[2][1]
        return value
    return next((value for name, value in headers if name == CE_TYPE), None)


def _short(type_name: bytes | None) -> str:
    return _text(type_name).rpartition(".")[2] or "something"


def _text(value: bytes | None) -> str:
    return value.decode(errors="backslashreplace") if value else ""
