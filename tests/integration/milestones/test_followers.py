"""
Several groups on one feed: a new one joins without touching anybody, one that stops or fails delays no other, and
catches up with nothing lost and nothing twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from tests.support.house import House, house_running
from tests.support.service import Service, service_deployed
from tests.support.stack import OwnStack

from orderflow.contracts.topics import ORDER_EVENTS
from orderflow.messaging.kafka.group_topics import dead_letter_topic
from orderflow.messaging.kafka.reader import ConsumerRecord
from orderflow.messaging.testing.eventually import eventually

NEWCOMER = "recommendation-service"
FEED = ORDER_EVENTS.name

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def house(own_stack: OwnStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house_running(own_stack, tmp_path_factory.mktemp("house")) as house:
        yield house


def place_of_every_kind(house: House, count: int) -> list[str]:
    """So many that are paid and so many that are out of stock; the customers of the first third cancel."""
    kept = house.place(count)
    short = house.place(count, lines=[{"sku": "DESK-160", "quantity": 1}])
    eventually(
        lambda: {end[0] for end in house.ends(kept)} == {"PAID"},
        within_s=60,
        every_s=0.5,
        why="all are paid",
    )
    for order in kept[: count // 3]:
        assert house.api.post(f"/orders/{order}/cancel").status_code == 200
    return kept + short


def statuses(house: House, orders: list[str]) -> dict[str, str]:
    """Where the shipments of these orders are, by fulfilment."""
    rows = house.fulfilment.rows("SELECT order_id, status FROM shipment")
    found = {str(order): str(status) for order, status in rows}
    return {order: found[order] for order in orders if order in found}


def assert_shipments_are_as_orders(house: House, orders: list[str]) -> None:
    shown = {order: end[0] for order, end in zip(orders, house.ends(orders), strict=True)}
    wanted = {"PAID": "PREPARED", "CANCELLED": "CALLED_OFF"}
    assert statuses(house, orders) == {order: wanted[status] for order, status in shown.items()}


def others_at_rest(house: House, absent: Service) -> None:
    """Twice around, as `House.at_rest`."""
    others = [service for service in house.services if service is not absent]
    for _ in range(2):
        for service in others:
            service.eventually_at_rest()
    assert {service.group: service.lag() for service in others} == {
        service.group: 0 for service in others
    }


def topics(house: House) -> set[str]:
    return set(
        AdminClient({"bootstrap.servers": house.order.kafka.bootstrap_servers})
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
    found: dict[str, list[int]] = defaultdict(list)
    for order, version in newcomer.rows("SELECT order_id, version FROM learned ORDER BY position"):
        found[str(order)].append(int(str(version)))
    return dict(found)


def eventually_hears_all(house: House, newcomer: Service) -> None:
    house.at_rest()
    newcomer.eventually_at_rest()
    feed = told(house.order.records(FEED))
    assert heard_by(newcomer) == {order: [*range(1, count + 1)] for order, count in feed.items()}


def test_a_new_group_hears_everything_from_the_beginning_in_order_and_nobody_is_touched(
    house: House, own_stack: OwnStack, tmp_path: Path
) -> None:
    place_of_every_kind(house, 12)
    house.at_rest()
    before = topics(house)
    with service_deployed(
        own_stack,
        tmp_path,
        "follower",
        group=NEWCOMER,
        hears=[FEED],
        module="tests.support.recommendation",
    ) as newcomer:
        process = newcomer.start("listener")
        eventually_hears_all(house, newcomer)
        assert topics(house) - before == {f"{FEED}.{NEWCOMER}.dlt", f"{FEED}.{NEWCOMER}.replay"}
        place_of_every_kind(house, 3)
        eventually_hears_all(house, newcomer)
        newcomer.migrate()
        assert all(neighbour.ready() for neighbour in house.running.values())
        assert house.dead_letters() == []

        house.order.producer.produce(FEED, b"\xff", b"nobody")
        house.order.flush()
        newcomer.eventually_at_rest()
        [letter] = newcomer.records(dead_letter_topic(ORDER_EVENTS, NEWCOMER).name)
        assert letter.value == b"\xff"
        assert process.outcomes["dead"] == 1
        assert process.terminate() == 0, process.log.read_text()


def test_a_group_that_is_stopped_delays_no_other_and_has_missed_nothing_when_it_is_back(
    house: House,
) -> None:
    house.at_rest()
    assert house.running["fulfilment"].terminate() == 0
    behind = len(house.order.records(FEED))
    orders = place_of_every_kind(house, 9)
    others_at_rest(house, house.fulfilment)
    missed = len(house.order.records(FEED)) - behind
    assert missed >= 2 * len(orders)
    assert house.fulfilment.lag() >= missed
    assert statuses(house, orders) == {}
    followed = house.analytics.rows("SELECT order_id FROM followed_order")
    assert {order for (order,) in followed} >= set(orders)

    house.running["fulfilment"] = back = house.starts["fulfilment"]()
    house.fulfilment.eventually_at_rest()
    assert_shipments_are_as_orders(house, orders)
    assert back.outcomes == {"handled": missed}, "each once, none from before"


def test_a_group_that_fails_for_every_record_delays_no_other_and_loses_nothing(
    house: House,
) -> None:
    house.at_rest()
    dead = len(house.dead_letters())
    failing = house.running["fulfilment"]
    with house.fulfilment.connection() as connection:
        connection.execute("ALTER TABLE shipment RENAME TO shipment_by_mistake")
    orders = place_of_every_kind(house, 12)
    others_at_rest(house, house.fulfilment)
    eventually(
        lambda: any("it fails for every record" in reason for reason in failing.reasons),
        within_s=30,
        why="fulfilment says that it fails for every record",
    )
    assert house.fulfilment.lag() > 0

    with house.fulfilment.connection() as connection:
        connection.execute("ALTER TABLE shipment_by_mistake RENAME TO shipment")
    house.fulfilment.eventually_at_rest()
    assert_shipments_are_as_orders(house, orders)
    eventually(failing.ready, within_s=20, why="fulfilment is ready again")
    assert len(house.dead_letters()) == dead
