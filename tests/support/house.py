"""The whole house: order, payment with its provider, inventory, notification with its mail sink, and the followers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
from tests.support.notifying import Notifying, notifying
from tests.support.payment import Paying, paying
from tests.support.service import Process, Service, service_deployed
from tests.support.stack import OwnStack

from orderflow.contracts.events import Event, OrderCreated
from orderflow.contracts.roster import GROUPS
from orderflow.contracts.topics import INVENTORY, ORDER_EVENTS, ORDERS, PAYMENTS
from orderflow.messaging.event import CE_ID, from_headers
from orderflow.messaging.kafka.group_topics import dead_letter_topic
from orderflow.messaging.kafka.reader import Record
from orderflow.messaging.testing.eventually import eventually


@dataclass
class House:
    """`starts`: how each process is started, by what it is called in the stack; `running`: those that are."""

    order: Service
    paying: Paying
    inventory: Service
    notifying: Notifying
    fulfilment: Service
    analytics: Service
    starts: dict[str, Callable[..., Process]]
    running: dict[str, Process] = field(default_factory=dict)

    @property
    def api(self) -> httpx2.Client:
        return self.running["order-api"].client

    @property
    def services(self) -> tuple[Service, ...]:
        return (
            self.order,
            self.paying.service,
            self.inventory,
            self.notifying.service,
            self.fulfilment,
            self.analytics,
        )

    @property
    def listening(self) -> dict[str, Process]:
        """Each group with the process that listens for it."""
        named = {"order": "order-relay"}
        return {
            service.group: self.running[named.get(service.name, service.name)]
            for service in self.services
        }

    def start(self) -> None:
        """All processes at once, and wait until each is ready."""
        self.running = {name: start(wait=False) for name, start in self.starts.items()}
        for name, process in self.running.items():
            eventually(process.ready, within_s=90, why=f"{name} is ready")

    def stop(self) -> None:
        """All at once; each must end with 0."""
        for process in self.running.values():
            process.popen.terminate()
        for process in self.running.values():
            assert process.popen.wait(15) == 0, process.log.read_text()

    def place(self, count: int, **fields: Any) -> list[str]:
        body = {
            "customerId": "customer-123",
            "lines": [{"sku": "MOUSE-01", "quantity": 2}],
            **fields,
        }
        return [str(self.api.post("/orders", json=body).json()["orderId"]) for _ in range(count)]

    def at_rest(self) -> None:
        """Twice around: what one says may make another say something."""
        for _ in range(3):
            for service in self.services:
                service.eventually_at_rest()
        self.notifying.eventually_all_sent()

    def ends(self, orders: Sequence[str]) -> list[tuple[str, str, str]]:
        shown = [self.api.get(f"/orders/{order}").json() for order in orders]
        return [(one["status"], one["payment"]["state"], one["stock"]) for one in shown]

    def record_of(self, topic: str, order: str, event_type: type[Event]) -> Record:
        """The first of that type."""
        return next(
            record
            for record in self.order.records(topic)
            if record.key == order.encode()
            and from_headers(record.headers).type == event_type.type_name()
        )

    def replay(self, topic: str, record: Record, *, fresh_id: bool) -> None:
        """The same bytes on the same topic; under an id of its own if it is to pass every inbox."""
        headers: list[tuple[str, str | bytes | None]] = [
            (name, str(uuid4()) if fresh_id and name == CE_ID else value)
            for name, value in record.headers
        ]
        self.order.producer.produce(topic, record.value, record.key, headers=headers)
        self.order.flush()

    def effects(self) -> dict[str, object]:
        """All that must not move: money at the provider, pieces in the house, orders, and what is told of them."""
        return {
            "calls": [
                call
                for call in self.paying.psp.calls()
                if call["operation"] in ("charge", "refund")
            ],
            "ledger": self.paying.psp.ledger(),
            "stock": self.inventory.rows(
                "SELECT ctid::text, xmin::text, * FROM stock ORDER BY sku"
            ),
            "orders": self.order.rows(
                "SELECT ctid::text, xmin::text, orders::text FROM orders ORDER BY order_id"
            ),
            "shipments": self.fulfilment.rows(
                "SELECT ctid::text, xmin::text, shipment::text FROM shipment ORDER BY 3"
            ),
            "funnel": self.running["analytics"].client.get("/analytics/funnel").json(),
            "told": [
                sorted(said.id for said in self.order.said(name))
                for name in (ORDER_EVENTS.name, INVENTORY.name)
            ],
            "cancelled": sorted(
                said.id
                for said in self.order.said(ORDERS.name)
                if said.type != OrderCreated.__name__
            ),
        }

    def dead_letters(self) -> list[Record]:
        names = [
            dead_letter_topic(topic, group).name
            for group, topics in GROUPS.items()
            for topic in topics
        ]
        return [record for name in names for record in self.order.records(name)]


@contextmanager
def house_running(stack: OwnStack, home: Path) -> Iterator[House]:
    """All of it, ready. Every process must end with 0 on SIGTERM."""
    deploy = partial(service_deployed, stack, home)
    with (
        paying(stack, home) as pays,
        deploy("order", group="order-service", hears=(PAYMENTS.name, INVENTORY.name)) as order,
        deploy(
            "inventory", group="inventory-service", hears=(PAYMENTS.name, ORDERS.name)
        ) as inventory,
        deploy("fulfilment", group="order-processor", hears=(ORDER_EVENTS.name,)) as fulfilment,
        deploy("analytics", group="analytics-service", hears=(ORDER_EVENTS.name,)) as analytics,
        notifying(stack, home) as notifies,
    ):
        house = House(
            order=order,
            paying=pays,
            inventory=inventory,
            notifying=notifies,
            fulfilment=fulfilment,
            analytics=analytics,
            starts={
                "order-relay": partial(order.start, "relay,listener"),
                "payment": partial(pays.start, "api,listener"),
                "inventory": partial(inventory.start, "api,listener,relay"),
                "notification": partial(notifies.start, "api,listener,sender,relay"),
                "fulfilment": partial(fulfilment.start, "api,listener"),
                "analytics": partial(analytics.start, "api,listener"),
                "order-api": partial(order.start, "api"),
            },
        )
        house.start()
        yield house
        house.stop()
