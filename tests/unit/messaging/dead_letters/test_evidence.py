"""Headers → evidence: what was written is read again, and nothing anybody wrote raises."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.messaging.dead_letters import letter as written
from orderflow.messaging.dead_letters.evidence import LetterEvidence, read_evidence, short_name
from orderflow.messaging.errors import RecordFault
from orderflow.messaging.event import REPLAY_COUNT, rfc3339_ms

NAMES = sorted(
    {
        value
        for name, value in vars(written).items()
        if name.isupper() and isinstance(value, str) and value != written.UNTOLD
    }
    | {"ce_id", "ce_type", "ce_correlationid", "ce_subject"}
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENTS = st.integers(0, 250_000_000_000_000).map(lambda ms: EPOCH + timedelta(milliseconds=ms))
WORDS = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=30)


class Failed(msgspec.Struct):
    topic: str
    group: str
    partition: int
    offset: int
    timestamp: datetime
    attempts: int
    first_failure: datetime
    last_failure: datetime
    replays: int
    event_id: str


FAILED = st.builds(
    Failed,
    topic=WORDS,
    group=WORDS,
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**63 - 1),
    timestamp=MOMENTS,
    attempts=st.integers(0, 2**31 - 1),
    first_failure=MOMENTS,
    last_failure=MOMENTS,
    replays=st.integers(0, 1_000_000),
    event_id=WORDS,
)


@given(FAILED)
def test_what_a_listener_wrote_is_read_again(failed: Failed) -> None:
    fault = RecordFault("no such order")
    fault.__cause__ = EOFError()
    evidence = written.Evidence(
        exception=fault,
        attempts=failed.attempts,
        first_failure=failed.first_failure,
        last_failure=failed.last_failure,
        group=failed.group,
    )
    *_, headers = written.letter(
        dlt="d",
        topic=failed.topic,
        partition=failed.partition,
        offset=failed.offset,
        timestamp_ms=(failed.timestamp - EPOCH) // timedelta(milliseconds=1),
        timestamp_type=1,
        key=b"k",
        value=b"v",
        headers=[
            ("ce_id", failed.event_id.encode()),
            ("ce_type", b"shop.Ordered"),
            ("ce_subject", b"order-1"),
            (REPLAY_COUNT, str(failed.replays).encode()),
        ],
        evidence=evidence,
    )
    read = read_evidence(headers)
    assert read.stack_trace is not None
    assert read == LetterEvidence(
        original_topic=failed.topic,
        original_partition=failed.partition,
        original_offset=failed.offset,
        original_timestamp=failed.timestamp,
        original_timestamp_type="CreateTime",
        group=failed.group,
        exception_type="orderflow.messaging.errors.RecordFault",
        cause_type="builtins.EOFError",
        message="no such order",
        stack_trace=read.stack_trace,
        attempts=failed.attempts,
        first_failure=failed.first_failure,
        last_failure=failed.last_failure,
        replays=failed.replays,
        event_id=failed.event_id,
        event_type="shop.Ordered",
        order_id="order-1",
    )
    assert read.cause == "RecordFault ← EOFError"


def test_a_letter_that_was_cut_and_failed_again_says_so() -> None:
    evidence = written.Evidence(
        exception=RecordFault("x"), attempts=1, first_failure=EPOCH, last_failure=EPOCH, group="g"
    )
    *_, first = written.letter(
        dlt="d",
        topic="t",
        partition=0,
        offset=4,
        timestamp_ms=-1,
        timestamp_type=0,
        key=b"k",
        value=b"v",
        headers=None,
        evidence=evidence,
    )
    *_, headers = written.letter(
        dlt="d",
        topic="t.g.replay",
        partition=0,
        offset=9,
        timestamp_ms=-1,
        timestamp_type=0,
        key=b"k",
        value=bytes(3 * 1024 * 1024),
        headers=first,
        evidence=evidence,
    )
    read = read_evidence(headers)
    assert (read.original_topic, read.original_offset, read.original_timestamp) == ("t", 4, None)
    assert (read.replay_topic, read.replay_partition, read.replay_offset) == ("t.g.replay", 0, 9)
    assert (read.cut, read.original_size) == (("value",), 3 * 1024 * 1024)
    assert len(read.original_sha256 or "") == 64


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.none() | st.binary(max_size=40))))
def test_whatever_strangers_wrote_raises_nothing(headers: list[tuple[str, bytes | None]]) -> None:
    read = read_evidence(headers)
    assert read.replays >= 0
    assert read.cause


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kafka_dlt-original-timestamp", b"\x7f" + b"\xff" * 7),
        ("kafka_dlt-original-offset", b"12"),
        ("orderflow-first-failure-time", b"0001-01-01T00:00:00+14:00"),
        ("orderflow-first-failure-time", b"2026-01-31T09:05:00"),
        ("orderflow-original-size", b"9" * 5_000),
        ("orderflow-original-size", "٣".encode()),
        ("orderflow-replay-count", b"9" * 5_000),
        ("kafka_dlt-original-topic", b""),
    ],
)
def test_what_cannot_be_meant_counts_as_not_said(name: str, value: bytes) -> None:
    assert read_evidence([(name, value)]) == LetterEvidence()


def test_text_that_is_not_utf_8_is_shown_all_the_same() -> None:
    assert (
        read_evidence([("kafka_dlt-exception-message", b"a\xffb")]).message
        == "a\N{REPLACEMENT CHARACTER}b"
    )
    assert read_evidence(None) == LetterEvidence()
    assert LetterEvidence().cause == "unknown"


@given(MOMENTS)
def test_times_are_read_as_they_are_written(moment: datetime) -> None:
    header = ("orderflow-last-failure-time", rfc3339_ms(moment).encode())
    assert read_evidence([header]).last_failure == moment


@pytest.mark.parametrize(("full", "short"), [("a.b.C", "C"), ("C", "C"), ("a.", "a.")])
def test_a_short_name_is_the_last_part(full: str, short: str) -> None:
    assert short_name(full) == short
