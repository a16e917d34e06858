"""
What operators see of orders that do not get on, and what they can do; with payment and its
provider.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx2
import pytest
from tests.support.kafka_tools import orderflow
from tests.support.order_service import order_deployed
from tests.support.payment_service import REFUNDED, SUCCEEDED, PaymentService, payment_deployed
from tests.support.service import Process, Service
from tests.support.stack import Stack

from orderflow.contracts.ids import OrderId
from orderflow.contracts.topics import INVENTORY, ORDERS, PAYMENTS
from orderflow.messaging.kafka.groups import begin_at
from orderflow.messaging.kafka.reader import end_offsets
from orderflow.messaging.testing.eventually import eventually

AMOUNT_MINOR = 3_490
PAY_WITHIN_S = 1.5


@dataclass(frozen=True)
class Desk:
    """The order service and payment; nobody has heard of what payment said of the `lost` orders."""

    stack: Stack
    order: Service
    paying: PaymentService
    api: httpx2.Client
    url: str
    lost: list[str]
    running: dict[str, Process]

    def place(self, count: int, *, path: str = "/orders") -> list[dict[str, Any]]:
        body = {"customerId": "customer-123", "lines": [{"sku": "MOUSE-01", "quantity": 1}]}
        with ThreadPoolExecutor(8) as pool:
            placed = [
                answer.json()
                for answer in pool.map(lambda _: self.api.post(path, json=body), range(count))
            ]
        self.paying.orders += [OrderId(answer["orderId"]) for answer in placed]
        return placed

    def command(self, *arguments: str) -> str:
        done = orderflow(self.stack, "stuck", "--url", self.url, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, *arguments: str) -> str:
        done = orderflow(self.stack, "stuck", "--url", self.url, *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        return done.stderr

    def stuck(self) -> dict[str, dict[str, Any]]:
        listed = json.loads(self.command("--json"))
        return {order["orderId"]: order["waiting"] for order in listed}

    def state(self, order: str) -> tuple[str, str]:
        shown = self.api.get(f"/orders/{order}").json()
        return shown["status"], shown["payment"]["state"]

    def eventually(self, order: str, *state: str) -> None:
        eventually(
            lambda: self.state(order) == state, within_s=60, every_s=0.2, why=f"{order} is {state}"
        )

    def published(self, topic: str, order: str) -> Counter[tuple[str, str]]:
        """By type and id, how often something was said of the order."""
        return Counter(
            (record.type, record.id)
            for record in self.order.published(topic)
            if record.key == order
        )

    def forget_rows(self, order: str) -> None:
        """As if they were older than the outbox's retention."""
        with self.order.connection() as connection:
            connection.execute("DELETE FROM outbox WHERE aggregateid = %s", (order,))

    def net_minor(self, orders: Sequence[str]) -> dict[str, int]:
        rows = self.paying.service.rows(
            "SELECT order_id::text, captured_minor - refunded_minor FROM payment"
        )
        net: Counter[str] = Counter()
        for order_id, minor in rows:
            net[str(order_id)] += int(str(minor))
        return {order: net[order] for order in orders}

    def charges(self, order: str) -> int:
        """Calls to the provider."""
        references = {str(row[0]) for row in self.paying.service.rows(_PAYMENTS_OF.format(order))}
        calls = self.paying.psp.calls()
        return sum(
            call["operation"] == "charge" and call["reference"] in references for call in calls
        )


_PAYMENTS_OF = "SELECT payment_id::text FROM payment WHERE order_id::text = '{}'"


@pytest.fixture(scope="module")
def desk(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    logs = tmp_path_factory.mktemp("order")
    with order_deployed(stack, logs) as deployed, payment_deployed(stack, logs) as pays:
        order = Service(
            stack=stack,
            name="order",
            group="order-service",
            consumes=(PAYMENTS.name, INVENTORY.name),
            logs=logs,
            database_url=deployed.database_url,
            running=deployed.running,
        )
        deadlines = {
            f"ORDERFLOW_ORDER__DEADLINES__{name}_S": "0.1"
            for name in ("PAYMENT", "STOCK", "REFUND")
        }
        api = order.start("api,relay", **deadlines)  # type: ignore[arg-type]
        payment = pays.start("listener")
        lost: list[str] = []
        desk = Desk(
            stack=stack,
            order=order,
            paying=pays,
            api=api.client,
            url=str(api.client.base_url),
            lost=lost,
            running={},
        )
        lost += [order["orderId"] for order in desk.place(3)]
        pays.eventually_published()
        begin_at(
            order.kafka, "order-service", PAYMENTS.name, end_offsets(order.kafka, PAYMENTS.name)
        )
        desk.running.update(api=api, payment=payment, listener=order.start("listener"))
        yield desk
        for process in desk.running.values():
            assert process.terminate() == 0, process.log.read_text()


def test_a_lost_payment_outcome_is_published_again_and_nothing_is_charged_twice(
    desk: Desk,
) -> None:
    order = desk.lost[0]
    waiting = desk.stuck()[order]
    assert (waiting["for"], waiting["owner"], waiting["overdue"]) == ("PAYMENT", "payment", True)
    assert f"orderflow stuck retry {order}" in waiting["nextAction"]
    commands = desk.published(ORDERS.name, order)

    assert "OrderCreated" in desk.command("retry", order)
    desk.eventually(order, "PAID", "SUCCEEDED")
    assert desk.published(ORDERS.name, order) == dict.fromkeys(commands, 2), (
        "the same event, under its id"
    )
    [(announced, times)] = desk.published(PAYMENTS.name, order).items()
    assert (announced[0], times) == (SUCCEEDED, 2)
    history = desk.api.get(f"/orders/{order}/history?all=true").json()["items"]
    assert [entry["cause"]["type"] for entry in history][:2] == ["command", "operator"]

    assert desk.stuck()[order]["owner"] == "inventory"
    [event] = json.loads(desk.command("retry", order, "--json"))["events"]
    assert event["repeated"] is True
    eventually(
        lambda: desk.published(PAYMENTS.name, order)[announced] == 3, within_s=30, every_s=0.2
    )
    desk.order.eventually_caught_up()
    assert desk.state(order) == ("PAID", "SUCCEEDED")
    assert (desk.charges(order), desk.net_minor([order])) == (1, {order: AMOUNT_MINOR})


def test_what_can_not_be_brought_on_is_cancelled_and_refunded_once(desk: Desk) -> None:
    order = desk.lost[1]
    desk.forget_rows(order)
    [event] = json.loads(desk.command("retry", order, "--json"))["events"]
    assert event["repeated"] is False
    # The request is a new event, and the outcome is the one that was announced before.
    desk.eventually(order, "PAID", "SUCCEEDED")
    assert list(desk.published(PAYMENTS.name, order).values()) == [2]
    assert desk.charges(order) == 1, "payment knows the attempt, whoever asks"

    assert "CANCELLED" in desk.command("cancel", order, "--reason", "ticket 4711")
    desk.eventually(order, "CANCELLED", "REFUNDED")
    assert order not in desk.stuck()
    assert desk.net_minor([order]) == {order: 0}
    assert (
        sum(
            count
            for (kind, _), count in desk.published(PAYMENTS.name, order).items()
            if kind == REFUNDED
        )
        == 1
    )
    last = desk.api.get(f"/orders/{order}/history").json()["items"][-1]
    assert last["cause"]["actor"]
    assert last["cause"] | {"actor": ""} == {
        "type": "operator",
        "id": "cancel",
        "actor": "",
        "reason": "ticket 4711",
    }
    assert "by an operator" in last["description"]
    assert "CANCELLED" in desk.refused("cancel", order)


def test_what_payment_missed_is_visible_and_can_be_asked_for_again(desk: Desk) -> None:
    [owed] = [order["orderId"] for order in desk.place(1)]
    desk.eventually(owed, "PAID", "SUCCEEDED")

    # Payment misses a cancellation and an order, as if they were dead letters.
    assert desk.running["payment"].terminate() == 0
    assert desk.api.post(f"/orders/{owed}/cancel").status_code == 200
    [unheard] = [order["orderId"] for order in desk.place(1)]
    eventually(lambda: desk.published(ORDERS.name, unheard), within_s=30, every_s=0.2)
    desk.paying.skip_all()
    desk.running["payment"] = desk.paying.start("listener")

    waiting = desk.stuck()[owed]
    assert (waiting["for"], waiting["owner"]) == ("REFUND", "payment")
    assert f"orderflow stuck retry {owed}" in waiting["nextAction"]
    assert desk.api.get(f"/orders/{owed}").json()["waiting"]["for"] == "REFUND"
    assert desk.net_minor([owed]) == {owed: AMOUNT_MINOR}

    # Even if the outbox does not contain it any more.
    desk.forget_rows(owed)
    assert "OrderCancelled" in desk.command("retry", owed, "--reason", "ticket 4712")
    desk.eventually(owed, "CANCELLED", "REFUNDED")
    assert owed not in desk.stuck()
    assert desk.net_minor([owed]) == {owed: 0}

    desk.command("cancel", unheard)
    assert desk.state(unheard) == ("CANCELLED", "REQUESTED")
    events = json.loads(desk.command("retry", unheard, "--json"))["events"]
    assert [event["eventType"] for event in events] == ["OrderCreated", "OrderCancelled"]
    desk.eventually(unheard, "CANCELLED", "FAILED")
    payment = desk.api.get(f"/orders/{unheard}").json()["payment"]
    assert payment["reason"] == "ORDER_CANCELLED"
    assert desk.charges(unheard) == 0


def test_what_is_not_retained_any_more_is_made_anew_and_brings_the_same_outcome(
    desk: Desk,
) -> None:
    order = desk.lost[2]
    desk.command("retry", order)
    desk.eventually(order, "PAID", "SUCCEEDED")
    [announced] = desk.published(PAYMENTS.name, order)
    desk.forget_rows(order)
    [event] = json.loads(desk.command("retry", order, "--json"))["events"]
    assert event["repeated"] is False
    eventually(
        lambda: desk.published(PAYMENTS.name, order)[announced] == 3, within_s=30, every_s=0.2
    )
    assert len(desk.published(PAYMENTS.name, order)) == 1
    assert desk.charges(order) == 1


def test_what_asking_again_would_not_bring_is_refused_with_what_to_do_instead(desk: Desk) -> None:
    [unpaid] = desk.place(1, path="/api/orders")
    assert f"POST /orders/{unpaid['orderId']}/pay" in desk.refused("retry", unpaid["orderId"])


def test_whoever_pays_around_the_deadline_has_paid_or_is_not_charged(desk: Desk) -> None:
    """The sweeper and 200 customers, most of them within 50 ms of their order's deadline."""
    environment = {
        "ORDERFLOW_ORDER__DEADLINES__PAY_S": str(PAY_WITHIN_S),
        "ORDERFLOW_ORDER__SWEEPER__EVERY_S": "0.02",
    }
    sweeper = desk.order.start("sweeper", **environment)  # type: ignore[arg-type]
    chance = random.Random(7)
    placed = desk.place(200, path="/api/orders")

    def moment(order: dict[str, Any]) -> float:
        late = chance.uniform(-0.05, 0.05) if chance.random() < 0.8 else chance.uniform(0.05, 2)
        return datetime.fromisoformat(order["createdAt"]).timestamp() + PAY_WITHIN_S + late

    def pay(at: float, order: str) -> int:
        time.sleep(
            max(0.0, at - time.time())
        )  # Not a wait for something: the race is about this moment.
        return desk.api.post(f"/orders/{order}/pay", headers={"prefer": "wait=0"}).status_code

    plan = sorted((moment(order), order["orderId"]) for order in placed)
    with ThreadPoolExecutor(32) as customers:
        answers = {
            order: status
            for (_, order), status in zip(
                plan, customers.map(pay, *zip(*plan, strict=True)), strict=True
            )
        }
    desk.paying.service.eventually_caught_up()
    desk.order.eventually_caught_up()
    accepted = [order for order, status in answers.items() if status in {200, 202}]
    refused = [order for order, status in answers.items() if status == 409]
    assert len(accepted) + len(refused) == len(placed)
    assert {desk.state(order) for order in accepted} == {("PAID", "SUCCEEDED")}
    assert {desk.state(order) for order in refused} == {("CANCELLED", "NONE")}
    assert set(desk.net_minor(accepted).values()) == {AMOUNT_MINOR}
    assert set(desk.net_minor(refused).values()) == {0}
    assert sweeper.terminate() == 0, sweeper.log.read_text()
