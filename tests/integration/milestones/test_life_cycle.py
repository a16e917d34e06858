"""
The life cycle: CREATED → PAID → SHIPPED → DELIVERED, or CANCELLED, by commands over HTTP, with all
services running.

"Requests become events; the answer is immediate": four requests, one straight after the other,
walk an order to DELIVERED.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.support.all_services import AllServices, all_services_running
from tests.support.stack import OwnStack

from orderflow.contracts.events import EVENT_TYPES, OrderCreated, OrderShipped
from orderflow.contracts.ids import OrderId, payment_id
from orderflow.contracts.topics import ORDER_EVENTS, ORDERS
from orderflow.messaging.event import from_headers
from orderflow.messaging.kafka.reader import ConsumerRecord
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.schemas.registry import Registry
from orderflow.messaging.settings import RegistrySettings
from orderflow.messaging.testing.eventually import eventually
from orderflow.stack.order_lines import order_lines

ROOT = Path(__file__).parents[3]
CUSTOMER = "customer-123"
LINES = [{"sku": "MOUSE-01", "quantity": 2}]
RACES = [
    210,
    pytest.param(1_000, marks=pytest.mark.long),
    pytest.param(10_000, marks=pytest.mark.soak),
]
STEPS = ("pay", "ship", "deliver")


@pytest.fixture(scope="module")
def services(
    own_stack: OwnStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AllServices]:
    with all_services_running(own_stack, tmp_path_factory.mktemp("services")) as services:
        yield services


def test_the_readmes_four_curls_one_straight_after_the_other_end_delivered(
    services: AllServices,
) -> None:
    curls = [line for line in readme_commands() if line.startswith("curl -X POST")]
    assert [
        re.search(r"/api/orders(?:/<id>/(\w+)\?customerId=customer-123)?", line)[1]  # type: ignore[index]
        for line in curls
    ] == [
        None,
        *STEPS,
    ]
    order_id = ""
    for line in curls:
        typed = line.replace(
            "http://127.0.0.1:8080", str(services.api.base_url).rstrip("/")
        ).replace("<id>", order_id)
        ran = subprocess.run(
            shlex.split(typed), capture_output=True, text=True, timeout=30, check=True
        )
        answer = json.loads(ran.stdout)
        order_id = order_id or answer["orderId"]
        assert answer.get("message", "Order has been created") == "Order has been created"
    assert (answer["status"], answer["version"], answer["allowedActions"]) == ("DELIVERED", 4, [])
    history = services.api.get(f"/orders/{order_id}/history").json()["items"]
    assert [entry["status"] for entry in history] == ["CREATED", "PAID", "SHIPPED", "DELIVERED"]


def test_an_order_that_was_shipped_takes_its_pieces_out_of_stock(services: AllServices) -> None:
    order = create(services, lines=LINES)
    assert [command(services, order, step).status_code for step in STEPS] == [200, 200, 200]
    services.eventually_caught_up()
    assert services.inventory.rows(
        f"SELECT status FROM reservation WHERE order_id = '{order}'"
    ) == [("SHIPPED",)]
    assert [type(event) for event in told(services, ORDERS.name, order)][-1] is OrderShipped
    assert [event.version for event in told(services, ORDER_EVENTS.name, order)] == [1, 2, 3, 4]


def test_a_declined_payment_is_answered_and_the_next_attempt_may_use_another_method(
    services: AllServices,
) -> None:
    order = create(services, lines=LINES, paymentMethod="pm_declined")
    declined = command(services, order, "pay").json()
    assert (declined["status"], declined["payment"]["attempt"], declined["payment"]["state"]) == (
        "CREATED",
        1,
        "FAILED",
    )
    paid = command(services, order, "pay", json={"paymentMethod": "pm_ok"}).json()
    assert (paid["status"], paid["payment"]["attempt"], paid["payment"]["state"]) == (
        "PAID",
        2,
        "SUCCEEDED",
    )
    assert (paid["paymentMethod"], paid["stock"]) == ("pm_ok", "RESERVED")
    assert services.payment.psp.captures()[payment_id(OrderId(order), 2)] == 1


def test_five_attempts_are_all_there_are(services: AllServices) -> None:
    order = create(services, lines=LINES, paymentMethod="pm_declined")
    assert [command(services, order, "pay").json()["payment"]["attempt"] for _ in range(5)] == [
        1,
        2,
        3,
        4,
        5,
    ]
    refused = command(services, order, "pay")
    assert (refused.status_code, refused.json()["allowedActions"]) == (409, ["cancel"])


def test_out_of_stock_is_told_to_whoever_pays(services: AllServices) -> None:
    order = create(services, lines=[{"sku": "DESK-160", "quantity": 1}])
    answer = command(services, order, "pay")
    assert (answer.status_code, answer.json()["status"], answer.json()["stock"]) == (
        200,
        "CANCELLED",
        "REJECTED",
    )
    assert command(services, order, "ship").status_code == 409


def test_twenty_payments_at_once_with_one_key_all_get_the_first_answer(
    services: AllServices,
) -> None:
    """And one payment is made."""
    order = create(services, lines=LINES)
    key = {"Idempotency-Key": f"pay-{order}"}
    with ThreadPoolExecutor(20) as clients:
        requests = [clients.submit(command, services, order, "pay", headers=key) for _ in range(20)]
        answers = [request.result() for request in requests]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].json()["payment"] == {
        "attempt": 1,
        "state": "SUCCEEDED",
        "paymentId": payment_id(OrderId(order), 1),
    }
    assert command(services, order, "ship").status_code == 200
    assert command(services, order, "pay", headers=key).content == answers[0].content, (
        "the first answer, also later"
    )
    other = command(services, order, "pay", headers=key, json={"paymentMethod": "pm_declined"})
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert command(services, order, "pay").status_code == 409


def test_a_key_that_was_refused_is_not_burned(services: AllServices) -> None:
    order = create(services, lines=LINES, paymentMethod="pm_declined")
    key = {"Idempotency-Key": f"pay-{order}"}
    assert command(services, order, "pay", headers={"Prefer": "wait=0"}).status_code == 202
    refused = command(services, order, "pay", headers=key, json={"paymentMethod": "pm_ok"})
    eventually(lambda: services.ends([order])[0][1] == "FAILED", within_s=20)
    again = command(services, order, "pay", headers=key, json={"paymentMethod": "pm_ok"})
    assert (refused.status_code, again.status_code) in {(409, 200), (200, 200)}
    assert again.json()["status"] == "PAID"


def test_a_client_in_a_hurry_gets_202_and_finds_at_the_location_how_it_ended(
    services: AllServices,
) -> None:
    order = create(services, lines=LINES, paymentMethod="pm_slow")
    began = time.monotonic()
    answer = command(services, order, "pay", headers={"Prefer": "wait=1"})
    assert 1 <= time.monotonic() - began < 5
    assert (answer.status_code, answer.headers["location"]) == (202, f"/orders/{order}")
    assert (answer.json()["status"], answer.json()["payment"]["state"]) == ("CREATED", "REQUESTED")
    eventually(
        lambda: services.api.get(f"/orders/{order}").json()["status"] == "PAID",
        within_s=60,
        every_s=0.5,
    )


def test_shipping_waits_for_stock_and_is_done_later_if_that_takes_too_long(
    services: AllServices,
) -> None:
    """Nobody says anything of stock while inventory is stopped."""
    inventory = services.running["inventory"]
    services.eventually_caught_up()
    inventory.popen.send_signal(19)
    try:
        order, given_up = create(services, lines=LINES), create(services, lines=LINES)
        for placed in (order, given_up):
            answer = command(services, placed, "pay", headers={"Prefer": "wait=2"})
            assert (answer.status_code, answer.json()["status"], answer.json()["stock"]) == (
                202,
                "PAID",
                "NONE",
            )
            later = command(services, placed, "ship", headers={"Prefer": "wait=1"})
            assert (later.status_code, later.json()["status"]) == (202, "PAID")
        assert (
            command(services, order, "ship", headers={"Prefer": "wait=0"}).json()["revision"]
            == later.json()["revision"]
        )
        assert command(services, given_up, "cancel").status_code == 200
    finally:
        inventory.popen.send_signal(18)
    eventually(
        lambda: (
            services.ends([order, given_up])
            == [("SHIPPED", "SUCCEEDED", "RESERVED"), ("CANCELLED", "REFUNDED", "RELEASED")]
        ),
        within_s=60,
        every_s=0.5,
    )


@pytest.mark.parametrize("count", RACES)
@pytest.mark.timeout(900)
def test_a_cancel_that_races_with_a_step_wins_whole_or_not_at_all(
    services: AllServices, count: int
) -> None:
    """
    Around pay, ship and deliver, 50 ms before to 50 ms after: cancelled and given back whole, or
    captured whole.
    """
    random = Random(27)
    answers: Counter[tuple[str, int, int]] = Counter()

    def race(number: int) -> str:
        step, offset_s = STEPS[number % 3], random.uniform(-0.05, 0.05)
        order = create(services, lines=LINES)
        for before in STEPS[: number % 3]:
            assert command(services, order, before).status_code == 200
        cancelling = threading.Thread(
            target=lambda: cancelled.append(command(services, order, "cancel"))
        )
        cancelled: list[httpx2.Response] = []
        start = time.monotonic() + 0.06
        pause(start + min(0.0, offset_s))
        if offset_s < 0:
            cancelling.start()
            pause(start)
            stepped = command(services, order, step)
        else:
            later = threading.Timer(offset_s, cancelling.start)
            later.start()
            stepped = command(services, order, step)
            later.join()
        cancelling.join()
        answers[step, stepped.status_code, cancelled[0].status_code] += 1
        return order

    with ThreadPoolExecutor(8) as clients:
        orders = list(clients.map(race, range(count)))
    services.eventually_caught_up()
    assert_only_whole_ends(services, orders)
    assert set(answers) == {
        ("pay", 200, 200),
        ("pay", 409, 200),
        ("ship", 200, 409),
        ("ship", 409, 200),
        ("deliver", 200, 409),
    }, f"each side wins where it can: {answers}"


def assert_only_whole_ends(services: AllServices, orders: list[str]) -> None:
    """
    {CANCELLED, captured − refunded = 0, stock back} or {the other, captured = total}; and no
    illegal edge.
    """
    ids = ", ".join(f"'{order}'" for order in orders)
    rows = services.order.rows(
        f"SELECT order_id::text, status, amount_minor FROM orders WHERE order_id IN ({ids})"
    )
    money = {
        order: (captured, refunded)
        for order, captured, refunded in services.payment.service.rows(
            "SELECT order_id::text, sum(captured_minor)::bigint, sum(refunded_minor)::bigint"
            " FROM payment "
            f"WHERE order_id IN ({ids}) GROUP BY order_id"
        )
    }
    reservations: Any = services.inventory.rows(
        f"SELECT order_id::text, status FROM reservation WHERE order_id IN ({ids})"
    )
    kept: dict[Any, Any] = dict(reservations)
    assert len(rows) == len(orders)
    for order, status, amount in rows:
        captured, refunded = money.get(order, (0, 0))
        if status == "CANCELLED":
            assert captured == refunded, (order, captured, refunded)
            assert kept.get(order, "RELEASED") in ("RELEASED", "REJECTED"), (order, kept.get(order))
        else:
            assert (captured, refunded) == (amount, 0), (order, status, captured, refunded)
            assert kept[order] == {"PAID": "RESERVED"}.get(str(status), "SHIPPED"), (
                order,
                status,
                kept[order],
            )
    services.payment.assert_ledgers_agree()
    mine, versions = set(orders), defaultdict(list)
    for event in told(services, ORDER_EVENTS.name):
        if event.order_id in mine:
            versions[event.order_id].append(event)
    for events in versions.values():
        assert [event.version for event in events] == [*range(1, len(events) + 1)]
        assert [event.previous_status for event in events[1:]] == [
            event.status for event in events[:-1]
        ]


class LifeCycle(RuleBasedStateMachine):
    """A client that does anything at any time, and knows from the table what must come of it."""

    services: AllServices

    @initialize(
        method=st.sampled_from(["pm_ok", "pm_declined"]),
        automatic=st.booleans(),
        sku=st.sampled_from(["MOUSE-01", "DESK-160"]),
    )
    def place(self, method: str, automatic: bool, sku: str) -> None:
        body = {
            "customerId": CUSTOMER,
            "paymentMethod": method,
            "lines": [{"sku": sku, "quantity": 1}],
        }
        self.short = sku == "DESK-160"
        self.method, self.attempt, self.versions = method, 0, 1
        self.state, self.payment, self.stock = "CREATED", "NONE", "NONE"
        self.order = str(
            self.services.api.post("/orders" if automatic else "/api/orders", json=body).json()[
                "orderId"
            ]
        )
        if automatic:
            self._paid()
            eventually(lambda: self._seen() == self._expected(), within_s=20, every_s=0.05)

    @rule(method=st.sampled_from([None, "pm_ok", "pm_declined"]))
    def pay(self, method: str | None) -> None:
        answer = command(
            self.services, self.order, "pay", json={"paymentMethod": method} if method else None
        )
        allowed = (
            self.state == "CREATED" and self.payment in ("NONE", "FAILED") and self.attempt < 5
        )
        if allowed:
            self.method = method or self.method
            self._paid()
        self._judge(answer, allowed=allowed)

    @rule()
    def ship(self) -> None:
        answer = command(self.services, self.order, "ship")
        allowed = self.state == "PAID" and self.stock == "RESERVED"
        if allowed:
            self._to("SHIPPED")
        self._judge(answer, allowed=allowed)

    @rule()
    def deliver(self) -> None:
        answer = command(self.services, self.order, "deliver")
        allowed = self.state == "SHIPPED"
        if allowed:
            self._to("DELIVERED")
        self._judge(answer, allowed=allowed)

    @precondition(lambda self: self.versions > 1 or self.attempt > 1)
    @rule()
    def cancel(self) -> None:
        answer = command(self.services, self.order, "cancel")
        allowed = self.state in ("CREATED", "PAID")
        if allowed:
            self._to("CANCELLED")
        self._judge(answer, allowed=allowed)
        if allowed and self.payment == "SUCCEEDED":
            self.payment, self.stock = "REFUNDED", "RELEASED"
            eventually(lambda: self._seen() == self._expected(), within_s=20, every_s=0.05)

    @rule()
    def somebody_elses(self) -> None:
        for step in (*STEPS, "cancel"):
            answer = self.services.api.post(
                f"/orders/{self.order}/{step}", params={"customerId": "customer-124"}
            )
            assert answer.status_code == 404

    @invariant()
    def the_order_and_its_history_say_so(self) -> None:
        assert self._seen() == self._expected()
        history = self.services.api.get(f"/orders/{self.order}/history").json()["items"]
        assert [entry["version"] for entry in history] == [*range(1, self.versions + 1)]
        assert history[-1]["status"] == self.state

    def _paid(self) -> None:
        self.attempt += 1
        self.payment = "FAILED" if self.method == "pm_declined" else "SUCCEEDED"
        if self.payment == "SUCCEEDED":
            self._to("PAID")
            self.stock = "REJECTED" if self.short else "RESERVED"
            if self.short:
                self._to("CANCELLED")
                self.payment = "REFUNDED"

    def _to(self, state: str) -> None:
        self.state, self.versions = state, self.versions + 1

    def _judge(self, answer: httpx2.Response, *, allowed: bool) -> None:
        if allowed:
            assert (answer.status_code, answer.json()["status"]) == (200, self.state), answer.text
            eventually(
                lambda: self._seen() == self._expected(),
                within_s=20,
                every_s=0.05,
                why=str(self._expected()),
            )
            return
        assert answer.status_code == 409, answer.text
        assert answer.json()["orderStatus"] == self.state
        assert (
            answer.json()["allowedActions"]
            == self.services.api.get(f"/orders/{self.order}").json()["allowedActions"]
        )

    def _seen(self) -> tuple[str, str, str, int]:
        order = self.services.api.get(f"/orders/{self.order}").json()
        return order["status"], order["payment"]["state"], order["stock"], order["version"]

    def _expected(self) -> tuple[str, str, str, int]:
        return self.state, self.payment, self.stock, self.versions


@pytest.mark.timeout(600)
def test_any_sequence_of_requests_is_answered_by_the_state_table(
    services: AllServices,
) -> None:
    """By the running system."""
    machine = type("Running", (LifeCycle,), {"services": services})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=20,
            stateful_step_count=10,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_what_clients_and_strangers_write_is_in_no_line_metric_or_evidence(
    services: AllServices,
) -> None:
    """Canaries in all that comes from outside; ids are no canaries, they are keys."""
    canary = f"canary{uuid4().hex}"
    api = services.api
    key = {"Idempotency-Key": canary, "X-Secret": canary, "traceparent": canary}
    line = {"sku": "MOUSE-01", "quantity": 1}
    placed = api.post(
        "/orders",
        json={"customerId": CUSTOMER, "lines": [line], "paymentMethod": f"pm_{canary}"},
        headers=key,
    )
    assert placed.status_code == 201, placed.text
    order = str(placed.json()["orderId"])
    refused = [
        api.post("/orders", json={"customerId": CUSTOMER, "lines": [line], canary: canary}),
        api.post("/orders", json={"customerId": CUSTOMER, "lines": canary}),
        api.post("/orders", content=canary, headers={"Content-Type": "application/json"}),
        api.post(f"/orders/{canary}/pay"),
        api.post(f"/orders/{order}/pay", json={"paymentMethod": [canary]}),
        api.put("/products/MOUSE-01", json={"name": canary, "prices": {"EUR": canary}}),
    ]
    assert all(400 <= answer.status_code < 500 for answer in refused)
    named = api.put(
        f"/products/{canary[:20].upper()}",
        json={"name": canary, "prices": {"EUR": 100}, "reason": canary},
        headers={"Orderflow-Actor": canary},
    )
    assert named.is_success, named.text
    webhook = services.running["payment"].client.post(
        "/webhooks/provider", content=canary, headers={"webhook-signature": f"v1,{canary}"}
    )
    assert webhook.is_client_error

    def is_published() -> bool:
        return order.encode() in {record.key for record in services.order.records(ORDERS.name)}

    eventually(is_published, within_s=30)
    created = services.record_of(ORDERS.name, order, OrderCreated)
    headers: list[tuple[str, str | bytes | None]] = [
        *created.headers,
        ("x-secret", canary.encode()),
    ]
    poisons = [canary.encode(), (created.value or b"")[:12] + canary.encode()]
    for poison in poisons:
        services.order.producer.produce(ORDERS.name, poison, created.key, headers=headers)
    services.order.flush()
    services.order.producer.flush()

    def letters() -> list[ConsumerRecord]:
        return [letter for letter in services.dead_letters() if letter.value in poisons]

    eventually(lambda: len(letters()) >= 2 * len(poisons), within_s=60)
    services.eventually_caught_up()

    evidence = [
        (name, value)
        for letter in letters()
        for name, value in letter.headers
        if name.startswith(("kafka_dlt", "retry", "orderflow-"))
    ]
    assert evidence
    assert [name for name, value in evidence if canary.encode() in (value or b"")] == []
    for name, process in services.running.items():
        metrics = process.client.get("/metrics")
        assert canary not in metrics.text, name
        assert canary not in process.log.read_text(), name

    lines = order_lines([process.log for process in services.running.values()], order)
    assert {"handled", "dead letter"} <= {line.fields.get("outcome") for line in lines}
    assert [line.fields["status"] for line in lines if line.fields.get("command") == "place"] == [
        201
    ]
    groups = {line.fields["group"] for line in lines if "group" in line.fields}
    assert {"payment-service", "notification-service", "order-processor"} <= groups
    assert [line.at for line in lines] == sorted(line.at for line in lines)


def create(services: AllServices, **fields: Any) -> str:
    answer = services.api.post("/api/orders", json={"customerId": CUSTOMER, **fields})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["orderId"])


def command(services: AllServices, order: str, step: str, **more: Any) -> httpx2.Response:
    return services.api.post(f"/api/orders/{order}/{step}", params={"customerId": CUSTOMER}, **more)


def told(services: AllServices, topic: str, order: str | None = None) -> list[Any]:
    registry = Registry(RegistrySettings(url=services.order.stack.registry_url))
    decoder = Decoder(registry)
    try:
        return [
            decoder.decode_as(record.value, EVENT_TYPES[from_headers(record.headers).type])
            for record in services.order.records(topic)
            if order is None or record.key == order.encode()
        ]
    finally:
        registry.close()


def readme_commands() -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [re.sub(r"\s+", " ", line[2:]) for line in lines if line.startswith("$ ")]


def pause(until: float) -> None:
    """The race's own clock: this is what is tested, and nothing is waited for."""
    threading.Event().wait(max(0.0, until - time.monotonic()))
