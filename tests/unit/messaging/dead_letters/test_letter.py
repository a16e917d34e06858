"""A record and the evidence of its failure → the dead letter, byte by byte."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.messaging.dead_letters.letter import (
    LETTER_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    STACKTRACE_BYTES_MAX,
    Evidence,
    copy_to_replay,
    letter,
    replay_count,
    without_evidence,
)
from orderflow.messaging.errors import Poison
from orderflow.messaging.kafka.transactions import Produced

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
    assert b"\nValueError\n\nThe above exception was the direct cause" in trace
    assert b"not a number" not in trace


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
    [
        ([], 0),
        ([b"3"], 3),
        ([b"1", b"2"], 2),
        ([b"4", b"junk", None], 4),
        ([b"-1"], 0),
        ([b"9" * 99], 10**6),
    ],
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


MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("key", "value", "headers", "cut"),
    [
        (b"k", bytes(10 * MIB), OWN, b"value"),
        (bytes(3 * MIB), b"v", OWN, b"key"),
        (b"k", b"v", [*OWN, ("huge", bytes(3 * MIB))], b"headers"),
        (b"k", b"v", [("n" * 300, b"x" * 300)] * 10_000, b"headers"),
        (bytes(3 * MIB), bytes(3 * MIB), [("huge", bytes(3 * MIB))], b"key,headers,value"),
    ],
    ids=["10 MB of zeros", "huge key", "huge header", "10,000 headers", "all of them"],
)
def test_a_letter_always_fits_and_says_what_was_cut(
    key: bytes, value: bytes, headers: list[tuple[str, bytes | None]], cut: bytes
) -> None:
    topic, new_key, new_value, found = sent(key=key, value=value, headers=headers)
    size = len(new_key or b"") + len(new_value or b"")
    size += sum(len(name.encode()) + len(raw or b"") + 10 for name, raw in found)
    assert size <= LETTER_BYTES_MAX
    assert (topic, dict(found)["orderflow-letter-cut"]) == ("t.payment-service.dlt", cut)
    assert dict(found)["kafka_dlt-original-offset"] == (7).to_bytes(8, "big")
    if b"value" in cut:
        assert value.startswith(new_value or b"-")
        assert dict(found)["orderflow-original-size"] == str(len(value)).encode()
        assert dict(found)["orderflow-original-sha256"] == sha256(value).hexdigest().encode()
    if b"key" in cut:
        assert key.startswith(new_key or b"-")
        assert dict(found)["orderflow-original-key-size"] == str(len(key)).encode()
    if b"headers" in cut:
        assert dict(found)["orderflow-original-headers"] == str(len(headers)).encode()
    if OWN[0] in headers:
        assert found[: len(OWN)] == OWN


def test_a_letter_that_fits_says_nothing_of_a_cut() -> None:
    *_, value, found = sent(key=b"k", value=bytes(MIB), headers=OWN)
    assert value == bytes(MIB)
    assert "orderflow-letter-cut" not in dict(found)


def test_a_replayed_record_that_fails_again_keeps_its_true_place() -> None:
    first = made(headers=OWN)
    *_, again = sent(
        key=b"k", value=b"v", headers=[*first, ("orderflow-replay-count", b"1")], topic=REPLAY
    )
    for name, raw in first:
        if name.startswith("kafka_dlt-original-"):
            assert dict(again)[name] == raw
    assert dict(again)["orderflow-replay-topic"] == REPLAY.encode()
    assert dict(again)["orderflow-replay-partition"] == b"0"
    assert dict(again)["orderflow-replay-offset"] == b"7"
    assert dict(again)["orderflow-replay-count"] == b"1"
    assert without_evidence(again) == OWN


def test_nobody_can_forge_a_place_on_a_topic_of_events() -> None:
    *_, found = sent(key=b"k", value=b"v", headers=made(), topic="t")
    assert dict(found)["kafka_dlt-original-topic"] == b"t"
    assert "orderflow-replay-topic" not in dict(found)


@given(st.none() | st.binary(), st.none() | st.binary(), HEADERS)
def test_what_is_sent_back_is_the_record_as_it_was(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    first = made(headers=[*OWN, *headers, ("orderflow-replay-count", b"1")])
    to, new_key, new_value, found = copy_to_replay(
        to=REPLAY, letter_id="orders.payment-service.dlt/0/3", key=key, value=value, headers=first
    )
    assert (to, new_key, new_value) == (REPLAY, key, value)
    assert without_evidence(found) == found[: len(OWN) + len(headers)] == [*OWN, *headers]
    assert found[len(OWN) + len(headers) :] == [
        *(pair for pair in first if pair[0] in PLACE),
        ("orderflow-replay-count", b"2"),
        ("orderflow-replay-of", b"orders.payment-service.dlt/0/3"),
    ]

    *_, again = sent(key=key, value=value, headers=found, topic=REPLAY)
    assert dict(again)["kafka_dlt-original-offset"] == dict(first)["kafka_dlt-original-offset"]
    assert dict(again)["orderflow-replay-count"] == b"2"
    assert "orderflow-replay-of" not in dict(again)


PLACE = {f"kafka_dlt-original-{name}" for name in ("topic", "partition", "offset", "timestamp")} | {
    "kafka_dlt-original-timestamp-type"
}
REPLAY = "orders.payment-service.replay"


def sent(
    *,
    key: bytes | None,
    value: bytes | None,
    headers: list[tuple[str, bytes | None]],
    topic: str = "t",
) -> Produced:
    return letter(
        dlt="t.payment-service.dlt",
        topic=topic,
        partition=0,
        offset=7,
        timestamp_ms=0,
        timestamp_type=1,
        key=key,
        value=value,
        headers=headers,
        evidence=evidence(),
    )
