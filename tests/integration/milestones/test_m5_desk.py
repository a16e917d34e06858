"""
Milestone 5, the desk: a failure is seen, explained, and after its cause is mended one command sends
it back and its order goes on; replaying all of it twice, under load, changes nothing twice. All of
it by the command line, on a whole stack.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import psycopg
import pytest
from tests.support.whole_stack import WholeStack, whole_stack

from orderflow.cli.dlt.asking import desk
from orderflow.contracts.ids import OrderId, payment_id
from orderflow.contracts.topics import ORDERS, PAYMENTS
from orderflow.messaging.event import CE_ID
from orderflow.messaging.kafka import clients
from orderflow.messaging.kafka.group_topics import dead_letter_topic, replay_topic
from orderflow.messaging.kafka.reader import ConsumerRecord, read
from orderflow.messaging.settings import KafkaSettings
from orderflow.messaging.testing.eventually import eventually

SKU = "MOUSE-01"
REFUSED, USUAL = 7, 1
"""Pieces: what the warehouse's table refuses for now, and what it takes."""
RULE = f"""
    ALTER TABLE reservation ADD CONSTRAINT reservation_is_small
    CHECK (NOT lines @> '[{{"quantity": {REFUSED}}}]') NOT VALID
"""
MENDED = "ALTER TABLE reservation DROP CONSTRAINT reservation_is_small"

DEAD = dead_letter_topic(PAYMENTS, "inventory-service").name
HEARING_ORDERS = {"payment-service", "inventory-service", "notification-service"}
SHOWN_WITHIN_S = 30
"""Operations counts every 5 s, and status asks it."""
FAILED_WITHIN_S = 90
"""Three attempts, 2 s and 30 s apart, ± 20 %."""

pytestmark = pytest.mark.timeout(420)


@dataclass
class Shop:
    """The stack, and which orders were placed with how many pieces."""

    stack: WholeStack
    orders: dict[str, int] = field(default_factory=dict)
    failing: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    unloaded: threading.Event = field(default_factory=threading.Event)
    loading: Future[None] = field(default_factory=Future)

    def place(self, pieces: int = USUAL) -> str:
        with self.stack.api("order") as api:
            body = {"customerId": "customer-123", "lines": [{"sku": SKU, "quantity": pieces}]}
            order = str(api.post("/orders", json=body).raise_for_status().json()["orderId"])
        self.orders[order] = pieces
        return order

    def order(self, order: str) -> dict[str, Any]:
        with self.stack.api("order") as api:
            found: dict[str, Any] = api.get(f"/orders/{order}").json()
        return found

    def deliver(self, order: str) -> None:
        with self.stack.api("order") as api:
            assert api.post(f"/orders/{order}/ship").status_code == 200
            assert api.post(f"/orders/{order}/deliver").json()["status"] == "DELIVERED"

    def stock_of(self, order: str) -> str:
        return str(self.order(order)["stock"])

    def eventually_reserved(self, *orders: str, within_s: float = 60) -> None:
        for order in orders:
            eventually(
                lambda order=order: self.stock_of(order) == "RESERVED",  # type: ignore[misc]
                within_s=within_s,
                why=f"{order} is reserved",
            )

    def warehouse(self, statement: str) -> None:
        with psycopg.connect(self.stack.addresses["INVENTORY_DATABASE_URL"]) as connection:
            connection.execute(statement)

    def row(self, service: str, query: str) -> Any:
        with psycopg.connect(self.stack.addresses[f"{service}_DATABASE_URL"]) as connection:
            return connection.execute(query).fetchone()

    def open_letters(self, *groups: str) -> list[int]:
        rows = {row["group"]: row["dead_letters"] for row in self.stack.status()["groups"]}
        return [rows[group] for group in groups]

    @contextmanager
    def loaded(self) -> Iterator[None]:
        """Orders that nothing is wrong with, one after the other, until `unload`."""

        def load() -> None:
            while not self.unloaded.is_set():
                self.place()
                self.unloaded.wait(0.2)

        with ThreadPoolExecutor(1) as one_more:
            self.loading = one_more.submit(load)
            try:
                yield
            finally:
                self.unloaded.set()

    def unload(self) -> None:
        self.unloaded.set()
        self.loading.result()

    def dlt(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.stack.orderflow("dlt", *words)

    def listed(self, *options: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(
            self.stack.answers("dlt", "list", "--json", *options)
        )
        return rows

    def letters(self, *options: str) -> list[dict[str, Any]]:
        each: list[dict[str, Any]] = json.loads(
            self.stack.answers("dlt", "list", "--each", "--json", *options)
        )
        return each

    @property
    def kafka(self) -> KafkaSettings:
        return KafkaSettings(bootstrap_servers=self.stack.addresses["KAFKA_BOOTSTRAP_SERVERS"])

    def records(self, topic: str) -> list[ConsumerRecord]:
        return [record for record in read(self.kafka, topic, follow=False) if record is not None]

    def produce(self, topic: str, records: list[ConsumerRecord]) -> None:
        producer = clients.producer(self.kafka)
        for record in records:
            producer.produce(topic, record.value, record.key, headers=list(record.headers))
        assert producer.flush(30) == 0

    def poison(self, order: str) -> None:
        """On the order's own partition, before what comes next for it."""
        producer = clients.producer(self.kafka)
        producer.produce(ORDERS.name, b"\1junk", order, headers=[("x-evil", b"\x1b[2J")])
        assert producer.flush(30) == 0


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """
    Paid orders that the warehouse's table refuses, among others that it takes; poison on the
    partition of one of these.
    """
    with whole_stack() as stack:
        shop = Shop(stack)
        assert stack.orderflow("status").returncode == 0
        before = shop.place()
        shop.warehouse(RULE)
        shop.failing = [shop.place(REFUSED) for _ in range(6)]
        shop.others = [before, shop.place()]
        shop.poison(before)
        with shop.loaded():
            yield shop


def test_a_failure_is_seen_explained_and_mended_with_one_command(shop: Shop) -> None:
    order, *waiting = shop.failing
    # Poison is given up at once, in each group that hears it, and its partition goes on.
    eventually(
        lambda: {row["group"] for row in shop.listed("--cause", "Poison")} == HEARING_ORDERS,
        within_s=60,
        why="each group has the poison among its dead letters",
    )
    shop.eventually_reserved(*shop.others)
    shop.deliver(shop.others[0])

    # What a handler fails for is tried again first, and only then given up.
    eventually(
        lambda: (
            {letter["orderId"] for letter in shop.letters("--topic", PAYMENTS.name)}
            == set(shop.failing)
        ),
        within_s=FAILED_WITHIN_S,
        every_s=1,
        why="inventory has given them up",
    )
    eventually(
        lambda: shop.open_letters("payment-service", "inventory-service") == [1, 7],
        within_s=SHOWN_WITHIN_S,
        every_s=1,
        why="status counts them",
    )
    status = shop.stack.orderflow("status")
    assert status.returncode == 1
    for group in HEARING_ORDERS:
        assert f"orderflow dlt list --group {group}" in status.stdout

    [letter] = shop.letters("--order", order)
    assert_listed_and_explained(shop, order, letter["id"])
    assert "1 letter would be sent back" in shop.stack.answers(
        "dlt", "replay", letter["id"], "--dry-run"
    )
    assert shop.stock_of(order) == "NONE", "a dry run sends nothing"

    shop.warehouse(MENDED)
    done = shop.dlt("replay", letter["id"], "--reason", "the rule is gone", "--as", "ada")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"orderflow trace {order}" in done.stdout
    shop.eventually_reserved(order)
    shop.deliver(order)
    assert {shop.stock_of(each) for each in waiting} == {"NONE"}, "one letter was sent, no other"

    [closed] = shop.letters("--order", order, "--closed")
    became = closed["disposition"]
    assert (became["kind"], became["by"]) == ("REPLAYED", "ada")
    story = json.loads(shop.stack.orderflow("trace", order, "--json").stdout)
    [dead] = [node for node in nodes(story["story"]) if node["kind"] == "dead letter"]
    assert (dead["details"]["disposition"], dead["actor"]) == ("REPLAYED", "ada")
    assert [node["kind"] for node in dead["children"]] == ["replay"]


def nodes(tree: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for node in tree:
        yield node
        yield from nodes(node["children"])


def assert_listed_and_explained(shop: Shop, order: str, letter: str) -> None:
    [row] = shop.listed("--group", "inventory-service", "--topic", PAYMENTS.name)
    assert (row["letters"], row["orders"]) == (6, 6)
    assert set(row["examplesOfOrders"]) < set(shop.failing)
    assert row["type"].endswith("PaymentSucceeded")
    assert row["cause"].startswith("CheckViolation")

    told = shop.dlt("show", letter)
    assert told.returncode == 0, told.stderr
    words = " ".join(told.stdout.split())
    for part in (
        "3 attempts",
        "reservation_is_small",
        "Traceback",
        f'"orderId": "{order}"',
        "PAID · payment SUCCEEDED · stock NONE",
        "here this letter was written",
        "for inventory-service alone",
    ):
        assert part in words, part

    [poison] = shop.letters("--group", "payment-service", "--cause", "Poison")
    unread = shop.dlt("show", poison["id"])
    assert "not decoded: the value does not begin with Confluent's frame" in unread.stdout
    assert "01 6a 75 6e 6b" in unread.stdout
    assert "\x1b" not in unread.stdout + shop.dlt("list", "--each").stdout


def test_replaying_all_of_it_twice_under_load_changes_nothing_twice(shop: Shop) -> None:
    # Two at once, and then one more: each letter is sent by one of them.
    with ThreadPoolExecutor(2) as two:
        both = [two.submit(shop.dlt, "replay", "--all", "--yes") for _ in range(2)]
        ended = [each.result() for each in both]
    again = shop.dlt("replay", "--all", "--yes", "--json")
    shop.eventually_reserved(*shop.failing[1:])
    shop.unload()
    strangers = {
        (letter["group"], letter["cause"]): letter
        for letter in shop.letters("--closed")
        if not letter["cause"].startswith(("Poison", "CheckViolation"))
    }
    assert not strangers, strangers
    assert 0 in {each.returncode for each in ended}, [each.stderr for each in ended]
    assert all("Traceback" not in each.stderr for each in (*ended, again))

    # The same copies once more, as if a replay had been repeated: the inbox knows them.
    copies = shop.records(replay_topic(PAYMENTS, "inventory-service").name)
    assert Counter(dict(record.headers)[CE_ID] for record in copies).most_common(1)[0][1] == 1
    shop.produce(replay_topic(PAYMENTS, "inventory-service").name, copies)

    unreserved = "SELECT count(*) FROM orders WHERE stock <> 'RESERVED'"
    eventually(lambda: shop.row("ORDER", unreserved) == (0,), within_s=60, why="all are reserved")
    eventually(lambda: shop.stack.lag() == 0, within_s=60, every_s=1, why="all is handled")
    assert_each_effect_once(shop)

    # What nothing can mend is laid aside; then all is well again, and the balance is 0.
    done = shop.dlt("discard", "--cause", "Poison", "--yes", "--reason", "a test by hand")
    assert done.returncode == 0, done.stderr
    assert shop.listed() == []
    eventually(
        lambda: shop.stack.orderflow("status").returncode == 0,
        within_s=SHOWN_WITHIN_S,
        every_s=1,
        why="status counts none",
    )
    balance = {row.group: row for row in desk(shop.kafka).balance()}
    assert all(row.difference == 0 and row.open == 0 for row in balance.values()), balance
    assert balance["inventory-service"].replayed >= 6
    assert balance["payment-service"].discarded >= 1


def assert_each_effect_once(shop: Shop) -> None:
    delivered = (shop.others[0], shop.failing[0])
    held = [pieces for order, pieces in shop.orders.items() if order not in delivered]
    assert shop.row("INVENTORY", f"SELECT reserved FROM stock WHERE sku = '{SKU}'") == (sum(held),)
    reserved = "SELECT count(*) FROM outbox WHERE type LIKE '%StockReserved'"
    assert shop.row("INVENTORY", reserved) == (len(shop.orders),), "each is told once"

    with psycopg.connect(shop.stack.addresses["PAYMENT_DATABASE_URL"]) as connection:
        paid = connection.execute("SELECT payment_id::text, state FROM payment").fetchall()
    assert Counter(state for _, state in paid) == {"SUCCEEDED": len(shop.orders)}
    wanted = {str(payment_id(OrderId(order), 1)) for order in shop.orders}
    assert {payment for payment, _ in paid} == wanted
    with httpx2.Client(base_url=shop.stack.addresses["PSP_URL"], trust_env=False) as provider:
        charges = provider.get("/ledger").json()["charges"]
    assert {charge["reference"] for charge in charges} == wanted
    assert len(charges) == len(wanted), "each is charged once"
