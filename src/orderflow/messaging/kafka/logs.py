"""What a cluster says of topics' logs: ids, partitions, first and end offsets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from confluent_kafka import IsolationLevel, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from orderflow.messaging.errors import Unavailable
from orderflow.messaging.kafka.clients import client_config
from orderflow.messaging.kafka.lag import EARLIEST, LATEST, offsets_at
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.settings import KafkaSettings

TIMEOUT_S = 2.0

T = TypeVar("T")


class Logs:
    """Every method raises Unavailable when the cluster does not answer within 2 s."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._admin = AdminClient(client_config(settings))

    def ends(self, places: Iterable[Place]) -> dict[Place, int]:
        """The ends of these logs now, open transactions included."""
        uncommitted = IsolationLevel.READ_UNCOMMITTED
        return _answered(
            lambda: offsets_at(
                self._admin, places, LATEST, timeout_s=TIMEOUT_S, isolation=uncommitted
            )
        )

    def stable_ends(self, places: Iterable[Place]) -> dict[Place, int]:
        """The ends for readers of committed records: before the first open transaction."""
        return _answered(lambda: offsets_at(self._admin, places, LATEST, timeout_s=TIMEOUT_S))

    def firsts(self, places: Iterable[Place]) -> dict[Place, int]:
        """The first offsets that these logs have."""
        return _answered(lambda: offsets_at(self._admin, places, EARLIEST, timeout_s=TIMEOUT_S))

    def topic_ids(self, topics: Iterable[str]) -> dict[str, str]:
        """The id of each topic: another one if it was deleted and made again."""
        futures: dict[str, Any] = self._admin.describe_topics(
            TopicCollection([*topics]), request_timeout=TIMEOUT_S
        )
        return _answered(
            lambda: {name: str(future.result().topic_id) for name, future in futures.items()}
        )

    def partitions(self, topics: Iterable[str]) -> dict[str, int]:
        """How many partitions each of those topics that exist has."""
        known = self.all_partitions()
        return {name: known[name] for name in topics if name in known}

    def all_partitions(self) -> dict[str, int]:
        """How many partitions each topic of the cluster has."""
        known = _answered(lambda: self._admin.list_topics(timeout=TIMEOUT_S).topics)
        return {name: len(topic.partitions) for name, topic in known.items()}


def _answered(question: Callable[[], T]) -> T:
    try:
        return question()
    except KafkaException as error:
        raise Unavailable(
            f"could not ask for the ends of logs: {error.args[0].str()}", resource="broker"
        ) from error
