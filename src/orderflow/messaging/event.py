"""
An event's metadata: CloudEvents attributes, as typed fields and as record headers.

All header names are defined here, those of dead letters too. Source: CloudEvents 1.0.2 Kafka
protocol binding, binary mode (`ce_` headers, UTF-8 text); W3C Trace Context for `traceparent` and
`tracestate`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NewType, Protocol
from uuid import UUID

import msgspec
from uuid_utils.compat import uuid7

from orderflow.messaging.derived_ids import DerivedIds
from orderflow.messaging.error_text import error_text
from orderflow.messaging.errors import Poison

if TYPE_CHECKING:
    from collections.abc import Sequence

EventId = NewType("EventId", UUID)
Headers = list[tuple[str, bytes]]

CE_SPECVERSION = "ce_specversion"
CE_ID = "ce_id"
CE_TYPE = "ce_type"
CE_SOURCE = "ce_source"
CE_TIME = "ce_time"
CE_SUBJECT = "ce_subject"
CE_CAUSATION_ID = "ce_causationid"
CE_CORRELATION_ID = "ce_correlationid"
CONTENT_TYPE = "content-type"
TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

DLT_ORIGINAL_TOPIC = "kafka_dlt-original-topic"
DLT_ORIGINAL_PARTITION = "kafka_dlt-original-partition"
DLT_ORIGINAL_OFFSET = "kafka_dlt-original-offset"
DLT_ORIGINAL_TIMESTAMP = "kafka_dlt-original-timestamp"
DLT_ORIGINAL_TIMESTAMP_TYPE = "kafka_dlt-original-timestamp-type"
DLT_ORIGINAL_CONSUMER_GROUP = "kafka_dlt-original-consumer-group"
DLT_EXCEPTION_FQCN = "kafka_dlt-exception-fqcn"
DLT_EXCEPTION_CAUSE_FQCN = "kafka_dlt-exception-cause-fqcn"
DLT_EXCEPTION_MESSAGE = "kafka_dlt-exception-message"
DLT_EXCEPTION_STACKTRACE = "kafka_dlt-exception-stacktrace"
RETRY_ATTEMPTS = "retry_topic-attempts"
FIRST_FAILURE_TIME = "orderflow-first-failure-time"
LAST_FAILURE_TIME = "orderflow-last-failure-time"
REPLAY_COUNT = "orderflow-replay-count"
REPLAY_TOPIC = "orderflow-replay-topic"
REPLAY_PARTITION = "orderflow-replay-partition"
REPLAY_OFFSET = "orderflow-replay-offset"
REPLAY_OF = "orderflow-replay-of"
LETTER_CUT = "orderflow-letter-cut"
ORIGINAL_KEY_SIZE = "orderflow-original-key-size"
ORIGINAL_KEY_SHA256 = "orderflow-original-key-sha256"
ORIGINAL_HEADERS = "orderflow-original-headers"
ORIGINAL_SIZE = "orderflow-original-size"
ORIGINAL_SHA256 = "orderflow-original-sha256"

CONNECT_ERRORS = "__connect.errors."
CONNECT_TOPIC = f"{CONNECT_ERRORS}topic"
CONNECT_PARTITION = f"{CONNECT_ERRORS}partition"
CONNECT_OFFSET = f"{CONNECT_ERRORS}offset"
CONNECT_CONNECTOR = f"{CONNECT_ERRORS}connector.name"
CONNECT_TASK = f"{CONNECT_ERRORS}task.id"
CONNECT_STAGE = f"{CONNECT_ERRORS}stage"
CONNECT_STAGE_CLASS = f"{CONNECT_ERRORS}class.name"
CONNECT_EXCEPTION = f"{CONNECT_ERRORS}exception.class.name"
CONNECT_MESSAGE = f"{CONNECT_ERRORS}exception.message"
CONNECT_STACK_TRACE = f"{CONNECT_ERRORS}exception.stacktrace"

AVRO_CONTENT_TYPE = "application/avro"

ATTRIBUTE_BYTES_MAX = 512
"""Of a CloudEvents attribute in a header: an event's metadata goes on with what it causes."""
TRACEPARENT_BYTES_MAX = 128
TRACESTATE_BYTES_MAX = 512
"""What W3C Trace Context asks to be passed on; a longer one may be dropped."""


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """One event's metadata. `type`: the schema's full name; `time`: aware UTC, in milliseconds."""

    id: EventId
    type: str
    source: str
    time: datetime
    subject: str
    correlation_id: str
    causation_id: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None


class Attributes(msgspec.Struct, gc=False):
    """
    What the headers of a record say of its event, as on the wire: most of it is passed on as it
    is, or not looked at. `id` is the event's, in its canonical form.

    Made by `read_attributes` or `of` only, so every header of ours can be read.
    """

    id: str
    headers: Mapping[str, bytes]
    _metadata: Metadata | None = None

    @classmethod
    def of(cls, metadata: Metadata) -> Attributes:
        """Those of an event with this metadata."""
        return cls(str(metadata.id), dict(to_headers(metadata)), metadata)

    @property
    def metadata(self) -> Metadata:
        """All of it in its types, worked out once, when it is wanted."""
        if self._metadata is None:
            self._metadata = from_headers(list(self.headers.items()))
        return self._metadata

    def text(self, name: str) -> str:
        """A header's text; empty if the record has none of that name."""
        return self.headers.get(name, b"").decode()


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """What an event takes from its cause; for a cause whose whole `Metadata` is no longer there."""

    id: EventId
    correlation_id: str
    traceparent: str | None = None
    tracestate: str | None = None


class Described(Protocol):
    """What an event contains of its own metadata."""

    @classmethod
    def type_name(cls) -> str:
        """The schema's full name: `ce_type`."""

    @property
    def subject(self) -> str:
        """`ce_subject`."""

    @property
    def happened_at(self) -> datetime:
        """`ce_time`: aware UTC, in milliseconds, recorded with the effect."""


def started(
    event: Described,
    *,
    source: str,
    event_id: EventId | None = None,
    traceparent: str | None = None,
) -> Metadata:
    """
    The metadata of an event that starts a chain: no causation id, and correlated by its subject.

    Without `event_id` the event gets a fresh UUIDv7, so a repeated call makes another event.
    """
    return Metadata(
        id=event_id or EventId(uuid7()),
        type=event.type_name(),
        source=source,
        time=event.happened_at,
        subject=event.subject,
        correlation_id=event.subject,
        traceparent=traceparent,
    )


def caused_by(
    cause: Metadata | Cause, event: Described, *, namespace: UUID, source: str, index: int = 0
) -> Metadata:
    """
    The metadata of an event that a record caused: its chain, its trace, and a derived id.

    `index` counts the events of one type by the same cause. The same arguments give the same id
    (`derived_id`), so a re-run publishes the same event again and not another one.
    """
    type_name = event.type_name()

    return Metadata(
        id=derived_id(namespace, cause=cause.id, event_type=type_name, index=index),
        type=type_name,
        source=source,
        time=event.happened_at,
        subject=event.subject,
        correlation_id=cause.correlation_id or event.subject,
        causation_id=str(cause.id),
        traceparent=cause.traceparent,
        tracestate=cause.tracestate,
    )


def derived_id(namespace: UUID, *, cause: EventId, event_type: str, index: int) -> EventId:
    """
    The id of an event that another one caused: see `derived_ids`.

    The same cause, type and index give the same id in every re-run.
    """
    parent = str(cause)
    return EventId(UUID(DerivedIds(namespace).make(parent, f"{parent}/{event_type}/{index}")))


def read_clock() -> datetime:
    """The time now, in the precision of the wire: aware UTC, cut to milliseconds."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def rfc3339_ms(moment: datetime) -> str:
    """`2026-01-31T09:05:00.123Z`: UTC, milliseconds. Raises ValueError on a naive datetime."""
    if moment.tzinfo is None:
        raise ValueError(f"naive datetime {moment!r}: time is aware UTC")
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return utc.isoformat(timespec="milliseconds")[:-6] + "Z"


def to_headers(metadata: Metadata) -> Headers:
    """The record headers of `metadata`, in a fixed order, without those that are None."""
    headers = [
        SPECVERSION_HEADER,
        (CE_ID, str(metadata.id).encode()),
        (CE_TYPE, metadata.type.encode()),
        (CE_SOURCE, metadata.source.encode()),
        (CE_TIME, rfc3339_ms(metadata.time).encode()),
        (CE_SUBJECT, metadata.subject.encode()),
        (CE_CORRELATION_ID, metadata.correlation_id.encode()),
        AVRO_HEADER,
    ]

    if metadata.causation_id is not None:
        headers.insert(_CAUSATION_PLACE, (CE_CAUSATION_ID, metadata.causation_id.encode()))
    if metadata.traceparent is not None:
        headers.append((TRACEPARENT, metadata.traceparent.encode()))
    if metadata.tracestate is not None:
        headers.append((TRACESTATE, metadata.tracestate.encode()))
    return headers


def from_headers(headers: Sequence[tuple[str, bytes | None]] | None) -> Metadata:
    """
    The metadata of a record.

    Raises Poison when `ce_id` or `ce_type` is missing, or a header can't be decoded: without an id
    the record's repetition could not be recognised. So is an attribute above `ATTRIBUTE_BYTES_MAX`;
    a `traceparent` or `tracestate` that is too long is left out, and the record is as good as any.
    """
    try:
        text = {
            name: value.decode()
            for name, value in headers or ()
            if name in _OURS and value is not None and _may_stay(name, value)
        }
        return Metadata(
            id=EventId(UUID(text[CE_ID])),
            type=text[CE_TYPE],
            source=text.get(CE_SOURCE, ""),
            time=datetime.fromisoformat(text[CE_TIME])
            if CE_TIME in text
            else datetime.fromtimestamp(0, UTC),
            subject=text.get(CE_SUBJECT, ""),
            correlation_id=text.get(CE_CORRELATION_ID, ""),
            causation_id=text.get(CE_CAUSATION_ID),
            traceparent=text.get(TRACEPARENT),
            tracestate=text.get(TRACESTATE),
        )
    except KeyError as missing:
        raise Poison(f"the record has no {missing.args[0]} header") from missing
    except ValueError as error:
        raise Poison(f"a CloudEvents header can't be read: {error_text(error)}") from error


def read_attributes(headers: Sequence[tuple[str, bytes | None]]) -> Attributes:
    """
    The attributes of a record. Raises Poison as `from_headers` does, and for the same records.
    """
    if (usual := _usual_attributes(headers)) is not None:
        return usual
    return Attributes.of(from_headers(headers))


def _usual_attributes(headers: Sequence[tuple[str, bytes | None]]) -> Attributes | None:
    """As `read_attributes`, of headers as our own writers make them; None of any others."""
    named = dict(headers)
    try:
        event_id = named[CE_ID]
        content = b"".join(named.values())  # type: ignore[arg-type]
        datetime.fromisoformat(named[CE_TIME].decode())  # type: ignore[union-attr]
    except (KeyError, TypeError, AttributeError, ValueError):
        return None

    # All at once: what is ASCII can be read, and most headers together are shorter than one may be.
    if (
        len(named) != len(headers)
        or CE_TYPE not in named
        or not content.isascii()
        or (len(content) > ATTRIBUTE_BYTES_MAX and _is_any_longer(named, ATTRIBUTE_BYTES_MAX))
        or len(named.get(TRACEPARENT) or b"") > TRACEPARENT_BYTES_MAX
        or not event_id
        or not _CANONICAL_ID.fullmatch(event_id)
    ):
        return None
    return Attributes(event_id.decode(), named)  # type: ignore[arg-type]


def _is_any_longer(named: Mapping[str, bytes | None], bytes_max: int) -> bool:
    return any(len(value or b"") > bytes_max for value in named.values())


def _may_stay(name: str, value: bytes) -> bool:
    """Raises Poison for an attribute that is too long; false for a trace that is."""
    if name == TRACEPARENT:
        return len(value) <= TRACEPARENT_BYTES_MAX
    if name == TRACESTATE:
        return len(value) <= TRACESTATE_BYTES_MAX
    if len(value) > ATTRIBUTE_BYTES_MAX:
        raise Poison(
            f"a CloudEvents header can't be read: {name} has {len(value)} bytes "
            f"(at most {ATTRIBUTE_BYTES_MAX})"
        )
    return True


SPECVERSION_HEADER = (CE_SPECVERSION, b"1.0")
AVRO_HEADER = (CONTENT_TYPE, AVRO_CONTENT_TYPE.encode())
_CAUSATION_PLACE = 6
_CANONICAL_ID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_OURS = {
    CE_ID,
    CE_TYPE,
    CE_SOURCE,
    CE_TIME,
    CE_SUBJECT,
    CE_CORRELATION_ID,
    CE_CAUSATION_ID,
    TRACEPARENT,
    TRACESTATE,
}
