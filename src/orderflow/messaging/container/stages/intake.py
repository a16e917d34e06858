"""From a fetched message to what a handler gets: decoded, identified, or refused as poison."""

from __future__ import annotations

from orderflow.messaging.container.records.record import Record
from orderflow.messaging.errors import Poison
from orderflow.messaging.event import from_headers
from orderflow.messaging.kafka.headers import headers_of
from orderflow.messaging.listener import Listener, Received
from orderflow.messaging.schemas.avro import Decoder


class Intake:
    """Reads records for one listener."""

    def __init__(self, listener: Listener, decoder: Decoder) -> None:
        self._types = dict(listener.types)
        self._belongs = {
            name: frozenset(topic.types) for name, topic in listener.subscribed.items()
        }
        self._sources = {name: topic.source for name, topic in listener.subscribed.items()}
        self._decoder = decoder

    def needs_registry(self, record: Record) -> bool:
        """Whether the record's schema is one that was not met before."""
        return not self._decoder.knows(record.message.value())

    def read(self, record: Record) -> bool:
        """
        Fill in what the handler gets. False if the record belongs on its topic, but this listener
        does not handle it.

        Raises Poison if nobody can ever read it or it does not belong on its topic, Unavailable if
        the registry is needed and away.
        """
        message, progress = record.message, record.progress
        if progress.headers is None:
            progress.headers = headers_of(message)
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
            # Decoded all the same: damaged bytes are a dead letter even if nothing here handles
            # their type.
            self._decoder.decode(message.value())
            return False

        progress.received = Received(
            event=self._decoder.decode_as(message.value(), event_type),
            metadata=metadata,
            topic=topic,
            partition=record.partition.number,
            offset=record.offset,
            key=record.key,
        )
        return True

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
