"""
Kafka clients with the settings that the kit's guarantees rest on, each with its reason where it is not obvious.

Instrumentation that wraps a client is never used: proxies break transactions. A client made before `fork()` is broken:
spawn.
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
    "consumer",
    "consumer_config",
    "listener_consumer",
    "producer",
    "producer_config",
    "transactional_producer",
    "transactional_producer_config",
]

TRANSACTION_TIMEOUT_MS = 15_000
"""How long a producer that died can hold read_committed readers back, plus up to 10 s of the broker's own pace."""

RECORD_BYTES_MAX = 2 * 1024 * 1024

Config = dict[str, Any]


def client_config(settings: KafkaSettings) -> Config:
    """What every client shares: where, as whom, and no metrics pushed to a broker that nobody asked."""
    return {
        "bootstrap.servers": settings.bootstrap_servers,
        "enable.metrics.push": False,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1_000,
        "topic.metadata.refresh.interval.ms": 30_000,
        # Errors reach the caller through calls; librdkafka's own lines on stderr say them twice.
        "log_level": 2,
        **settings.security,
    }


def producer_config(settings: KafkaSettings, *, linger_ms: float = 2) -> Config:
    """An idempotent producer without transactions; key → partition as Java clients do it."""
    return {
        **client_config(settings),
        "enable.idempotence": True,
        "acks": "all",
        "partitioner": "murmur2_random",
        "compression.type": "lz4",
        "linger.ms": linger_ms,
        "message.max.bytes": RECORD_BYTES_MAX,
    }


def transactional_producer_config(settings: KafkaSettings, transactional_id: str) -> Config:
    """
    One transaction after another, as fast as the broker can.

    `retry.backoff.ms` 2: AddOffsetsToTxn is answered CONCURRENT_TRANSACTIONS right after a commit, and the default of
    100 ms would cost that much in every transaction. `linger.ms` 0: the commit flushes anyway.
    """
    return {
        **producer_config(settings, linger_ms=0),
        "transactional.id": transactional_id,
        "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
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
    """A consumer that skips nothing silently: from the earliest record, committed ones only, offsets by hand."""
    return {
        **client_config(settings),
        "group.id": group,
        "isolation.level": isolation,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": 15_000,
        "heartbeat.interval.ms": 3_000,
        "max.poll.interval.ms": 120_000,
        "fetch.queue.backoff.ms": 20,
        "allow.auto.create.topics": False,
    }


def producer(settings: KafkaSettings, **overrides: object) -> Producer:
    """See `producer_config`; `overrides` are librdkafka's keys."""
    return Producer({**producer_config(settings), **overrides})


def transactional_producer(
    settings: KafkaSettings, transactional_id: str, **overrides: object
) -> Producer:
    """
    See `transactional_producer_config`. The id is stable over restarts and unique among live workers:
    `init_transactions` then fences the predecessor and ends its open transaction.
    """
    return Producer({**transactional_producer_config(settings, transactional_id), **overrides})


def consumer(settings: KafkaSettings, group: str, **overrides: object) -> Consumer:
    """See `consumer_config`. One thread owns it: not even `pause()` may come from another."""
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
    A member of a listener's group. `classic`: static membership, so that a restarted slot keeps its partitions.

    `consumer` (KIP-848): the broker assigns and keeps the time-outs, so the client refuses them; and no static id, for
    a kill and a quick restart would fence the new member until the old one's session ends.
    """
    config = {**consumer_config(settings, group), **overrides}
    if protocol == "consumer":
        config = {name: value for name, value in config.items() if name not in _CLASSIC_ONLY}
        return Consumer({**config, "group.protocol": "consumer"})
    return Consumer({**config, "group.instance.id": instance_id})


_CLASSIC_ONLY = {"session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"}
