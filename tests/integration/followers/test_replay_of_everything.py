"""
Every record of every topic, to every group, from the beginning: no effect changes, nobody is told
or charged again.

Half of what the inboxes remember is taken away first. So half of the records meet the first wall,
the inbox, and half the second: facts that only move up, reservations and payments for good,
versions, natural keys.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial

import pytest
from tests.support.all_services import AllServices, all_services_running
from tests.support.service import Service
from tests.support.stack import OwnStack

from orderflow.contracts.roster import ROSTER, subscribed
from orderflow.contracts.topics import INVENTORY, NOTIFICATIONS, ORDER_EVENTS, ORDERS, PAYMENTS
from orderflow.messaging.kafka import groups
from orderflow.messaging.kafka.reader import end_offsets
from orderflow.messaging.testing.eventually import eventually

TOPICS = [topic.name for topic in (ORDERS, ORDER_EVENTS, PAYMENTS, INVENTORY, NOTIFICATIONS)]
EACH = 4
ENDS = {
    "delivered": ("DELIVERED", "SUCCEEDED", "RESERVED"),
    "on its way": ("SHIPPED", "SUCCEEDED", "RESERVED"),
    "to be packed": ("PAID", "SUCCEEDED", "RESERVED"),
    "given back": ("CANCELLED", "REFUNDED", "RELEASED"),
    "out of stock": ("CANCELLED", "REFUNDED", "REJECTED"),
    "declined": ("CREATED", "FAILED", "NONE"),
    "declined, then paid": ("PAID", "SUCCEEDED", "RESERVED"),
    "never paid": ("CANCELLED", "NONE", "NONE"),
}
"""All that can become of an order."""

MOVING = {"inbox", "relay_state"}
"""Tables that are no effect: what was heard, and how often the relay has counted on."""

LEASED = {"customer"}
"""
A sender may look whether there is something to send: the row is the same then, and not where it
was.
"""

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def services(
    own_stack: OwnStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AllServices]:
    with all_services_running(own_stack, tmp_path_factory.mktemp("services")) as services:
        yield services


def test_a_replay_of_all_records_to_all_groups_changes_nothing(
    services: AllServices,
) -> None:
    """And nothing is published."""
    # Revenue has no inbox to forget: its replay is in test_m7_revenue_kills.py.
    assert {service.group for service in services.each} == {
        member.group for member in ROSTER if member.has_database
    }
    orders = orders_of_every_end(services)
    services.eventually_caught_up()
    before, effects, mails = (
        everything(services),
        services.effects(),
        services.notification.mail.messages(),
    )
    events, handled = (
        {topic: ids(services, topic) for topic in TOPICS},
        Counter(handled_by(services)),
    )

    services.stop()
    for service in services.each:
        forget_half_of_the_inbox(service)
        eventually(
            partial(begins_anew, service),
            within_s=60,
            every_s=1,
            why=f"{service.group} begins anew",
        )
    services.start()
    services.eventually_caught_up()

    assert everything(services) == before
    assert services.effects() == effects
    assert services.notification.mail.messages() == mails, "a mail was accepted, or offered, again"
    services.payment.assert_ledgers_agree()
    assert {order: services.ends([order]) for order in orders} == {
        order: [ENDS[end]] for order, end in orders.items()
    }
    assert services.dead_letters() == []
    again = Counter(handled_by(services))
    assert all(again[group] >= count for group, count in handled.items()), (
        "each group has had every record again"
    )
    for topic in TOPICS:
        now = ids(services, topic)
        assert now.keys() == events[topic].keys(), f"{topic} has an event that is new"
        if (
            topic != PAYMENTS.name
        ):  # Its outcome is announced again for a repeated input, under the same id.
            assert now == events[topic], f"{topic} has an event twice"


def orders_of_every_end(services: AllServices) -> dict[str, str]:
    """Orders with what is to become of them; when it has."""
    placed = {
        end: services.place(EACH) for end in ENDS if end not in ("out of stock", "never paid")
    }
    placed |= {
        end: services.place(EACH, paymentMethod="pm_declined")
        for end in ("declined", "declined, then paid")
    }
    placed["out of stock"] = services.place(EACH, lines=[{"sku": "DESK-160", "quantity": 1}])
    placed["never paid"] = [
        str(services.api.post("/api/orders", json=CUSTOMER).json()["orderId"]) for _ in range(EACH)
    ]
    for end, (begin, actions) in COMMANDS.items():
        eventually_all(services, placed[end], begin)
        for order in placed[end]:
            for action, body in actions:
                answer = services.api.post(f"/orders/{order}/{action}", json=body)
                assert answer.status_code == 200, answer.text
    for end, several in placed.items():
        eventually_all(services, several, ENDS[end])
    return {order: end for end, several in placed.items() for order in several}


def eventually_all(services: AllServices, orders: list[str], end: tuple[str, str, str]) -> None:
    eventually(
        lambda: set(services.ends(orders)) == {end}, within_s=60, every_s=0.2, why=f"all are {end}"
    )


CUSTOMER = {"customerId": "customer-123"}
COMMANDS: dict[str, tuple[tuple[str, str, str], list[tuple[str, dict[str, str] | None]]]] = {
    "delivered": (ENDS["to be packed"], [("ship", None), ("deliver", None)]),
    "on its way": (ENDS["to be packed"], [("ship", None)]),
    "given back": (ENDS["to be packed"], [("cancel", None)]),
    "declined, then paid": (ENDS["declined"], [("pay", {"paymentMethod": "pm_ok"})]),
    "never paid": (("CREATED", "NONE", "NONE"), [("cancel", None)]),
}
"""Once an order is so far, what its customer asks for."""


def begins_anew(service: Service) -> bool:
    """Once the members that were stopped are not waited for any more."""
    for topic in subscribed(service.group):
        first = dict.fromkeys(end_offsets(service.kafka, topic), 0)
        groups.begin_at(service.kafka, service.group, topic, first)
    return True


def forget_half_of_the_inbox(service: Service) -> None:
    if "inbox" not in tables(service):
        return
    with service.connection() as connection:
        connection.execute("DELETE FROM inbox WHERE get_byte(uuid_send(event_id), 15) % 2 = 0")


def everything(services: AllServices) -> dict[str, list[tuple[object, ...]]]:
    """
    Every row of every table that is an effect, with where it lies: written again, it would be
    another.
    """
    return {
        f"{service.name}.{table}": sorted(
            service.rows(f"SELECT {place_of(table)}, {table}::text FROM {table}")
        )
        for service in services.each
        for table in tables(service)
        if table not in MOVING
    }


def place_of(table: str) -> str:
    return "''" if table in LEASED else "ctid::text, xmin::text"


def tables(service: Service) -> list[str]:
    """Its own, partitions apart."""
    return [
        str(name)
        for (name,) in service.rows(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
            " AND relnamespace = 'public'::regnamespace AND relname NOT LIKE '%yoyo%'"
        )
    ]


def ids(services: AllServices, topic: str) -> Counter[str]:
    return Counter(said.id for said in services.order.published(topic))


def handled_by(services: AllServices) -> dict[str, int]:
    return {group: sum(process.outcomes.values()) for group, process in services.listeners.items()}
