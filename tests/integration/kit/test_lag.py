"""
Lag in records on a real broker: open and aborted transactions, groups that never committed,
records that wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from tests.support.stack import Stack

from orderflow.messaging.errors import Unavailable
from orderflow.messaging.kafka import clients
from orderflow.messaging.kafka.finished_offsets import Window, encode
from orderflow.messaging.kafka.lag import lags
from orderflow.messaging.kafka.progress import GroupProgress
from orderflow.messaging.settings import KafkaSettings
from orderflow.messaging.testing.eventually import eventually


@pytest.fixture
def kafka(stack: Stack) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=stack.bootstrap_servers)


@pytest.fixture
def topic(kafka: KafkaSettings) -> Iterator[str]:
    name = f"lag-{uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(30)
    eventually(lambda: admin.list_topics(name, timeout=5).topics[name].partitions, within_s=20)
    yield name
    admin.delete_topics([name])[name].result(30)


def behind(kafka: KafkaSettings, group: str, topic: str) -> tuple[int, int]:
    (lag,) = lags(kafka, {group: (topic,)})
    return lag.records, lag.waiting


def test_what_an_open_transaction_holds_is_no_lag_and_what_committed_is(
    kafka: KafkaSettings, topic: str
) -> None:
    group = f"{topic}-group"
    producer = clients.transactional_producer(kafka, f"{topic}.producer")
    producer.init_transactions(30)
    producer.begin_transaction()
    for number in range(5):
        producer.produce(topic, b"value", str(number))
    producer.flush(30)
    assert behind(kafka, group, topic) == (0, 0)
    producer.commit_transaction(30)
    # Five records and the marker, which the group has to pass too.
    eventually(lambda: behind(kafka, group, topic) == (6, 0), within_s=10)
    commit(kafka, group, topic, 6, "")
    assert behind(kafka, group, topic) == (0, 0)


def test_records_that_wait_count_and_those_finished_behind_them_do_not(
    kafka: KafkaSettings, topic: str
) -> None:
    group = f"{topic}-group"
    producer = clients.producer(kafka)
    for number in range(20):
        producer.produce(topic, b"value", str(number))
    assert producer.flush(30) == 0
    commit(kafka, group, topic, 3, encode(Window(15, (3, 7))))
    assert behind(kafka, group, topic) == (2 + 5, 2)
    commit(kafka, group, topic, 3, "somebody else's words")
    assert behind(kafka, group, topic) == (17, 0)


def test_lag_leaves_a_missing_topic_out_and_names_a_cluster_that_is_away(
    kafka: KafkaSettings, topic: str
) -> None:
    assert [lag.topic for lag in lags(kafka, {"nobody": (topic, "not-there-yet")})] == [topic]
    with pytest.raises(Unavailable, match="could not ask for lags"):
        lags(KafkaSettings(bootstrap_servers="127.0.0.1:1"), {"nobody": (topic,)}, timeout_s=0.5)


def test_a_group_is_behind_while_a_transaction_is_open_or_a_record_waits(
    kafka: KafkaSettings, topic: str, request: pytest.FixtureRequest
) -> None:
    group = f"{topic}-group"
    progress = GroupProgress(kafka, group=group, topics=(topic,))
    request.addfinalizer(progress.close)
    assert progress.unfinished(progress.horizon()) == {}, "there is nothing to be had"
    producer = clients.transactional_producer(kafka, f"{topic}.producer")
    producer.init_transactions(30)
    producer.begin_transaction()
    for number in range(5):
        producer.produce(topic, b"value", str(number))
    producer.flush(30)
    horizon = progress.horizon()
    assert progress.unfinished(horizon) == {(topic, 0): 5}
    producer.commit_transaction(30)
    commit(kafka, group, topic, 2, encode(Window(5, (2,))))
    assert progress.unfinished(horizon) == {(topic, 0): 1}
    commit(kafka, group, topic, 5, "")
    assert progress.unfinished(horizon) == {}
    assert progress.unfinished(progress.horizon()) == {(topic, 0): 1}, (
        "the marker lies beyond the old horizon"
    )


def test_nothing_is_said_to_be_finished_where_a_topic_or_the_cluster_can_not_be_seen(
    kafka: KafkaSettings, topic: str
) -> None:
    with pytest.raises(Unavailable, match="does not know not-there"):
        GroupProgress(kafka, group="nobody", topics=(topic, "not-there")).horizon()
    away = KafkaSettings(bootstrap_servers="127.0.0.1:1")
    with pytest.raises(Unavailable, match="could not ask how far nobody has come"):
        GroupProgress(away, group="nobody", topics=(topic,)).horizon()


def commit(kafka: KafkaSettings, group: str, topic: str, offset: int, metadata: str) -> None:
    client = clients.consumer(kafka, group)
    client.commit(offsets=[clients.TopicPartition(topic, 0, offset, metadata)], asynchronous=False)
    client.close()
