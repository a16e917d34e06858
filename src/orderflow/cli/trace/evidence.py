"""What is known of an order, from wherever it was asked, before a story is made of it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

from orderflow.messaging.dead_letters.dispositions import Disposition
from orderflow.messaging.dead_letters.evidence import (
    LetterEvidence,
    read_evidence,
    short_name,
)
from orderflow.messaging.dead_letters.letter import RawHeaders, replay_count
from orderflow.messaging.event import (
    CE_CAUSATION_ID,
    CE_ID,
    CE_SOURCE,
    CE_TIME,
    CE_TYPE,
    TRACEPARENT,
)
from orderflow.messaging.kafka.finished_offsets import Window
from orderflow.messaging.kafka.reader import ConsumerRecord
from orderflow.messaging.telemetry.trace_context import TraceContext

Answer = dict[str, Any]
Position = tuple[str, int, int]
"""Topic, partition and offset."""

Decode = Callable[[bytes | None], tuple[dict[str, Any] | None, str | None]]
"""A record's value, or None and why it can't be read."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a dead letter says of its record: the place at which `group` gave it up, and why. Nothing
    of the error's text, which may quote anything.
    """

    group: str
    given_up: Position | None
    error: str | None
    attempts: int | None
    first_failure: datetime | None
    last_failure: datetime | None


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """
    A record as it was read. What its headers do not say, or say wrongly, is None. `span_id`: the
    span of its sending. `replays`: how often it was sent back from a dead letter topic.
    """

    topic: str
    partition: int
    offset: int
    at: datetime
    event_id: str | None = None
    type: str | None = None
    source: str | None = None
    caused_by: str | None = None
    happened_at: datetime | None = None
    trace_id: str | None = None
    span_id: str | None = None
    value: dict[str, Any] | None = None
    problem: str | None = None
    replays: int = 0
    letter: DeadLetter | None = None

    @property
    def position(self) -> Position:
        return self.topic, self.partition, self.offset

    @property
    def name(self) -> str:
        """The event's short name."""
        return (self.type or "a record without a readable type").rpartition(".")[2]


class Handled(msgspec.Struct, frozen=True, kw_only=True):
    """
    A listener's line: how a record ended for `group`. `attempts` and `waited_ms`: of a record that
    had failed, how often, and for how long.
    """

    position: Position
    group: str
    outcome: str
    at: datetime
    attempts: int | None = None
    waited_ms: int | None = None
    span_id: str | None = None


class Missing(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    What the story lacks: `source` was to say it, `why` in words. `unasked`: it could not be asked;
    otherwise it had no answer.
    """

    source: str
    why: str
    unasked: bool = False


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """
    `order`, `payments`, `reservation`, `shipment`: the answers of the services' APIs; None where
    there is none. `progress`: how far each group has come, where it was asked. `dispositions`: what
    has become of dead letters, where that was asked; None: open. `has_lines`: whether listeners'
    lines could be read at all.
    """

    order_id: str
    order: Answer | None = None
    history: Sequence[Answer] = ()
    payments: Answer | None = None
    reservation: Answer | None = None
    shipment: Answer | None = None
    mails: Sequence[Answer] = ()
    records: Sequence[Seen] = ()
    lines: Sequence[Handled] = ()
    progress: Mapping[tuple[str, str, int], Window] = msgspec.field(default_factory=dict)
    dispositions: Mapping[Position, Disposition | None] = msgspec.field(default_factory=dict)
    missing: Sequence[Missing] = ()
    has_lines: bool = True


def seen(record: ConsumerRecord, decode: Decode) -> Seen:
    """The record as evidence, whatever its content."""
    text = {name: _text(value) for name, value in record.headers}
    value, problem = decode(record.value)
    trace = TraceContext.parse(text.get(TRACEPARENT))

    return Seen(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        at=record.timestamp,
        event_id=text.get(CE_ID),
        type=text.get(CE_TYPE),
        source=text.get(CE_SOURCE),
        caused_by=text.get(CE_CAUSATION_ID),
        happened_at=moment(text.get(CE_TIME)),
        trace_id=None if trace is None else trace.trace_id,
        span_id=None if trace is None else trace.span_id,
        value=value,
        problem=problem,
        replays=replay_count(record.headers),
        letter=_letter(record.headers) if record.topic.endswith(".dlt") else None,
    )


def moment(text: object) -> datetime | None:
    """The aware time that a text says; None if it says none."""
    with suppress(ValueError, TypeError):
        said = datetime.fromisoformat(text)  # type: ignore[arg-type]
        return said if said.tzinfo else said.replace(tzinfo=UTC)
    return None


def _letter(headers: RawHeaders) -> DeadLetter:
    evidence = read_evidence(headers)
    return DeadLetter(
        group=evidence.group or "an unknown group",
        given_up=_given_up(evidence),
        error=short_name(evidence.exception_type) if evidence.exception_type else None,
        attempts=evidence.attempts,
        first_failure=evidence.first_failure,
        last_failure=evidence.last_failure,
    )


def _given_up(evidence: LetterEvidence) -> Position | None:
    """Where the group read the record that time: on its replay topic, if it came from there."""
    replay = evidence.replay_topic, evidence.replay_partition, evidence.replay_offset
    first = evidence.original_topic, evidence.original_partition, evidence.original_offset
    for topic, partition, offset in (replay, first):
        if topic is not None and partition is not None and offset is not None:
            return topic, partition, offset
    return None


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode(errors="backslashreplace")
