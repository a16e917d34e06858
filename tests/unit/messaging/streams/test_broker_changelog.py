"""How the reader of changelogs takes what the client library returns at once."""

from __future__ import annotations

from confluent_kafka import KafkaError, Message

from orderflow.messaging.streams.broker_changelog import PARTITION_EOF, read_of
from orderflow.messaging.streams.changelog import ChangelogRecord

HERE, THERE = ("changelog", 0), ("changelog", 1)


def record(offset: int) -> Message:
    return Message(topic="changelog", partition=0, offset=offset, key=b"key", value=b"value")


def error(code: int, *, partition: int, offset: int = 0) -> Message:
    failure = KafkaError(code)
    return Message(topic="changelog", partition=partition, offset=offset, error=failure)


def test_records_beside_an_error_are_not_lost_and_the_error_is_told() -> None:
    """A store would lack those records for good."""
    denied = KafkaError.TOPIC_AUTHORIZATION_FAILED
    read, failure = read_of([record(3), error(denied, partition=1), record(4)])
    assert read.records == [ChangelogRecord(*HERE, offset, b"key", b"value") for offset in (3, 4)]
    assert read.reached == {HERE: 5}
    assert failure is not None
    assert "authorization failed" in str(failure).lower()
    assert failure.resource == "broker"


def test_an_end_is_reached_behind_the_last_record_and_a_log_without_the_offset_is_named() -> None:
    read, failure = read_of(
        [
            record(3),
            error(KafkaError._AUTO_OFFSET_RESET, partition=1),
            error(PARTITION_EOF, partition=0, offset=7),
        ]
    )
    assert (read.reached, read.refused, failure) == ({HERE: 7}, [THERE], None)
