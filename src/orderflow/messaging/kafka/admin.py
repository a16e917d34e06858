"""
Reads, creates and alters a cluster's topics. `topics` decides what to do; this module does it.

Two traps of the client are avoided here. A future never completes if its client was garbage
collected: `Admin` holds the client. After the controller's death a client asks the dead one for up
to 5 min, unless its metadata is refreshed often.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import timedelta
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from orderflow.messaging.errors import ConfigurationError, OrderflowError, Unavailable
from orderflow.messaging.kafka.clients import client_config
from orderflow.messaging.kafka.topics import (
    Creation,
    Difference,
    Durability,
    Topic,
    TopicDescription,
    TopicPlan,
    TopicSettings,
    decide,
)
from orderflow.messaging.settings import KafkaSettings

REQUEST_TIMEOUT_S = 10.0
LEADERS_TIMEOUT_S = 20.0
_METADATA_REFRESH_MS = 2_000


class Admin:
    """
    One administrative client of one cluster.

    Every method raises Unavailable when the cluster does not answer in time, ConfigurationError
    when it refuses the request.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._servers = settings.bootstrap_servers
        self._client = AdminClient(
            {**client_config(settings), "topic.metadata.refresh.interval.ms": _METADATA_REFRESH_MS}
        )

    def brokers(self) -> int:
        """The number of brokers that are up."""
        return len(self._metadata().brokers)

    def find(self, names: Iterable[str]) -> dict[str, TopicDescription]:
        """A description of each of the named topics that exists."""
        metadata = self._metadata().topics
        present = [name for name in names if name in metadata and metadata[name].error is None]
        configs = self._configs(present)

        return {
            name: TopicDescription(
                partitions=len(metadata[name].partitions),
                replicas=min(
                    len(partition.replicas) for partition in metadata[name].partitions.values()
                ),
                config=configs[name],
            )
            for name in present
        }

    def offsets_kept_for(self) -> timedelta:
        """How long the brokers remember the offsets of a group that has no members."""
        broker = ConfigResource(ResourceType.BROKER, str(min(self._metadata().brokers)))
        [future] = self._client.describe_configs(
            [broker], request_timeout=REQUEST_TIMEOUT_S
        ).values()
        config = self._result("read the settings of a broker", future)
        return timedelta(minutes=int(config["offsets.retention.minutes"].value))

    def create(self, creations: Sequence[Creation]) -> None:
        """
        Create topics, and wait until each partition has a leader.

        Leaves a topic as it is that another process created meanwhile.
        """
        if not creations:
            return

        topics = [
            NewTopic(
                c.topic,
                num_partitions=c.partitions,
                replication_factor=c.replicas,
                config=dict(c.config),
            )
            for c in creations
        ]
        futures = self._client.create_topics(topics, request_timeout=REQUEST_TIMEOUT_S)

        for name, future in futures.items():
            try:
                future.result()
            except KafkaException as error:
                if _code(error) != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise self._translated(f"create topic {name}", error) from error

        # Without leaders the first producer or consumer would find the topic missing.
        self._await_leaders([creation.topic for creation in creations])

    def alter(self, alterations: Sequence[Difference]) -> None:
        """Apply each alteration: one setting of one topic, the others stay."""
        for change in alterations:
            entry = ConfigEntry(
                change.setting, change.wanted, incremental_operation=AlterConfigOpType.SET
            )
            resource = ConfigResource(ResourceType.TOPIC, change.topic, incremental_configs=[entry])
            futures = self._client.incremental_alter_configs(
                [resource], request_timeout=REQUEST_TIMEOUT_S
            )
            self._result(f"set {change.setting} of topic {change.topic}", futures[resource])

    def _await_leaders(self, names: Sequence[str]) -> None:
        deadline = time.monotonic() + LEADERS_TIMEOUT_S
        while not self._have_leaders(names):
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"topics {', '.join(names)} have no leaders after {LEADERS_TIMEOUT_S:.0f} s",
                    resource="broker",
                )
            time.sleep(0.05)

    def _have_leaders(self, names: Sequence[str]) -> bool:
        topics = self._metadata().topics
        return all(
            name in topics
            and topics[name].partitions
            and all(partition.leader >= 0 for partition in topics[name].partitions.values())
            for name in names
        )

    def _configs(self, names: Sequence[str]) -> dict[str, Mapping[str, str]]:
        if not names:
            return {}

        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        futures = self._client.describe_configs(resources, request_timeout=REQUEST_TIMEOUT_S)
        return {
            resource.name: {
                entry.name: entry.value
                for entry in self._result(
                    f"read the settings of topic {resource.name}", future
                ).values()
            }
            for resource, future in futures.items()
        }

    def _metadata(self) -> Any:
        try:
            return self._client.list_topics(timeout=REQUEST_TIMEOUT_S)
        except KafkaException as error:
            raise self._translated("read metadata", error) from error

    def _result(self, what: str, future: Future[Any]) -> Any:
        try:
            return future.result()
        except KafkaException as error:
            raise self._translated(what, error) from error

    def _translated(self, what: str, error: KafkaException) -> OrderflowError:
        detail = error.args[0]
        message = f"could not {what} on {self._servers}: {detail.str()}"
        if detail.retriable() or _code(error) in _AWAY:
            return Unavailable(message, resource="broker")
        return ConfigurationError(message)


def plan(wanted: Sequence[Topic], admin: Admin, settings: TopicSettings) -> TopicPlan:
    """
    What `apply` would do on this cluster; changes nothing.

    Raises Incompatible if the cluster has too few brokers.
    """
    present = admin.find(topic.name for topic in wanted)
    return decide(
        wanted, present, durability=Durability.on(admin.brokers(), settings), settings=settings
    )


def apply(planned: TopicPlan, admin: Admin) -> None:
    """
    Create and alter what the plan contains. A new plan is empty afterwards.

    Raises Incompatible with every refused setting, before anything is changed.
    """
    planned.refuse_unsafe()
    admin.create(planned.creations)
    admin.alter(planned.alterations)


def bring_about(wanted: Sequence[Topic], admin: Admin, settings: TopicSettings) -> TopicPlan:
    """
    Plan, apply, and return the plan that was applied. Repeated, it changes nothing more.

    Raises Incompatible as `plan` and `apply` do.
    """
    planned = plan(wanted, admin, settings)
    apply(planned, admin)
    return planned


def _code(error: KafkaException) -> int:
    return int(error.args[0].code())


_AWAY = (
    KafkaError._TRANSPORT,  # noqa: SLF001 - the client's public names for its own errors begin so
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
    KafkaError._TIMED_OUT,  # noqa: SLF001
    KafkaError._RESOLVE,  # noqa: SLF001
    # A broker's own words for the same: it was too slow, or is not the one that decides. The client
    # calls no answer to an administrator retriable.
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.NOT_CONTROLLER,
    KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.THROTTLING_QUOTA_EXCEEDED,
)
