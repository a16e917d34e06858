"""On a real broker: a restore ends at a position, and waits for commits that have no marker yet."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from tests.support.stack import Stack

from orderflow.messaging.kafka import clients
from orderflow.messaging.kafka.admin import Admin, apply, plan
from orderflow.messaging.kafka.partitioner import partition_of
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.kafka.topics import Cleanup, Topic, TopicSettings
from orderflow.messaging.settings import KafkaSettings
from orderflow.messaging.streams.broker_changelog import BrokerChangelogReader
from orderflow.messaging.streams.changelog import ChangelogRecord
from orderflow.messaging.testing.eventually import eventually

MANY = 100_000
KEYS = [b"", b"a", b"ab", b"abc", b"abcd", "Zürich".encode(), bytes(range(256))]
KEYS += [b"customer-%d" % number for number in range(200)]


@pytest.fixture
def kafka(stack: Stack) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=stack.bootstrap_servers)


@pytest.fixture
def place(kafka: KafkaSettings) -> Place:
    topic = Topic(
        name=f"changelog-{uuid4().hex[:8]}",
        key="any",
        retention=None,
        cleanup=Cleanup.COMPACT,
        partitions=1,
    )
    admin = Admin(kafka)
    apply(plan((topic,), admin, TopicSettings()), admin)
    return topic.name, 0


@pytest.fixture
def reader(kafka: KafkaSettings) -> Iterator[BrokerChangelogReader]:
    reader = BrokerChangelogReader(kafka)
    yield reader
    reader.close()


def write(
    kafka: KafkaSettings, place: Place, keys: range, *, commit: bool = True
) -> clients.Producer:
    producer = clients.transactional_producer(kafka, uuid4().hex)
    producer.init_transactions(10)
    producer.begin_transaction()
    for key in keys:
        producer.produce(place[0], b"v" * 150, str(key).encode(), place[1])
    producer.flush(30)
    if commit:
        producer.commit_transaction(30)
    return producer


def read_to(
    reader: BrokerChangelogReader, place: Place, end: int, *, within_s: float = 20
) -> list[ChangelogRecord]:
    records: list[ChangelogRecord] = []
    reached = 0

    def step() -> bool:
        nonlocal reached
        read = reader.read(5_000, 0.1)
        records.extend(read.records)
        reached = max(reached, read.reached.get(place, 0))
        return reached >= end

    eventually(step, within_s=within_s, why=f"position {end}", every_s=0)
    assert reached == end
    return records


def test_markers_and_aborted_records_at_the_end_are_passed(
    kafka: KafkaSettings, place: Place, reader: BrokerChangelogReader
) -> None:
    write(kafka, place, range(3))
    write(kafka, place, range(3, 5), commit=False).abort_transaction(10)
    write(kafka, place, range(0))
    (end,) = reader.ends([place]).values()
    assert end == 3 + 1 + 2 + 1
    reader.begin(place, 0)
    assert [record.key for record in read_to(reader, place, end)] == [b"0", b"1", b"2"]


@pytest.mark.parametrize("commit", [True, False])
def test_the_end_includes_an_open_transaction_and_is_reached_when_that_ends(
    kafka: KafkaSettings, place: Place, reader: BrokerChangelogReader, commit: bool
) -> None:
    """Its records may be committed already, and their marker still on its way."""
    write(kafka, place, range(3))
    producer = write(kafka, place, range(3, 5), commit=False)
    (end,) = reader.ends([place]).values()
    assert end == 6
    reader.begin(place, 0)
    assert len(read_to(reader, place, 4)) == 3

    if commit:
        producer.commit_transaction(10)
    else:
        producer.abort_transaction(10)
    more = read_to(reader, place, 7)
    assert [record.key for record in more] == ([b"3", b"4"] if commit else [])


def test_a_topic_made_again_has_another_id_and_an_offset_it_lacks_is_refused(
    kafka: KafkaSettings, place: Place, reader: BrokerChangelogReader
) -> None:
    write(kafka, place, range(3))
    (topic_id,) = reader.topic_ids([place[0]]).values()
    assert len(topic_id) > 10
    assert reader.partitions([place[0], "no-such-topic"]) == {place[0]: 1}
    assert reader.firsts([place]) == {place: 0}

    reader.begin(place, 1_000)
    eventually(lambda: place in reader.read(10, 0.1).refused, within_s=10)


def test_a_hundred_thousand_records_are_read_from_a_position(
    kafka: KafkaSettings, place: Place, reader: BrokerChangelogReader
) -> None:
    write(kafka, place, range(MANY))
    reader.begin(place, 10)
    records = read_to(reader, place, MANY + 1)
    assert [record.offset for record in records] == list(range(10, MANY))


def test_keys_are_where_the_client_library_places_them(kafka: KafkaSettings) -> None:
    topic = Topic(
        name=f"placed-{uuid4().hex[:8]}", key="any", retention=timedelta(hours=1), partitions=7
    )
    admin = Admin(kafka)
    apply(plan((topic,), admin, TopicSettings()), admin)

    placed: dict[bytes, int] = {}
    producer = clients.transactional_producer(kafka, uuid4().hex)
    producer.init_transactions(10)
    producer.begin_transaction()
    for key in KEYS:
        producer.produce(
            topic.name,
            b"v",
            key,
            on_delivery=lambda _error, message: placed.update(
                {message.key() or b"": message.partition() or 0}
            ),
        )
    producer.commit_transaction(30)
    # An empty key is no key to the client library: it goes anywhere.
    placed.pop(b"", None)
    assert placed == {key: partition_of(key, 7) for key in KEYS if key}
