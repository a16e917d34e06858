"""
Dead letters: a record that a group could not handle, as it was, with the evidence of why beside it
in headers.

Guarantee: key, value and own headers are the original bytes, as long as all of the letter fits.
The evidence has Spring's header names in Spring's encodings, so that its tools and teams can read
it: partition and attempts are int32, offset and timestamp are int64, big-endian; everything else,
ours included, is UTF-8 text.

A dead letter always fits: a topic limits compressed batches, so a record may be far larger than any
producer accepts. Message and stack trace are always cut. Beyond `LETTER_BYTES_MAX` the record's own
parts are cut too, the value first; `orderflow-letter-cut` says which, with size and SHA-256 of the
original beside it. The whole record stays where `kafka_dlt-original-*` says, for that topic's
retention. A letter that was cut is evidence only: do not replay it.
Source: Spring Kafka, `DeadLetterPublishingRecoverer` and `KafkaHeaders`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from hashlib import sha256

import msgspec

from orderflow.messaging.dead_letters.connect_letter import (
    connect_failure,
    is_from_connect,
    without_connect_headers,
)
from orderflow.messaging.error_text import error_words, traceback_text
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
    LETTER_CUT,
    ORIGINAL_HEADERS,
    ORIGINAL_KEY_SHA256,
    ORIGINAL_KEY_SIZE,
    ORIGINAL_SHA256,
    ORIGINAL_SIZE,
    REPLAY_COUNT,
    REPLAY_OF,
    REPLAY_OFFSET,
    REPLAY_PARTITION,
    REPLAY_TOPIC,
    RETRY_ATTEMPTS,
    rfc3339_ms,
)
from orderflow.messaging.kafka.clients import RECORD_BYTES_MAX
from orderflow.messaging.kafka.headers import record_bytes
from orderflow.messaging.kafka.transactions import Produced

MESSAGE_BYTES_MAX = 1024
UNTOLD = "(not told: it may quote data; see the stack trace)"
STACKTRACE_BYTES_MAX = 8 * 1024

LETTER_BYTES_MAX = RECORD_BYTES_MAX - 4 * 1024
"""Key, value and headers together; the rest is the batch's own header."""
KEY_KEPT_BYTES = 256 * 1024
HEADERS_KEPT_BYTES = 512 * 1024
"""What a letter that must be cut keeps at least of its record's key and headers."""
CUT_EVIDENCE_BYTES = 1024
"""Room for the headers that say what was cut."""

REPLAYS_COUNTED_MAX = 1_000_000
"""Anybody may write a number there, of any size."""

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

    Evidence of an earlier failure is replaced; how often the record was replayed is kept. A record
    of the group's replay topic keeps the place that its first failure recorded; where the replay
    was is said beside it.
    """
    place: list[tuple[str, bytes | None]] = [
        (DLT_ORIGINAL_TOPIC, topic.encode()),
        (DLT_ORIGINAL_PARTITION, _int32(partition)),
        (DLT_ORIGINAL_OFFSET, _int64(offset)),
        (DLT_ORIGINAL_TIMESTAMP, _int64(timestamp_ms)),
        (DLT_ORIGINAL_TIMESTAMP_TYPE, _TIMESTAMP_TYPES.get(timestamp_type, _TIMESTAMP_TYPES[0])),
    ]
    # Only on the replay topic: anybody may write such headers on a topic of events.
    first = recorded_place(headers) if topic.endswith(f".{evidence.group}.replay") else []
    if first:
        place = [
            *first,
            (REPLAY_TOPIC, topic.encode()),
            (REPLAY_PARTITION, str(partition).encode()),
            (REPLAY_OFFSET, str(offset).encode()),
        ]

    added: list[tuple[str, bytes | None]] = [
        *place,
        (DLT_ORIGINAL_CONSUMER_GROUP, evidence.group.encode()),
        *_of_exception(evidence.exception),
        (RETRY_ATTEMPTS, _int32(evidence.attempts)),
        (FIRST_FAILURE_TIME, rfc3339_ms(evidence.first_failure).encode()),
        (LAST_FAILURE_TIME, rfc3339_ms(evidence.last_failure).encode()),
        (REPLAY_COUNT, str(replay_count(headers)).encode()),
    ]

    own = _without_ours(headers)
    if record_bytes(key, value, [*own, *added]) <= LETTER_BYTES_MAX:
        return dlt, key, value, [*own, *added]
    return _cut_to_fit(dlt, key, value, own, added)


def copy_to_replay(
    *, to: str, letter_id: str, key: bytes | None, value: bytes | None, headers: RawHeaders | None
) -> Produced:
    """
    The record of a letter that was not cut, to produce to the group's replay topic: key, value and
    own headers as they were, with the place of the first failure, how often it was sent back, this
    time included, and of which letter it is a copy. What Connect said of its failure does not go
    with it: the next one would stand beside it.
    """
    place = _place_to_keep(headers or ())
    count = str(replay_count(headers) + 1).encode()
    added: list[tuple[str, bytes | None]] = [
        *place,
        (REPLAY_COUNT, count),
        (REPLAY_OF, letter_id.encode()),
    ]
    return to, key, value, [*without_evidence(headers), *added]


def _cut_to_fit(
    dlt: str,
    key: bytes | None,
    value: bytes | None,
    own: list[tuple[str, bytes | None]],
    added: list[tuple[str, bytes | None]],
) -> Produced:
    """Key and headers get their shares first, and the value what is left."""
    room = LETTER_BYTES_MAX - CUT_EVIDENCE_BYTES - record_bytes(None, None, added)
    parts: list[str] = []
    said: list[tuple[str, bytes | None]] = []

    kept_key = None if key is None else key[:KEY_KEPT_BYTES]
    if key is not None and kept_key != key:
        parts.append("key")
        said += [(ORIGINAL_KEY_SIZE, str(len(key)).encode()), (ORIGINAL_KEY_SHA256, _sha256(key))]
    room -= len(kept_key or b"")

    kept = _first_that_fit(own, max(HEADERS_KEPT_BYTES, room - len(value or b"")))
    if len(kept) < len(own):
        parts.append("headers")
        said.append((ORIGINAL_HEADERS, str(len(own)).encode()))
    room -= record_bytes(None, None, kept)

    kept_value = None if value is None else value[:room]
    if value is not None and kept_value != value:
        parts.append("value")
        said += [(ORIGINAL_SIZE, str(len(value)).encode()), (ORIGINAL_SHA256, _sha256(value))]
    said.append((LETTER_CUT, ",".join(parts).encode()))
    return dlt, kept_key, kept_value, [*kept, *added, *said]


def _first_that_fit(
    headers: Iterable[tuple[str, bytes | None]], room: int
) -> list[tuple[str, bytes | None]]:
    kept = []
    for pair in headers:
        size = record_bytes(None, None, [pair])
        if size <= room:
            kept.append(pair)
            room -= size
    return kept


def _sha256(raw: bytes) -> bytes:
    return sha256(raw).hexdigest().encode()


def _place_to_keep(headers: RawHeaders) -> list[tuple[str, bytes | None]]:
    """
    Where the record of a letter failed first, in our headers: those that it has, or what Connect
    says; empty if that does not name it completely.
    """
    if not is_from_connect(headers):
        return [pair for pair in headers if pair[0] in _PLACE]
    failure = connect_failure(headers)
    if failure.was_replayed and (recorded := recorded_place(headers)):
        return recorded
    if failure.topic is None or failure.partition is None or failure.offset is None:
        return []

    return [
        (DLT_ORIGINAL_TOPIC, failure.topic.encode()),
        (DLT_ORIGINAL_PARTITION, _int32(failure.partition)),
        (DLT_ORIGINAL_OFFSET, _int64(failure.offset)),
        (DLT_ORIGINAL_TIMESTAMP, _int64(-1)),
        (DLT_ORIGINAL_TIMESTAMP_TYPE, _TIMESTAMP_TYPES[0]),
    ]


def recorded_place(headers: RawHeaders | None) -> list[tuple[str, bytes | None]]:
    """
    Where a record of a replay topic was at its first failure; empty unless its headers name that
    completely.
    """
    recorded = dict(headers or ())
    place = [(name, recorded[name]) for name in _PLACE if recorded.get(name)]
    is_whole = len(place) == len(_PLACE) and all(
        len(recorded[name] or b"") == size for name, size in _SIZES.items()
    )
    return place if is_whole else []


def without_evidence(headers: RawHeaders | None) -> list[tuple[str, bytes | None]]:
    """A letter's record's own headers: all but those that a dead letter adds."""
    own = _without_ours(headers)
    return without_connect_headers(own) if is_from_connect(headers) else own


def _without_ours(headers: RawHeaders | None) -> list[tuple[str, bytes | None]]:
    return [pair for pair in headers or () if pair[0] not in _EVIDENCE]


def replay_count(headers: RawHeaders | None) -> int:
    """
    How often the record was sent back from a dead letter topic: its last such header that is a
    number, else 0. Of a letter of Connect's, which keeps what anybody wrote, only if the record was
    read from a replay topic.
    """
    if headers and is_from_connect(headers) and not connect_failure(headers).was_replayed:
        return 0
    for name, value in reversed(headers or ()):
        if name == REPLAY_COUNT and value is not None:
            with suppress(ValueError):
                return min(max(0, int(value)), REPLAYS_COUNTED_MAX)
    return 0


def _of_exception(exception: BaseException) -> list[tuple[str, bytes | None]]:
    cause = exception.__cause__ or (
        None if exception.__suppress_context__ else exception.__context__
    )
    return [
        (DLT_EXCEPTION_FQCN, _full_name(exception)),
        *([] if cause is None else [(DLT_EXCEPTION_CAUSE_FQCN, _full_name(cause))]),
        (DLT_EXCEPTION_MESSAGE, _text(error_words(exception) or UNTOLD, MESSAGE_BYTES_MAX)),
        (DLT_EXCEPTION_STACKTRACE, _text(traceback_text(exception), STACKTRACE_BYTES_MAX)),
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


_PLACE = (
    DLT_ORIGINAL_TOPIC,
    DLT_ORIGINAL_PARTITION,
    DLT_ORIGINAL_OFFSET,
    DLT_ORIGINAL_TIMESTAMP,
    DLT_ORIGINAL_TIMESTAMP_TYPE,
)
_SIZES = {DLT_ORIGINAL_PARTITION: 4, DLT_ORIGINAL_OFFSET: 8, DLT_ORIGINAL_TIMESTAMP: 8}
_EVIDENCE = frozenset(
    {
        *_PLACE,
        REPLAY_TOPIC,
        REPLAY_PARTITION,
        REPLAY_OFFSET,
        DLT_ORIGINAL_CONSUMER_GROUP,
        DLT_EXCEPTION_FQCN,
        DLT_EXCEPTION_CAUSE_FQCN,
        DLT_EXCEPTION_MESSAGE,
        DLT_EXCEPTION_STACKTRACE,
        RETRY_ATTEMPTS,
        FIRST_FAILURE_TIME,
        LAST_FAILURE_TIME,
        REPLAY_COUNT,
        REPLAY_OF,
    }
)
