"""
Milestone 1: topics `orders, payments, inventory, notifications`, RF 3 and `min.insync.replicas` 2 (RF 1 on a single
broker); an API call produces an OrderCreated record on `orders`, verifiable with the console consumer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from tests.support.kafka_tools import kafka_tool, orderflow
from tests.support.stack import OwnStack, Stack, private_stack

from orderflow.contracts.topics import TOPICS

NAMED_BY_THE_MILESTONE = ("orders", "payments", "inventory", "notifications")


@pytest.fixture(scope="module")
def cluster() -> Iterator[OwnStack]:
    """Three brokers, and nothing else."""
    with private_stack(brokers=3, only=("kafka",)) as own:
        yield own


def described(stack: Stack) -> dict[str, dict[str, str]]:
    """What Kafka's own tool says of each topic: partitions, RF, and each setting."""
    printed = kafka_tool(stack, "org.apache.kafka.tools.TopicCommand", "--describe")
    topics = {}
    for line in printed.splitlines():
        found = re.match(r"Topic: (\S+)\s.*PartitionCount: (\d+)\s+ReplicationFactor: (\d+)\s+Configs: (\S*)", line)
        if found:
            name, partitions, replicas, config = found.groups()
            settings = dict(pair.split("=", 1) for pair in config.split(",") if pair)
            topics[name] = {"partitions": partitions, "replicas": replicas, **settings}
    return topics


def assert_as_designed(stack: Stack, *, replicas: str, in_sync_min: str) -> None:
    topics = described(stack)
    assert set(NAMED_BY_THE_MILESTONE) <= {topic.name for topic in TOPICS}
    for topic in TOPICS:
        found = topics[topic.name]
        assert found["partitions"] == str(topic.partitions or 3), topic.name
        assert (found["replicas"], found["min.insync.replicas"]) == (replicas, in_sync_min), topic.name
        assert found["unclean.leader.election.enable"] == "false", topic.name
        assert topic.retention is not None
        assert int(found["retention.ms"]) == topic.retention.total_seconds() * 1000, topic.name


def test_one_broker_keeps_one_replica(stack: Stack) -> None:
    applied = orderflow(stack, "topics", "apply")
    assert applied.returncode == 0, applied.stderr
    assert_as_designed(stack, replicas="1", in_sync_min="1")


def test_three_brokers_keep_three_replicas_and_two_must_have_a_record_before_it_counts(cluster: OwnStack) -> None:
    applied = orderflow(cluster, "topics", "apply")
    assert applied.returncode == 0, applied.stderr
    assert_as_designed(cluster, replicas="3", in_sync_min="2")


def test_applying_again_changes_nothing(stack: Stack) -> None:
    assert orderflow(stack, "topics", "apply").returncode == 0
    before = described(stack)
    again = orderflow(stack, "topics", "apply", "--json")
    assert again.returncode == 0, again.stderr
    assert '"creations":[],"alterations":[],"refusals":[]' in again.stdout
    assert described(stack) == before


def test_another_partition_count_is_refused(stack: Stack) -> None:
    assert orderflow(stack, "topics", "apply").returncode == 0
    refused = orderflow(stack, "topics", "apply", ORDERFLOW_TOPICS__PARTITIONS="6")
    assert refused.returncode == 1
    assert "orders: partitions is 3, wanted 6: a partition count is fixed for life" in refused.stderr
    assert described(stack)["orders"]["partitions"] == "3"


@pytest.mark.parametrize(
    ("setting", "unsafe", "safe"),
    [
        ("min.insync.replicas", "1", "2"),
        ("unclean.leader.election.enable", "true", "false"),
        ("retention.ms", "60000", "604800000"),
    ],
)
def test_an_unsafe_setting_is_refused_by_topic_and_value(
    cluster: OwnStack, setting: str, unsafe: str, safe: str
) -> None:
    assert orderflow(cluster, "topics", "apply").returncode == 0
    alter(cluster, f"{setting}={unsafe}")
    refused = orderflow(cluster, "topics", "apply")
    assert refused.returncode == 1
    assert f"orders: {setting} is {unsafe}, wanted {safe}: " in refused.stderr
    assert described(cluster)["orders"][setting] == unsafe, "a refusal changes nothing"
    alter(cluster, f"{setting}={safe}")
    assert orderflow(cluster, "topics", "apply").returncode == 0


def alter(stack: Stack, setting: str) -> None:
    entity = ("--entity-type", "topics", "--entity-name", "orders")
    kafka_tool(stack, "kafka.admin.ConfigCommand", "--alter", *entity, "--add-config", setting)
