"""
The payment API over HTTP, on a database of its own; every answer is as its OpenAPI document says.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import httpx2
import pytest
from tests.support.service import Service, service_deployed
from tests.support.stack import Stack

from orderflow.messaging.testing.eventually import eventually

ORDER = "0198a0b2-1111-7222-8333-444455556666"
AT = "2026-01-31T09:05:00Z"
KNOWN = "INSERT INTO known_order VALUES (%(order)s)"
PAYMENT = """
INSERT INTO payment (order_id, attempt, payment_id, customer_id, state, live, amount_minor,
                     currency, payment_method, lines, reason,
                     captured_minor, refunded_minor, created_at, settled_at, settled_by)
"""
FAILED = f"""{PAYMENT}
VALUES (%(order)s, 1, gen_random_uuid(), 'c', 'FAILED', false, 500,
        'EUR', 'pm_no', '[]', 'DECLINED', 0, 0,
        '{AT}', '{AT}', gen_random_uuid())
"""
CAPTURED = f"""{PAYMENT}
VALUES (%(order)s, 2, gen_random_uuid(), 'c', 'SUCCEEDED', true, 500,
        'EUR', 'pm_ok', '[]', NULL, 500, 500,
        '{AT}', '{AT}', gen_random_uuid())
"""
REFUND = f"""
INSERT INTO refund (refund_id, order_id, attempt, amount_minor, reason, state, created_at,
                    created_by)
VALUES (gen_random_uuid(), %(order)s, 2, 500, 'CUSTOMER', 'REQUESTED', '{AT}', gen_random_uuid())
"""


UNKNOWN = f"""
INSERT INTO payment (order_id, attempt, payment_id, customer_id, state, live, amount_minor,
                     currency, payment_method, lines, created_at, unknown_since)
VALUES (%(order)s, 1, gen_random_uuid(), 'c', 'UNKNOWN', true, 500,
        'EUR', 'pm_ok', '[]', '{AT}', '{AT}')
"""


@pytest.fixture(scope="module")
def service(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    logs = tmp_path_factory.mktemp("payment")
    with service_deployed(stack, logs, "payment") as service:
        yield service


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx2.Client]:
    with service.documented_api() as client:
        yield client


def test_an_orders_payments_are_told_with_what_went_back_and_the_books_sum_them_up(
    service: Service, client: httpx2.Client
) -> None:
    with service.connection() as connection:
        for statement in (KNOWN, FAILED, CAPTURED, REFUND):
            connection.execute(statement.encode(), {"order": ORDER})
    body = client.get(f"/payments/{ORDER}").json()
    assert (body["orderId"], body["closed"]) == (ORDER, False)
    failed, captured = body["payments"]
    assert (failed["state"], failed["reason"], failed["refund"]) == ("FAILED", "DECLINED", None)
    assert (captured["state"], captured["amountMinor"], captured["createdAt"]) == (
        "SUCCEEDED",
        500,
        AT,
    )
    assert (captured["refund"]["state"], captured["refund"]["amountMinor"]) == ("REQUESTED", 500)
    [sums] = client.get("/ledger/summary").json()["items"]
    assert (sums["currency"], sums["capturedMinor"], sums["refundedMinor"], sums["failed"]) == (
        "EUR",
        500,
        0,
        1,
    )
    assert (sums["owed"], sums["owedMinor"], sums["owedSince"]) == (1, 500, AT)
    assert captured["refund"]["createdAt"] == AT


def test_what_is_owed_and_what_is_unknown_is_measured_with_its_age(
    service: Service, client: httpx2.Client
) -> None:
    with service.connection() as connection:
        connection.execute(UNKNOWN.encode(), {"order": str(uuid4())})

    def measured() -> bool:
        metrics = client.get("/metrics").text
        return all(
            f"orderflow_payment_{name} 0.0" not in metrics
            and f"orderflow_payment_{name} " in metrics
            for name in (
                "refunds_owed",
                "refunds_owed_oldest_seconds",
                "unknown",
                "unknown_oldest_seconds",
            )
        )

    eventually(measured, within_s=20, why="the gauges say so")
    [sums] = client.get("/ledger/summary").json()["items"]
    assert (sums["unknown"], sums["unknownSince"]) == (1, AT)


def test_payments_come_newest_order_first_by_customer_and_state_page_by_page(
    service: Service, client: httpx2.Client
) -> None:
    orders = [f"0198a0b2-{number:04}-7222-8333-444455556666" for number in (9000, 9001, 9002, 9003)]
    with service.connection() as connection:
        for order, statements in zip(
            orders, ((FAILED, CAPTURED, REFUND), (UNKNOWN,), (FAILED,), (UNKNOWN,)), strict=True
        ):
            for statement in (KNOWN, *statements):
                connection.execute(statement.replace("'c'", "'lists'").encode(), {"order": order})

    def pages(limit: int = 100, **query: str) -> list[tuple[str, int]]:
        listed: list[tuple[str, int]] = []
        cursor: str | None = ""
        while cursor is not None:
            answer = client.get("/payments", params={"cursor": cursor, "limit": limit, **query})
            assert answer.status_code == 200, answer.text
            items, cursor = answer.json()["items"], answer.json()["nextCursor"]
            assert len(items) == limit or cursor is None
            listed += [(item["orderId"], item["attempt"]) for item in items]
        return listed

    first, second, third, fourth = orders
    newest = [(fourth, 1), (third, 1), (second, 1), (first, 2), (first, 1)]
    for limit in (1, 2, 5, 100):
        assert pages(limit, customerId="lists") == newest
        every = pages(limit)
        assert [place for place in every if place[0] in orders] == newest
        assert every == sorted(every, reverse=True)
        unknown = pages(limit, state="UNKNOWN")
        assert [place for place in unknown if place[0] in orders] == [(fourth, 1), (second, 1)]
        failed = pages(limit, state="FAILED")
        assert [place for place in failed if place[0] in orders] == [(third, 1), (first, 1)]

    assert pages(customerId="lists", state="SUCCEEDED") == [(first, 2)]
    assert pages(customerId="lists", state="REQUESTED") == pages(customerId="nobody") == []
    captured = client.get("/payments?customerId=lists&state=SUCCEEDED").json()["items"][0]
    assert (captured["customerId"], captured["refund"]["amountMinor"]) == ("lists", 500)
    assert captured in client.get(f"/payments/{first}").json()["payments"]


@pytest.mark.parametrize(
    "query",
    [
        "state=",
        "state=DONE",
        "state=SUCCEEDED",
        "state=REQUESTED",
        "state=UNKNOWN&state=FAILED",
        "customerId=",
        "customerId=%00",
        "limit=0",
        "limit=501",
        "cursor=x",
    ],
)
def test_a_list_that_there_is_not_is_refused_with_the_parameter(
    client: httpx2.Client, query: str
) -> None:
    answer = client.get(f"/payments?{query}")
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")
    assert query.partition("=")[0] in answer.json()["detail"]


def test_an_order_that_payment_has_not_heard_of_is_not_found(client: httpx2.Client) -> None:
    for order_id in (str(uuid4()), "no-order"):
        answer = client.get(f"/payments/{order_id}")
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/order-not-found")


def test_the_documentation_is_served(client: httpx2.Client) -> None:
    assert "swagger-ui" in client.get("/docs").text
