"""
A small system with a finished load, whose books balance, and its books: read anew at each question,
whole, in memory. Differences are planted in it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import msgspec
from tests.support import records as recorded
from tests.support.databases import database_settings

from orderflow.books.accounts import CustomerAccount, OrderAccount, Sums, TopicEvent
from orderflow.books.handled import is_handled
from orderflow.books.judge import judge_customer, judge_order, judge_sku
from orderflow.books.report import Difference
from orderflow.books.settings import BooksDatabases, BooksSection
from orderflow.books.sides import topics
from orderflow.books.sides.open_sides import open_sides
from orderflow.books.sides.side import Sides
from orderflow.contracts.events import Envelope
from orderflow.contracts.ids import payment_id, refund_id
from orderflow.contracts.roster import ALWAYS_RUN
from orderflow.contracts.schemas import CATALOGUE
from orderflow.contracts.topics import SOURCES
from orderflow.messaging import postgres
from orderflow.messaging.kafka import clients
from orderflow.messaging.listener import Listener
from orderflow.messaging.schemas.avro import Decoder, Encoder
from orderflow.messaging.schemas.registry import Registry
from orderflow.messaging.settings import KafkaSettings
from orderflow.messaging.testing.eventually import eventually
from orderflow.services.asyncapi import listeners
from orderflow.stack.addresses import api_url, database_url, psp_url
from orderflow.stack.local_stack import LocalStack
from orderflow.stack.settings import Service
from orderflow.stack.temporary_stack import INFRASTRUCTURE, temporary_stack
from orderflow.trials.harness import access

SERVICES: tuple[Service, ...] = tuple(
    member.name for member in ALWAYS_RUN if member.name != "operations"
)
PARTS: tuple[Service, ...] = (*INFRASTRUCTURE, *SERVICES, "psp", "mail")
LIVES = ("delivered", "shipped", "paid", "refunded", "declined", "short", "called off", "free")
READ_MAX = 2_000


@dataclass
class SmallSystem:
    """
    `orders`: the order of each life, of a customer of its own: `customer-<life>`. `topics`: what
    was read of them; None: read them again at the next question.
    """

    stack: LocalStack
    orders: Mapping[str, str]
    sides: Sides
    registry: Registry
    topics: _Topics | None = None

    @cached_property
    def decoder(self) -> Decoder:
        return Decoder(self.registry)

    @cached_property
    def encoder(self) -> Encoder:
        return Encoder.load(self.registry, CATALOGUE)

    def differences(self) -> set[Difference]:
        """Where the sides do not agree now."""
        self.topics = self.topics or _Topics(access(self.stack).kafka, self.decoder)
        return set(_Books(self.sides, self.topics).differences())

    def produce(self, topic: str, event: Envelope, event_id: UUID | None = None) -> None:
        """Add a record that its topic's only writer never wrote."""
        producer = clients.producer(access(self.stack).kafka)
        headers = recorded.headers(event, event_id, source=SOURCES[topic])
        producer.produce(topic, self.encoder.encode(topic, event), event.key, headers=headers)
        assert producer.flush(30) == 0
        self.topics = None

    @contextmanager
    def changed(self, service: str, tables: Sequence[str], statement: str) -> Iterator[None]:
        """
        The service's database after `statement`, which changes only `tables`, those that others
        refer to first; afterwards they are as before.
        """
        settings = database_settings(database_url(self.stack.settings, service))
        with postgres.connect(settings, application_name="test", autocommit=True) as connection:
            # What a service's own transactions could never leave behind is planted, too.
            connection.execute("SET session_replication_role = replica")

            def run(*statements: str) -> None:
                with connection.transaction():
                    for each in statements:
                        connection.execute(each.encode())

            written = {table: _written_columns(connection, table) for table in tables}
            run(*(f"CREATE TABLE kept_{table} AS TABLE {table}" for table in tables))
            try:
                run(statement)
                yield
            finally:
                run(
                    *(f"DELETE FROM {table}" for table in reversed(tables)),
                    *(
                        f"INSERT INTO {table} ({written[table]})"
                        f" SELECT {written[table]} FROM kept_{table}"
                        for table in tables
                    ),
                    *(f"DROP TABLE kept_{table}" for table in tables),
                )

    @contextmanager
    def changed_ledger(self, change: Any) -> Iterator[None]:
        """The provider with `change(entries)` as its ledger; afterwards it is as before."""
        file = Path(self.stack.settings.data / "psp" / "ledger.jsonl")
        before = file.read_text()
        self._write_ledger(
            file, "".join(map(_line, change(list(map(json.loads, before.splitlines())))))
        )
        try:
            yield
        finally:
            self._write_ledger(file, before)

    def _write_ledger(self, file: Path, text: str) -> None:
        self.stack.stop_process("psp")
        file.write_text(text)
        self.stack.start_process("psp")


def _written_columns(connection: postgres.Connection, table: str) -> str:
    """A table's columns, without those that the database works out."""
    query = (
        "SELECT string_agg(quote_ident(column_name), ', ') FROM information_schema.columns"
        " WHERE table_name = %s AND is_generated = 'NEVER'"
    )
    row = connection.execute(query, (table,)).fetchone()
    assert row is not None
    return str(row[0])


@contextmanager
def small_system() -> Iterator[SmallSystem]:
    """
    One order of each life on a stack of its own. Its books balance, and then its services stop: so
    whatever is planted stays as it is.
    """
    with temporary_stack(PARTS, environment={"ORDERFLOW_TOPICS__PARTITIONS": "3"}) as stack:
        settings = BooksSection(
            databases=BooksDatabases.model_validate(
                {name: database_url(stack.settings, name) for name in BooksDatabases.model_fields}
            ),
            ledger_url=psp_url(stack.settings),
        )
        registry = Registry(access(stack).registry)
        with closing(registry), open_sides(settings) as sides:
            system = SmallSystem(stack=stack, orders=_orders(stack), sides=sides, registry=registry)
            eventually(partial(_balances, system), within_s=90, every_s=1)
            for member in ALWAYS_RUN:
                for process in member.runs if member.name in SERVICES else ():
                    stack.stop_process(process.name)
            yield system


def _balances(system: SmallSystem) -> bool:
    """Whether the load is finished, and its books balance. Raises what they say, if not."""
    system.topics = None
    assert _unfinished(system) == []
    assert system.differences() == set()
    return True


def _orders(stack: LocalStack) -> dict[str, str]:
    with httpx2.Client(
        base_url=api_url(stack.settings, "order"), timeout=30, trust_env=False
    ) as client:
        orders = {
            "delivered": _place(client, "delivered"),
            "shipped": _place(client, "shipped"),
            "paid": _place(client, "paid"),
            "refunded": _place(client, "refunded"),
            "declined": _place(client, "declined", method="pm_declined"),
            "short": _place(client, "short", sku="DESK-160"),
        }
        for life in ("called off", "free"):
            body = {"customerId": f"customer-{life.replace(' ', '-')}"}
            orders[life] = (
                client.post("/api/orders", json=body).raise_for_status().json()["orderId"]
            )

        _command(client, orders["called off"], "cancel")
        _command(client, orders["free"], "pay")
        for life in ("delivered", "shipped", "free"):
            _command(client, orders[life], "ship")
        for life in ("delivered", "free"):
            _command(client, orders[life], "deliver")
        eventually(
            lambda: client.get(f"/orders/{orders['refunded']}").json()["stock"] == "RESERVED",
            within_s=30,
        )
        _command(client, orders["refunded"], "cancel")
    return orders


def _place(
    client: httpx2.Client, life: str, *, method: str = "pm_ok", sku: str = "MOUSE-01"
) -> str:
    order = {
        "customerId": f"customer-{life}",
        "paymentMethod": method,
        "lines": [{"sku": sku, "quantity": 2}, {"sku": "CABLE-USBC-2M", "quantity": 1}],
    }
    return str(client.post("/orders", json=order).raise_for_status().json()["orderId"])


def _command(client: httpx2.Client, order_id: str, command: str) -> None:
    eventually(lambda: client.post(f"/orders/{order_id}/{command}").status_code == 200, within_s=30)


class _Topics:
    """Every event by its order, and the sums of every customer, from all records of all topics."""

    def __init__(self, kafka: KafkaSettings, decoder: Decoder) -> None:
        self.events: dict[str, tuple[TopicEvent, ...]] = {}
        self.customers: dict[str, CustomerAccount] = {}
        self._facts: set[tuple[str, str]] = set()
        for topic in (*topics.EVENT_TOPICS, *topics.REVENUE_TOPICS):
            for _, entry in topics.records(kafka, topic.name, {}, decoder):
                self._add(topic.name, entry)

    def _add(self, topic: str, entry: topics.Entry) -> None:
        match entry:
            case topics.OrderRecord(order_id=order_id, event=event):
                before = self.events.get(order_id, ())
                self.events[order_id] = topics.with_event(before, event)
                self._count(event, is_repeat=len(before) == len(self.events[order_id]))
            case topics.ChangeRecord(customer_id=customer_id):
                if self._is_new(topic, entry.fact_id):
                    self._sum(customer_id, "changed", entry.currency, entry.sums)
            case topics.RevenueRecord(customer_id=customer_id, revenue=revenue):
                self._set(customer_id, revenue=revenue)
            case topics.Unreadable():
                raise AssertionError(entry)

    def _count(self, event: TopicEvent, *, is_repeat: bool) -> None:
        customer = self._customer(event.customer_id)
        if event.topic == "notifications" and not is_repeat:
            self._set(
                event.customer_id,
                announced=customer.announced + 1,
                last_announced=max(customer.last_announced, event.number),
            )
        sums = topics.fact_of(event)
        if sums is not None and self._is_new(event.topic, event.subject_id):
            self._sum(event.customer_id, "paid", event.currency, sums)

    def _sum(self, customer_id: str, field: str, currency: str, sums: Sums) -> None:
        before = getattr(self._customer(customer_id), field)
        self._set(customer_id, **{field: topics.with_sums(before, currency, sums)})

    def _customer(self, customer_id: str) -> CustomerAccount:
        return self.customers.setdefault(customer_id, CustomerAccount(customer_id=customer_id))

    def _set(self, customer_id: str, **fields: Any) -> None:
        customer = self._customer(customer_id)
        self.customers[customer_id] = msgspec.structs.replace(customer, **fields)

    def _is_new(self, topic: str, fact_id: str) -> bool:
        fact = (topic, fact_id)
        is_new = fact not in self._facts
        self._facts.add(fact)
        return is_new


class _Books:
    """Every account of one system, from every side and every topic."""

    def __init__(self, sides: Sides, read: _Topics) -> None:
        self._sides = sides
        self._events, self._customers = read.events, read.customers

    def differences(self) -> Iterator[Difference]:
        for account in self._orders():
            yield from judge_order(account)
        for sku in self._sides.stock.skus("", READ_MAX):
            yield from judge_sku(sku)
        notified = self._sides.customers.read([*self._customers])
        for customer_id, customer in self._customers.items():
            yield from judge_customer(
                msgspec.structs.replace(customer, notified=notified.get(customer_id))
            )

    def _orders(self) -> Iterator[OrderAccount]:
        sides = self._sides
        known = (
            reader.order_ids("", READ_MAX)
            for reader in (
                sides.order,
                sides.payment,
                sides.reservation,
                sides.shipment,
                sides.notification,
                sides.followed,
            )
        )
        order_ids = sorted({*self._events, *(each for ids in known for each in ids)})
        order, payment = sides.order.read(order_ids), sides.payment.read(order_ids)
        reservation, shipment = sides.reservation.read(order_ids), sides.shipment.read(order_ids)
        followed = sides.followed.read(order_ids)
        notifications = sides.notification.read(order_ids)
        references = {
            order_id: [
                reference
                for attempt in range(1, 6)
                for paid in (payment_id(order_id, attempt),)  # type: ignore[arg-type]
                for reference in (paid, refund_id(paid))
            ]
            for order_id in order_ids
        }
        entries = sides.ledger.read([each for some in references.values() for each in some])
        unhandled = self._unhandled()

        for order_id in order_ids:
            events = self._events.get(order_id, ())
            yield OrderAccount(
                order_id=order_id,
                order=order.get(order_id),
                payment=payment.get(order_id),
                ledger=tuple(
                    entry for each in references[order_id] for entry in entries.get(each, ())
                ),
                reservation=reservation.get(order_id),
                shipment=shipment.get(order_id),
                notifications=tuple(notifications.get(order_id, ())),
                followed=followed.get(order_id),
                events=events,
                unhandled={
                    group: missing
                    for group, ids in unhandled.items()
                    if (missing := tuple(e.event_id for e in events if e.event_id in ids))
                },
            )

    def _unhandled(self) -> dict[str, set[str]]:
        """By group the events that it handles, and whose effects are not in its inbox."""
        by_group: dict[str, set[str]] = {}
        for listener in listeners():
            if listener.group in self._sides.inboxes:
                ids = {
                    e.event_id
                    for some in self._events.values()
                    for e in some
                    if _handles(listener, e)
                }
                handled = self._sides.inboxes[listener.group].handled(sorted(ids))
                by_group[listener.group] = ids - handled
        return by_group


def _handles(listener: Listener, event: TopicEvent) -> bool:
    names = {handled.__name__ for handled in listener.handles}
    is_heard = event.type in names and event.topic in {topic.name for topic in listener.topics}
    # Which events of a type it wants: a contract test compares that with the listener itself.
    return is_heard and is_handled(listener.group, type_name=event.type, status=event.status)


def _unfinished(system: SmallSystem) -> list[str]:
    """Orders whose life has not come to its end, and notifications that nobody was told."""
    ends = {
        "delivered": "DELIVERED",
        "shipped": "SHIPPED",
        "paid": "PAID",
        "refunded": "CANCELLED",
        "declined": "CREATED",
        "short": "CANCELLED",
        "called off": "CANCELLED",
        "free": "DELIVERED",
    }
    rows = system.sides.order.read([*system.orders.values()])
    unfinished = [
        life
        for life, order_id in system.orders.items()
        if rows[order_id].status != ends[life]
        or rows[order_id].waiting_for in ("PAYMENT", "STOCK", "REFUND", "RELEASE")
    ]
    told = system.sides.notification.read([*system.orders.values()])
    return unfinished + [
        row.kind for rows in told.values() for row in rows if row.state in ("HELD", "PENDING")
    ]


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry) + "\n"
