"""
On a real broker: a group that stands where its log has no records, beyond the end or before the
beginning.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from tests.support.listener_probe import Probe, listener_probe
from tests.support.stack import Stack

from orderflow.messaging.kafka import clients
from orderflow.messaging.kafka.finished_offsets import Window, encode
from orderflow.messaging.kafka.lag import lags
from orderflow.messaging.kafka.progress import GroupProgress
from orderflow.messaging.testing.eventually import eventually

BEYOND = 1_000


@pytest.fixture
def probe(stack: Stack, tmp_path: Path) -> Iterator[Probe]:
    with listener_probe(stack, tmp_path, partitions=1) as probe:
        yield probe


def test_a_group_beyond_the_end_is_said_to_be_so_and_handles_all_that_is_there_and_comes(
    probe: Probe, request: pytest.FixtureRequest
) -> None:
    probe.produce_each("abc", range(4))
    commit(probe, 12 + BEYOND)
    (lag,) = lags(probe.kafka, {probe.group: (probe.name,)})
    assert (lag.records, lag.beyond) == (12, BEYOND)
    progress = GroupProgress(probe.kafka, group=probe.group, topics=(probe.name,))
    request.addfinalizer(progress.close)
    assert progress.unfinished(progress.horizon()) == {(probe.name, 0): 12}

    worker = probe.worker("inbox-outbox")
    probe.produce_each("def", range(4))
    probe.assert_each_once_in_order("inbox-outbox", within_s=10)
    eventually(lambda: probe.lag() == 0, within_s=10, why="the group's offset is one of this log")
    assert progress.unfinished(progress.horizon()) == {}
    assert worker.terminate() == 0
    assert worker.metric("orderflow_listener_logs_begun_anew_total") == 1


def test_records_deleted_before_the_group_read_them_are_counted_and_the_rest_is_handled(
    probe: Probe,
) -> None:
    probe.produce_each("abc", range(4))
    commit(probe, 1, encode(Window(4, (1, 3))))
    cluster = AdminClient({"bootstrap.servers": probe.kafka.bootstrap_servers})
    below = clients.TopicPartition(probe.name, 0, 9)
    cluster.delete_records([below])[below].result(30)

    worker = probe.worker("exactly-once")
    eventually(lambda: len(probe.calls()) == 3, within_s=10, why="what is left is handled")
    assert worker.terminate() == 0
    assert sorted((call.key, call.number) for call in probe.calls()) == [
        ("a", 3),
        ("b", 3),
        ("c", 3),
    ]
    assert worker.metric("orderflow_listener_offsets_gone_total") == 2 + 5


def commit(probe: Probe, offset: int, metadata: str = "") -> None:
    client = clients.consumer(probe.kafka, probe.group)
    place = clients.TopicPartition(probe.name, 0, offset, metadata)
    client.commit(offsets=[place], asynchronous=False)
    client.close()
