"""Letters of Kafka Connect: read like our own, sent back, counted, and never believed blindly."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.connect_letters import (
    CAUSE,
    DATA_EXCEPTION,
    DLT,
    MESSAGE,
    REPLAY,
    SINK,
    STACK_TRACE,
    Headers,
    connect_headers,
)
from tests.support.letters import a_letter

from orderflow.messaging.dead_letters import letter as written
from orderflow.messaging.dead_letters.connect_letter import (
    MESSAGE_BYTES_MAX,
    NAME_BYTES_MAX,
    STACK_TRACE_BYTES_MAX,
    is_from_connect,
)
from orderflow.messaging.dead_letters.evidence import LetterEvidence, read_evidence
from orderflow.messaging.dead_letters.letter import copy_to_replay, replay_count, without_evidence
from orderflow.messaging.dead_letters.letter_index import LetterIndex
from orderflow.messaging.dead_letters.replay_plan import Held
from orderflow.messaging.errors import Poison

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
OWN: Headers = [
    ("ce_id", b"019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a11"),
    ("ce_type", b"orderflow.PaymentSucceeded"),
    ("ce_correlationid", b"order-1"),
    ("traceparent", b"00-x"),
    ("null", None),
]
FORGED: Headers = [
    ("kafka_dlt-original-topic", b"orders"),
    ("kafka_dlt-original-partition", (7).to_bytes(4, "big")),
    ("kafka_dlt-original-offset", (7).to_bytes(8, "big")),
    ("kafka_dlt-original-timestamp", (7).to_bytes(8, "big")),
    ("kafka_dlt-original-timestamp-type", b"CreateTime"),
    ("orderflow-replay-count", b"900"),
    ("orderflow-letter-cut", b"value"),
]
NAMES = [name for name, _ in [*connect_headers(), *FORGED]]


def sent_back(headers: Headers, letter_id: str = f"{DLT}/0/3") -> Headers:
    """The headers of the copy of a letter, on the replay topic."""
    _, _, _, copied = copy_to_replay(
        to=REPLAY, letter_id=letter_id, key=b"order-1", value=b"?", headers=headers
    )
    return [*copied]


def failed_again(copied: Headers, offset: int = 5) -> Headers:
    """What Connect writes of a copy that it could not convert either."""
    return connect_headers(copied, topic=REPLAY, partition=0, offset=offset)


def test_a_letter_of_connects_says_where_from_who_and_why() -> None:
    read = read_evidence(connect_headers(OWN))
    assert read == LetterEvidence(
        original_topic="payments",
        original_partition=2,
        original_offset=41,
        group=SINK,
        exception_type=DATA_EXCEPTION,
        cause_type=CAUSE,
        message=MESSAGE,
        stack_trace=STACK_TRACE,
        task="0",
        stage="VALUE_CONVERTER",
        stage_class="io.apicurio.registry.utils.converter.AvroConverter",
        event_id="019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a11",
        event_type="orderflow.PaymentSucceeded",
        order_id="order-1",
    )
    assert read.attempts is None
    assert read.cause == "DataException ← SerializationException"


def test_key_value_and_own_headers_go_back_and_connects_do_not() -> None:
    to, key, value, headers = copy_to_replay(
        to=REPLAY, letter_id=f"{DLT}/0/3", key=b"k", value=b"v", headers=connect_headers(OWN)
    )
    assert (to, key, value) == (REPLAY, b"k", b"v")
    assert headers == [
        *OWN,
        ("kafka_dlt-original-topic", b"payments"),
        ("kafka_dlt-original-partition", (2).to_bytes(4, "big")),
        ("kafka_dlt-original-offset", (41).to_bytes(8, "big")),
        ("kafka_dlt-original-timestamp", (-1).to_bytes(8, "big", signed=True)),
        ("kafka_dlt-original-timestamp-type", b"NoTimestampType"),
        ("orderflow-replay-count", b"1"),
        ("orderflow-replay-of", f"{DLT}/0/3".encode()),
    ]
    assert without_evidence(headers) == without_evidence(connect_headers(OWN)) == OWN


def test_a_copy_that_fails_again_keeps_its_first_place_and_counts() -> None:
    letter = connect_headers(OWN)
    for replays in (1, 2, 3):
        letter = failed_again(sent_back(letter), offset=10 + replays)
        read = read_evidence(letter)
        assert (read.original_topic, read.original_partition, read.original_offset) == (
            "payments",
            2,
            41,
        )
        assert (read.replay_topic, read.replay_partition, read.replay_offset) == (
            REPLAY,
            0,
            10 + replays,
        )
        assert read.replays == replays
        assert without_evidence(letter) == OWN
        assert sum(name == "__connect.errors.topic" for name, _ in letter) == 1


def test_who_writes_to_a_topic_of_events_can_neither_park_nor_move_a_letter() -> None:
    """Connect keeps such headers; the listeners' own letters replace them."""
    letter = connect_headers([*OWN, *FORGED, *connect_headers(topic="orders", offset=1)])
    read = read_evidence(letter)
    assert (read.original_topic, read.original_offset, read.replays, read.cut) == (
        "payments",
        41,
        0,
        (),
    )
    assert dict(sent_back(letter))["kafka_dlt-original-offset"] == (41).to_bytes(8, "big")
    assert dict(sent_back(letter))["orderflow-replay-count"] == b"1"


def test_connects_headers_on_a_record_of_ours_stay_its_own() -> None:
    stray = connect_headers(OWN)
    *_, letter = written.letter(
        dlt="payments.order-service.dlt",
        topic="payments",
        partition=0,
        offset=7,
        timestamp_ms=0,
        timestamp_type=1,
        key=b"k",
        value=b"v",
        headers=stray,
        evidence=written.Evidence(
            exception=Poison("no"), attempts=0, first_failure=NOON, last_failure=NOON, group="g"
        ),
    )
    assert letter[: len(stray)] == stray
    assert not is_from_connect(letter)
    assert read_evidence(letter).original_offset == 7
    assert without_evidence(letter) == stray


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("partition", b"-1"),
        ("partition", b"2147483648"),
        ("partition", b""),
        ("partition", None),
        ("offset", b"9" * 5_000),
        ("offset", "٣".encode()),
        ("offset", b"9223372036854775808"),
        ("topic", b""),
        ("topic", None),
    ],
)
def test_a_place_that_cannot_be_meant_is_none_and_is_not_passed_on(
    name: str, value: bytes | None
) -> None:
    letter = [*OWN, *FORGED[:-1], *connect_headers()]
    letter = [(each, value if each == f"__connect.errors.{name}" else raw) for each, raw in letter]
    read = read_evidence(letter)
    assert getattr(read, f"original_{name}") is None
    assert not sent_back(letter)[len(OWN) : -2], "only count and letter are added"


def test_a_letter_that_does_not_say_where_it_was_read_is_not_sent() -> None:
    copied = sent_back(connect_headers(OWN))
    headers = [pair for pair in failed_again(copied) if pair[0] != "__connect.errors.topic"]
    evidence = read_evidence(headers)
    assert evidence.original_topic is None
    assert reason(evidence) is Held.FOREIGN


def test_a_letter_that_failed_as_often_as_allowed_is_parked() -> None:
    headers, reasons = connect_headers(OWN), []
    for _ in range(4):
        reasons.append(reason(read_evidence(headers)))
        headers = failed_again(sent_back(headers))
    assert reasons == [None, None, None, Held.PARKED]


def reason(evidence: LetterEvidence) -> Held | None:
    """Why a replay would not send a letter of this evidence."""
    index = LetterIndex(replays_max=3)
    index.add(msgspec.structs.replace(a_letter(0), evidence=evidence), is_meant=True)
    held = index.select(keep_order=True).held
    return next(iter(held), None)


def test_huge_texts_are_cut_and_harmless_to_read() -> None:
    read = read_evidence(
        connect_headers(
            exception="a." * 5_000,
            message="m" * 10_000_000,
            stack_trace="s" * 10_000_000 + "\nCaused by: x.Late",
        )
    )
    assert len(read.exception_type or "") == NAME_BYTES_MAX
    assert len(read.message or "") == MESSAGE_BYTES_MAX
    assert len(read.stack_trace or "") == STACK_TRACE_BYTES_MAX
    assert read.cause_type is None


def test_a_stack_trace_that_is_quoted_in_the_message_is_left_out() -> None:
    message = (
        "Batch entry 0 failed\n\tat org.postgresql.Driver.connect(Driver.java:1)\n\tat x.Y.z(Y)"
    )
    assert read_evidence(connect_headers(message=message)).message == "Batch entry 0 failed"
    assert read_evidence(connect_headers(message=None)).message is None
    assert read_evidence(connect_headers(message="look\nat this (please)")).message is not None


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.none() | st.binary(max_size=40))),
    st.sampled_from(NAMES[:10]),
)
def test_whatever_strangers_wrote_raises_nothing(headers: Headers, last: str) -> None:
    letter: Headers = [*headers, (last, b"\xff\x00\x1b[2J")]
    read = read_evidence(letter)
    assert read.replays >= 0
    assert read.cause
    copied = sent_back(letter)
    assert replay_count(copied) == read.replays + 1
    assert not is_from_connect(copied)
