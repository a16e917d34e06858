"""A record and the evidence of its failure → the dead letter, byte by byte."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.messaging.dead_letters.letter import (
    MESSAGE_BYTES_MAX,
    STACKTRACE_BYTES_MAX,
    Evidence,
    letter,
    replay_count,
    without_evidence,
)
from orderflow.messaging.errors import Poison

FIRST = datetime(2026, 1, 31, 9, 5, 0, 123_000, tzinfo=UTC)
LAST = datetime(2026, 1, 31, 9, 5, 32, 7_000, tzinfo=UTC)
OWN: list[tuple[str, bytes | None]] = [
    ("ce_id", b"x"),
    ("ce_id", b"twice"),
    ("empty", b""),
    ("null", None),
]
HEADERS = st.lists(st.tuples(st.text(max_size=10), st.none() | st.binary(max_size=20)), max_size=5)


def failure(message: str = "no such order", cause: str | None = "not a number") -> Exception:
    with pytest.raises(Poison) as caught:
        refuse(message, cause)
    return caught.value


def refuse(message: str, cause: str | None) -> None:
    if cause is None:
        raise Poison(message)
    try:
        complain(cause)
    except ValueError as error:
        raise Poison(message) from error


def complain(text: str) -> None:
    raise ValueError(text)


def evidence(exception: BaseException | None = None) -> Evidence:
    return Evidence(
        exception=exception or failure(),
        attempts=3,
        first_failure=FIRST,
        last_failure=LAST,
        group="payment-service",
    )


def made(
    *,
    exception: BaseException | None = None,
    headers: list[tuple[str, bytes | None]] | None = None,
    timestamp: tuple[int, int] = (1, 0x019C_0000_0001),
) -> list[tuple[str, bytes | None]]:
    *_, found = letter(
        dlt="orders.payment-service.dlt",
        topic="orders",
        partition=2,
        offset=258,
        timestamp_ms=timestamp[1],
        timestamp_type=timestamp[0],
        key=b"k",
        value=b"v",
        headers=headers,
        evidence=evidence(exception),
    )
    return list(found)


def test_the_evidence_has_springs_names_in_springs_encodings() -> None:
    found = made()
    assert [pair for pair in found if pair[0] != "kafka_dlt-exception-stacktrace"] == [
        ("kafka_dlt-original-topic", b"orders"),
        ("kafka_dlt-original-partition", b"\x00\x00\x00\x02"),
        ("kafka_dlt-original-offset", b"\x00\x00\x00\x00\x00\x00\x01\x02"),
        ("kafka_dlt-original-timestamp", b"\x00\x00\x01\x9c\x00\x00\x00\x01"),
        ("kafka_dlt-original-timestamp-type", b"CreateTime"),
        ("kafka_dlt-original-consumer-group", b"payment-service"),
        ("kafka_dlt-exception-fqcn", b"orderflow.messaging.errors.Poison"),
        ("kafka_dlt-exception-cause-fqcn", b"builtins.ValueError"),
        ("kafka_dlt-exception-message", b"no such order"),
        ("retry_topic-attempts", b"\x00\x00\x00\x03"),
        ("orderflow-first-failure-time", b"2026-01-31T09:05:00.123Z"),
        ("orderflow-last-failure-time", b"2026-01-31T09:05:32.007Z"),
        ("orderflow-replay-count", b"0"),
    ]
    trace = dict(found)["kafka_dlt-exception-stacktrace"]
    assert trace is not None
    assert trace.startswith(b"Traceback (most recent call last):\n")
    assert trace.endswith(b"orderflow.messaging.errors.Poison: no such order\n")
    assert b"ValueError: not a number" in trace


@pytest.mark.parametrize(
    ("timestamp", "text", "raw"),
    [
        ((2, 1), b"LogAppendTime", b"\x00\x00\x00\x00\x00\x00\x00\x01"),
        ((0, -1), b"NoTimestampType", b"\xff\xff\xff\xff\xff\xff\xff\xff"),
    ],
)
def test_a_timestamp_says_whose_it_is(timestamp: tuple[int, int], text: bytes, raw: bytes) -> None:
    found = dict(made(timestamp=timestamp))
    assert (found["kafka_dlt-original-timestamp-type"], found["kafka_dlt-original-timestamp"]) == (
        text,
        raw,
    )


def test_without_a_cause_there_is_no_header_for_it() -> None:
    assert "kafka_dlt-exception-cause-fqcn" not in dict(made(exception=failure(cause=None)))


@given(st.none() | st.binary(), st.none() | st.binary(), HEADERS)
def test_key_value_and_own_headers_stay_as_they_were(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    topic, new_key, new_value, found = letter(
        dlt="t.g.dlt",
        topic="t",
        partition=0,
        offset=0,
        timestamp_ms=0,
        timestamp_type=1,
        key=key,
        value=value,
        headers=headers,
        evidence=evidence(),
    )
    assert (topic, new_key, new_value) == ("t.g.dlt", key, value)
    assert found[: len(headers)] == headers
    assert without_evidence(found) == headers


def test_a_record_that_fails_again_has_only_the_new_evidence_and_its_count() -> None:
    again = made(headers=[*made(headers=[*OWN, ("orderflow-replay-count", b"2")]), ("later", b"1")])
    assert [name for name, _ in again].count("kafka_dlt-original-topic") == 1
    assert dict(again)["orderflow-replay-count"] == b"2"
    assert without_evidence(again) == [*OWN, ("later", b"1")]


@pytest.mark.parametrize(
    ("values", "count"),
    [([], 0), ([b"3"], 3), ([b"1", b"2"], 2), ([b"4", b"junk", None], 4), ([b"-1"], 0)],
)
def test_the_last_count_that_is_one_counts(values: list[bytes | None], count: int) -> None:
    assert replay_count([("orderflow-replay-count", value) for value in values]) == count


@given(st.text(st.characters(), min_size=300, max_size=400), st.integers(1, 60))
def test_message_and_trace_are_cut_between_characters_and_stay_text(text: str, times: int) -> None:
    found = dict(made(exception=failure(text * times)))
    message, trace = found["kafka_dlt-exception-message"], found["kafka_dlt-exception-stacktrace"]
    assert message is not None
    assert trace is not None
    assert len(message) <= MESSAGE_BYTES_MAX
    assert len(trace) <= STACKTRACE_BYTES_MAX
    message.decode()
    assert trace.decode().startswith("Traceback")


def test_an_exception_that_cannot_even_be_shown_makes_a_dead_letter_all_the_same() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    found = dict(made(exception=Mute()))
    assert (found["kafka_dlt-exception-fqcn"] or b"").endswith(b"Mute")
    assert found["kafka_dlt-exception-message"]
