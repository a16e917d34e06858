"""What the two naive listeners share: a consumer at given offsets, and an effect's metadata."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from orderflow.contracts import NAMESPACE
from orderflow.contracts.events import Event
from orderflow.messaging.event import Metadata, derived_id
from orderflow.messaging.kafka import clients
from orderflow.messaging.settings import KafkaSettings, RegistrySettings
from orderflow.trials.records import SOURCE


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """Where to read: `start` is the first offset of each partition."""

    bootstrap_servers: str
    registry_url: str
    group: str
    start: dict[int, int]

    @property
    def kafka(self) -> KafkaSettings:
        return KafkaSettings(bootstrap_servers=self.bootstrap_servers)

    @property
    def registry(self) -> RegistrySettings:
        return RegistrySettings(url=self.registry_url)


def open_consumer(task: Input, topic: str) -> clients.Consumer:
    consumer = clients.consumer(task.kafka, task.group)
    consumer.assign([clients.TopicPartition(topic, *place) for place in task.start.items()])
    return consumer


def messages(consumer: clients.Consumer) -> Iterator[Any]:
    """Every record, one after another, without end."""
    while True:
        message = consumer.poll(1.0)
        if message is not None and message.error() is None:
            yield message


def caused_by(cause: Metadata, event: Event) -> Metadata:
    """Metadata of an event that a record caused; the same id each time for the same cause."""
    return Metadata(
        id=derived_id(NAMESPACE, cause=cause.id, event_type=event.type_name(), index=0),
        type=event.type_name(),
        source=SOURCE,
        time=event.happened_at,
        subject=event.subject,
        correlation_id=cause.correlation_id,
        causation_id=str(cause.id),
        traceparent=cause.traceparent,
    )
