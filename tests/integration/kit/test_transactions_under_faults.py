"""
What the client makes of each answer that a broker can give in a transaction, and what we make of
that.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from tests.support.log_lines import LogLines
from tests.support.mock_cluster import Api, MockCluster
from tests.support.stack import Stack

from orderflow.messaging.kafka import transactions as module
from orderflow.messaging.kafka.admin import Admin, apply, plan
from orderflow.messaging.kafka.clients import (
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
    consumer,
    transactional_producer,
)
from orderflow.messaging.kafka.topics import Topic, TopicSettings
from orderflow.messaging.kafka.transactions import (
    Produced,
    ProducerLost,
    TransactionAborted,
    Transactions,
)
from orderflow.messaging.settings import KafkaSettings

IN, OUT = "in", "out"
RECORD: Produced = (OUT, b"key", b"value", [])

HEALS = [
    (Api.PRODUCE, "NOT_LEADER_FOR_PARTITION"),
    (Api.ADD_PARTITIONS_TO_TXN, "CONCURRENT_TRANSACTIONS"),
    (Api.ADD_OFFSETS_TO_TXN, "CONCURRENT_TRANSACTIONS"),
    (Api.ADD_OFFSETS_TO_TXN, "NOT_COORDINATOR"),
    (Api.TXN_OFFSET_COMMIT, "NOT_COORDINATOR"),
    (Api.TXN_OFFSET_COMMIT, "COORDINATOR_NOT_AVAILABLE"),
    (Api.TXN_OFFSET_COMMIT, "CONCURRENT_TRANSACTIONS"),
    (Api.END_TXN, "NOT_COORDINATOR"),
    (Api.END_TXN, "COORDINATOR_NOT_AVAILABLE"),
    (Api.END_TXN, "CONCURRENT_TRANSACTIONS"),
    (Api.END_TXN, "_TRANSPORT"),
]
ABORTS = [
    (Api.PRODUCE, "UNKNOWN_PRODUCER_ID"),
    (Api.PRODUCE, "MSG_SIZE_TOO_LARGE"),
    (Api.PRODUCE, "TRANSACTION_ABORTABLE"),
    (Api.PRODUCE, "PRODUCER_FENCED"),
    (Api.PRODUCE, "INVALID_TXN_STATE"),
    (Api.ADD_PARTITIONS_TO_TXN, "TRANSACTION_ABORTABLE"),
    (Api.ADD_PARTITIONS_TO_TXN, "TOPIC_AUTHORIZATION_FAILED"),
    (Api.ADD_OFFSETS_TO_TXN, "TRANSACTION_ABORTABLE"),
    (Api.ADD_OFFSETS_TO_TXN, "GROUP_AUTHORIZATION_FAILED"),
    (Api.TXN_OFFSET_COMMIT, "ILLEGAL_GENERATION"),
    (Api.TXN_OFFSET_COMMIT, "UNKNOWN_MEMBER_ID"),
    (Api.TXN_OFFSET_COMMIT, "FENCED_INSTANCE_ID"),
    (Api.TXN_OFFSET_COMMIT, "STALE_MEMBER_EPOCH"),
    (Api.TXN_OFFSET_COMMIT, "REBALANCE_IN_PROGRESS"),
    (Api.END_TXN, "TRANSACTION_ABORTABLE"),
]
FENCES = [
    (Api.PRODUCE, "INVALID_PRODUCER_EPOCH"),
    (Api.ADD_PARTITIONS_TO_TXN, "PRODUCER_FENCED"),
    (Api.ADD_PARTITIONS_TO_TXN, "INVALID_PRODUCER_EPOCH"),
    (Api.ADD_OFFSETS_TO_TXN, "INVALID_PRODUCER_EPOCH"),
    (Api.END_TXN, "INVALID_PRODUCER_EPOCH"),
    (Api.END_TXN, "PRODUCER_FENCED"),
]
LOSES = [
    (Api.PRODUCE, "OUT_OF_ORDER_SEQUENCE_NUMBER"),
    (Api.ADD_OFFSETS_TO_TXN, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"),
    (Api.TXN_OFFSET_COMMIT, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"),
    (Api.END_TXN, "INVALID_TXN_STATE"),
]


class Worker:
    """A transactional producer with a group to commit for."""

    def __init__(self, kafka: KafkaSettings, group: Consumer) -> None:
        self.producer: Producer = transactional_producer(kafka, f"worker-{uuid4().hex[:8]}")
        self.sends = Transactions(self.producer, between=lambda: None)
        self.sends.init()
        self._group = group

    def run(
        self,
        record: Produced = RECORD,
        *,
        before_offsets: tuple[MockCluster, Api, int] | None = None,
    ) -> None:
        self.sends.begin()
        # With its first record the client adds the partition, on a thread of its own: at once.
        early = before_offsets is not None and before_offsets[1] is Api.ADD_PARTITIONS_TO_TXN
        if before_offsets is not None and early:
            cluster, api, code = before_offsets
            cluster.fail(api, code)
        self.sends.produce([record])
        if before_offsets is not None and not early:
            cluster, api, code = before_offsets
            if api is Api.END_TXN:
                self.sends.flush()
            cluster.fail(api, code)
        self.sends.send_offsets([TopicPartition(IN, 0, 1)], self._group.consumer_group_metadata())
        self.sends.commit()


@pytest.fixture
def worker(mock_cluster: MockCluster, log_lines: LogLines) -> Iterator[Worker]:
    """With lines about each record, so delivery reports come: they must do no harm."""
    log_lines.level("debug")
    mock_cluster.create_topic(IN)
    mock_cluster.create_topic(OUT)
    kafka = KafkaSettings(bootstrap_servers=mock_cluster.bootstrap_servers)
    group = consumer(kafka, "group")
    yield Worker(kafka, group)
    group.close()


def fault(cluster: MockCluster, api: Api, name: str) -> tuple[MockCluster, Api, int]:
    return cluster, api, getattr(KafkaError, name)


def test_after_the_commit_the_reports_say_where_the_records_are(
    worker: Worker, log_lines: LogLines
) -> None:
    worker.run()
    worker.sends.begin()
    worker.sends.produce([RECORD, RECORD])
    worker.sends.commit()
    reports = worker.sends.reports
    ((place, (first, last)),) = reports.ranges.items()
    assert (place, last - first) == ((OUT, 0), 1)
    assert reports.places == {0: (OUT, 0, first), 1: (OUT, 0, last)}

    # Reports cost something for each record: only whoever wants to know each record's place pays.
    log_lines.level("info")
    worker.run()
    assert worker.sends.reports.ranges == {}


@pytest.mark.parametrize(("api", "name"), HEALS)
def test_what_the_client_heals_by_itself_commits(
    mock_cluster: MockCluster, worker: Worker, api: Api, name: str
) -> None:
    worker.run(before_offsets=fault(mock_cluster, api, name))
    worker.run()


@pytest.mark.parametrize(("api", "name"), ABORTS)
def test_what_must_be_aborted_is_and_the_same_producer_goes_on(
    mock_cluster: MockCluster, worker: Worker, api: Api, name: str
) -> None:
    # What the client sends in the background fails at whichever call comes next, which may only
    # say that it did.
    in_background = api in (Api.PRODUCE, Api.ADD_PARTITIONS_TO_TXN)
    with pytest.raises(TransactionAborted, match=f"{name}|_STATE" if in_background else name):
        worker.run(before_offsets=fault(mock_cluster, api, name))
    if api is Api.PRODUCE and name != "UNKNOWN_PRODUCER_ID":
        with pytest.raises(TransactionAborted, match=r"OUT_OF_ORDER_SEQUENCE_NUMBER|_STATE"):
            worker.run()
    worker.run()


@pytest.mark.parametrize(("api", "name"), FENCES)
def test_a_fenced_producer_is_lost_and_says_so(
    mock_cluster: MockCluster, worker: Worker, api: Api, name: str
) -> None:
    with pytest.raises(ProducerLost) as lost:
        worker.run(before_offsets=fault(mock_cluster, api, name))
    assert lost.value.fenced


def test_a_producer_that_is_fenced_between_two_records_says_so(
    mock_cluster: MockCluster, worker: Worker
) -> None:
    worker.sends.begin()
    mock_cluster.fail(Api.PRODUCE, KafkaError.INVALID_PRODUCER_EPOCH)
    worker.sends.produce([RECORD])
    # SystemError: the fatal error was there when the report on the record was to be taken.
    with pytest.raises((KafkaException, SystemError)):
        worker.producer.flush(5)
    with pytest.raises(ProducerLost) as lost:
        worker.sends.produce([RECORD])
    assert lost.value.fenced


@pytest.mark.parametrize(("api", "name"), LOSES)
def test_a_fatal_error_that_is_no_fencing_loses_the_producer_too(
    mock_cluster: MockCluster, worker: Worker, api: Api, name: str
) -> None:
    with pytest.raises(ProducerLost, match=name) as lost:
        worker.run(before_offsets=fault(mock_cluster, api, name))
    assert not lost.value.fenced


def test_a_commit_that_takes_longer_than_a_slice_is_asked_again_and_committed(
    mock_cluster: MockCluster, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE_S", 0.2)
    worker.sends.begin()
    worker.sends.produce([RECORD])
    worker.sends.flush()
    mock_cluster.delay(Api.END_TXN, 900)
    worker.sends.commit()
    worker.run()


def test_after_a_time_out_of_the_commit_the_client_refuses_to_abort(
    mock_cluster: MockCluster, worker: Worker
) -> None:
    """The reason why a time-out is repeated and never taken for a failure."""
    worker.sends.begin()
    worker.sends.produce([RECORD])
    worker.sends.flush()
    mock_cluster.delay(Api.END_TXN, 900)
    with pytest.raises(KafkaException) as late:
        worker.producer.commit_transaction(0.2)
    assert late.value.args[0].code() == KafkaError._TIMED_OUT
    assert late.value.args[0].retriable()
    with pytest.raises(KafkaException) as refused:
        worker.producer.abort_transaction(0.2)
    assert refused.value.args[0].code() == KafkaError._CONFLICT
    worker.sends.commit()


def test_a_commit_without_any_answer_is_an_unknown_outcome(
    mock_cluster: MockCluster, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE_S", 0.1)
    monkeypatch.setattr(
        module.Transactions._insist, "__kwdefaults__", {"budget_s": 0.5, "aborting": False}
    )
    worker.sends.begin()
    worker.sends.produce([RECORD])
    worker.sends.flush()
    mock_cluster.down()
    with pytest.raises(ProducerLost, match="commit_transaction") as lost:
        worker.sends.commit()
    assert not lost.value.fenced
    mock_cluster.up()


def test_a_record_that_is_refused_by_itself_is_found_and_the_same_producer_goes_on(
    worker: Worker, mock_cluster: MockCluster
) -> None:
    """Among neighbours: `tests/integration/kit/test_relay_held.py`, on a broker that judges."""
    records: list[Produced] = [(OUT, b"key", str(number).encode(), []) for number in range(4)]
    mock_cluster.fail(Api.PRODUCE, KafkaError.MSG_SIZE_TOO_LARGE)
    found = worker.sends.find_refused(records[:1])
    assert found is not None
    place, words = found
    assert (place, words.split()[0]) == (0, "MSG_SIZE_TOO_LARGE")
    assert worker.sends.find_refused(records) is None
    worker.run()


def test_the_transaction_after_a_refused_record_is_aborted_once_more(
    stack: Stack,
) -> None:
    """
    It may hold records that did nothing wrong: such an abort must not be counted against them.
    """
    kafka = KafkaSettings(bootstrap_servers=stack.bootstrap_servers)
    admin, name = Admin(kafka), f"refused-{uuid4().hex[:8]}"
    apply(
        plan([Topic(name=name, key="none", retention=None, partitions=1)], admin, TopicSettings()),
        admin,
    )
    sends = Transactions(
        transactional_producer(kafka, name, **{"compression.type": "none"}), between=lambda: None
    )
    sends.init()

    def send(size: int) -> None:
        sends.begin()
        sends.produce([(name, b"key", b"x" * size, [])])
        sends.commit()

    send(1)
    with pytest.raises(TransactionAborted, match="MSG_SIZE_TOO_LARGE"):
        send(1_500_000)
    with pytest.raises(TransactionAborted, match="OUT_OF_ORDER_SEQUENCE_NUMBER"):
        send(1)
    send(1)
