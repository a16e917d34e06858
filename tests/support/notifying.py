"""The notification service with its mail sink as processes, customers who are to be told, and what has to be true."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
from tests.support.mail import Mail, running_mail
from tests.support.payment import created_on_request, new_order_id, now
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
from orderflow.contracts.ids import CustomerId, notification_id
from orderflow.contracts.topics import INVENTORY, NOTIFICATIONS, ORDER_EVENTS, ORDERS, PAYMENTS
from orderflow.messaging.event import from_headers
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.schemas.registry import Registry
from orderflow.messaging.settings import RegistrySettings
from orderflow.messaging.testing.eventually import eventually

GROUP = "notification-service"
HEARS = (ORDERS.name, PAYMENTS.name, INVENTORY.name, ORDER_EVENTS.name)
STATUSES = (OrderStatus.SHIPPED, OrderStatus.DELIVERED)


@dataclass(frozen=True)
class Fact:
    """One event that a customer is to be told of."""

    id: UUID
    topic: str
    event: Event
    kind: str

    @property
    def message_id(self) -> str:
        return f"{notification_id(self.id, self.kind)}@orderflow.localhost"


@dataclass
class Notifying:
    """The service, the sink, and the facts that this test has sent. `environment` is for all its processes."""

    service: Service
    mail: Mail
    decoder: Decoder
    environment: dict[str, str] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)

    def start(self, roles: str, *, slot: int = 0, wait: bool = True, **environment: str) -> Process:
        told = {**self.mail.environment, **self.environment, **environment}
        return self.service.start(roles, slot=slot, wait=wait, **told)

    def place(self, customers: Sequence[str], *, orders: int = 1) -> None:
        """Orders of these customers, each created, shipped and delivered."""
        for _ in range(orders):
            for customer in customers:
                order_id = new_order_id()
                made = msgspec.structs.replace(
                    created_on_request(order_id), customer_id=CustomerId(customer)
                )
                self.tell(ORDERS.name, made, "ORDER_CREATED")
                for version, status in enumerate(STATUSES, start=3):
                    self.tell(
                        ORDER_EVENTS.name,
                        changed(made.order_id, customer, status, version),
                        f"ORDER_{status}",
                    )
        self.service.flush()

    def tell(self, topic: str, event: Event, kind: str) -> Fact:
        fact = Fact(id=uuid4(), topic=topic, event=event, kind=kind)
        self.facts.append(fact)
        self.service.send(topic, event, event_id=fact.id)
        return fact

    @property
    def customers(self) -> set[str]:
        return {fact.event.customer_id for fact in self.facts}

    def told(self) -> dict[str, list[Notification]]:
        """What `notifications` says of this test's customers, each one's in the order of its partition."""
        mine = self.customers
        found: dict[str, list[Notification]] = defaultdict(list)
        for record in self.service.records(NOTIFICATIONS.name):
            if record.key is not None and record.key.decode() in mine:
                kind = (
                    NotificationSent
                    if from_headers(record.headers).type.endswith("Sent")
                    else NotificationFailed
                )
                found[record.key.decode()].append(self.decoder.decode_as(record.value, kind))
        return found

    def eventually_told(
        self, count: int | None = None, *, within_s: float = 90
    ) -> dict[str, list[Notification]]:
        """Wait until so many (or one for each fact) are on the topic; then all there are."""
        wanted = len(self.facts) if count is None else count
        enough = lambda: sum(map(len, self.told().values())) >= wanted  # noqa: E731
        eventually(
            enough, within_s=within_s, every_s=0.5, why=f"{wanted} notifications are on the topic"
        )
        return self.told()

    def eventually_all_sent(self, *, within_s: float = 90) -> None:
        unsent = "SELECT count(*) FROM delivery WHERE state = 'PENDING'"
        eventually(
            lambda: self.service.rows(unsent) == [(0,)],
            within_s=within_s,
            every_s=0.5,
            why="nothing waits",
        )

    def mails(self) -> list[dict[str, Any]]:
        mine = self.customers
        return [mail for mail in self.mail.messages() if mail["customerId"] in mine]

    def assert_each_told_once_and_in_order(self) -> None:
        """
        By the topic: gapless numbers in order, each fact once. By the sink: one mail for each fact, and each
        customer's mails in the order of the numbers. By the books: in the order of the notes, and nothing waits.
        """
        told = self.eventually_told()
        facts = {str(fact.id): fact for fact in self.facts}
        mails = self.mails()
        assert Counter(mail["messageId"] for mail in mails) == Counter(
            fact.message_id for fact in self.facts
        )
        by_customer: dict[str, list[str]] = defaultdict(list)
        for mail in mails:
            by_customer[mail["customerId"]].append(mail["messageId"])
        for customer in self.customers:
            events = told[customer]
            assert [event.sequence for event in events] == list(range(1, len(events) + 1)), customer
            causes = [event.cause_id for event in events]
            assert sorted(causes) == sorted(
                key for key, fact in facts.items() if fact.event.customer_id == customer
            )
            assert [facts[cause].message_id for cause in causes] == by_customer[customer]
        mine = ", ".join(f"'{customer}'" for customer in self.customers)
        noted = f"SELECT customer_id, state, sequence FROM delivery WHERE customer_id IN ({mine}) ORDER BY 1, position"
        numbers = [
            (customer, "SENT", event.sequence)
            for customer in sorted(told)
            for event in told[customer]
        ]
        assert self.service.rows(noted) == numbers, "in the order in which they were noted"

    def repeats(self) -> int:
        """How many mails of this test's were offered again."""
        return sum(mail["offered"] - 1 for mail in self.mails())


def changed(
    order_id: str, customer: str, status: OrderStatus, version: int, **more: Any
) -> OrderEvent:
    fields = {"description": status.lower(), "timestamp": now(), "version": version, **more}
    return msgspec.convert(
        {"orderId": order_id, "customerId": customer, "status": status, **fields}, OrderEvent
    )


@contextmanager
def notifying(stack: Stack, home: Path) -> Iterator[Notifying]:
    """Deployed, the sink running, no worker yet. Topics and schemas must be there."""
    with (
        running_mail(home) as mail,
        service_deployed(stack, home, "notification", group=GROUP, hears=HEARS) as service,
    ):
        registry = Registry(RegistrySettings(url=stack.registry_url))
        yield Notifying(service=service, mail=mail, decoder=Decoder(registry))
        registry.close()
