"""
`orderflow trace`: for each kind of order the tree says what the topics, the services and their
lines say, with no tracing back end; what can't be asked is named.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.support.all_services import AllServices, all_services_running
from tests.support.stack import OwnStack

from orderflow.contracts.ids import OrderId, payment_id
from orderflow.contracts.topics import INVENTORY, ORDER_EVENTS, ORDERS, PAYMENTS
from orderflow.messaging.event import REPLAY_COUNT
from orderflow.messaging.kafka.group_topics import replay_topic
from orderflow.messaging.testing.eventually import eventually
from orderflow.stack.ports import free_ports

# `test_m8_traces.py` compares the command with Zipkin for each kind of order.
pytestmark = pytest.mark.long

TOPICS = (ORDERS, ORDER_EVENTS, PAYMENTS, INVENTORY)
LINES = [{"sku": "MOUSE-01", "quantity": 1}]
KINDS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "delivered": ({"lines": LINES}, ("pay", "ship", "deliver")),
    "cancelled": ({"lines": LINES}, ("pay", "cancel")),
    "declined": ({"lines": LINES, "paymentMethod": "pm_declined"}, ("pay",)),
    "out of stock": ({"lines": [{"sku": "DESK-160", "quantity": 1}]}, ("pay",)),
}
Node = dict[str, Any]


@dataclass
class Traced:
    """All services, the orders of each kind, and where the processes' lines are."""

    services: AllServices
    orders: dict[str, str]
    logs: Path
    stories: dict[str, Node] = field(default_factory=dict)

    def trace(self, order: str, *options: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        running = self.services.running
        urls = [
            part
            for name in ("payment", "inventory", "notification", "fulfilment")
            for part in (f"--{name}-url", str(running[name].client.base_url).rstrip("/"))
        ]
        api = str(self.services.api.base_url).rstrip("/")
        ran = subprocess.run(
            [
                *(sys.executable, "-m", "orderflow.cli.main", "trace", order, "--url", api),
                *("--logs", str(self.logs), *urls, *options),
            ],
            env={**self.services.order.stack.service_environment, "COLUMNS": "80"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return ran.returncode, ran.stdout, ran.stderr

    def story(self, order: str) -> Node:
        """Each order's story is asked for once: nothing happens to it any more."""
        if order not in self.stories:
            code, text, trouble = self.trace(order, "--json")
            assert code == 0, trouble
            self.stories[order] = json.loads(text)
        return self.stories[order]


@pytest.fixture(scope="module")
def traced(own_stack: OwnStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    home = tmp_path_factory.mktemp("services")
    with all_services_running(own_stack, home) as services:
        orders = {}
        for kind, (body, commands) in KINDS.items():
            placed = services.api.post("/api/orders", json={"customerId": kind[:3], **body}).json()
            orders[kind] = placed["orderId"]
            for command in commands:
                services.api.post(f"/api/orders/{orders[kind]}/{command}")
        services.eventually_caught_up()
        yield Traced(services, orders, home)


def nodes(story: Node) -> Iterator[Node]:
    waiting = [*story["story"]]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += node["children"]


def of_kind(story: Node, kind: str) -> list[Node]:
    return [node for node in nodes(story) if node["kind"] == kind]


@pytest.mark.parametrize("kind", KINDS)
def test_the_tree_has_each_record_once_below_its_cause_and_each_line(
    traced: Traced, kind: str
) -> None:
    order = traced.orders[kind]
    story = traced.story(order)

    # Revenue does not run here: its lines are all there is to miss.
    assert {gap["source"] for gap in story["missing"]} <= {"lines of revenue-service"}
    records = of_kind(story, "record")
    places = Counter((node["topic"], node["partition"], node["offset"]) for node in records)
    wanted = {
        (record.topic, record.partition, record.offset)
        for topic in TOPICS
        for record in traced.services.order.records(topic.name)
        if record.key == order.encode()
    }
    assert wanted <= set(places)
    assert set(places.values()) == {1}

    for node in nodes(story):
        for child in node["children"]:
            if child["kind"] == "record" and child["causedBy"] is not None:
                assert child["causedBy"] in (node["eventId"], node["causedBy"])
            if child["kind"] == "handling":
                assert child["eventId"] == node["eventId"]
                assert child["outcome"] in ("handled", "skipped") or (
                    child["group"] == "revenue-service"
                )
                assert child["at"] is None or child["tookMs"] >= 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_tree_says_what_the_services_say(traced: Traced, kind: str) -> None:
    order, running = traced.orders[kind], traced.services.running
    story = traced.story(order)
    answer = traced.services.api.get(f"/orders/{order}").json()
    assert story["order"]["status"] == answer["status"]
    assert story["waiting"] == answer.get("waiting")

    history = traced.services.api.get(f"/orders/{order}/history?all=true").json()["items"]
    changes = [*of_kind(story, "act"), *of_kind(story, "change")]
    assert sorted((node["at"], node["what"]) for node in changes) == sorted(
        (entry["occurredAt"], entry["description"]) for entry in history
    )
    [payment] = running["payment"].client.get(f"/payments/{order}").json()["payments"]
    assert [node["outcome"] for node in of_kind(story, "payment")] == [payment["state"]]
    assert [node["outcome"] for node in of_kind(story, "refund")] == [
        payment["refund"]["state"] for _ in range(payment["refund"] is not None)
    ]
    mails = running["notification"].client.get(f"/notifications?orderId={order}").json()["items"]
    assert sorted((node["what"], node["outcome"]) for node in of_kind(story, "mail")) == sorted(
        (mail["kind"], mail["state"]) for mail in mails
    )
    reservation = running["inventory"].client.get(f"/reservations/{order}").json()
    assert [node["outcome"] for node in of_kind(story, "reservation")] == [
        status for status in [reservation["status"]] if isinstance(status, str)
    ]


def test_the_text_fits_and_quotes_no_mail_and_no_token(traced: Traced) -> None:
    for kind, (body, _commands) in KINDS.items():
        code, text, trouble = traced.trace(traced.orders[kind], "--all")
        assert code == 0, trouble
        assert [line for line in text.splitlines() if len(line) > 80] == []
        assert str(body.get("paymentMethod", "pm_ok")) not in text
        assert "@example" not in text


def test_a_dead_letter_and_its_replay_are_in_the_tree(traced: Traced) -> None:
    services = traced.services
    placed = services.api.post("/api/orders", json={"customerId": "dead", "lines": LINES}).json()
    order = placed["orderId"]
    headers: list[tuple[str, str | bytes | None]] = [
        ("ce_id", str(uuid4())),
        ("ce_type", "orderflow.OrderCancelled"),
        ("ce_source", "/orderflow/order"),
    ]
    replay = replay_topic(ORDERS, "payment-service").name

    def letters() -> int:
        return sum(record.key == order.encode() for record in services.dead_letters())

    produce = services.order.producer.produce
    produce(ORDERS.name, b"no avro", order.encode(), headers=headers)
    services.order.flush()
    eventually(lambda: letters() == 3, within_s=30)
    produce(replay, b"no avro", order.encode(), headers=[*headers, (REPLAY_COUNT, b"1")])
    services.order.flush()
    eventually(lambda: letters() == 4, within_s=30)
    services.eventually_caught_up()

    story = traced.story(order)
    assert Counter(node["group"] for node in of_kind(story, "dead letter")) == {
        "payment-service": 2,
        "inventory-service": 1,
        "notification-service": 1,
    }
    [again] = of_kind(story, "replay")
    assert (again["topic"], again["attempts"]) == (replay, 1)
    assert [node["outcome"] for node in again["children"]] == ["dead letter"]
    [first] = [node for node in of_kind(story, "dead letter") if again in node["children"]]
    assert (first["group"], first["attempts"], first["what"]) == ("payment-service", 0, "Poison")


def test_whoever_is_away_is_named_and_the_exit_code_says_so(traced: Traced) -> None:
    order = traced.orders["delivered"]
    [nobody] = free_ports(1, start=os.getpid() * 7 + 9_000)
    away = f"http://127.0.0.1:{nobody}"
    code, text, _trouble = traced.trace(order, "--payment-url", away, "--json")
    story = json.loads(text)
    assert (code, story["complete"]) == (1, False)
    assert [gap["source"] for gap in story["missing"] if gap["unasked"]] == ["payment"]
    assert of_kind(story, "shipment")


def test_an_order_that_does_not_exist_is_told_in_a_line(traced: Traced) -> None:
    code, text, trouble = traced.trace(payment_id(OrderId(str(uuid4())), 1))
    assert (code, text) == (1, "")
    assert trouble.startswith("orderflow: there is no order ")
    code, _text, trouble = traced.trace("4711")
    assert (code, "is no order id" in trouble) == (2, True)


def test_a_long_partition_is_read_as_far_as_was_wanted_and_the_story_says_so(
    traced: Traced,
) -> None:
    code, text, _trouble = traced.trace(traced.orders["delivered"], "--json", "--records-max", "1")
    assert code == 1
    assert any("--records-max reads more" in gap["why"] for gap in json.loads(text)["missing"])
