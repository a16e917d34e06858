"""Deciding what to do about a cluster's topics."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from orderflow.messaging.errors import Incompatible
from orderflow.messaging.kafka.topics import (
    Cleanup,
    Durability,
    Topic,
    TopicDescription,
    TopicPlan,
    TopicSettings,
    config_of,
    decide,
)

ONE = Durability(replicas=1, in_sync_min=1)
THREE = Durability(replicas=3, in_sync_min=2)
SETTINGS = TopicSettings()
EVENTS = Topic(name="events", key="id", retention=timedelta(days=7))
STATE = Topic(name="state", key="id", retention=None, cleanup=Cleanup.COMPACT)


def as_promised(topic: Topic, durability: Durability) -> TopicDescription:
    return TopicDescription(
        partitions=3, replicas=durability.replicas, config=config_of(topic, durability)
    )


def plan(
    topic: Topic, present: TopicDescription | None, durability: Durability = THREE
) -> TopicPlan:
    return decide(
        [topic],
        {} if present is None else {topic.name: present},
        durability=durability,
        settings=SETTINGS,
    )


def changed(topic: Topic, **config: str) -> TopicDescription:
    present = as_promised(topic, THREE)
    names = {name.replace("_", "."): value for name, value in config.items()}
    return msgspec.structs.replace(present, config={**present.config, **names})


@pytest.mark.parametrize(("brokers", "expected"), [(1, ONE), (3, THREE), (5, THREE)])
def test_three_brokers_keep_three_replicas_and_two_in_sync_one_keeps_one(
    brokers: int, expected: Durability
) -> None:
    assert Durability.on(brokers, SETTINGS) == expected


def test_two_brokers_are_refused_because_one_may_be_down() -> None:
    with pytest.raises(Incompatible, match="ORDERFLOW_TOPICS__REPLICATION_FACTOR"):
        Durability.on(2, SETTINGS)


def test_a_set_replication_factor_is_never_lowered_to_what_is_up() -> None:
    with pytest.raises(Incompatible, match="RF 3 needs 3 brokers; the cluster shows 1"):
        Durability.on(1, TopicSettings(replication_factor=3))


def test_a_missing_topic_is_created_with_all_settings_that_matter() -> None:
    """Each setting that a broker's default could spoil is written on the topic itself."""
    (creation,) = plan(EVENTS, None).creations
    assert (creation.partitions, creation.replicas) == (3, 3)
    assert creation.config == {
        "cleanup.policy": "delete",
        "min.insync.replicas": "2",
        "unclean.leader.election.enable": "false",
        "max.message.bytes": "1048588",
        "retention.ms": "604800000",
        "retention.bytes": "-1",
        "segment.ms": "86400000",
    }


@pytest.mark.parametrize("topic", [EVENTS, STATE])
def test_a_topic_as_promised_is_left_alone(topic: Topic) -> None:
    assert plan(topic, as_promised(topic, THREE)) == TopicPlan(
        creations=(), alterations=(), refusals=(), unchanged=(topic.name,)
    )


@pytest.mark.parametrize(
    ("present", "setting", "value", "wanted"),
    [
        (changed(EVENTS, min_insync_replicas="1"), "min.insync.replicas", "1", "2"),
        (
            changed(EVENTS, unclean_leader_election_enable="true"),
            "unclean.leader.election.enable",
            "true",
            "false",
        ),
        (changed(EVENTS, retention_ms="3600000"), "retention.ms", "3600000", "604800000"),
        (changed(EVENTS, retention_bytes="1000000"), "retention.bytes", "1000000", "-1"),
        (changed(EVENTS, cleanup_policy="compact"), "cleanup.policy", "compact", "delete"),
        (
            changed(EVENTS, cleanup_policy="compact,delete"),
            "cleanup.policy",
            "compact,delete",
            "delete",
        ),
        (
            msgspec.structs.replace(as_promised(EVENTS, THREE), replicas=2),
            "replication.factor",
            "2",
            "3",
        ),
        (msgspec.structs.replace(as_promised(EVENTS, THREE), partitions=6), "partitions", "6", "3"),
        (msgspec.structs.replace(as_promised(EVENTS, THREE), partitions=1), "partitions", "1", "3"),
    ],
)
def test_what_could_lose_or_reorder_records_is_refused_by_topic_setting_and_values(
    present: TopicDescription, setting: str, value: str, wanted: str
) -> None:
    planned = plan(EVENTS, present)
    (refusal,) = planned.refusals
    assert (refusal.topic, refusal.setting, refusal.present, refusal.wanted) == (
        "events",
        setting,
        value,
        wanted,
    )
    assert not planned.unchanged
    with pytest.raises(Incompatible, match=f"events: {setting} is {value}, wanted {wanted}: "):
        planned.refuse_unsafe()


def test_deletion_on_a_compacted_topic_is_refused() -> None:
    (refusal,) = plan(STATE, changed(STATE, cleanup_policy="delete")).refusals
    assert refusal.setting == "cleanup.policy"


@pytest.mark.parametrize(
    "present",
    [
        changed(EVENTS, min_insync_replicas="3"),
        changed(EVENTS, retention_ms="9999999999"),
        changed(EVENTS, retention_ms="-1"),
        changed(EVENTS, max_message_bytes="2097152"),
        msgspec.structs.replace(as_promised(EVENTS, THREE), replicas=4),
    ],
)
def test_what_promises_more_is_left_alone(present: TopicDescription) -> None:
    assert plan(EVENTS, present).unchanged == ("events",)


def test_a_lower_record_size_is_raised() -> None:
    (change,) = plan(EVENTS, changed(EVENTS, max_message_bytes="1000")).alterations
    assert (change.setting, change.wanted) == ("max.message.bytes", "1048588")


def test_segments_that_would_keep_records_for_longer_than_an_inbox_knows_them_are_shortened() -> (
    None
):
    (change,) = plan(EVENTS, changed(EVENTS, segment_ms="604800000")).alterations
    assert (change.setting, change.wanted) == ("segment.ms", "86400000")
    assert plan(EVENTS, changed(EVENTS, segment_ms="3600000")).unchanged == ("events",)


def test_a_cluster_made_with_more_partitions_is_as_promised_once_the_setting_says_so() -> None:
    present = {"events": msgspec.structs.replace(as_promised(EVENTS, THREE), partitions=12)}
    assert decide(
        [EVENTS], present, durability=THREE, settings=TopicSettings(partitions=12)
    ).unchanged == ("events",)
    (refusal,) = decide([EVENTS], present, durability=THREE, settings=SETTINGS).refusals
    assert "ORDERFLOW_TOPICS__PARTITIONS=12" in refusal.remedy


def test_a_topic_with_its_own_partition_count_ignores_the_default() -> None:
    fixed = msgspec.structs.replace(EVENTS, partitions=1)
    (creation,) = decide(
        [fixed], {}, durability=ONE, settings=TopicSettings(partitions=12)
    ).creations
    assert creation.partitions == 1
