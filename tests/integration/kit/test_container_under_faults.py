"""
The container through every kind of answer that a broker can give while it commits: on librdkafka's
mock cluster.

The mock keeps no transactional offsets and shows aborted records, so only this is judged here: the
container goes on by itself, every record is told, nobody is charged an attempt. That nothing is
told twice is proved on the real broker.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from uuid import uuid4

import pytest
from tests.support.mock_cluster import Api, MockCluster
from tests.support.probe_language import NAMESPACE, Asked, Told, asked, catalogue, topics
from tests.support.stack import Stack

from orderflow.messaging.container import Container, ContainerSettings
from orderflow.messaging.container.client import remains
from orderflow.messaging.container.client.broker_client import RENEWALS
from orderflow.messaging.container.records import record_log
from orderflow.messaging.container.records.record_log import RecordLine
from orderflow.messaging.errors import Fenced
from orderflow.messaging.event import CE_CAUSATION_ID, EventId, Metadata, to_headers
from orderflow.messaging.kafka import clients, transactions
from orderflow.messaging.kafka.clients import KafkaError
from orderflow.messaging.kafka.group_topics import dead_letter_topic, replay_topic
from orderflow.messaging.kafka.reader import read
from orderflow.messaging.listener import Caused, ExactlyOnce, Listener, Received
from orderflow.messaging.schemas.avro import Encoder
from orderflow.messaging.schemas.registration import apply
from orderflow.messaging.schemas.registry import Registry
from orderflow.messaging.settings import KafkaSettings, RegistrySettings
from orderflow.messaging.testing.eventually import eventually

KEYS = [f"key-{number}" for number in range(10)]


class Running:
    """A container on a mock cluster, in a thread, with records produced beside it."""

    def __init__(self, cluster: MockCluster, stack: Stack) -> None:
        name = f"faults{uuid4().hex[:8]}"
        self.cluster = cluster
        self.asked, self.told = topics(name, 1)
        listener = Listener(
            name=name,
            group=f"{name}-group",
            source="/faults",
            namespace=NAMESPACE,
            topics=(self.asked,),
            handles=(Asked,),
            publishes=(self.told,),
            delivery=ExactlyOnce(handler=self._tell),
        )
        self.dlt = dead_letter_topic(self.asked, listener.group).name
        for topic in (
            self.asked.name,
            self.told.name,
            self.dlt,
            replay_topic(self.asked, listener.group).name,
        ):
            cluster.create_topic(topic)
        self.kafka = KafkaSettings(bootstrap_servers=cluster.bootstrap_servers)
        registry = Registry(RegistrySettings(url=stack.registry_url))
        apply(catalogue(name), registry)
        self._encoder = Encoder.load(registry, catalogue(name))
        registry.close()
        # Records of one call go in one request: if the handler has seen one of them, the mock
        # has all of them.
        self._producer = clients.producer(self.kafka, **{"linger.ms": 200})
        self._armed: list[tuple[Api, int]] = []
        self._produced: dict[str, list[str]] = defaultdict(list)
        self.container = Container(
            ContainerSettings(
                listener=listener,
                kafka=self.kafka,
                registry=RegistrySettings(url=stack.registry_url),
                catalogue=catalogue(name),
                fenced_poll_s=0.5,
            )
        )
        self.ended: list[BaseException | None] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive(), "it did not stop within 20 s"

    def ask(self, number: int) -> None:
        for key in KEYS:
            event = asked(key, number)
            metadata = Metadata(
                id=EventId(uuid4()),
                type=event.type_name(),
                source="/test",
                time=event.at,
                subject=key,
                correlation_id=key,
            )
            value = self._encoder.encode(self.asked.name, event)
            self._producer.produce(self.asked.name, value, key, headers=[*to_headers(metadata)])
            self._produced[key].append(str(metadata.id))
        assert self._producer.flush(10) == 0

    def all_told(self) -> bool:
        """Every record has its answer, and the first answers of a key came in the key's order."""
        causes: dict[str, list[str]] = defaultdict(list)
        for record in read(self.kafka, self.told.name, follow=False):
            if record is not None and record.key is not None:
                cause = (dict(record.headers)[CE_CAUSATION_ID] or b"").decode()
                if cause not in causes[record.key.decode()]:
                    causes[record.key.decode()].append(cause)
        return causes == self._produced

    def arm(self, api: Api, name: str) -> None:
        """
        The next transaction meets this answer. Only then: our own producer and consumer talk to
        the mock too.
        """
        self._armed.append((api, getattr(KafkaError, name)))

    def _tell(self, batch: Sequence[Received]) -> list[Caused]:
        while self._armed:
            self.cluster.fail(*self._armed.pop(0))
        return [
            (record, Told(id=record.event.id, number=record.event.number, at=record.event.at))
            for record in batch
        ]

    def dead(self) -> int:
        return len(list(read(self.kafka, self.dlt, follow=False)))

    def _run(self) -> None:
        try:
            self.container.run(self._stop)
            self.ended.append(None)
        except BaseException as error:  # noqa: BLE001 - it is judged on the test's thread
            self.ended.append(error)


@pytest.fixture
def running(mock_cluster: MockCluster, stack: Stack) -> Iterator[Running]:
    running = Running(mock_cluster, stack)
    running.start()
    yield running
    running.stop()


FAULTS = [
    (Api.TXN_OFFSET_COMMIT, "UNKNOWN_MEMBER_ID"),
    (Api.TXN_OFFSET_COMMIT, "NOT_COORDINATOR"),
    (Api.ADD_OFFSETS_TO_TXN, "INVALID_PRODUCER_EPOCH"),
    (Api.PRODUCE, "MSG_SIZE_TOO_LARGE"),
    (Api.PRODUCE, "OUT_OF_ORDER_SEQUENCE_NUMBER"),
    (Api.END_TXN, "INVALID_TXN_STATE"),
    (Api.END_TXN, "_TRANSPORT"),
]
"""
One of each kind: aborted, healed inside, fenced, a refused record, fatal, unknown, a broken
connection.
"""


@pytest.mark.parametrize(("api", "name"), FAULTS)
def test_the_container_goes_on_and_charges_nobody(running: Running, api: Api, name: str) -> None:
    running.ask(0)
    eventually(running.all_told, within_s=30, every_s=0.2)
    running.arm(api, name)
    running.ask(1)
    running.ask(2)
    eventually(running.all_told, within_s=30, every_s=0.2)
    eventually(lambda: running.container.reasons() == [], within_s=10)
    assert running.dead() == 0
    assert running.ended == []


def test_a_record_whose_transaction_was_aborted_has_its_line_when_it_is_committed(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[RecordLine] = []
    monkeypatch.setattr(record_log, "write_lines", written.extend)
    monkeypatch.setattr(record_log, "wanted", lambda _level: True)
    running.ask(0)
    eventually(lambda: len(written) == len(KEYS), within_s=30)
    running.arm(Api.TXN_OFFSET_COMMIT, "UNKNOWN_MEMBER_ID")
    running.ask(1)
    eventually(lambda: len(written) == 2 * len(KEYS), within_s=30)
    running.ask(2)
    eventually(lambda: len(written) == 3 * len(KEYS), within_s=30)
    assert [line.offset for line in written] == [*range(3 * len(KEYS))]


def test_a_commit_that_is_answered_late_is_waited_for(running: Running) -> None:
    running.ask(0)
    eventually(running.all_told, within_s=30, every_s=0.2)
    running.cluster.delay(Api.END_TXN, 3_500)
    running.ask(1)
    eventually(running.all_told, within_s=30, every_s=0.2)
    assert running.ended == []


def test_after_a_commit_without_any_answer_another_producer_goes_on(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.ask(0)
    eventually(running.all_told, within_s=30, every_s=0.2)
    monkeypatch.setattr(transactions, "SLICE_S", 0.1)
    monkeypatch.setattr(
        transactions.Transactions._insist, "__kwdefaults__", {"budget_s": 1.0, "aborting": False}
    )
    running.cluster.delay(Api.END_TXN, 4_000)
    running.ask(1)
    eventually(lambda: _renewals(running) == 1, within_s=30, why="the producer is replaced")
    running.ask(2)
    eventually(running.all_told, within_s=30, every_s=0.2)
    assert running.dead() == 0
    assert running.ended == []


def test_a_worker_reads_its_offsets_after_the_coordinator_has_aborted_what_was_left(
    running: Running,
) -> None:
    """
    A coordinator that loads refuses offsets of a transaction; those that it is asked for it answers
    with what it has so far.
    """
    running.ask(0)
    eventually(running.all_told, within_s=30, every_s=0.2)
    running.arm(Api.TXN_OFFSET_COMMIT, "NO_ERROR")
    running.arm(Api.TXN_OFFSET_COMMIT, "COORDINATOR_LOAD_IN_PROGRESS")
    running.arm(Api.END_TXN, "INVALID_TXN_STATE")
    running.cluster.watch()
    running.ask(1)
    eventually(lambda: Api.OFFSET_FETCH in running.cluster.requests(), within_s=30)
    requests = running.cluster.requests()
    renewed = requests[requests.index(Api.INIT_PRODUCER_ID) : requests.index(Api.OFFSET_FETCH)]
    assert renewed.count(Api.TXN_OFFSET_COMMIT) == 2, "refused once, then answered"
    assert Api.END_TXN in renewed
    eventually(running.all_told, within_s=30, every_s=0.2)
    assert running.dead() == 0


def test_what_is_left_is_ended_though_the_member_is_none_any_more_and_not_for_ever(
    running: Running,
) -> None:
    running.ask(0)
    eventually(running.all_told, within_s=30, every_s=0.2)
    running.arm(Api.TXN_OFFSET_COMMIT, "NO_ERROR")
    running.arm(Api.TXN_OFFSET_COMMIT, "UNKNOWN_MEMBER_ID")
    running.arm(Api.TXN_OFFSET_COMMIT, "COORDINATOR_NOT_AVAILABLE")
    running.arm(Api.END_TXN, "INVALID_TXN_STATE")
    running.cluster.watch()
    running.ask(1)
    eventually(lambda: Api.OFFSET_FETCH in running.cluster.requests(), within_s=30)
    requests = running.cluster.requests()
    assert requests.count(Api.INIT_PRODUCER_ID) == 2, "again with a new producer"
    running.ask(2)
    eventually(running.all_told, within_s=30, every_s=0.2)
    assert running.dead() == 0
    assert running.ended == []


def test_a_worker_that_is_fenced_while_it_ends_what_was_left_ends_and_says_who_runs(
    running: Running,
) -> None:
    running.ask(0)
    eventually(running.all_told, within_s=30, every_s=0.2)
    running.arm(Api.ADD_OFFSETS_TO_TXN, "INVALID_PRODUCER_EPOCH")
    running.arm(Api.ADD_OFFSETS_TO_TXN, "INVALID_PRODUCER_EPOCH")
    running.ask(1)
    (ended,) = eventually(lambda: running.ended, within_s=30)
    assert isinstance(ended, Fenced)
    assert "slot 0" in str(ended)


def test_a_worker_whose_offsets_lack_a_marker_aborts_at_its_start_until_they_have_it(
    mock_cluster: MockCluster, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "SLICE_S", 0.2)
    monkeypatch.setattr(remains, "MARKED_WITHIN_S", 0.5)
    running = Running(mock_cluster, stack)
    mock_cluster.fail(Api.OFFSET_FETCH, *[KafkaError.UNSTABLE_OFFSET_COMMIT] * 12)
    mock_cluster.watch()
    running.start()
    try:
        running.ask(0)
        eventually(
            lambda: _asked_then_aborted(mock_cluster.requests()),
            within_s=20,
            why="a new producer aborts again",
        )
        eventually(running.all_told, within_s=60, every_s=0.2)
        assert running.ended == []
    finally:
        running.stop()


def test_a_broker_that_is_away_is_told_and_waited_for(running: Running) -> None:
    running.ask(0)
    eventually(running.all_told, within_s=30, every_s=0.2)
    running.ask(1)
    running.cluster.down()
    eventually(
        lambda: any("broker" in reason for reason in running.container.reasons()), within_s=20
    )
    running.cluster.up()
    running.ask(2)
    eventually(running.all_told, within_s=40, every_s=0.2)
    eventually(lambda: running.container.reasons() == [], within_s=10)
    assert running.dead() == 0


def test_a_worker_that_is_fenced_a_second_time_soon_after_ends_and_says_who_runs(
    running: Running,
) -> None:
    running.ask(0)
    eventually(running.all_told, within_s=30, every_s=0.2)
    for number in (1, 2):
        running.arm(Api.END_TXN, "PRODUCER_FENCED")
        running.ask(number)
        if number == 1:
            eventually(running.all_told, within_s=30, every_s=0.2)
    (ended,) = eventually(lambda: running.ended, within_s=30)
    assert isinstance(ended, Fenced)
    assert "slot 0" in str(ended)


def _asked_then_aborted(requests: list[int]) -> bool:
    """Whether the first question for offsets is between two aborts."""
    if Api.OFFSET_FETCH not in requests:
        return False
    first = requests.index(Api.OFFSET_FETCH)
    return Api.END_TXN in requests[:first] and Api.END_TXN in requests[first:]


def _renewals(running: Running) -> float:
    name = running.asked.name
    return float(RENEWALS.labels(name)._value.get())
