"""
Dead letters that a sink connector of Kafka Connect wrote: what its headers say of the failure.

Connect keeps key, value and headers of a record it gives up, and adds its own behind them, all
UTF-8 text: `__connect.errors.topic`, `partition` and `offset` of where it read the record, then who
gave it up (`connector.name`, `task.id`), in which `stage` and `class.name`, and why
(`exception.class.name`, `exception.message`, `exception.stacktrace`). It writes outside of any
transaction and before it commits its offsets: a worker that dies in between writes the same letter
again. It does not count attempts, nor replays; the letter has the time of its record.

Pure; nothing raises, whatever is in the headers.
Source: Kafka Connect, `DeadLetterQueueReporter` and `Stage`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from orderflow.messaging.event import (
    CONNECT_CONNECTOR,
    CONNECT_ERRORS,
    CONNECT_EXCEPTION,
    CONNECT_MESSAGE,
    CONNECT_OFFSET,
    CONNECT_PARTITION,
    CONNECT_STACK_TRACE,
    CONNECT_STAGE,
    CONNECT_STAGE_CLASS,
    CONNECT_TASK,
    CONNECT_TOPIC,
)
from orderflow.messaging.kafka.group_topics import is_replay_topic

NAME_BYTES_MAX = 512
MESSAGE_BYTES_MAX = 4 * 1024
STACK_TRACE_BYTES_MAX = 64 * 1024
"""What is read of a text: more of it is in the letter, whose headers are kept as they are."""
INT32_MAX, INT64_MAX = 2**31 - 1, 2**63 - 1
DIGITS_MAX = 19

_CAUSE = re.compile(r"^Caused by: (?P<name>[A-Za-z_$][\w.$]{0,250})", re.MULTILINE | re.ASCII)
_FRAME = re.compile(r"\s*\n\s*at [\w.$/@<>]+\(", re.ASCII)

Headers = Sequence[tuple[str, bytes | None]]


class ConnectFailure(msgspec.Struct, frozen=True, kw_only=True):
    """
    What Connect says of one failure; None: not said, or not readable. `topic`, `partition`,
    `offset`: where it read the record that time, so also on the replay topic.
    """

    topic: str | None = None
    partition: int | None = None
    offset: int | None = None
    connector: str | None = None
    task: str | None = None
    stage: str | None = None
    stage_class: str | None = None
    exception_type: str | None = None
    cause_type: str | None = None
    message: str | None = None
    stack_trace: str | None = None

    @property
    def was_replayed(self) -> bool:
        """Whether Connect read the record on a replay topic, to which it had been sent back."""
        return self.topic is not None and is_replay_topic(self.topic)


def is_from_connect(headers: Headers | None) -> bool:
    """
    Whether Connect wrote this letter. Anybody may put such headers on a topic of events, and each
    writer of letters keeps them; but it adds its own behind them, so the last one decides.
    """
    return headers is not None and any(name.startswith(CONNECT_ERRORS) for name, _ in headers[-1:])


def connect_failure(headers: Headers) -> ConnectFailure:
    """The failure in the headers of a letter of Connect's; of several the last one."""
    raw = dict(headers)
    stack_trace = _text(raw.get(CONNECT_STACK_TRACE), STACK_TRACE_BYTES_MAX)
    cause = _CAUSE.search(stack_trace or "")

    return ConnectFailure(
        topic=_text(raw.get(CONNECT_TOPIC), NAME_BYTES_MAX),
        partition=_number(raw.get(CONNECT_PARTITION), INT32_MAX),
        offset=_number(raw.get(CONNECT_OFFSET), INT64_MAX),
        connector=_text(raw.get(CONNECT_CONNECTOR), NAME_BYTES_MAX),
        task=_text(raw.get(CONNECT_TASK), NAME_BYTES_MAX),
        stage=_text(raw.get(CONNECT_STAGE), NAME_BYTES_MAX),
        stage_class=_text(raw.get(CONNECT_STAGE_CLASS), NAME_BYTES_MAX),
        exception_type=_text(raw.get(CONNECT_EXCEPTION), NAME_BYTES_MAX),
        cause_type=cause["name"] if cause else None,
        message=_without_stack(_text(raw.get(CONNECT_MESSAGE), MESSAGE_BYTES_MAX)),
        stack_trace=stack_trace,
    )


def without_connect_headers(headers: Headers) -> list[tuple[str, bytes | None]]:
    """The headers without those that Connect added, this time and before."""
    return [pair for pair in headers if not pair[0].startswith(CONNECT_ERRORS)]


def _text(value: bytes | None, bytes_max: int) -> str | None:
    return value[:bytes_max].decode(errors="replace") if value else None


def _number(value: bytes | None, most: int) -> int | None:
    # Without its limit a text of many digits is an error of its own.
    if not value or len(value) > DIGITS_MAX or not value.isdigit():
        return None
    number = int(value)
    return number if number <= most else None


def _without_stack(message: str | None) -> str | None:
    """Some exceptions quote a stack trace in their message: lists show messages."""
    return message if message is None else _FRAME.split(message, maxsplit=1)[0] or None
