"""From a fetched message to what a handler gets: decoded, identified, or refused as poison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from orderflow.messaging.container.records.record import Record
from orderflow.messaging.dead_letters.evidence import read_evidence
from orderflow.messaging.dead_letters.letter import RawHeaders
from orderflow.messaging.errors import Poison
from orderflow.messaging.event import CE_SOURCE, CE_TYPE, Attributes, read_attributes
from orderflow.messaging.kafka.headers import headers_of
from orderflow.messaging.listener import Listener, Received
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.schemas.compiled import FRAME_BYTES

KNOWN_MAX = 1_000


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


class _Known(msgspec.Struct, frozen=True):
    """
    What a frame stands for on a topic: its type's name, the handled type, if it is one, and the
    source that the topic's events have, if that is one.
    """

    type_name: bytes
    event_type: type[Any] | None
    writer: bytes | None


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
        self._known: dict[tuple[str, bytes], _Known] = {}
        self._unreadable: dict[tuple[str, int, int], Poison] = {}

    def needs_registry(self, record: Record) -> bool:
        """Whether the record's schema is one that was not met before."""
        value = record.message.value()
        if value and (record.partition.topic, value[:FRAME_BYTES]) in self._known:
            return False
        return not self._decoder.knows(value)

    def read(self, record: Record) -> bool:
        """
        Fill in what the handler gets. False if the record belongs on its topic, but this listener
        does not handle its type, or does not want its event.

        A body that nothing here handles is not read: whoever handles its type finds it damaged.
        Raises Poison if nobody can ever read it or it does not belong on its topic, Unavailable if
        the registry is needed and away.
        """
        message, progress, topic = record.message, record.progress, record.partition.topic
        if progress.headers is None:
            progress.headers = self._headers_of(message)
        attributes = read_attributes(progress.headers)
        event = self._event(topic, message.value(), attributes)
        if event is None:
            return False

        progress.received = Received(
            event=event,
            attributes=attributes,
            topic=topic,
            partition=record.partition.number,
            offset=record.offset,
            key=record.key,
            original=_original(progress.headers) if topic in self._replays else None,
        )
        return True

    def read_in_bulk(self, message: Any) -> BulkRecord | None:
        """As `read`; None if nothing here handles or wants the record."""
        attributes = read_attributes(self._headers_of(message))
        event = self._event(message.topic(), message.value(), attributes)
        if event is None:
            return None
        key, offset = message.key() or b"", message.offset()
        return BulkRecord(event, key, offset, attributes.id, attributes.headers)

    def _event(self, topic: str, value: bytes | None, attributes: Attributes) -> Any:
        """The event of a record on `topic`; None if nothing here handles or wants it."""
        headers = attributes.headers
        known = self._known.get((topic, value[:FRAME_BYTES])) if value else None
        if known is None or known.type_name != headers[CE_TYPE]:
            known = self._learn(topic, value, headers[CE_TYPE])
        # An id is unique for its source alone. Another writer's event with the id of one of ours
        # would hide it from the inbox, or be hidden by it, without a trace.
        if known.writer is not None and headers.get(CE_SOURCE) != known.writer:
            source = attributes.text(CE_SOURCE) or "a nameless source"
            writer = known.writer.decode()
            raise Poison(f"{source} does not write topic {topic}: {writer} does")

        if known.event_type is None:
            return None
        event = self._decoder.decode_as(value, known.event_type)
        return event if self._wanted is None or self._is_wanted(event) else None

    def _is_wanted(self, event: Any) -> bool:
        assert self._wanted is not None
        try:
            return self._wanted(event)
        except Exception:  # noqa: BLE001 - the handler fails for it too, or knows better
            return True

    def _learn(self, topic: str, value: bytes | None, ce_type: bytes) -> _Known:
        """
        What the frame of `value` stands for on `topic`. Raises Poison if that does not belong
        there, or is not what `ce_type` says.
        """
        # The type is checked before the body is decoded: the body of a foreign schema can do harm.
        name = ce_type.decode()
        if name not in self._belongs[topic]:
            raise Poison(f"a {name or 'nameless type'} does not belong on topic {topic}")
        written_as = self._decoder.type_of(value)
        if written_as != name:
            raise Poison(f"ce_type says {name}, the bytes are a {written_as}")

        assert value is not None
        writer = self._sources[topic]
        known = _Known(ce_type, self._types.get(name), None if writer is None else writer.encode())
        if len(self._known) < KNOWN_MAX:
            self._known[topic, value[:FRAME_BYTES]] = known
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
