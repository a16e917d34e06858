"""The line of each record, as a program and as a person reads it."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import uuid4

import pytest
from msgspec import json, structs
from tests.support.probe_language import Asked, asked

from orderflow.messaging.container.records import record_log
from orderflow.messaging.container.records.partition import Partition
from orderflow.messaging.container.records.record import Progress, Record
from orderflow.messaging.container.records.record_log import Outcome, RecordLine, RecordLog
from orderflow.messaging.event import Attributes, EventId, Metadata
from orderflow.messaging.kafka.finished_offsets import Window
from orderflow.messaging.listener import Listener, Received
from orderflow.messaging.telemetry import LogLine
from orderflow.messaging.telemetry.trace_context import process_span_id
from orderflow.messaging.testing.memory_clock import MemoryClock

NOW = datetime(2026, 1, 31, 9, 5, tzinfo=UTC)
CLOCK = MemoryClock(start=NOW)


class Changed(Asked, frozen=True, kw_only=True, rename="camel"):
    """An event with a headline of its own."""

    @property
    def headline(self) -> str:
        return self.behaviour


PAID = Changed(id="0198a0b2", number=2, behaviour="PAID", at=NOW)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[list[LogLine]]:
    batches: list[list[LogLine]] = []
    monkeypatch.setattr(record_log, "write_lines", batches.append)
    monkeypatch.setattr(record_log, "wanted", lambda _level: True)
    return batches


def record_log_of(*, wanted: bool = True) -> RecordLog:
    listener = Listener(
        name="analytics",
        group="analytics-service",
        source="/analytics",
        namespace=uuid4(),
        topics=(),
        handles=(Changed,),
        delivery=cast("Any", None),
    )
    return RecordLog(listener, wanted=wanted, clock=CLOCK)


def item(
    event: Any = None, *, key: bytes = b"0198a0b2", headers: Any = None, offset: int = 17
) -> Record:
    partition = Partition("order-events", 2, Window(0, ()))
    found = Record(None, partition, offset, key, deque(), Progress(headers=headers))
    if event is not None:
        named = Metadata(
            id=EventId(uuid4()),
            type=event.type_name(),
            source="",
            time=NOW,
            subject="",
            correlation_id="",
        )
        found.progress.received = Received(
            event=event,
            attributes=Attributes.of(named),
            topic="order-events",
            partition=2,
            offset=offset,
            key=key,
        )
    return found


TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-00"


def line(one: Record, outcome: Outcome, written: list[list[LogLine]]) -> RecordLine:
    log = record_log_of()
    log.add([one], outcome)
    log.write()
    (told,) = written.pop()
    assert isinstance(told, RecordLine)
    return told


def test_a_line_has_a_field_for_everything_that_it_tells(written: list[list[LogLine]]) -> None:
    told = line(item(PAID), "handled", written)
    assert (told.topic, told.partition, told.offset, told.key) == (
        "order-events",
        2,
        17,
        "0198a0b2",
    )
    assert (told.event, told.group, told.outcome) == ("PAID", "analytics-service", "handled")


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("handled", "handled by"),
        ("repeat", "known already to"),
        ("skipped", "skipped by"),
        ("dead letter", "dead letter of"),
    ],
)
def test_a_line_reads_as_if_written_by_a_person(
    outcome: Outcome, words: str, written: list[list[LogLine]]
) -> None:
    told = line(item(PAID), outcome, written)
    assert str(told) == f"order-events-2@17  PAID of 0198a0b2  {words} analytics-service"


def test_a_line_names_order_event_and_the_span_of_the_processing_sampled_or_not(
    written: list[list[LogLine]],
) -> None:
    read = item(PAID)
    received = read.progress.received
    known = structs.replace(
        received.metadata, correlation_id="0198a0b2", subject="x", traceparent=TRACEPARENT
    )
    read.progress.received = structs.replace(received, attributes=Attributes.of(known))
    headers = [
        ("ce_id", str(known.id).encode()),
        ("ce_correlationid", b"0198a0b2"),
        ("traceparent", TRACEPARENT.encode()),
    ]

    span = process_span_id("analytics-service", str(known.id))
    for told in (line(read, "handled", written), line(item(headers=headers), "skipped", written)):
        assert (told.order_id, told.event_id) == ("0198a0b2", str(known.id))
        assert (told.trace_id, told.span_id) == (TRACE, span)


def test_a_line_has_no_field_for_an_id_that_the_record_does_not_have(
    written: list[list[LogLine]],
) -> None:
    for headers in (None, [], [("traceparent", TRACEPARENT.encode())], [("ce_id", b"")]):
        told = json.encode(line(item(headers=headers), "dead letter", written))
        assert not {"order_id", "event_id", "trace_id", "span_id", "attempts", "waited_ms"} & {
            *json.decode(told)
        }


def test_a_record_that_failed_before_says_how_often_and_for_how_long(
    written: list[list[LogLine]],
) -> None:
    late = item(PAID)
    late.progress.attempts = 2
    log = record_log_of()
    late.progress.first_failure = CLOCK.now() - timedelta(milliseconds=4_250)
    log.add([late], "handled")
    log.write()
    told = cast("RecordLine", written.pop()[0])
    assert (told.attempts, told.waited_ms) == (2, 4250)
    assert str(told).endswith("handled by analytics-service, 4.2 s after it first failed")


def test_an_event_without_a_headline_is_called_by_its_types_short_name(
    written: list[list[LogLine]],
) -> None:
    assert line(item(asked("key", 1)), "handled", written).event == "Asked"
    headers = [("ce_id", b"1"), ("ce_type", b"orderflow.OrderShipped")]
    assert line(item(headers=headers), "skipped", written).event == "OrderShipped"


def test_a_record_that_nobody_can_read_has_its_line_too(written: list[list[LogLine]]) -> None:
    told = line(item(key=b""), "dead letter", written)
    assert (told.key, told.event) == (None, None)
    assert str(told) == "order-events-2@17  something of nobody  dead letter of analytics-service"


def test_a_strangers_key_can_neither_start_a_line_nor_command_a_terminal(
    written: list[list[LogLine]],
) -> None:
    told = line(
        item(key=b"a\n\x1b[2Jb\xff", headers=[("ce_type", b"x.\x07")]), "dead letter", written
    )
    assert str(told).isprintable()
    assert told.key == "a\n\x1b[2Jb\\xff"


def test_what_a_turn_told_is_one_write_and_nothing_is_written_unasked(
    written: list[list[LogLine]],
) -> None:
    log = record_log_of()
    log.add([item(PAID, offset=1), item(PAID, offset=2)], "handled")
    log.add([item(PAID, offset=3)], "repeat")
    log.write()
    log.write()
    assert [[cast("RecordLine", told).offset for told in batch] for batch in written] == [[1, 2, 3]]
    silent = record_log_of(wanted=False)
    silent.add([item(PAID)], "handled")
    silent.write()
    assert len(written) == 1


def test_no_line_is_made_for_a_level_that_is_not_written(
    monkeypatch: pytest.MonkeyPatch, written: list[list[LogLine]]
) -> None:
    monkeypatch.setattr(record_log, "wanted", lambda _level: False)
    log = record_log_of()
    log.add([item(PAID)], "handled")
    log.write()
    assert written == []
