"""Reading logs by offset, on librdkafka's mock broker, which counts what it is asked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.mock_cluster import MockCluster

from orderflow.messaging.errors import Unavailable
from orderflow.messaging.kafka import clients, log_reader
from orderflow.messaging.kafka.log_reader import LogReader
from orderflow.messaging.settings import KafkaSettings

COUNT = 200
FETCH = 1


@pytest.fixture
def reader(mock_cluster: MockCluster) -> Iterator[LogReader]:
    kafka = KafkaSettings(bootstrap_servers=mock_cluster.bootstrap_servers)
    producer = clients.producer(kafka)
    for topic in ("letters", "others"):
        mock_cluster.create_topic(topic)
        for number in range(COUNT):
            producer.produce(topic, f"{topic}-{number}".encode())
    assert producer.flush(10) == 0
    reader = LogReader(kafka)
    yield reader
    reader.close()


def test_a_stretch_is_read_from_its_first_offset_up_to_its_end(reader: LogReader) -> None:
    for _ in range(2):
        read = [record.value for record in reader.read(("letters", 0), first=7, end=COUNT - 3)]
        assert read == [f"letters-{number}".encode() for number in range(7, COUNT - 3)]
    assert [*reader.read(("letters", 0), first=4, end=4)] == []


def test_records_that_nearly_follow_each_other_are_fetched_once(
    reader: LogReader, mock_cluster: MockCluster
) -> None:
    mock_cluster.watch()
    for number in range(COUNT):
        record = reader.at(("letters", 0), number ^ 1)
        assert record is not None
        assert (record.offset, record.value) == (number ^ 1, f"letters-{number ^ 1}".encode())
    assert mock_cluster.requests().count(FETCH) < 10


def test_any_offset_can_be_asked_for_on_any_topic(reader: LogReader) -> None:
    for topic, offset in (("letters", 150), ("others", 3), ("letters", 2), ("letters", 150)):
        record = reader.at((topic, 0), offset)
        assert record is not None
        assert record.value == f"{topic}-{offset}".encode()


def test_what_was_passed_is_kept_within_a_limit(
    reader: LogReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_reader, "PASSED_BYTES_MAX", 100)
    assert reader.at(("letters", 0), 0) is not None
    assert reader.at(("letters", 0), 100) is not None
    for offset in (99, 50):
        record = reader.at(("letters", 0), offset)
        assert record is not None
        assert record.value == f"letters-{offset}".encode()


def test_a_broker_that_sends_nothing_has_an_end(
    reader: LogReader, mock_cluster: MockCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reader.at(("letters", 0), 0) is not None
    monkeypatch.setattr(log_reader, "SILENCE_MAX_S", 0.3)
    mock_cluster.down()
    with pytest.raises(Unavailable, match="letters"):
        reader.at(("letters", 0), COUNT + 10)
