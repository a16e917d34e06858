"""
The baseline of `bench revenue`: what one writes first, tuned.

`python -m orderflow.bench.revenue.naive JSON`. Polls a record of either hop, computes, and commits
its output with its offset: one Kafka transaction for each. With our back-off settings (the client's
defaults cost 100 ms in each transaction), sums in memory, a changelog, and no set of facts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import msgspec

from orderflow.bench.naive_consumer import messages
from orderflow.contracts import NAMESPACE
from orderflow.contracts.events import (
    EVENT_TYPES,
    CustomerRevenueChange,
    Envelope,
    HourRevenueChange,
)
from orderflow.contracts.schemas import CATALOGUE
from orderflow.contracts.topics import (
    BY_CUSTOMER_REPARTITION,
    BY_HOUR_REPARTITION,
    REVENUE_BY_CUSTOMER,
    REVENUE_BY_HOUR,
    SOURCES,
)
from orderflow.messaging.event import caused_by, from_headers, to_headers
from orderflow.messaging.kafka import clients
from orderflow.messaging.schemas.avro import Decoder, Encoder
from orderflow.messaging.schemas.registry import Registry
from orderflow.messaging.settings import KafkaSettings, RegistrySettings
from orderflow.services.revenue import model

TIMEOUT_S = 10.0
PUBLISHES = (BY_CUSTOMER_REPARTITION, BY_HOUR_REPARTITION, REVENUE_BY_CUSTOMER, REVENUE_BY_HOUR)


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """
    `start`: by topic, the first offset of each partition. `changelog` stands in for those of the
    tables, which are another's.
    """

    bootstrap_servers: str
    registry_url: str
    group: str
    changelog: str
    start: dict[str, dict[int, int]]


class Sums:
    """Each table's values, and what an event changes."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def outputs(self, event: Envelope) -> Iterable[tuple[str, Envelope]]:
        """Topic and event of everything that `event` causes."""
        key, value = event.key, self._values.get(event.key)
        if isinstance(event, CustomerRevenueChange):
            self._values[key] = value = model.add_to_customer(value, event)
            yield REVENUE_BY_CUSTOMER.name, value
            for change in model.by_hour(event):
                yield BY_HOUR_REPARTITION.name, change
        elif isinstance(event, HourRevenueChange):
            self._values[key] = value = model.add_to_hour(value, event)
            yield REVENUE_BY_HOUR.name, value
        else:
            for rekeyed in model.by_customer(event):
                yield BY_CUSTOMER_REPARTITION.name, rekeyed


def main(task: Task) -> None:
    kafka = KafkaSettings(bootstrap_servers=task.bootstrap_servers)
    registry = Registry(RegistrySettings(url=task.registry_url))
    topics = [topic.name for topic in PUBLISHES]
    encoder, decoder = Encoder.load(registry, CATALOGUE, topics), Decoder(registry)
    changelogs = {REVENUE_BY_CUSTOMER.name, REVENUE_BY_HOUR.name}
    sums, source = Sums(), SOURCES[BY_CUSTOMER_REPARTITION.name]

    producer = clients.transactional_producer(kafka, task.group)
    producer.init_transactions(30)
    consumer = clients.consumer(kafka, task.group)
    consumer.assign(
        [
            clients.TopicPartition(topic, *place)
            for topic, places in task.start.items()
            for place in places.items()
        ]
    )

    for message in messages(consumer):
        cause = from_headers(message.headers())
        event = decoder.decode_as(message.value(), EVENT_TYPES[cause.type])
        producer.begin_transaction()
        for topic, output in sums.outputs(event):
            headers: Any = to_headers(caused_by(cause, output, namespace=NAMESPACE, source=source))
            target = task.changelog if topic in changelogs else topic
            producer.produce(target, encoder.encode(topic, output), output.key, headers=headers)

        done = clients.TopicPartition(message.topic(), message.partition(), message.offset() + 1)
        producer.send_offsets_to_transaction([done], consumer.consumer_group_metadata(), TIMEOUT_S)
        producer.commit_transaction(TIMEOUT_S)


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Task, strict=False))
