"""
The notification service and its mail sink as processes, and the events that must become mails.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from tests.support.builders import AnyOrder, an_order_on_request, paid, status_changed
from tests.support.mail_sink import MailSink, mail_sink_running
from tests.support.service import Process, Service, service_deployed
from tests.support.stack import Stack

from orderflow.contracts.events import (
    Event,
    Notification,
    NotificationFailed,
    NotificationSent,
    OrderEvent,
    OrderStatus,
)
from orderflow.contracts.ids import notification_id
from orderflow.contracts.topics import NOTIFICATIONS, ORDER_EVENTS, ORDERS, PAYMENTS
from orderflow.messaging.event import from_headers
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.schemas.registry import Registry
from orderflow.messaging.settings import RegistrySettings
from orderflow.messaging.testing.eventually import eventually

GROUP = "notification-service"
STORY = ["ORDER_CREATED", "PAYMENT_SUCCEEDED", "ORDER_SHIPPED"]
"""What becomes of each order, and is to be told in this order."""


def shipped_status(order: AnyOrder) -> OrderEvent:
    return status_changed(order, OrderStatus.SHIPPED, version=3, previous=OrderStatus.PAID)


@dataclass(frozen=True)
class Fact:
    """An event that has to reach a customer as a mail of this kind."""

    id: UUID
    topic: str
    event: Event
    kind: str

    @property
    def message_id(self) -> str:
        return f"{notification_id(self.id, self.kind)}@orderflow.localhost"


@dataclass
class NotificationService:
    """
    The service, the sink, and the facts that this test has produced. `environment`: settings of
    its processes.
    """

    service: Service
    mail: MailSink
    decoder: Decoder
    environment: dict[str, str] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)

    def start(self, roles: str, *, slot: int = 0, wait: bool = True, **environment: str) -> Process:
        settings = {**self.mail.environment, **self.environment, **environment}
        return self.service.start(roles, slot=slot, wait=wait, **settings)

    def place(self, customers: Sequence[str], *, orders: int = 1) -> None:
        """Produce orders of these customers, each created, paid and shipped."""
        for _ in range(orders):
            for customer in customers:
                order = an_order_on_request(customer=customer)
                self.send(ORDERS.name, order, "ORDER_CREATED")
                self.send(PAYMENTS.name, paid(order), "PAYMENT_SUCCEEDED")
                self.send(ORDER_EVENTS.name, shipped_status(order), "ORDER_SHIPPED")
        self.service.flush()

    def send(self, topic: str, event: Event, kind: str) -> Fact:
        fact = Fact(id=uuid4(), topic=topic, event=event, kind=kind)
        self.facts.append(fact)
        self.service.send(topic, event, event_id=fact.id)
        return fact

    @property
    def customers(self) -> set[str]:
        return {fact.event.customer_id for fact in self.facts}

    def notifications(self) -> dict[str, list[Notification]]:
        """
        The records on `notifications` about this test's customers, each one's in the order of its
        partition.
        """
        customers = self.customers
        notifications: dict[str, list[Notification]] = defaultdict(list)
        for record in self.service.records(NOTIFICATIONS.name):
            if record.key is not None and record.key.decode() in customers:
                sent = from_headers(record.headers).type.endswith("Sent")
                kind = NotificationSent if sent else NotificationFailed
                event = self.decoder.decode_as(record.value, kind)
                notifications[record.key.decode()].append(event)
        return notifications

    def eventually_notified(
        self, count: int | None = None, *, within_s: float = 90
    ) -> dict[str, list[Notification]]:
        """Wait for so many notifications (without `count`: one for each fact); all there are."""
        expected = len(self.facts) if count is None else count
        eventually(
            lambda: sum(map(len, self.notifications().values())) >= expected,
            within_s=within_s,
            every_s=0.5,
            why=f"{expected} notifications are on the topic",
        )
        return self.notifications()

    def eventually_all_sent(self, *, within_s: float = 90) -> None:
        unsent = "SELECT count(*) FROM delivery WHERE state IN ('HELD', 'PENDING')"
        eventually(
            lambda: self.service.rows(unsent) == [(0,)],
            within_s=within_s,
            every_s=0.5,
            why="no mail is pending",
        )

    def eventually_held(self, count: int) -> None:
        """Wait until so many notifications wait for what happened before them."""
        held = "SELECT count(*) FROM delivery WHERE state = 'HELD'"
        eventually(
            lambda: self.service.rows(held) == [(count,)],
            within_s=30,
            every_s=0.1,
            why=f"{count} notifications are held",
        )

    def mails(self) -> list[dict[str, Any]]:
        customers = self.customers
        return [mail for mail in self.mail.messages() if mail["customerId"] in customers]

    def assert_each_notified_once_in_order(self) -> None:
        """
        By the topic: gapless numbers in order, each fact once. By the sink: one mail for each
        fact, and each customer's mails in the order of the numbers. By the database: numbered in
        the order of the rows, and none is pending. Of each order: the whole story in its order.
        """
        notifications = self.eventually_notified()
        facts = {str(fact.id): fact for fact in self.facts}
        mails = self.mails()
        expected = Counter(fact.message_id for fact in self.facts)
        assert Counter(mail["messageId"] for mail in mails) == expected

        mails_of: dict[str, list[str]] = defaultdict(list)
        for mail in mails:
            mails_of[mail["customerId"]].append(mail["messageId"])
        for customer in self.customers:
            events = notifications[customer]
            assert [event.sequence for event in events] == list(range(1, len(events) + 1)), customer
            causes = [event.cause_id for event in events]
            mine = [key for key, fact in facts.items() if fact.event.customer_id == customer]
            assert sorted(causes) == sorted(mine)
            assert [facts[cause].message_id for cause in causes] == mails_of[customer]

            told: dict[str, list[str]] = defaultdict(list)
            for event in events:
                told[event.order_id].append(event.kind)
            assert all(kinds == STORY for kinds in told.values()), told

        numbered = [
            (customer, "SENT", event.sequence)
            for customer in sorted(notifications)
            for event in notifications[customer]
        ]
        assert self._rows() == numbered, "in the order in which they were written"

    def repeats(self) -> int:
        """How many mails of this test's customers were offered again."""
        return sum(mail["offered"] - 1 for mail in self.mails())

    def _rows(self) -> list[tuple[object, ...]]:
        """
        Customer, state and number of this test's deliveries, each customer's in the order of its
        rows.
        """
        customers = ", ".join(f"'{customer}'" for customer in self.customers)
        return self.service.rows(
            "SELECT customer_id, state, sequence FROM delivery"
            f" WHERE customer_id IN ({customers}) ORDER BY 1, position"
        )


@contextmanager
def notification_deployed(stack: Stack, home: Path) -> Iterator[NotificationService]:
    """Deploy the service, run the sink; no worker runs yet. Topics and schemas must exist."""
    with (
        mail_sink_running(home) as mail,
        service_deployed(stack, home, "notification") as service,
    ):
        registry = Registry(RegistrySettings(url=stack.registry_url))
        yield NotificationService(service=service, mail=mail, decoder=Decoder(registry))
        registry.close()
