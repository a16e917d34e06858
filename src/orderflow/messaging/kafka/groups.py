"""A consumer group from outside, for tools: set where it begins to read, delete its offsets."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from orderflow.messaging.errors import Unavailable
from orderflow.messaging.kafka.clients import client_config, consumer
from orderflow.messaging.settings import KafkaSettings

REQUEST_TIMEOUT_S = 10.0


def begin_at(settings: KafkaSettings, group: str, topic: str, offsets: Mapping[int, int]) -> None:
    """
    Commit `offsets` (by partition) for a group without members: it will read `topic` from there.

    Raises Unavailable when the cluster does not answer, or the group has members.
    """
    client = consumer(settings, group)
    try:
        positions = [
            TopicPartition(topic, partition, offset) for partition, offset in offsets.items()
        ]
        client.commit(offsets=positions, asynchronous=False)
    except KafkaException as error:
        raise Unavailable(
            f"could not place group {group} on {topic}: {error.args[0].str()}", resource="broker"
        ) from error
    finally:
        client.close()


def forget(settings: KafkaSettings, group: str) -> None:
    """Delete the group's offsets if it has no members. A failure is ignored: it does no harm."""
    admin = AdminClient(client_config(settings))
    with suppress(KafkaException):
        admin.delete_consumer_groups([group], request_timeout=REQUEST_TIMEOUT_S)[group].result()
