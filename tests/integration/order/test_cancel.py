"""Cancelling over HTTP: under the order's lock, once, and only by whom it belongs to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx2
import pytest
from tests.support.order_service import OrderService, order_deployed
from tests.support.stack import Stack

from orderflow.contracts.events import OrderCancelled, OrderEvent
from orderflow.contracts.schemas import CATALOGUE
from orderflow.messaging.event import from_headers
from orderflow.messaging.kafka.reader import read
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.schemas.registry import Registry
from orderflow.messaging.settings import RegistrySettings
from orderflow.messaging.telemetry.trace_context import TraceContext
from orderflow.messaging.testing.eventually import eventually

CUSTOMER = "customer-123"
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def service(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrderService]:
    with order_deployed(stack, tmp_path_factory.mktemp("order")) as deployed:
        deployed.start("relay")
        yield deployed


@pytest.fixture(scope="module")
def api(service: OrderService) -> httpx2.Client:
    return service.start("api").client


@pytest.fixture
def order(api: httpx2.Client) -> str:
    return str(api.post("/api/orders", json={"customerId": CUSTOMER}).headers["location"])


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_a_cancelled_order_says_so_and_allows_nothing_more(
    api: httpx2.Client, order: str, prefix: str
) -> None:
    answer = api.post(f"{prefix}{order}/cancel", params={"customerId": CUSTOMER})
    assert answer.status_code == 200
    assert answer.json() == api.get(order).json()
    assert (answer.json()["status"], answer.json()["allowedActions"]) == ("CANCELLED", [])
    assert (answer.json()["version"], answer.json()["revision"]) == (2, 2)
    last = api.get(f"{order}/history").json()["items"][-1]
    assert (last["status"], last["version"], last["cause"]) == (
        "CANCELLED",
        2,
        {"type": "command", "id": "cancel"},
    )
    assert last["description"] == "Order has been cancelled: the customer asked for it"


def test_cancelling_again_is_a_conflict_that_tells_what_the_order_is(
    api: httpx2.Client, order: str
) -> None:
    api.post(f"{order}/cancel")
    answer = api.post(f"{order}/cancel")
    assert (answer.status_code, answer.headers["content-type"]) == (409, "application/problem+json")
    problem = answer.json()
    assert (problem["type"], problem["status"]) == ("/problems/not-allowed", 409)
    assert (problem["orderStatus"], problem["allowedActions"]) == ("CANCELLED", [])


def test_an_order_of_somebody_else_is_not_found_and_stays(api: httpx2.Client, order: str) -> None:
    before = api.get(order).json()
    for target, customer in (
        (order, "customer-124"),
        (order, ""),
        (f"/orders/{uuid4()}", CUSTOMER),
        ("/orders/x", ""),
    ):
        answer = api.post(f"{target}/cancel", params={"customerId": customer})
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/order-not-found")
    assert api.get(order).json() == before


def test_of_twenty_cancellations_at_once_one_has_an_effect(
    service: OrderService, api: httpx2.Client, order: str, stack: Stack
) -> None:
    with ThreadPoolExecutor(20) as clients:
        headers = {"traceparent": TRACEPARENT}
        requests = [clients.submit(api.post, f"{order}/cancel", headers=headers) for _ in range(20)]
        assert Counter(answer.result().status_code for answer in requests) == {200: 1, 409: 19}
    order_id = order.rpartition("/")[2]
    eventually(lambda: service.keys("order-events")[order_id] >= 2, within_s=20)
    assert (service.keys("orders")[order_id], service.keys("order-events")[order_id]) == (2, 2), (
        "placed, cancelled"
    )

    registry = Registry(RegistrySettings(url=stack.registry_url))
    decoder = Decoder(registry)
    for topic, event_type in (("orders", OrderCancelled), ("order-events", OrderEvent)):
        assert event_type.type_name() in CATALOGUE.types_on(topic)
        records = read(service.kafka, topic, follow=False)
        first, *_, record = [
            record for record in records if record is not None and record.key == order_id.encode()
        ]
        event = decoder.decode_as(record.value, event_type)
        assert isinstance(event, OrderCancelled | OrderEvent)
        assert (event.version, event.reason) == (2, "CUSTOMER")
        metadata = from_headers(record.headers)
        assert metadata.type == event_type.type_name()
        # The order's own trace, not that of whoever cancels it.
        trace = TraceContext.parse(from_headers(first.headers).traceparent)
        cancelling = TraceContext.parse(metadata.traceparent)
        assert trace is not None
        assert cancelling is not None
        assert cancelling.trace_id == trace.trace_id != TRACEPARENT[3:35]
        assert (metadata.causation_id, metadata.correlation_id) == (None, order_id)
        assert metadata.time == event.happened_at
    registry.close()
