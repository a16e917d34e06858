"""
All services as processes: order, payment and provider, inventory, notification and mail sink, the
followers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
from tests.support.notification_service import NotificationService, notification_deployed
from tests.support.payment_service import PaymentService, payment_deployed
from tests.support.service import Process, Service, service_deployed
from tests.support.stack import OwnStack

from orderflow.contracts.events import Event, OrderCreated
from orderflow.contracts.roster import GROUPS, row
from orderflow.contracts.topics import INVENTORY, ORDER_EVENTS, ORDERS
from orderflow.messaging.event import CE_ID, from_headers
from orderflow.messaging.kafka.group_topics import dead_letter_topic
from orderflow.messaging.kafka.reader import ConsumerRecord
from orderflow.messaging.testing.eventually import eventually


@dataclass
class AllServices:
    """
    `starts`: a function for each process, by the process's name in the stack; `running`: those
    that run.
    """

    order: Service
    payment: PaymentService
    inventory: Service
    notification: NotificationService
    fulfilment: Service
    analytics: Service
    starts: dict[str, Callable[..., Process]]
    running: dict[str, Process] = field(default_factory=dict)

    @property
    def api(self) -> httpx2.Client:
        return self.running["order-api"].client

    @property
    def each(self) -> tuple[Service, ...]:
        return (
            self.order,
            self.payment.service,
            self.inventory,
            self.notification.service,
            self.fulfilment,
            self.analytics,
        )

    @property
    def listeners(self) -> dict[str, Process]:
        """Each group's process."""
        named = {"order": "order-relay"}
        return {
            service.group: self.running[named.get(service.name, service.name)]
            for service in self.each
        }

    def start(self) -> None:
        """Start all processes at once, and wait until each is ready."""
        self.running = {name: start(wait=False) for name, start in self.starts.items()}
        for name, process in self.running.items():
            eventually(process.ready, within_s=90, why=f"{name} is ready")

    def stop(self) -> None:
        """Stop all processes at once; each must end with 0."""
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

    def eventually_caught_up(self) -> None:
        """Three rounds: what one service publishes may make another publish something."""
        for _ in range(3):
            for service in self.each:
                service.eventually_caught_up()
        self.notification.eventually_all_sent()

    def ends(self, orders: Sequence[str]) -> list[tuple[str, str, str]]:
        answers = [self.api.get(f"/orders/{order}").json() for order in orders]
        return [
            (answer["status"], answer["payment"]["state"], answer["stock"]) for answer in answers
        ]

    def record_of(self, topic: str, order: str, event_type: type[Event]) -> ConsumerRecord:
        """The first of that type."""
        return next(
            record
            for record in self.order.records(topic)
            if record.key == order.encode()
            and from_headers(record.headers).type == event_type.type_name()
        )

    def replay(self, topic: str, record: ConsumerRecord, *, fresh_id: bool) -> None:
        """
        Produce the same bytes on the same topic; `fresh_id`: under a new id, which passes every
        inbox.
        """
        headers: list[tuple[str, str | bytes | None]] = [
            (name, str(uuid4()) if fresh_id and name == CE_ID else value)
            for name, value in record.headers
        ]
        self.order.producer.produce(topic, record.value, record.key, headers=headers)
        self.order.flush()

    def effects(self) -> dict[str, object]:
        """
        All that must not change: money at the provider, stock, orders, shipments, and what is
        published of them.
        """
        return {
            "calls": [
                call
                for call in self.payment.psp.calls()
                if call["operation"] in ("charge", "refund")
            ],
            "ledger": self.payment.psp.ledger(),
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
            "published": [
                sorted(record.id for record in self.order.published(name))
                for name in (ORDER_EVENTS.name, INVENTORY.name)
            ],
            "cancelled": sorted(
                record.id
                for record in self.order.published(ORDERS.name)
                if record.type != OrderCreated.__name__
            ),
        }

    def dead_letters(self) -> list[ConsumerRecord]:
        names = [
            dead_letter_topic(topic, group).name
            for group, topics in GROUPS.items()
            for topic in topics
        ]
        return [record for name in names for record in self.order.records(name)]


def all_roles(service: str) -> str:
    """Every role of the service, in one process."""
    return ",".join(row(service).roles)


@contextmanager
def all_services_running(stack: OwnStack, home: Path) -> Iterator[AllServices]:
    """
    Deploy and start all services, and wait until each is ready. Every process must end with 0 on
    SIGTERM.
    """
    deploy = partial(service_deployed, stack, home)
    with (
        payment_deployed(stack, home) as payment,
        deploy("order") as order,
        deploy("inventory") as inventory,
        deploy("fulfilment") as fulfilment,
        deploy("analytics") as analytics,
        notification_deployed(stack, home) as notification,
    ):
        services = AllServices(
            order=order,
            payment=payment,
            inventory=inventory,
            notification=notification,
            fulfilment=fulfilment,
            analytics=analytics,
            starts={
                "order-relay": partial(order.start, "relay,listener"),
                "payment": partial(payment.start, all_roles("payment")),
                "inventory": partial(inventory.start, all_roles("inventory")),
                "notification": partial(notification.start, all_roles("notification")),
                "fulfilment": partial(fulfilment.start, all_roles("fulfilment")),
                "analytics": partial(analytics.start, all_roles("analytics")),
                "order-api": partial(order.start, "api"),
            },
        )

        services.start()
        yield services
        services.stop()
