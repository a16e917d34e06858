"""`orderflow tail`: headers as they are meant, evidence in one line, nothing that acts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.support.connect_letters import DLT as CONNECT_DLT
from tests.support.connect_letters import connect_headers
from tests.unit.cli.dlt.letters import EVIL, FAILED, ORDER

from orderflow.cli.records import ReadableRecord, readable
from orderflow.cli.tail import _answer, shown
from orderflow.messaging.dead_letters.letter import Evidence, letter
from orderflow.messaging.errors import Poison
from orderflow.messaging.event import (
    DLT_EXCEPTION_STACKTRACE,
    DLT_ORIGINAL_OFFSET,
    DLT_ORIGINAL_PARTITION,
    DLT_ORIGINAL_TIMESTAMP,
    RETRY_ATTEMPTS,
    from_headers,
)
from orderflow.messaging.kafka.reader import ConsumerRecord
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.testing.registry import InMemoryRegistry

DLT = "orders.payment-service.dlt"
OWN = [("ce_type", b"orderflow.OrderCreated"), ("x-raw", b"\0\0\0\5"), ("x-none", None)]


def dead(offset: int = 61, **changes: Any) -> ReadableRecord:
    """As the container writes one, as the command reads it."""
    try:
        from_headers(OWN)
    except Poison as error:
        evidence = Evidence(
            exception=error,
            attempts=1,
            first_failure=FAILED,
            last_failure=FAILED,
            group="payment-service",
        )
    _, key, value, headers = letter(
        dlt=DLT,
        topic="orders",
        partition=0,
        offset=offset,
        timestamp_ms=1_769_850_000_123,
        timestamp_type=1,
        key=ORDER.encode(),
        value=b"junk",
        headers=OWN,
        evidence=evidence,
    )
    return read(topic=DLT, key=key, value=value, headers=[*headers], **changes)


def read(**fields: Any) -> ReadableRecord:
    record = {
        "topic": "orders",
        "partition": 0,
        "offset": 3,
        "timestamp": datetime(2026, 1, 31, 9, 5, tzinfo=UTC),
        "key": b"",
        "value": None,
        "headers": [],
        **fields,
    }
    return readable(ConsumerRecord(**record), Decoder(InMemoryRegistry()))


def text(record: ReadableRecord, *, verbose: bool = False) -> str:
    return "\n".join(line.plain for line in shown(record, verbose=verbose))


def test_a_dead_letter_says_in_one_line_where_it_was_and_why() -> None:
    lines = text(dead()).splitlines()
    assert lines[1] == (
        "  orders-0@61 · group payment-service · Poison: the record has no ce_id header · 1 attempt"
    )
    assert lines[2] == "  x-raw=0x00000005  x-none=None"
    assert "undecodable" in lines[3]
    assert len(lines) == 4


def test_a_letter_of_connects_is_told_in_one_line_too() -> None:
    record = read(topic=CONNECT_DLT, headers=connect_headers(OWN))
    assert record.evidence is not None
    lines = text(record).splitlines()
    assert lines[1].startswith("  payments-2@41 · group payments-warehouse · DataException: ")
    assert lines[2] == "  x-raw=0x00000005  x-none=None"
    assert "AvroConverter.java" not in text(record)
    assert "AvroConverter.java:91" in text(record, verbose=True)


def test_all_headers_and_the_stack_trace_are_there_if_asked_for() -> None:
    verbose = text(dead(), verbose=True)
    assert "kafka_dlt-original-offset=61" in verbose
    assert "orderflow.messaging.errors.Poison: the record has no ce_id header" in verbose
    assert "Traceback" in verbose
    assert "Traceback" not in text(dead())


def test_programs_get_headers_as_they_are_meant() -> None:
    answer = _answer(dead(offset=2**33))
    headers = answer["headers"]
    assert (headers[DLT_ORIGINAL_PARTITION], headers[DLT_ORIGINAL_OFFSET]) == (0, 2**33)
    assert (headers[DLT_ORIGINAL_TIMESTAMP], headers[RETRY_ATTEMPTS]) == (1_769_850_000_123, 1)
    assert (headers["x-raw"], headers["x-none"]) == ("0x00000005", None)
    assert "Traceback" in headers[DLT_EXCEPTION_STACKTRACE]
    assert answer["evidence"]["originalOffset"] == 2**33
    assert answer["evidence"]["exceptionType"] == "orderflow.messaging.errors.Poison"


def test_a_header_of_another_length_is_no_number() -> None:
    record = read(headers=[(DLT_ORIGINAL_OFFSET, b"\0\1"), (RETRY_ATTEMPTS, b"three")])
    assert record.headers == {DLT_ORIGINAL_OFFSET: "0x0001", RETRY_ATTEMPTS: "three"}


def test_what_is_no_text_is_hexadecimal() -> None:
    record = read(headers=[("a", b"\xff\x01"), ("b", "Ü".encode()), ("c", b""), ("d", b"a\x1b")])
    assert record.headers == {"a": "0xff01", "b": "Ü", "c": "", "d": "a\x1b"}


def test_a_record_that_is_no_dead_letter_has_no_evidence() -> None:
    record = read(headers=[("orderflow-other", b"x")])
    assert "orderflow-other=x" in text(record)
    assert "evidence" not in _answer(record)


@pytest.mark.parametrize("verbose", [False, True])
def test_nothing_that_a_producer_wrote_acts_or_forges_a_line(verbose: bool) -> None:
    evil = f"{EVIL}\nforged".encode()
    record = read(
        key=evil,
        value=b"\0\0\0\0\7",
        headers=[("ce_type", evil), (evil.decode(), evil), (DLT_EXCEPTION_STACKTRACE, evil)]
        + [(name, evil) for name in ("kafka_dlt-original-topic", "kafka_dlt-exception-message")],
    )
    seen = text(record, verbose=verbose)
    assert {each for each in seen if not each.isprintable()} <= {"\n"}
    assert not [line for line in seen.splitlines() if line.startswith("forged")]
