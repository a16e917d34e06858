"""`Idempotency-Key`: one key, one order, and the first answer for whoever asks again."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from uuid import uuid4

import httpx2
import pytest
from tests.support.order_service import TOPICS, OrderProcess, OrderService, order_deployed
from tests.support.stack import Stack

from orderflow.messaging.testing.eventually import eventually

ORDER = {"customerId": "customer-123", "lines": [{"sku": "MOUSE-01", "quantity": 1}]}
OTHER = {"customerId": "customer-123", "lines": [{"sku": "MOUSE-01", "quantity": 2}]}
PARALLEL = 20


@pytest.fixture(scope="module")
def service(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrderService]:
    with order_deployed(stack, tmp_path_factory.mktemp("order")) as deployed:
        deployed.start("relay")
        yield deployed


@pytest.fixture(scope="module")
def apis(service: OrderService) -> tuple[OrderProcess, OrderProcess]:
    """Two processes of one service."""
    return service.start("api"), service.start("api")


@pytest.fixture
def api(apis: tuple[OrderProcess, OrderProcess]) -> OrderProcess:
    return apis[0]


@pytest.fixture
def key() -> str:
    return uuid4().hex


def post(
    api: OrderProcess, key: str, body: object = ORDER, path: str = "/orders"
) -> httpx2.Response:
    return api.client.post(path, json=body, headers={"idempotency-key": key})


def post_at_once(
    apis: tuple[OrderProcess, ...], key: str, bodies: list[object]
) -> list[httpx2.Response]:
    together = Barrier(len(bodies))

    def one(number: int) -> httpx2.Response:
        together.wait(20)
        return post(apis[number % len(apis)], key, bodies[number])

    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(one, range(len(bodies))))


@pytest.mark.parametrize("processes", [1, 2])
def test_20_parallel_posts_with_one_key_make_one_order_and_all_get_the_first_answer(
    service: OrderService, apis: tuple[OrderProcess, OrderProcess], processes: int, key: str
) -> None:
    before, since = service.rows(), service.ends()
    answers = post_at_once(apis[:processes], key, [ORDER] * PARALLEL)
    assert {answer.status_code for answer in answers} == {201}
    assert len({(answer.content, answer.headers["location"]) for answer in answers}) == 1
    after = service.rows()
    assert {table: after[table] - before[table] for table in after} == {
        "orders": 1,
        "order_history": 1,
        "outbox": 2,
        "idempotency_key": 1,
    }
    order_id = answers[0].json()["orderId"]
    for topic in TOPICS:
        assert eventually(partial(service.keys, topic, since), within_s=20) == {order_id: 1}


def test_of_parallel_posts_with_different_bodies_one_body_wins(
    service: OrderService, apis: tuple[OrderProcess, OrderProcess], key: str
) -> None:
    before = service.rows()["orders"]
    answers = post_at_once(apis, key, [ORDER, OTHER] * (PARALLEL // 2))
    assert sorted(answer.status_code for answer in answers) == [201] * 10 + [422] * 10
    assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
    assert service.rows()["orders"] == before + 1


def test_another_body_under_the_key_is_422_and_changes_nothing(
    service: OrderService, api: OrderProcess, key: str
) -> None:
    first = post(api, key)
    before = service.rows()
    other = post(api, key, OTHER)
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert service.rows() == before
    assert post(api, key).content == first.content


def test_the_same_request_written_differently_is_the_same_request(
    api: OrderProcess, key: str
) -> None:
    first = post(api, key)
    text = b'{ "lines":[{"quantity":1,"sku":"MOUSE-01"}],\n "customerId":"customer\\u002d123" }'
    headers = {"idempotency-key": key, "content-type": "application/json"}
    assert api.client.post("/orders", content=text, headers=headers).content == first.content


@pytest.mark.parametrize(
    "failing",
    [
        {"customerId": "customer-123", "lines": [{"sku": "NO-SUCH-THING", "quantity": 1}]},
        {"customerId": "", "lines": []},
        "not an order",
    ],
)
def test_a_failed_attempt_does_not_burn_the_key(
    api: OrderProcess, key: str, failing: object
) -> None:
    assert post(api, key, failing).status_code == 422
    assert post(api, key, ORDER).status_code == 201


def test_an_attempt_that_the_database_undid_does_not_burn_the_key(
    service: OrderService, api: OrderProcess, key: str
) -> None:
    with service.connection() as locking:
        locking.execute("LOCK TABLE orders IN EXCLUSIVE MODE")
        failed = post(api, key)
        assert (failed.status_code, failed.headers["retry-after"]) == (503, "2")
    assert post(api, key).status_code == 201


def test_each_route_has_keys_of_its_own(api: OrderProcess, key: str) -> None:
    assert post(api, key).json()["orderId"] != post(api, key, path="/api/orders").json()["orderId"]


def test_one_key_is_one_attempt_to_pay_however_its_path_is_spelt(
    service: OrderService, api: OrderProcess, key: str
) -> None:
    order_id = api.client.post("/api/orders", json={"customerId": "customer-123"}).json()["orderId"]
    spellings = [order_id, order_id.upper(), order_id.replace("-", ""), f"urn:uuid:{order_id}"]
    headers = {"idempotency-key": key, "prefer": "wait=0"}
    for prefix in ("", "/api"):
        for spelt in spellings:
            paid = api.client.post(
                f"{prefix}/orders/{spelt}/pay", headers=headers, json={"paymentMethod": "card"}
            )
            assert paid.status_code == 202, paid.text
            assert paid.json()["payment"]["attempt"] == 1
    other = {**headers, "idempotency-key": f"{key}-2"}
    again = api.client.post(f"/orders/{order_id}/pay", headers=other)
    assert (again.status_code, again.json()["type"]) == (409, "/problems/not-allowed")


def test_a_running_process_charges_what_it_shows_and_repeats_what_it_answered(
    service: OrderService, apis: tuple[OrderProcess, OrderProcess], key: str
) -> None:
    """Two processes of one service, a product that comes, costs more, and goes."""
    (one, two), sku = apis, f"LAMP-{key[:8]}"
    order = {"customerId": "customer-123", "lines": [{"sku": sku, "quantity": 1}]}
    assert post(two, f"{key}-early", order).json()["type"] == "/problems/unknown-sku"

    first = None
    for price in (4_590, 5_590):
        product = {"name": "Lamp", "prices": {"EUR": price}}
        assert one.client.put(f"/products/{sku}", json=product).status_code == 200
        assert two.client.get(f"/products/{sku}").json()["prices"]["EUR"] == price
        placed = post(two, f"{key}-{price}", order)
        assert placed.json()["amountMinor"] == price
        first = first or placed
    assert first is not None

    seen = {**order, "expectedAmountMinor": 4_590}
    refused = post(two, key, seen)
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/price-changed")
    assert refused.json()["amountMinor"] == refused.json()["lines"][0]["unitPriceMinor"] == 5_590

    one.client.put(f"/products/{sku}", json={**product, "active": False})
    assert post(two, key, order).json()["type"] == "/problems/unknown-sku"
    again = post(two, f"{key}-4590", order)
    assert (again.status_code, again.content) == (201, first.content)


def test_without_a_key_each_post_is_an_order(api: OrderProcess) -> None:
    assert len({api.client.post("/orders", json=ORDER).json()["orderId"] for _ in range(3)}) == 3


def test_a_key_is_free_again_after_24_hours_and_held_until_then(
    service: OrderService, api: OrderProcess, key: str
) -> None:
    first = post(api, key)
    age(service, key, "23 hours 59 minutes")
    assert post(api, key).content == first.content
    age(service, key, "2 minutes")
    second = post(api, key, OTHER)
    assert second.status_code == 201
    assert second.json()["orderId"] != first.json()["orderId"]
    assert post(api, key, OTHER).content == second.content


def age(service: OrderService, key: str, by: str) -> None:
    with service.connection() as connection:
        connection.execute(
            "UPDATE idempotency_key SET created_at = created_at - %s::interval WHERE key = %s",
            (by, key),
        )
