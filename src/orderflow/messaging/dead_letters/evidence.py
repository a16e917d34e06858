"""
What the headers of a dead letter say of its failure: the inverse of `letter`, which writes them,
and of what Kafka Connect writes.

Anybody may have written a record of a dead-letter topic, so every part may be missing or nonsense:
what can't be read is None, and nothing here raises.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import msgspec

from orderflow.messaging.dead_letters.connect_letter import connect_failure, is_from_connect
from orderflow.messaging.dead_letters.letter import RawHeaders, recorded_place, replay_count
from orderflow.messaging.event import (
    CE_CORRELATION_ID,
    CE_ID,
    CE_SUBJECT,
    CE_TYPE,
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
    REPLAY_OFFSET,
    REPLAY_PARTITION,
    REPLAY_TOPIC,
    RETRY_ATTEMPTS,
)

INT32_BYTES, INT64_BYTES = 4, 8
DIGITS_MAX = 18


class LetterEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """
    Why a group gave a record up, and which record that was. None: not said, or not readable.

    `original_*`: where the record was when it failed first. `replay_*`: where it was when it failed
    again, after a replay. `attempts` 0: it never reached the handler. `replays`: how often it was
    sent back before this failure. `task`, `stage`, `stage_class`: of Connect only, which of a
    connector's tasks gave it up, doing what, in which class; then `group` is the connector, and
    nobody counts attempts. `cut`: which of the record's parts (`key`, `headers`, `value`)
    are not whole; then sizes in bytes and SHA-256 (hex) of the whole ones are beside it.

    All texts are what somebody wrote: unbounded, with whatever control characters.
    """

    original_topic: str | None = None
    original_partition: int | None = None
    original_offset: int | None = None
    original_timestamp: datetime | None = None
    original_timestamp_type: str | None = None
    group: str | None = None

    exception_type: str | None = None
    cause_type: str | None = None
    message: str | None = None
    stack_trace: str | None = None
    attempts: int | None = None
    first_failure: datetime | None = None
    last_failure: datetime | None = None
    task: str | None = None
    stage: str | None = None
    stage_class: str | None = None

    replays: int = 0
    replay_topic: str | None = None
    replay_partition: int | None = None
    replay_offset: int | None = None

    cut: tuple[str, ...] = ()
    original_size: int | None = None
    original_sha256: str | None = None
    original_key_size: int | None = None
    original_key_sha256: str | None = None
    original_headers: int | None = None

    event_id: str | None = None
    event_type: str | None = None
    order_id: str | None = None
    """The event's correlation id, else its subject."""

    @property
    def cause(self) -> str:
        """The failure's class, and its cause's class, without their modules: `Poison ← EOFError`"""
        names = [short_name(name) for name in (self.exception_type, self.cause_type) if name]
        return " ← ".join(names) or "unknown"


def read_evidence(headers: RawHeaders | None) -> LetterEvidence:
    """The evidence in a letter's headers; of a header that is there twice, the last one."""
    if headers and is_from_connect(headers):
        return _of_connect(headers)
    raw = dict(headers or ())

    return LetterEvidence(
        original_topic=_text(raw.get(DLT_ORIGINAL_TOPIC)),
        original_partition=_binary(raw.get(DLT_ORIGINAL_PARTITION), INT32_BYTES),
        original_offset=_binary(raw.get(DLT_ORIGINAL_OFFSET), INT64_BYTES),
        original_timestamp=_moment(_binary(raw.get(DLT_ORIGINAL_TIMESTAMP), INT64_BYTES)),
        original_timestamp_type=_text(raw.get(DLT_ORIGINAL_TIMESTAMP_TYPE)),
        group=_text(raw.get(DLT_ORIGINAL_CONSUMER_GROUP)),
        exception_type=_text(raw.get(DLT_EXCEPTION_FQCN)),
        cause_type=_text(raw.get(DLT_EXCEPTION_CAUSE_FQCN)),
        message=_text(raw.get(DLT_EXCEPTION_MESSAGE)),
        stack_trace=_text(raw.get(DLT_EXCEPTION_STACKTRACE)),
        attempts=_binary(raw.get(RETRY_ATTEMPTS), INT32_BYTES),
        first_failure=_time(raw.get(FIRST_FAILURE_TIME)),
        last_failure=_time(raw.get(LAST_FAILURE_TIME)),
        replays=replay_count(headers),
        replay_topic=_text(raw.get(REPLAY_TOPIC)),
        replay_partition=_number(raw.get(REPLAY_PARTITION)),
        replay_offset=_number(raw.get(REPLAY_OFFSET)),
        cut=tuple(filter(None, (_text(raw.get(LETTER_CUT)) or "").split(","))),
        original_size=_number(raw.get(ORIGINAL_SIZE)),
        original_sha256=_text(raw.get(ORIGINAL_SHA256)),
        original_key_size=_number(raw.get(ORIGINAL_KEY_SIZE)),
        original_key_sha256=_text(raw.get(ORIGINAL_KEY_SHA256)),
        original_headers=_number(raw.get(ORIGINAL_HEADERS)),
        event_id=_text(raw.get(CE_ID)),
        event_type=_text(raw.get(CE_TYPE)),
        order_id=_text(raw.get(CE_CORRELATION_ID)) or _text(raw.get(CE_SUBJECT)),
    )


def _of_connect(headers: RawHeaders) -> LetterEvidence:
    """
    Who wrote the record may have put anything in its headers: only of a record that was sent back
    do ours say where it failed first, and how often it was.
    """
    raw, failure = dict(headers), connect_failure(headers)
    recorded = dict(recorded_place(headers)) if failure.was_replayed else {}
    evidence = LetterEvidence(
        original_topic=failure.topic,
        original_partition=failure.partition,
        original_offset=failure.offset,
        group=failure.connector,
        exception_type=failure.exception_type,
        cause_type=failure.cause_type,
        message=failure.message,
        stack_trace=failure.stack_trace,
        task=failure.task,
        stage=failure.stage,
        stage_class=failure.stage_class,
        replays=replay_count(headers),
        event_id=_text(raw.get(CE_ID)),
        event_type=_text(raw.get(CE_TYPE)),
        order_id=_text(raw.get(CE_CORRELATION_ID)) or _text(raw.get(CE_SUBJECT)),
    )
    if not recorded:
        return evidence

    return msgspec.structs.replace(
        evidence,
        original_topic=_text(recorded[DLT_ORIGINAL_TOPIC]),
        original_partition=_binary(recorded[DLT_ORIGINAL_PARTITION], INT32_BYTES),
        original_offset=_binary(recorded[DLT_ORIGINAL_OFFSET], INT64_BYTES),
        original_timestamp=_moment(_binary(recorded[DLT_ORIGINAL_TIMESTAMP], INT64_BYTES)),
        original_timestamp_type=_text(recorded[DLT_ORIGINAL_TIMESTAMP_TYPE]),
        replay_topic=failure.topic,
        replay_partition=failure.partition,
        replay_offset=failure.offset,
    )


def short_name(full_name: str) -> str:
    """`orderflow.OrderCreated` → `OrderCreated`."""
    return full_name.rpartition(".")[2] or full_name


def _text(value: bytes | None) -> str | None:
    return value.decode(errors="replace") if value else None


def _binary(value: bytes | None, size: int) -> int | None:
    if value is None or len(value) != size:
        return None
    return int.from_bytes(value, "big", signed=True)


def _number(value: bytes | None) -> int | None:
    # Without its limit a text of many digits is an error of its own.
    if not value or len(value) > DIGITS_MAX or not value.isdigit():
        return None
    return int(value)


def _moment(milliseconds: int | None) -> datetime | None:
    """Kafka's -1 says that the record has no time."""
    if milliseconds is None or milliseconds < 0:
        return None
    with suppress(ValueError, OverflowError, OSError):
        whole, rest = divmod(milliseconds, 1000)
        return datetime.fromtimestamp(whole, UTC).replace(microsecond=rest * 1000)
    return None


def _time(value: bytes | None) -> datetime | None:
    with suppress(ValueError, OverflowError):
        moment = datetime.fromisoformat((value or b"").decode())
        return moment.astimezone(UTC) if moment.tzinfo is not None else None
    return None
