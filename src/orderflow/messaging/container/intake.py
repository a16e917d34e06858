"""From a raw record to what a handler gets: decoded, identified, or refused as poison."""

from __future__ import annotations

from orderflow.messaging.container.partition import Item
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
        self._decoder = decoder

    def needs_registry(self, item: Item) -> bool:
        """Is the record's schema one that we have not met yet?"""
        return not self._decoder.knows(item.message.value())

    def read(self, item: Item) -> bool:
        """
        Fill in `item.received`; False if the record belongs here but is nothing that this listener handles.

        Raises Poison (nobody can ever read it, or it does not belong here), Unavailable (the registry must be asked).
        """
        message = item.message
        if item.headers is None:
            item.headers = headers_of(message)
        metadata = from_headers(item.headers)
        topic = item.partition.topic
        if metadata.type not in self._belongs[topic]:
            raise Poison(f"a {metadata.type or 'nameless type'} does not belong on topic {topic}")
        written_as = self._decoder.type_of(message.value())
        if written_as != metadata.type:
            raise Poison(f"ce_type says {metadata.type}, the bytes are a {written_as}")
        event_type = self._types.get(metadata.type)
        if event_type is None:
            self._decoder.decode(message.value())
            return False
        event = self._decoder.decode_as(message.value(), event_type)
        item.received = Received(
            event=event,
            metadata=metadata,
            topic=topic,
            partition=item.partition.number,
            offset=item.offset,
            key=item.key,
        )
        return True
