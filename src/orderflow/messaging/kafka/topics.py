"""
Topics as values: what each promises, what a cluster has, and what must be done about the difference.

Nothing here talks to a cluster; `admin` does. What may differ and what may not:

| found on the cluster | decision |
|---|---|
| no such topic | create it |
| another partition count | refuse: a key's later records would go elsewhere, and their order with them |
| fewer replicas, lower `min.insync.replicas`, unclean election | refuse: an acknowledged record could be lost |
| shorter retention, or one by size | refuse: a reader that was away would silently miss records |
| another `cleanup.policy` | refuse: compaction removes events, deletion removes state |
| lower `max.message.bytes` | raise it: nobody loses by that |
| more replicas, more in sync, longer retention, larger records | leave it: it promises more |

A refused setting is not repaired silently, though some could be: somebody lowered it, and records may be gone already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Annotated

import msgspec
from pydantic import Field

from orderflow.messaging.errors import Incompatible
from orderflow.messaging.settings import Section

RECORD_BYTES_MAX = 1_048_588
"""Kafka's own default for `max.message.bytes`, made explicit: a broker may be set lower."""


class Cleanup(StrEnum):
    """Kafka's `cleanup.policy`, verbatim."""

    DELETE = "delete"
    COMPACT = "compact"


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """
    A topic's promise.

    `key` says what the record key is: records of one key stay in order. `retention` is how long a record is kept at
    least; None for a compacted topic. `partitions` None means the configured default, chosen when the topic is made and
    then fixed for life. `types` are the full names of the events that belong on it; anything else there is poison.
    """

    name: str
    key: str
    retention: timedelta | None
    types: tuple[str, ...] = ()
    partitions: int | None = None
    cleanup: Cleanup = Cleanup.DELETE
    record_bytes_max: int = RECORD_BYTES_MAX


class TopicSettings(Section):
    """
    How topics are made on this cluster.

    `partitions` counts for topics that do not fix their own. `replication_factor` None: 3 on three brokers or more, 1
    on a single one, and refused on two, which may be a cluster with a broker down.
    """

    partitions: Annotated[int, Field(ge=1, le=1000)] = 3
    replication_factor: Annotated[int, Field(ge=1, le=5)] | None = None


class Durability(msgspec.Struct, frozen=True):
    """How many replicas a record has, and how many must have it before it is acknowledged."""

    replicas: int
    in_sync_min: int

    @classmethod
    def on(cls, brokers: int, settings: TopicSettings) -> Durability:
        """What `brokers` can give. Raises Incompatible if that is too few for what is asked, or ambiguous."""
        replicas = settings.replication_factor
        if replicas is None:
            if brokers == 2:
                raise Incompatible(
                    "the cluster shows 2 brokers: RF 3 needs three, RF 1 is for one. Start the third, or set "
                    "ORDERFLOW_TOPICS__REPLICATION_FACTOR"
                )
            replicas = 3 if brokers >= 3 else 1
        if brokers < replicas:
            raise Incompatible(
                f"RF {replicas} needs {replicas} brokers; the cluster shows {brokers}"
            )
        return cls(replicas=replicas, in_sync_min=max(1, replicas - 1))


class TopicDescription(msgspec.Struct, frozen=True, kw_only=True):
    """A topic as a cluster has it. `replicas` is the least of its partitions; `config` holds effective values."""

    partitions: int
    replicas: int
    config: Mapping[str, str]


class Creation(msgspec.Struct, frozen=True, kw_only=True):
    """A topic to be made."""

    topic: str
    partitions: int
    replicas: int
    config: Mapping[str, str]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One setting of one topic that is not as promised, and what to do about it."""

    topic: str
    setting: str
    found: str
    wanted: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.setting} is {self.found}, wanted {self.wanted}: {self.remedy}"


class TopicPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What `apply` would do: create, alter, or nothing at all if anything is refused."""

    creations: tuple[Creation, ...]
    alterations: tuple[Difference, ...]
    refusals: tuple[Difference, ...]
    unchanged: tuple[str, ...]

    def refuse_unsafe(self) -> None:
        """Raise Incompatible, naming every refused setting, if there is one."""
        if self.refusals:
            raise Incompatible("; ".join(str(refusal) for refusal in self.refusals))


def decide(
    wanted: Iterable[Topic],
    found: Mapping[str, TopicDescription],
    durability: Durability,
    settings: TopicSettings,
) -> TopicPlan:
    """The plan that leads from what is found to what is wanted."""
    creations: list[Creation] = []
    alterations: list[Difference] = []
    refusals: list[Difference] = []
    unchanged: list[str] = []
    for topic in wanted:
        present = found.get(topic.name)
        if present is None:
            creations.append(_creation(topic, durability, settings))
            continue
        unsafe = [
            *_shape(topic, present, durability, settings),
            *_promises(topic, present, durability),
        ]
        growth = [*_growth(topic, present)]
        refusals += unsafe
        alterations += growth
        if not unsafe and not growth:
            unchanged.append(topic.name)
    return TopicPlan(
        creations=tuple(creations),
        alterations=tuple(alterations),
        refusals=tuple(refusals),
        unchanged=tuple(unchanged),
    )


def config_of(topic: Topic, durability: Durability) -> dict[str, str]:
    """The settings written on a topic when it is made: each that a broker's default could spoil."""
    config = {
        "cleanup.policy": str(topic.cleanup),
        "min.insync.replicas": str(durability.in_sync_min),
        "unclean.leader.election.enable": "false",
        "max.message.bytes": str(topic.record_bytes_max),
    }
    if topic.retention is not None:
        config |= {"retention.ms": str(_ms(topic.retention)), "retention.bytes": "-1"}
    return config


def _creation(topic: Topic, durability: Durability, settings: TopicSettings) -> Creation:
    return Creation(
        topic=topic.name,
        partitions=topic.partitions or settings.partitions,
        replicas=durability.replicas,
        config=config_of(topic, durability),
    )


def _shape(
    topic: Topic, found: TopicDescription, durability: Durability, settings: TopicSettings
) -> Iterable[Difference]:
    partitions = topic.partitions or settings.partitions
    if found.partitions != partitions:
        remedy = "a partition count is fixed for life; " + (
            f"set ORDERFLOW_TOPICS__PARTITIONS={found.partitions}, which this cluster was made with"
            if topic.partitions is None
            else "make a new topic and move its readers"
        )
        yield _difference(topic, "partitions", found.partitions, partitions, remedy)
    if found.replicas < durability.replicas:
        remedy = "add replicas with kafka-reassign-partitions"
        yield _difference(topic, "replication.factor", found.replicas, durability.replicas, remedy)


def _promises(
    topic: Topic, found: TopicDescription, durability: Durability
) -> Iterable[Difference]:
    config, wanted = found.config, config_of(topic, durability)

    def unlike(name: str, remedy: str) -> Difference:
        value = wanted[name]
        return _difference(
            topic, name, config[name], value, f"{remedy}; then {_repair(topic, name, value)}"
        )

    if int(config["min.insync.replicas"]) < durability.in_sync_min:
        yield unlike("min.insync.replicas", "an acknowledged record could be lost with one broker")
    if config["unclean.leader.election.enable"] != "false":
        yield unlike(
            "unclean.leader.election.enable", "a replica that lacks records could become leader"
        )
    if config["cleanup.policy"] != topic.cleanup:
        yield unlike(
            "cleanup.policy", "records that are promised may have been removed: find out which"
        )
    if topic.retention is not None:
        if 0 <= int(config["retention.ms"]) < _ms(topic.retention):
            yield unlike("retention.ms", "readers may have missed records: find out which")
        if int(config["retention.bytes"]) >= 0:
            yield unlike("retention.bytes", "readers may have missed records: find out which")


def _growth(topic: Topic, found: TopicDescription) -> Iterable[Difference]:
    if int(found.config["max.message.bytes"]) < topic.record_bytes_max:
        value = topic.record_bytes_max
        yield _difference(
            topic, "max.message.bytes", found.config["max.message.bytes"], value, "raise it"
        )


def _repair(topic: Topic, name: str, value: str) -> str:
    return f"kafka-configs --alter --topic {topic.name} --add-config {name}={value}"


def _difference(
    topic: Topic, setting: str, found: object, wanted: object, remedy: str
) -> Difference:
    return Difference(
        topic=topic.name, setting=setting, found=str(found), wanted=str(wanted), remedy=remedy
    )


def _ms(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)
