"""
Several groups on one feed: a new one joins without touching anybody, one that stops or fails
delays no other, and catches up with nothing lost and nothing twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from tests.support.all_services import AllServices, all_services_running
from tests.support.service import Service, service_deployed
from tests.support.stack import OwnStack

from orderflow.contracts.topics import INVENTORY, ORDER_EVENTS
from orderflow.messaging.kafka.group_topics import dead_letter_topic
from orderflow.messaging.kafka.reader import ConsumerRecord
from orderflow.messaging.testing.eventually import eventually

NEWCOMER = "recommendation-service"
FEED = ORDER_EVENTS.name

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def services(
    own_stack: OwnStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AllServices]:
    with all_services_running(own_stack, tmp_path_factory.mktemp("services")) as services:
        yield services


def place_of_every_kind(services: AllServices, count: int) -> list[str]:
    """
    So many that are paid and so many that are out of stock; the customers of the first third
    cancel.
    """
    kept = services.place(count)
    short = services.place(count, lines=[{"sku": "DESK-160", "quantity": 1}])
    eventually(
        lambda: {end[0] for end in services.ends(kept)} == {"PAID"},
        within_s=60,
        every_s=0.5,
        why="all are paid",
    )
    for order in kept[: count // 3]:
        assert services.api.post(f"/orders/{order}/cancel").status_code == 200
    return kept + short


def statuses(services: AllServices, orders: list[str]) -> dict[str, str]:
    """Where the shipments of these orders are, by fulfilment."""
    rows = services.fulfilment.rows("SELECT order_id, status FROM shipment")
    statuses = {str(order): str(status) for order, status in rows}
    return {order: statuses[order] for order in orders if order in statuses}


def assert_shipments_are_as_orders(services: AllServices, orders: list[str]) -> None:
    shown = {order: end[0] for order, end in zip(orders, services.ends(orders), strict=True)}
    wanted = {"PAID": "PREPARED", "CANCELLED": "CALLED_OFF"}
    assert statuses(services, orders) == {order: wanted[status] for order, status in shown.items()}


def others_at_rest(services: AllServices, absent: Service) -> None:
    """Twice around, as `AllServices.at_rest`."""
    others = [service for service in services.each if service is not absent]
    for _ in range(2):
        for service in others:
            service.eventually_caught_up()
    assert {service.group: service.lag() for service in others} == {
        service.group: 0 for service in others
    }


def topics(services: AllServices) -> set[str]:
    return set(
        AdminClient({"bootstrap.servers": services.order.kafka.bootstrap_servers})
        .list_topics(timeout=10)
        .topics
    )


def told(records: list[ConsumerRecord]) -> dict[str, int]:
    """How many events of each order there are."""
    counts: dict[str, int] = defaultdict(int)
    for record in records:
        counts[(record.key or b"").decode()] += 1
    return dict(counts)


def heard_by(newcomer: Service) -> dict[str, list[int]]:
    """The versions of each order, in the order in which its handler had them."""
    versions: dict[str, list[int]] = defaultdict(list)
    for order, version in newcomer.rows("SELECT order_id, version FROM learned ORDER BY position"):
        versions[str(order)].append(int(str(version)))
    return dict(versions)


def eventually_hears_all(services: AllServices, newcomer: Service) -> None:
    services.eventually_caught_up()
    newcomer.eventually_caught_up()
    feed = told(services.order.records(FEED))
    assert heard_by(newcomer) == {order: [*range(1, count + 1)] for order, count in feed.items()}


def test_a_new_group_joins_without_modifying_existing_systems(
    services: AllServices, own_stack: OwnStack, tmp_path: Path
) -> None:
    """It consumes everything from the beginning, in order; nothing else restarts or repeats."""
    place_of_every_kind(services, 12)
    services.eventually_caught_up()
    before = topics(services)
    with service_deployed(
        own_stack,
        tmp_path,
        "follower",
        group=NEWCOMER,
        consumes=[FEED],
        module="tests.support.recommendation",
    ) as newcomer:
        process = newcomer.start("listener")
        eventually_hears_all(services, newcomer)
        assert topics(services) - before == {f"{FEED}.{NEWCOMER}.dlt", f"{FEED}.{NEWCOMER}.replay"}
        place_of_every_kind(services, 3)
        eventually_hears_all(services, newcomer)
        newcomer.migrate()
        assert all(neighbour.ready() for neighbour in services.running.values())
        assert services.dead_letters() == []

        services.order.producer.produce(FEED, b"\xff", b"nobody")
        services.order.flush()
        newcomer.eventually_caught_up()
        [letter] = newcomer.records(dead_letter_topic(ORDER_EVENTS, NEWCOMER).name)
        assert letter.value == b"\xff"
        assert process.outcomes["dead"] == 1
        assert process.terminate() == 0, process.log.read_text()


def test_a_stopped_group_delays_no_other_and_misses_nothing(
    services: AllServices,
) -> None:
    services.eventually_caught_up()
    assert services.running["fulfilment"].terminate() == 0
    behind = _on_its_topics(services)
    orders = place_of_every_kind(services, 9)
    others_at_rest(services, services.fulfilment)
    missed = _on_its_topics(services) - behind
    assert missed >= 2 * len(orders)
    assert services.fulfilment.lag() >= missed
    assert statuses(services, orders) == {}
    followed = services.analytics.rows("SELECT order_id FROM followed_order")
    assert {order for (order,) in followed} >= set(orders)

    services.running["fulfilment"] = back = services.starts["fulfilment"]()
    services.fulfilment.eventually_caught_up()
    assert_shipments_are_as_orders(services, orders)
    assert sum(back.outcomes.values()) == missed, "each once, none from before"
    # What is out of stock was never to be sent, so its rejection says nothing to fulfilment.
    assert back.outcomes.keys() == {"handled", "skipped"}


def _on_its_topics(services: AllServices) -> int:
    """How many records there are on the topics that fulfilment reads."""
    return sum(len(services.order.records(topic)) for topic in (FEED, INVENTORY.name))


def test_a_group_whose_table_is_missing_delays_no_other_and_loses_nothing(
    services: AllServices,
) -> None:
    services.eventually_caught_up()
    dead = len(services.dead_letters())
    failing = services.running["fulfilment"]
    with services.fulfilment.connection() as connection:
        connection.execute("ALTER TABLE shipment RENAME TO shipment_by_mistake")
    orders = place_of_every_kind(services, 12)
    others_at_rest(services, services.fulfilment)
    eventually(
        lambda: any("lacks a table" in reason for reason in failing.reasons),
        within_s=30,
        why="fulfilment says what is missing",
    )
    assert services.fulfilment.lag() > 0

    with services.fulfilment.connection() as connection:
        connection.execute("ALTER TABLE shipment_by_mistake RENAME TO shipment")
    services.fulfilment.eventually_caught_up()
    assert_shipments_are_as_orders(services, orders)
    eventually(failing.ready, within_s=20, why="fulfilment is ready again")
    assert len(services.dead_letters()) == dead
