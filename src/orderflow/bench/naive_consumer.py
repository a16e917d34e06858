"""What the two naive listeners share: their task, and a consumer at given offsets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from orderflow.messaging.kafka import clients
from orderflow.messaging.settings import KafkaSettings, RegistrySettings


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
