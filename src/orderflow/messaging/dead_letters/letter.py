"""
Dead letters: a record that a group could not handle, as it was, with the evidence of why beside it
in headers.

Guarantee: key, value and the record's own headers are the original bytes. The evidence has Spring's
header names in Spring's encodings, so that its tools and teams can read it: partition and attempts
are int32, offset and timestamp are int64, big-endian; everything else, ours included, is UTF-8
text. A dead letter always fits where its record did, plus 16 KiB: message and stack trace are cut.
Source: Spring Kafka, `DeadLetterPublishingRecoverer` and `KafkaHeaders`.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

import msgspec

from orderflow.messaging.event import (
    DLT_EXCEPTION_CAUSE_FQCN,
    DLT_EXCEPTION_FQCN,
    DLT_EXCEPTION_MESSAGE,
    DLT_EXCEPTION_STACKTRACE,
    DLT_ORIGINAL_CONSUMER_GROUP,
    DLT_ORIGINAL_OFFSET,
    DLT_ORIGINAL_PARTITION,
    DLT_ORIGINAL_TIMESTAMP,
    DLT_ORIGINAL_TIMESTAMP_TYPE,
    DLT_ORIGINAL_TOPIC,
    FIRST_FAILURE_TIME,
    LAST_FAILURE_TIME,
    REPLAY_COUNT,
    RETRY_ATTEMPTS,
    rfc3339_ms,
)
from orderflow.messaging.kafka.transactions import Produced

MESSAGE_BYTES_MAX = 1024
STACKTRACE_BYTES_MAX = 8 * 1024

RawHeaders = Sequence[tuple[str, bytes | None]]

_CUT = b"\n[...]\n"
_TIMESTAMP_TYPES = {0: b"NoTimestampType", 1: b"CreateTime", 2: b"LogAppendTime"}


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """
    Why `group` gave a record up: the last failure, after how many attempts (0: it never reached the
    handler).
    """

    exception: BaseException
    attempts: int
    first_failure: datetime
    last_failure: datetime
    group: str


def letter(  # noqa: PLR0913 - a record has that many parts
    *,
    dlt: str,
    topic: str,
    partition: int,
    offset: int,
    timestamp_ms: int,
    timestamp_type: int,
    key: bytes | None,
    value: bytes | None,
    headers: RawHeaders | None,
    evidence: Evidence,
) -> Produced:
    """
    The record to produce to `dlt`. Time and its type are as the client's `timestamp()` gives them.

    Evidence of an earlier failure (the record was replayed, and failed again) is replaced; how
    often it was replayed is kept.
    """
    added: list[tuple[str, bytes | None]] = [
        (DLT_ORIGINAL_TOPIC, topic.encode()),
        (DLT_ORIGINAL_PARTITION, _int32(partition)),
        (DLT_ORIGINAL_OFFSET, _int64(offset)),
        (DLT_ORIGINAL_TIMESTAMP, _int64(timestamp_ms)),
        (DLT_ORIGINAL_TIMESTAMP_TYPE, _TIMESTAMP_TYPES.get(timestamp_type, _TIMESTAMP_TYPES[0])),
        (DLT_ORIGINAL_CONSUMER_GROUP, evidence.group.encode()),
        *_of_exception(evidence.exception),
        (RETRY_ATTEMPTS, _int32(evidence.attempts)),
        (FIRST_FAILURE_TIME, rfc3339_ms(evidence.first_failure).encode()),
        (LAST_FAILURE_TIME, rfc3339_ms(evidence.last_failure).encode()),
        (REPLAY_COUNT, str(replay_count(headers)).encode()),
    ]

    return dlt, key, value, [*without_evidence(headers), *added]


def without_evidence(headers: RawHeaders | None) -> list[tuple[str, bytes | None]]:
    """The record's own headers: all but those that a dead letter adds."""
    return [pair for pair in headers or () if pair[0] not in _EVIDENCE]


def replay_count(headers: RawHeaders | None) -> int:
    """
    How often the record was sent back from a dead letter topic: its last such header that is a
    number, else 0.
    """
    for name, value in reversed(headers or ()):
        if name == REPLAY_COUNT and value is not None:
            with suppress(ValueError):
                return max(0, int(value))
    return 0


def _of_exception(exception: BaseException) -> list[tuple[str, bytes | None]]:
    described = traceback.TracebackException.from_exception(exception)
    cause = exception.__cause__ or (
        None if exception.__suppress_context__ else exception.__context__
    )
    return [
        (DLT_EXCEPTION_FQCN, _full_name(exception)),
        *([] if cause is None else [(DLT_EXCEPTION_CAUSE_FQCN, _full_name(cause))]),
        (DLT_EXCEPTION_MESSAGE, _text(str(described), MESSAGE_BYTES_MAX)),
        (DLT_EXCEPTION_STACKTRACE, _text("".join(described.format()), STACKTRACE_BYTES_MAX)),
    ]


def _full_name(exception: BaseException) -> bytes:
    kind = type(exception)
    return f"{kind.__module__}.{kind.__qualname__}".encode()


def _text(text: str, bytes_max: int) -> bytes:
    """UTF-8, whatever is in it; when too long its beginning and its end, which tell the most."""
    raw = text.encode("utf-8", "backslashreplace")
    if len(raw) <= bytes_max:
        return raw
    half = (bytes_max - len(_CUT)) // 2
    head, tail = raw[:half].decode("utf-8", "ignore"), raw[-half:].decode("utf-8", "ignore")
    return head.encode() + _CUT + tail.encode()


def _int32(number: int) -> bytes:
    return number.to_bytes(4, "big", signed=True)


def _int64(number: int) -> bytes:
    return number.to_bytes(8, "big", signed=True)


_EVIDENCE = frozenset(
    {
        DLT_ORIGINAL_TOPIC,
        DLT_ORIGINAL_PARTITION,
        DLT_ORIGINAL_OFFSET,
        DLT_ORIGINAL_TIMESTAMP,
        DLT_ORIGINAL_TIMESTAMP_TYPE,
        DLT_ORIGINAL_CONSUMER_GROUP,
        DLT_EXCEPTION_FQCN,
        DLT_EXCEPTION_CAUSE_FQCN,
        DLT_EXCEPTION_MESSAGE,
        DLT_EXCEPTION_STACKTRACE,
        RETRY_ATTEMPTS,
        FIRST_FAILURE_TIME,
        LAST_FAILURE_TIME,
        REPLAY_COUNT,
    }
)
