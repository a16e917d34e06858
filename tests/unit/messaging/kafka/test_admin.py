"""An administrator's errors, and topics that are brought about by brokers that are slow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

import pytest
from confluent_kafka import KafkaError, KafkaException

from orderflow.messaging.errors import ConfigurationError, Unavailable
from orderflow.messaging.kafka.admin import Admin, bring_about
from orderflow.messaging.kafka.topics import (
    Creation,
    Difference,
    Topic,
    TopicDescription,
    TopicSettings,
)
from orderflow.messaging.settings import KafkaSettings
from orderflow.messaging.testing.memory_clock import MemoryClock
from orderflow.messaging.work.patience import Patience

NOWHERE = KafkaSettings(bootstrap_servers="127.0.0.1:1")
WANTED = [Topic(name=name, key="id", retention=timedelta(days=7)) for name in ("a", "b")]


@pytest.mark.parametrize(
    "code",
    [
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NOT_CONTROLLER,
        KafkaError.BROKER_NOT_AVAILABLE,
    ],
)
def test_a_broker_that_is_busy_or_no_longer_in_charge_is_away(code: int) -> None:
    assert type(translated(code)) is Unavailable


@pytest.mark.parametrize(
    "code", [KafkaError.INVALID_CONFIG, KafkaError.POLICY_VIOLATION, KafkaError.INVALID_PARTITIONS]
)
def test_what_the_cluster_refuses_is_a_setting(code: int) -> None:
    assert type(translated(code)) is ConfigurationError


def translated(code: int) -> Exception:
    return Admin(NOWHERE)._translated("create topic a", KafkaException(KafkaError(code)))


class SlowCluster(Admin):
    """A cluster in memory: `slow` is how many requests of each kind go unanswered at first."""

    def __init__(self, slow: int) -> None:
        super().__init__(NOWHERE)
        self.slow = dict.fromkeys(("brokers", "find", "create"), slow)
        self.made: dict[str, TopicDescription] = {}

    def brokers(self) -> int:
        self._answer("brokers")
        return 1

    def find(self, names: Iterable[str]) -> dict[str, TopicDescription]:
        self._answer("find")
        return {name: self.made[name] for name in names if name in self.made}

    def create(self, creations: Sequence[Creation]) -> None:
        for made in creations:
            self.made[made.topic] = TopicDescription(
                partitions=made.partitions, replicas=made.replicas, config=made.config
            )
            # The answer is lost, and the topic is there.
            self._answer("create")

    def alter(self, alterations: Sequence[Difference]) -> None:
        assert not alterations

    def _answer(self, kind: str) -> None:
        if self.slow[kind]:
            self.slow[kind] -= 1
            raise Unavailable("timed out", resource="broker")


def test_topics_are_brought_about_by_brokers_that_leave_requests_unanswered() -> None:
    cluster, clock, waits = SlowCluster(slow=2), MemoryClock(), list[str]()
    patience = Patience(
        waiting=lambda error, _left_s: waits.append(str(error)), clock=clock, rest=clock.advance
    )
    patience.through(lambda: bring_about(WANTED, cluster, TopicSettings()))
    assert set(cluster.made) == {"a", "b"}
    assert waits == ["timed out"]
