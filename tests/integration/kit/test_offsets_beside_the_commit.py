"""
What a broker keeps beside a committed offset: our longest text fits, in both ways of committing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal
from uuid import uuid4

import pytest
from tests.support.stack import Stack

from orderflow.messaging.kafka.admin import Admin, apply, plan
from orderflow.messaging.kafka.clients import (
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
    consumer,
    listener_consumer,
    transactional_producer,
)
from orderflow.messaging.kafka.finished_offsets import (
    BODY_BYTES_MAX,
    METADATA_BYTES_MAX,
    NO_OFFSET,
    SPAN_MAX,
    UNFINISHED_MAX,
    Window,
    admits,
    decode,
    encode,
    runs_bytes_max,
)
from orderflow.messaging.kafka.topics import Topic, TopicSettings
from orderflow.messaging.kafka.transactions import TransactionAborted, Transactions
from orderflow.messaging.settings import KafkaSettings
from orderflow.messaging.testing.eventually import eventually

HIGHEST = 2**62
SPAN_DENSE_MAX = 8 * BODY_BYTES_MAX
SPARSE = 590
PLACE = 0
WORST = [
    Window(HIGHEST, tuple(range(HIGHEST - SPAN_DENSE_MAX, HIGHEST, 12))),
    Window(HIGHEST, tuple(range(HIGHEST - SPAN_MAX + 1, HIGHEST, SPAN_MAX // SPARSE))),
    Window(
        HIGHEST,
        tuple(range(HIGHEST - SPAN_DENSE_MAX, HIGHEST - SPAN_DENSE_MAX + UNFINISHED_MAX - 1)),
    ),
]


@pytest.fixture(scope="module")
def kafka(stack: Stack) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=stack.bootstrap_servers)


@pytest.fixture(scope="module")
def topic(kafka: KafkaSettings) -> str:
    name = f"offsets-{uuid4().hex[:8]}"
    admin = Admin(kafka)
    apply(
        plan([Topic(name=name, key="none", retention=None, partitions=1)], admin, TopicSettings()),
        admin,
    )
    return name


@pytest.fixture
def group(kafka: KafkaSettings) -> Iterator[Consumer]:
    client = consumer(kafka, f"offsets-{uuid4().hex[:8]}")
    yield client
    client.close()


def nothing() -> None:
    pass


def commit(transactions: Transactions, client: Consumer, place: TopicPartition) -> None:
    transactions.begin()
    transactions.send_offsets([place], client.consumer_group_metadata())
    transactions.commit()


def committed(client: Consumer, topic: str) -> tuple[int, str | None]:
    (committed,) = client.committed([TopicPartition(topic, PLACE)], timeout=20)
    return committed.offset, committed.metadata


def test_the_longest_text_comes_back_from_a_transaction_and_from_a_plain_commit(
    kafka: KafkaSettings, topic: str, group: Consumer
) -> None:
    transactions = Transactions(
        transactional_producer(kafka, f"offsets-{uuid4().hex[:8]}"), between=nothing
    )
    transactions.init()
    text = "x" * METADATA_BYTES_MAX
    commit(transactions, group, TopicPartition(topic, PLACE, 1, metadata=text))
    assert committed(group, topic) == (1, text)
    group.commit(offsets=[TopicPartition(topic, PLACE, 2, metadata=text[::-1])], asynchronous=False)
    assert committed(group, topic) == (2, text[::-1])

    with pytest.raises(TransactionAborted, match="OFFSET_METADATA_TOO_LARGE"):
        commit(transactions, group, TopicPartition(topic, PLACE, 3, metadata="x" * 4_097))
    with pytest.raises(KafkaException) as refused:
        group.commit(
            offsets=[TopicPartition(topic, PLACE, 4, metadata="x" * 4_097)], asynchronous=False
        )
    assert refused.value.args[0].code() == KafkaError.OFFSET_METADATA_TOO_LARGE
    assert committed(group, topic) == (2, text[::-1])


@pytest.mark.parametrize("window", WORST, ids=["dense", "sparse", "head"])
def test_the_worst_window_that_may_be_admitted_is_kept_by_the_broker(
    kafka: KafkaSettings, topic: str, group: Consumer, window: Window
) -> None:
    assert admits(window.span, len(window.unfinished), runs_bytes_max(window.unfinished))
    assert len(window.unfinished) >= SPARSE
    transactions = Transactions(
        transactional_producer(kafka, f"offsets-{uuid4().hex[:8]}"), between=nothing
    )
    transactions.init()
    commit(transactions, group, TopicPartition(topic, PLACE, window.base, metadata=encode(window)))
    offset, metadata = committed(group, topic)
    assert decode(metadata, offset=offset) == window


def test_an_offset_without_text_reads_back_as_nothing_unfinished(
    topic: str, group: Consumer
) -> None:
    group.commit(offsets=[TopicPartition(topic, PLACE, 7)], asynchronous=False)
    offset, metadata = committed(group, topic)
    assert decode(metadata, offset=offset) == Window(7)
    group.commit(
        offsets=[TopicPartition(topic, PLACE, 8, metadata=encode(Window(8)))], asynchronous=False
    )
    offset, metadata = committed(group, topic)
    assert decode(metadata, offset=offset) == Window(8)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_what_a_worker_left_open_is_aborted_by_no_member_while_the_group_has_some(
    kafka: KafkaSettings, topic: str, protocol: Literal["classic", "consumer"]
) -> None:
    name = f"offsets-{uuid4().hex[:8]}"
    member = listener_consumer(kafka, name, instance_id=name, protocol=protocol)
    outsider = consumer(kafka, name)
    transactions = Transactions(transactional_producer(kafka, name), between=nothing)
    transactions.init()
    try:
        member.subscribe([topic])
        eventually(lambda: member.poll(0.1) or member.assignment(), within_s=30)
        commit(transactions, member, TopicPartition(topic, PLACE, 3))

        transactions.abort_remains(
            TopicPartition(topic, PLACE, 0, NO_OFFSET), outsider.consumer_group_metadata()
        )
        assert committed(outsider, topic) == (3, None)
        commit(transactions, member, TopicPartition(topic, PLACE, 4))
        assert committed(outsider, topic) == (4, None)
    finally:
        outsider.close()
        member.close()
