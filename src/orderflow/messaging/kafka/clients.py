"""
Kafka clients with the settings that the kit's guarantees rest on.

Never wrap a client for instrumentation: proxies break transactions. A client made before `fork()`
is broken in the child: start processes with spawn.
"""

from __future__ import annotations

from typing import Any, Literal

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)

from orderflow.messaging.settings import KafkaSettings

__all__ = [
    "OFFSET_BEGINNING",
    "Consumer",
    "KafkaError",
    "KafkaException",
    "Producer",
    "TopicPartition",
    "client_config",
    "consumer",
    "consumer_config",
    "listener_consumer",
    "producer",
    "producer_config",
    "transactional_producer",
    "transactional_producer_config",
]

TRANSACTION_TIMEOUT_MS = 15_000
"""How long a dead producer can hold read_committed readers back; the broker adds up to 10 s."""

RECORD_BYTES_MAX = 2 * 1024 * 1024

Config = dict[str, Any]


def client_config(settings: KafkaSettings) -> Config:
    """What every client shares: cluster, credentials, reconnection."""
    return {
        "bootstrap.servers": settings.bootstrap_servers,
        # The client would push its own metrics to any broker that accepts them.
        "enable.metrics.push": False,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1_000,
        "topic.metadata.refresh.interval.ms": 30_000,
        # The default of 30 s is how long a new connection to a silent broker would count as one.
        "socket.connection.setup.timeout.ms": 5_000,
        # Errors reach the caller through calls; librdkafka's lines on stderr would repeat them.
        "log_level": 2,
        **settings.security,
    }


def producer_config(settings: KafkaSettings, *, linger_ms: float = 2) -> Config:
    """An idempotent producer without transactions."""
    return {
        **client_config(settings),
        "enable.idempotence": True,
        "acks": "all",
        # Java clients' mapping of keys to partitions: records of one key stay on one partition.
        "partitioner": "murmur2_random",
        "compression.type": "lz4",
        "linger.ms": linger_ms,
        "message.max.bytes": RECORD_BYTES_MAX,
    }


def transactional_producer_config(settings: KafkaSettings, transactional_id: str) -> Config:
    """A producer for transaction after transaction, as fast as the broker can commit them."""
    return {
        # No linger: the commit flushes anyway.
        **producer_config(settings, linger_ms=0),
        "transactional.id": transactional_id,
        "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
        # Right after a commit the broker answers AddOffsetsToTxn with CONCURRENT_TRANSACTIONS; the
        # default back-off would add 100 ms to every transaction.
        "retry.backoff.ms": 2,
        "retry.backoff.max.ms": 10,
        "queue.buffering.max.messages": 1_000_000,
    }


def consumer_config(
    settings: KafkaSettings,
    group: str,
    *,
    isolation: Literal["read_committed", "read_uncommitted"] = "read_committed",
) -> Config:
    """A consumer of committed records, from the earliest one, whose owner commits the offsets."""
    return {
        **client_config(settings),
        "group.id": group,
        "isolation.level": isolation,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "partition.assignment.strategy": "cooperative-sticky",
        # A broker that answers nothing is away after this time, not after a minute. A producer has
        # its transaction time-out instead.
        "socket.timeout.ms": 10_000,
        "session.timeout.ms": 15_000,
        "heartbeat.interval.ms": 3_000,
        "max.poll.interval.ms": 120_000,
        "fetch.queue.backoff.ms": 20,
        # A misspelt topic must be an error, not a new topic without records.
        "allow.auto.create.topics": False,
    }


def producer(settings: KafkaSettings, **overrides: object) -> Producer:
    """See `producer_config`; `overrides` are librdkafka's keys."""
    return Producer({**producer_config(settings), **overrides})


def transactional_producer(
    settings: KafkaSettings, transactional_id: str, **overrides: object
) -> Producer:
    """
    See `transactional_producer_config`; `overrides` are librdkafka's keys.

    Keep the id over restarts and unique among live workers: then `init_transactions` fences the
    predecessor and ends its open transaction.
    """
    return Producer({**transactional_producer_config(settings, transactional_id), **overrides})


def consumer(settings: KafkaSettings, group: str, **overrides: object) -> Consumer:
    """See `consumer_config`. For one thread only: not even `pause()` may come from another."""
    return Consumer({**consumer_config(settings, group), **overrides})


def listener_consumer(
    settings: KafkaSettings,
    group: str,
    *,
    instance_id: str,
    protocol: Literal["classic", "consumer"] = "classic",
    **overrides: object,
) -> Consumer:
    """
    A member of a listener's group, by one of Kafka's two group protocols.

    `classic`: static membership, so a restarted worker keeps its partitions. `consumer` (KIP-848):
    the broker assigns partitions and keeps the time-outs.
    """
    # An offset that the log does not have is an error to act on: a reset inside the client would
    # drop records in silence.
    config = {
        **consumer_config(settings, group),
        "auto.offset.reset": "error",
        # Fetched ahead, for each partition: eight turns' worth. The client's own limits of 100,000
        # records and 64 MiB are read again after every pause.
        "queued.min.messages": 4_000,
        "queued.max.messages.kbytes": 4_096,
        **overrides,
    }

    if protocol == "consumer":
        # The client refuses these settings, which are the broker's. And no static id: after a kill
        # and a quick restart the new member would be fenced until the old one's session ends.
        config = {name: value for name, value in config.items() if name not in _CLASSIC_ONLY}
        return Consumer({**config, "group.protocol": "consumer"})
    return Consumer({**config, "group.instance.id": instance_id})


_CLASSIC_ONLY = {"session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"}
