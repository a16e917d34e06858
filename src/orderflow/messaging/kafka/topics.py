"""
Topics as values: what each promises, what a cluster has, and what to do about the difference.

Pure: `admin` talks to the cluster. The decisions:

| on the cluster | decision |
|---|---|
| no such topic | create it |
| another partition count | refuse: later records of a key would lose their order to earlier ones |
| fewer replicas, lower `min.insync.replicas` | refuse: an acknowledged record could be lost |
| unclean leader election | refuse: an acknowledged record could be lost |
| shorter retention, or one by size | refuse: a reader that was away would miss records |
| another `cleanup.policy` | refuse: compaction removes events, deletion removes state |
| lower `max.message.bytes` | raise it: that harms nobody |
| longer `segment.ms` | lower it: it would keep records for longer than an inbox knows them |
| more replicas, more in sync, longer retention, larger records | leave it: it promises more |

A refused setting is never repaired silently: it was lowered, so records may be lost already.
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
"""Kafka's default for `max.message.bytes`, written on each topic: a broker's may be lower."""

SEGMENT = timedelta(days=1)
"""A record goes with its whole segment: it may live for so much longer than its retention."""


class Cleanup(StrEnum):
    """Kafka's `cleanup.policy`, verbatim."""

    DELETE = "delete"
    COMPACT = "compact"


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """
    A topic's promise.

    `source` is the `ce_source` of its only writer: a record of another one is poison there, because
    ids are unique for each source alone. None: anybody may write.
    `key` names the record key: records of one key stay in order. `retention` is how long a record
    is kept at least; None for a compacted topic. `partitions` None means the configured default,
    taken when the topic is made and then fixed for life. `types` are the full names of the events
    that belong on it; any other is poison there.
    """

    name: str
    key: str
    retention: timedelta | None
    types: tuple[str, ...] = ()
    partitions: int | None = None
    cleanup: Cleanup = Cleanup.DELETE
    record_bytes_max: int = RECORD_BYTES_MAX
    source: str | None = None


class TopicSettings(Section):
    """
    How topics are made on this cluster.

    `partitions` is for topics that do not fix their own. `replication_factor` None: 3 on three
    brokers or more, 1 on a single one, refused on two, which may be three with one down.
    """

    partitions: Annotated[int, Field(ge=1, le=1000)] = 3
    replication_factor: Annotated[int, Field(ge=1, le=5)] | None = None


class Durability(msgspec.Struct, frozen=True):
    """How many replicas a record has, and how many must have it before it is acknowledged."""

    replicas: int
    in_sync_min: int

    @classmethod
    def on(cls, brokers: int, settings: TopicSettings) -> Durability:
        """
        The durability on `brokers` brokers.

        Raises Incompatible if they are too few, or if their number is ambiguous.
        """
        replicas = settings.replication_factor
        if replicas is None:
            if brokers == 2:
                raise Incompatible(
                    "the cluster shows 2 brokers: RF 3 needs three, RF 1 is for one. "
                    "Start the third, or set ORDERFLOW_TOPICS__REPLICATION_FACTOR"
                )
            replicas = 3 if brokers >= 3 else 1

        if brokers < replicas:
            raise Incompatible(
                f"RF {replicas} needs {replicas} brokers; the cluster shows {brokers}"
            )
        return cls(replicas=replicas, in_sync_min=max(1, replicas - 1))


class TopicDescription(msgspec.Struct, frozen=True, kw_only=True):
    """A topic on a cluster. `replicas`: the least of its partitions; `config`: effective values."""

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
    present: str = msgspec.field(name="found")
    wanted: str
    remedy: str

    def __str__(self) -> str:
        return (
            f"{self.topic}: {self.setting} is {self.present}, wanted {self.wanted}: {self.remedy}"
        )


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
    present: Mapping[str, TopicDescription],
    *,
    durability: Durability,
    settings: TopicSettings,
) -> TopicPlan:
    """The plan that leads from the `present` topics, by name, to the `wanted` ones."""
    creations: list[Creation] = []
    alterations: list[Difference] = []
    refusals: list[Difference] = []
    unchanged: list[str] = []

    for topic in wanted:
        description = present.get(topic.name)
        if description is None:
            creations.append(_creation(topic, durability, settings))
            continue

        unsafe = [
            *_shape(topic, description, durability, settings),
            *_promises(topic, description, durability),
        ]
        growth = [*_growth(topic, description)]
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
        "segment.ms": str(_ms(SEGMENT)),
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
    topic: Topic, present: TopicDescription, durability: Durability, settings: TopicSettings
) -> Iterable[Difference]:
    partitions = topic.partitions or settings.partitions
    count = present.partitions
    if count != partitions:
        remedy = "a partition count is fixed for life; " + (
            f"set ORDERFLOW_TOPICS__PARTITIONS={count}, which this cluster was made with"
            if topic.partitions is None
            else "make a new topic and move its readers"
        )
        yield _difference(topic, "partitions", count, partitions, remedy)

    if present.replicas < durability.replicas:
        remedy = "add replicas with kafka-reassign-partitions"
        yield _difference(
            topic, "replication.factor", present.replicas, durability.replicas, remedy
        )


def _promises(
    topic: Topic, present: TopicDescription, durability: Durability
) -> Iterable[Difference]:
    config, wanted = present.config, config_of(topic, durability)

    def unlike(name: str, remedy: str) -> Difference:
        repair = f"{remedy}; then {_repair(topic, name, wanted[name])}"
        return _difference(topic, name, config[name], wanted[name], repair)

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


def _growth(topic: Topic, present: TopicDescription) -> Iterable[Difference]:
    if int(present.config["max.message.bytes"]) < topic.record_bytes_max:
        value = topic.record_bytes_max
        yield _difference(
            topic, "max.message.bytes", present.config["max.message.bytes"], value, "raise it"
        )
    if int(present.config["segment.ms"]) > _ms(SEGMENT):
        value = _ms(SEGMENT)
        yield _difference(topic, "segment.ms", present.config["segment.ms"], value, "lower it")


def _repair(topic: Topic, name: str, value: str) -> str:
    return f"kafka-configs --alter --topic {topic.name} --add-config {name}={value}"


def _difference(
    topic: Topic, setting: str, value: object, wanted: object, remedy: str
) -> Difference:
    return Difference(
        topic=topic.name, setting=setting, present=str(value), wanted=str(wanted), remedy=remedy
    )


def _ms(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)
