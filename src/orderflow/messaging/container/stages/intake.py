"""From a fetched message to what a handler gets: decoded, identified, or refused as poison."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from orderflow.messaging.container.records.record import Record
from orderflow.messaging.dead_letters.evidence import read_evidence
from orderflow.messaging.dead_letters.letter import RawHeaders
from orderflow.messaging.errors import Poison
from orderflow.messaging.event import (
    ATTRIBUTE_BYTES_MAX,
    CE_CAUSATION_ID,
    CE_CORRELATION_ID,
    CE_ID,
    CE_SOURCE,
    CE_SUBJECT,
    CE_TIME,
    CE_TYPE,
    TRACEPARENT,
    TRACEPARENT_BYTES_MAX,
    TRACESTATE,
    from_headers,
)
from orderflow.messaging.kafka.headers import headers_of
from orderflow.messaging.listener import Listener, Received
from orderflow.messaging.schemas.avro import FRAME_BYTES, Decoder

KNOWN_MAX = 1_000
_CANONICAL_ID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class BulkRecord(msgspec.Struct, frozen=True, gc=False):
    """
    A record as a delivery gets it in bulk. `id` is its `ce_id` as it is written everywhere;
    `headers` are as bytes.
    """

    event: Any
    key: bytes
    offset: int
    id: str
    headers: Mapping[str, bytes]


class Intake:
    """Reads records for one listener."""

    def __init__(self, listener: Listener, decoder: Decoder) -> None:
        self._types = dict(listener.types)
        self._wanted = listener.wanted
        self._belongs = {
            name: frozenset(topic.types) for name, topic in listener.subscribed.items()
        }
        self._sources = {name: topic.source for name, topic in listener.subscribed.items()}
        # Only on these: anybody may write such headers on a topic of events.
        self._replays = self._sources.keys() - {topic.name for topic in listener.topics}
        self._decoder = decoder
        self._writers = {name: (source or "").encode() for name, source in self._sources.items()}
        self._known: dict[bytes, tuple[bytes, type[Any] | None, frozenset[str]]] = {}
        self._unreadable: dict[tuple[str, int, int], Poison] = {}

    def needs_registry(self, record: Record) -> bool:
        """Whether the record's schema is one that was not met before."""
        return not self._decoder.knows(record.message.value())

    def read(self, record: Record) -> bool:
        """
        Fill in what the handler gets. False if the record belongs on its topic, but this listener
        does not handle its type, or does not want its event.

        A body that nothing here handles is not read: whoever handles its type finds it damaged.
        Raises Poison if nobody can ever read it or it does not belong on its topic, Unavailable if
        the registry is needed and away.
        """
        message, progress = record.message, record.progress
        if progress.headers is None:
            progress.headers = self._headers_of(message)
        metadata = from_headers(progress.headers)

        # The type is checked before the body is decoded: the body of a foreign schema can do harm.
        topic = record.partition.topic
        if metadata.type not in self._belongs[topic]:
            raise Poison(f"a {metadata.type or 'nameless type'} does not belong on topic {topic}")
        # An id is unique for its source alone. Another writer's event with the id of one of ours
        # would hide it from the inbox, or be hidden by it, without a trace.
        writer = self._sources[topic]
        if writer is not None and metadata.source != writer:
            source = metadata.source or "a nameless source"
            raise Poison(f"{source} does not write topic {topic}: {writer} does")

        written_as = self._decoder.type_of(message.value())
        if written_as != metadata.type:
            raise Poison(f"ce_type says {metadata.type}, the bytes are a {written_as}")

        event_type = self._types.get(metadata.type)
        if event_type is None:
            return False
        event = self._decoder.decode_as(message.value(), event_type)
        if not self._is_wanted(event):
            return False

        progress.received = Received(
            event=event,
            metadata=metadata,
            topic=topic,
            partition=record.partition.number,
            offset=record.offset,
            key=record.key,
            original=_original(progress.headers) if topic in self._replays else None,
        )
        return True

    def read_in_bulk(self, message: Any) -> BulkRecord | None:
        """
        As `read`, for a record that is like most; None if nothing here handles or wants it.

        Raises Poison also for what `read` would take: then that has to say what it is.
        """
        value, topic = message.value(), message.topic()
        known = self._known.get(value[:FRAME_BYTES] if value else b"")
        if known is None:
            known = self._learn(value)
        type_name, event_type, topics = known

        headers = {name: content or b"" for name, content in self._headers_of(message)}
        event_id = headers.get(CE_ID) or b""
        is_usual = (
            headers.get(CE_TYPE) == type_name
            and topic in topics
            and headers.get(CE_SOURCE) == self._writers[topic]
            and _CANONICAL_ID.fullmatch(event_id)
            and max(map(len, headers.values())) <= ATTRIBUTE_BYTES_MAX
        )
        if not is_usual or not _are_readable(headers):
            raise Poison("this record is not like most")
        if event_type is None:
            return None
        event = self._decoder.decode_as(value, event_type)
        if not self._is_wanted(event):
            return None
        return BulkRecord(event, message.key() or b"", message.offset(), event_id.decode(), headers)

    def _is_wanted(self, event: Any) -> bool:
        if self._wanted is None:
            return True
        try:
            return self._wanted(event)
        except Exception:  # noqa: BLE001 - the handler fails for it too, or knows better
            return True

    def _learn(self, value: bytes | None) -> tuple[bytes, type[Any] | None, frozenset[str]]:
        """The type that the frame of `value` stands for, and the topics where it belongs."""
        name = self._decoder.type_of(value)
        assert value is not None
        topics = frozenset(topic for topic, types in self._belongs.items() if name in types)
        known = name.encode(), self._types.get(name), topics
        if len(self._known) < KNOWN_MAX:
            self._known[value[:FRAME_BYTES]] = known
        return known

    def _headers_of(self, message: Any) -> list[tuple[str, bytes | None]]:
        """See `headers_of`, which must not be called a second time after it has raised."""
        place = message.topic(), message.partition(), message.offset()
        if place in self._unreadable:
            raise self._unreadable[place]
        try:
            return headers_of(message)
        except Poison as error:
            if len(self._unreadable) >= KNOWN_MAX:
                self._unreadable.clear()
            self._unreadable[place] = error
            raise

    def peek(self, record: Record) -> Received | None:
        """
        What the handler will get, before the record's turn; None if it can't be read, or nothing
        handles it. Raises Unavailable if the registry is needed and away.
        """
        try:
            handled = self.read(record)
        except Poison:
            return None
        received: Received | None = record.progress.received
        return received if handled else None


def _original(headers: RawHeaders) -> tuple[str, int, int] | None:
    """Where the record was at its first failure, if its headers say all of it."""
    evidence = read_evidence(headers)
    topic, partition = evidence.original_topic, evidence.original_partition
    offset = evidence.original_offset
    if topic is None or partition is None or offset is None:
        return None
    return topic, partition, offset


def _are_readable(headers: Mapping[str, bytes]) -> bool:
    """Whether the usual way would take these headers as they are: what goes on is written again."""
    try:
        datetime.fromisoformat(headers[CE_TIME].decode())
        for name in _PASSED_ON:
            headers.get(name, b"").decode()
    except (KeyError, ValueError):
        return False
    return len(headers.get(TRACEPARENT, b"")) <= TRACEPARENT_BYTES_MAX


_PASSED_ON = (CE_SUBJECT, CE_CORRELATION_ID, CE_CAUSATION_ID, TRACEPARENT, TRACESTATE)
