"""A worker that has no right to its transactional id waits for it, and does not hammer."""

from __future__ import annotations

import time

import pytest
from tests.support.memory_listener import MemoryListener
from tests.support.mock_cluster import Api, MockCluster
from tests.support.probe_language import catalogue

from orderflow.messaging.container.client.broker_client import BrokerClient
from orderflow.messaging.container.settings import ContainerSettings
from orderflow.messaging.errors import Stopped
from orderflow.messaging.kafka.clients import KafkaError
from orderflow.messaging.kafka.transactions import Transactions
from orderflow.messaging.settings import KafkaSettings, RegistrySettings

WATCHED_S = 2.0


class CountingClient(BrokerClient):
    """Counts the producers that it makes."""

    producers = 0

    def _new_producer(self) -> Transactions:
        self.producers += 1
        return super()._new_producer()


def test_an_unauthorised_transactional_id_is_tried_with_a_back_off(
    mock_cluster: MockCluster,
) -> None:
    mock_cluster.fail(
        Api.INIT_PRODUCER_ID, *[KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED] * 2_000
    )
    listener = MemoryListener().listener
    settings = ContainerSettings(
        listener=listener,
        kafka=KafkaSettings(bootstrap_servers=mock_cluster.bootstrap_servers),
        registry=RegistrySettings(),
        catalogue=catalogue(listener.name),
    )
    over = time.monotonic() + WATCHED_S

    def stop_in_time() -> None:
        if time.monotonic() > over:
            raise Stopped("watched for long enough")

    client = CountingClient(settings, between=stop_in_time)
    try:
        with pytest.raises(Stopped):
            client.open(lambda _leaving: None, lambda _new: None)
        assert "AUTHORIZATION" in client.broker_error
        # 0.1 s doubled: at 0, 0.1, 0.3, 0.7, 1.5 s.
        assert 3 <= client.producers <= 6
    finally:
        client.close()
