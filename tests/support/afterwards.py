"""
A stack at rest, compared: orders, topics and the provider's ledger tell the same, each thing once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import httpx2

from orderflow.contracts.events import OrderCreated
from orderflow.contracts.ids import OrderId, payment_id
from orderflow.contracts.topics import INVENTORY, NOTIFICATIONS, ORDER_EVENTS, ORDERS, PAYMENTS
from orderflow.messaging.event import CE_ID, CE_TYPE
from orderflow.messaging.kafka import clients
from orderflow.messaging.kafka.reader import read
from orderflow.messaging.postgres import connect
from orderflow.stack.addresses import database_url
from orderflow.stack.local_stack import LocalStack
from orderflow.stack.ports import HOST
from orderflow.trials.harness import access, database

PUBLISHED = (ORDERS, ORDER_EVENTS, PAYMENTS, INVENTORY, NOTIFICATIONS)
KEEPS_MONEY = ("PAID", "SHIPPED", "DELIVERED")
SHOWN = 5


def differences(stack: LocalStack) -> list[str]:
    """A sentence for each kind of difference; empty if there is none."""
    with connect(
        database(database_url(stack.settings, "order")), application_name="afterwards"
    ) as connection:
        rows = connection.execute(
            b"SELECT order_id::text, status, amount_minor FROM orders"
        ).fetchall()
    created, repeated = _published(stack)
    orders = {order_id for order_id, _, _ in rows}

    return [
        *_said("orders without exactly one OrderCreated", _not_once(created, orders)),
        *_said("OrderCreated without an order", created.keys() - orders),
        *_said("event ids that came twice", repeated),
        *_said("orders whose money is not what it should be", _wrong_money(stack, rows)),
    ]


def _published(stack: LocalStack) -> tuple[Counter[str], set[str]]:
    """How often each order was created, and the event ids that are on their topic twice."""
    created: Counter[str] = Counter()
    repeated: set[str] = set()
    for topic in PUBLISHED:
        seen: set[bytes | None] = set()
        for record in read(access(stack).kafka, topic.name, follow=False):
            if record is None:
                continue
            headers = dict(record.headers)
            if headers[CE_ID] in seen:
                repeated.add(f"{topic.name} {headers[CE_ID]!r}")
            seen.add(headers[CE_ID])
            if headers[CE_TYPE] == OrderCreated.type_name().encode():
                created[(record.key or b"").decode()] += 1

    return created, repeated


def _not_once(created: Counter[str], orders: set[str]) -> set[str]:
    return {order_id for order_id in orders if created[order_id] != 1}


def _wrong_money(stack: LocalStack, rows: Iterable[tuple[Any, ...]]) -> set[str]:
    """By the provider's ledger: captured and not given back, against the order's status."""
    url = f"http://{HOST}:{stack.settings.ports.psp}/ledger"
    ledger = httpx2.get(url, trust_env=False, timeout=60).json()
    kept: Counter[str] = Counter()
    for charge in ledger["charges"]:
        if charge["status"] == "CAPTURED":
            kept[charge["reference"]] += charge["amountMinor"]
    for refund in ledger["refunds"]:
        kept[refund["chargeReference"]] -= refund["amountMinor"]

    # Nobody asks for a second attempt here: an order has one payment.
    return {
        str(order_id)
        for order_id, status, amount in rows
        if kept[str(payment_id(OrderId(str(order_id)), 1))]
        != (amount if status in KEEPS_MONEY else 0)
    }


def _said(what: str, found: Iterable[str]) -> list[str]:
    names = sorted(found)
    return [f"{len(names)} {what}: {', '.join(names[:SHOWN])}"] if names else []


def repeat_an_order(stack: LocalStack) -> None:
    """Plant a difference: the first OrderCreated is on its topic twice."""
    kafka = access(stack).kafka
    first = next(
        record
        for record in read(kafka, ORDERS.name, follow=False)
        if record is not None and dict(record.headers)[CE_TYPE] == OrderCreated.type_name().encode()
    )
    headers: Any = first.headers
    producer = clients.producer(kafka)
    producer.produce(ORDERS.name, first.value, first.key, headers=headers)
    assert producer.flush(30) == 0


def charge_another_amount(stack: LocalStack) -> None:
    """Plant a difference: an order that is paid costs one more than was captured."""
    with connect(
        database(database_url(stack.settings, "order")), application_name="afterwards"
    ) as connection:
        connection.execute(
            b"UPDATE orders SET amount_minor = amount_minor + 1 WHERE order_id = "
            b"(SELECT order_id FROM orders WHERE status = 'PAID' LIMIT 1)"
        )
