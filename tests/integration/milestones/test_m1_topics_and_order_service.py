"""
Milestone 1: topics `orders, payments, inventory, notifications`, RF 3 and `min.insync.replicas` 2
(RF 1 on a single broker); an API call produces an OrderCreated record on `orders`, verifiable with
the console consumer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta

import httpx2
import pytest
from tests.support.kafka_tools import console_consumer, kafka_tool, orderflow
from tests.support.order_service import order_service
from tests.support.stack import OwnStack, Stack, private_stack

from orderflow.contracts.roster import TOPICS
from orderflow.messaging.kafka.admin import Admin
from orderflow.messaging.settings import KafkaSettings

RECORD = re.compile(
    r"Partition:(?P<partition>\d)\tOffset:(?P<offset>\d+)\t(?P<headers>ce_specversion:1\.0,\S*)\t(?P<key>\S+)\t(?P<value>.*)",
    re.DOTALL,
)
NAMED_BY_THE_MILESTONE = ("orders", "payments", "inventory", "notifications")


@pytest.fixture(scope="module")
def cluster() -> Iterator[OwnStack]:
    """Three brokers, and nothing else."""
    with private_stack(brokers=3, only=("kafka",)) as own:
        yield own


@pytest.fixture(scope="module")
def api(own_stack: OwnStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    with order_service(own_stack, tmp_path_factory.mktemp("order")) as client:
        yield client


def test_an_api_call_produces_an_order_created_that_the_console_consumer_reads(
    own_stack: OwnStack, api: httpx2.Client
) -> None:
    sku = api.get("/products").json()["items"][0]["sku"]
    placed = api.post(
        "/orders", json={"customerId": "customer-123", "lines": [{"sku": sku, "quantity": 2}]}
    )
    assert placed.status_code == 201, placed.text
    order_id = placed.json()["orderId"]

    printed = console_consumer(own_stack, "orders", records_max=1)
    record = RECORD.match(printed)
    assert record is not None, printed
    assert record["key"] == order_id
    assert "ce_type:orderflow.OrderCreated," in record["headers"]
    assert f"ce_subject:{order_id}," in record["headers"]
    for text in (order_id, "customer-123", sku, "EUR"):
        assert text in record["value"]

    event = RECORD.match(console_consumer(own_stack, "order-events", records_max=1))
    assert event is not None
    assert event["key"] == order_id
    assert "ce_type:orderflow.OrderEvent," in event["headers"]


def test_tail_shows_the_same_record_decoded(own_stack: OwnStack, api: httpx2.Client) -> None:
    order_id = api.post("/api/orders", json={"customerId": "customer-456"}).json()["orderId"]
    shown = orderflow(
        own_stack, "tail", "orders", "--from-beginning", "--key", order_id, "--max", "1", "--json"
    )
    assert shown.returncode == 0, shown.stderr
    record = json.loads(shown.stdout)
    assert record["headers"]["ce_type"] == "orderflow.OrderCreated"
    assert (record["key"], record["value"]["customerId"]) == (order_id, "customer-456")


def described(stack: Stack) -> dict[str, dict[str, str]]:
    """What Kafka's own tool says of each topic: partitions, RF, and each setting."""
    printed = kafka_tool(stack, "org.apache.kafka.tools.TopicCommand", "--describe")
    topics = {}
    for line in printed.splitlines():
        match = re.match(
            r"Topic: (\S+)\s.*PartitionCount: (\d+)\s+ReplicationFactor: (\d+)\s+Configs: (\S*)",
            line,
        )
        if match:
            name, partitions, replicas, config = match.groups()
            settings = dict(pair.split("=", 1) for pair in config.split(",") if pair)
            topics[name] = {"partitions": partitions, "replicas": replicas, **settings}
    return topics


def assert_as_designed(stack: Stack, *, replicas: str, in_sync_min: str) -> None:
    topics = described(stack)
    assert set(NAMED_BY_THE_MILESTONE) <= {topic.name for topic in TOPICS}
    for topic in TOPICS:
        settings = topics[topic.name]
        assert settings["partitions"] == str(topic.partitions or 3), topic.name
        assert (settings["replicas"], settings["min.insync.replicas"]) == (
            replicas,
            in_sync_min,
        ), topic.name
        assert settings["unclean.leader.election.enable"] == "false", topic.name
        assert settings["cleanup.policy"] == topic.cleanup, topic.name
        if topic.retention is not None:
            assert int(settings["retention.ms"]) == topic.retention.total_seconds() * 1000, (
                topic.name
            )


def test_one_broker_keeps_one_replica(own_stack: OwnStack) -> None:
    applied = orderflow(own_stack, "topics", "apply")
    assert (applied.returncode, applied.stderr) == (0, "")
    kafka = KafkaSettings(bootstrap_servers=own_stack.bootstrap_servers)
    assert Admin(kafka).offsets_kept_for() == timedelta(days=365)
    assert_as_designed(own_stack, replicas="1", in_sync_min="1")


def test_three_brokers_keep_three_replicas_with_min_insync_replicas_2(
    cluster: OwnStack,
) -> None:
    applied = orderflow(cluster, "topics", "apply")
    assert applied.returncode == 0, applied.stderr
    assert_as_designed(cluster, replicas="3", in_sync_min="2")


def test_applying_again_changes_nothing(own_stack: OwnStack) -> None:
    assert orderflow(own_stack, "topics", "apply").returncode == 0
    before = described(own_stack)
    again = orderflow(own_stack, "topics", "apply", "--json")
    assert again.returncode == 0, again.stderr
    plan = json.loads(again.stdout)
    assert [plan[what] for what in ("creations", "alterations", "refusals")] == [[], [], []]
    assert described(own_stack) == before


def test_another_partition_count_is_refused(own_stack: OwnStack) -> None:
    assert orderflow(own_stack, "topics", "apply").returncode == 0
    refused = orderflow(own_stack, "topics", "apply", ORDERFLOW_TOPICS__PARTITIONS="6")
    assert refused.returncode == 1
    assert (
        "orders: partitions is 3, wanted 6: a partition count is fixed for life" in refused.stderr
    )
    assert described(own_stack)["orders"]["partitions"] == "3"


UNSAFE = {
    "min.insync.replicas": "1",
    "unclean.leader.election.enable": "true",
    "retention.ms": "60000",
}
SAFE = {
    "min.insync.replicas": "2",
    "unclean.leader.election.enable": "false",
    "retention.ms": "604800000",
}


def test_unsafe_settings_are_refused_each_by_topic_and_value_and_nothing_is_changed(
    cluster: OwnStack,
) -> None:
    assert orderflow(cluster, "topics", "apply").returncode == 0
    alter(cluster, UNSAFE)
    refused = orderflow(cluster, "topics", "apply")
    assert refused.returncode == 1
    topic = described(cluster)["orders"]
    for setting, value in UNSAFE.items():
        assert f"orders: {setting} is {value}, wanted {SAFE[setting]}: " in refused.stderr
        assert topic[setting] == value
    alter(cluster, SAFE)
    assert orderflow(cluster, "topics", "apply").returncode == 0


def alter(stack: Stack, settings: Mapping[str, str]) -> None:
    entity = ("--entity-type", "topics", "--entity-name", "orders")
    pairs = ",".join(f"{name}={value}" for name, value in settings.items())
    kafka_tool(stack, "kafka.admin.ConfigCommand", "--alter", *entity, "--add-config", pairs)
