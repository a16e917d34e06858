"""
A consumer that the broker fences by its instance id, on librdkafka's mock cluster.

A coordinator that could not write down a join, as brokers below their minimum of in-sync replicas,
fences the one member that there is. A worker that ended then would stay away for good.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from tests.support.memory_listener import MemoryListener
from tests.support.mock_cluster import Api, MockCluster
from tests.support.probe_language import catalogue

from orderflow.messaging.container.client.broker_client import BrokerClient
from orderflow.messaging.container.settings import ContainerSettings
from orderflow.messaging.errors import Fenced
from orderflow.messaging.kafka.clients import KafkaError
from orderflow.messaging.settings import KafkaSettings, RegistrySettings
from orderflow.messaging.testing.eventually import eventually

WITHIN_S = 20.0


@pytest.fixture
def member(mock_cluster: MockCluster) -> Iterator[BrokerClient]:
    """The only member of its group, with a partition."""
    listener = MemoryListener().listener
    for topic in listener.subscribed:
        mock_cluster.create_topic(topic)
    client = BrokerClient(
        ContainerSettings(
            listener=listener,
            kafka=KafkaSettings(bootstrap_servers=mock_cluster.bootstrap_servers),
            registry=RegistrySettings(),
            catalogue=catalogue(listener.name),
            consumer_overrides={"heartbeat.interval.ms": 200, "session.timeout.ms": 6_000},
        ),
        between=lambda: None,
    )
    client.open(lambda _leaving: None, lambda _new: None)
    eventually_owns(client)
    yield client
    client.close()


def eventually_owns(client: BrokerClient) -> None:
    def owns() -> bool:
        client.poll(0.1, 10)
        return bool(client.partitions)

    eventually(owns, within_s=WITHIN_S, why="it has its partitions")


def fenced_once(cluster: MockCluster, client: BrokerClient) -> None:
    """The next heartbeat is answered so; returns when the client has noticed."""
    cluster.fail(Api.HEARTBEAT, KafkaError.FENCED_INSTANCE_ID)

    deadline = time.monotonic() + WITHIN_S
    while client.partitions:
        client.poll(0.1, 10)
        assert time.monotonic() < deadline, "it is still a member"


def test_a_worker_that_is_fenced_by_its_own_lost_join_joins_again(
    mock_cluster: MockCluster, member: BrokerClient
) -> None:
    fenced_once(mock_cluster, member)
    eventually_owns(member)
    assert member.is_member


def test_a_worker_that_is_fenced_twice_ends_and_says_that_another_has_its_slot(
    mock_cluster: MockCluster, member: BrokerClient
) -> None:
    fenced_once(mock_cluster, member)
    eventually_owns(member)
    with pytest.raises(Fenced, match="runs elsewhere"):
        fenced_once(mock_cluster, member)
