"""
Lag on a real broker, in records and in seconds: open and aborted transactions, groups that never
committed, records that wait; and dead letters that are open.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from tests.support.stack import Stack

from orderflow.messaging.dead_letters.letter_watch import LetterWatch
from orderflow.messaging.dead_letters.open_letters import OpenCount
from orderflow.messaging.errors import Unavailable
from orderflow.messaging.kafka import clients
from orderflow.messaging.kafka.finished_offsets import Window, encode
from orderflow.messaging.kafka.lag import lags
from orderflow.messaging.kafka.progress import GroupProgress
from orderflow.messaging.kafka.survey import Surveyor
from orderflow.messaging.settings import KafkaSettings
from orderflow.messaging.testing.eventually import eventually

KEEP = {"retention.ms": "-1"}
"""Records of 1970 are there until the test is over."""


@pytest.fixture
def kafka(stack: Stack) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=stack.bootstrap_servers)


@pytest.fixture
def topic(kafka: KafkaSettings) -> Iterator[str]:
    name = f"lag-{uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    admin.create_topics([NewTopic(name, 1, 1, config=KEEP)])[name].result(30)
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


def test_seconds_are_the_age_of_the_first_record_that_is_not_finished(
    kafka: KafkaSettings, topic: str, request: pytest.FixtureRequest
) -> None:
    """Neither markers nor aborted records have an age, nor has what is finished behind a wait."""
    surveyor = Surveyor(kafka, {f"{topic}-group": (topic,)}, topics=())
    request.addfinalizer(surveyor.close)
    assert seconds(surveyor, topic) == (0, 0.0)
    times = [1_000_000 + 10_000 * number for number in range(5)]
    producer = clients.transactional_producer(kafka, f"{topic}.producer")
    producer.init_transactions(30)
    producer.begin_transaction()
    for at_ms in times:
        producer.produce(topic, b"value", timestamp=at_ms)
    producer.commit_transaction(30)
    eventually(lambda: written_s(surveyor, topic) == 1_000, within_s=10)

    # Offsets 0 to 4 and a marker. The group waits for 1 and has finished 2 and 3.
    commit(kafka, f"{topic}-group", topic, 1, encode(Window(4, (1,))))
    assert written_s(surveyor, topic) == 1_010
    commit(kafka, f"{topic}-group", topic, 4, "")
    assert written_s(surveyor, topic) == 1_040
    commit(kafka, f"{topic}-group", topic, 5, "")
    assert seconds(surveyor, topic) == (0, 0.0), "only the marker is left"
    commit(kafka, f"{topic}-group", topic, 6, "")
    assert seconds(surveyor, topic) == (0, 0.0)

    producer.begin_transaction()
    producer.produce(topic, b"value", timestamp=times[0])
    producer.flush(30)
    producer.abort_transaction(30)
    eventually(lambda: surveyor.survey().logs[topic, 0].stable_end == 8, within_s=30)
    assert seconds(surveyor, topic) == (0, 0.0), "what was aborted is nothing to be read"


def test_several_groups_on_one_partition_have_each_their_own_age_and_a_newcomer_is_shown(
    kafka: KafkaSettings, topic: str, request: pytest.FixtureRequest
) -> None:
    groups = [f"{topic}-group-{number}" for number in range(3)]
    surveyor = Surveyor(kafka, dict.fromkeys(groups[:2], (topic,)), topics=(topic,))
    request.addfinalizer(surveyor.close)
    producer = clients.producer(kafka)
    for number in range(5):
        producer.produce(topic, b"value", timestamp=1_000_000 + 10_000 * number)
    assert producer.flush(30) == 0
    commit(kafka, groups[1], topic, 2, "")
    commit(kafka, groups[2], topic, 4, "somebody else's words")
    survey = surveyor.survey()
    ages = {
        row.lag.group: round(survey.at.timestamp() - row.seconds)
        for row in survey.lags
        if row.seconds is not None and row.lag.topic == topic
    }
    assert ages == {groups[0]: 1_000, groups[1]: 1_020, groups[2]: 1_040}


def test_a_record_that_retention_removed_hands_its_age_to_the_next_one(
    kafka: KafkaSettings, topic: str, request: pytest.FixtureRequest
) -> None:
    surveyor = Surveyor(kafka, {f"{topic}-group": (topic,)}, topics=())
    request.addfinalizer(surveyor.close)
    producer = clients.producer(kafka)
    for number in range(5):
        producer.produce(topic, b"value", timestamp=1_000_000 + 10_000 * number)
    assert producer.flush(30) == 0
    commit(kafka, f"{topic}-group", topic, 1, encode(Window(4, (1,))))
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    below = clients.TopicPartition(topic, 0, 3)
    admin.delete_records([below])[below].result(30)
    eventually(lambda: written_s(surveyor, topic) == 1_040, within_s=10)
    assert surveyor.survey().logs[topic, 0].first == 3


def test_open_letters_are_counted_as_letters_and_dispositions_come_and_go(
    kafka: KafkaSettings, topic: str, request: pytest.FixtureRequest
) -> None:
    """The topic stands for both: letters of it are on another one, named as its groups name it."""
    letters = f"{topic}.some-group.dlt"
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    admin.create_topics([NewTopic(letters, 1, 1, config=KEEP)])[letters].result(30)
    request.addfinalizer(lambda: admin.delete_topics([letters])[letters].result(30))
    surveyor = Surveyor(kafka, {}, topics=(topic,))
    request.addfinalizer(surveyor.close)
    watch = LetterWatch(kafka, dispositions=topic)
    request.addfinalizer(watch.close)

    def are_open(number: int, oldest_written_s: float | None) -> bool:
        count = watch.look(surveyor.survey().logs).get(letters)
        return count == OpenCount(letters=number, oldest_written_s=oldest_written_s)

    eventually(lambda: are_open(0, None), within_s=20)
    producer = clients.transactional_producer(kafka, f"{topic}.producer")
    producer.init_transactions(30)
    producer.begin_transaction()
    for number in range(3):
        producer.produce(letters, b"value", timestamp=1_000_000 + 10_000 * number)
    producer.flush(30)
    assert are_open(0, None), "not before they are committed"
    producer.commit_transaction(30)
    eventually(lambda: are_open(3, 1_000), within_s=10)

    key = f"{letters}/0/0".encode()
    for value, expected in ((b"replayed", (2, 1_010)), (None, (3, 1_000)), (b"x", (2, 1_010))):
        producer.begin_transaction()
        producer.produce(topic, value, key)
        producer.commit_transaction(30)
        eventually(partial(are_open, *expected), within_s=10)
    late = LetterWatch(kafka, dispositions=topic)
    request.addfinalizer(late.close)
    assert late.look(surveyor.survey().logs)[letters].letters == 2
    assert late.is_complete


def seconds(surveyor: Surveyor, topic: str) -> tuple[int, float | None]:
    [row] = [row for row in surveyor.survey().lags if row.lag.topic == topic]
    return row.lag.records, row.seconds


def written_s(surveyor: Surveyor, topic: str) -> int:
    """When the record was written that the one group's age is of, in seconds since 1970."""
    survey = surveyor.survey()
    [row] = [row for row in survey.lags if row.lag.topic == topic]
    return round(survey.at.timestamp() - (row.seconds or 0))
