"""
Shipments in a real database: the handler as the container calls it, behind the inbox; and the API
over them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import pytest
from tests.support.builders import (
    CANCELLED,
    CREATED,
    DELIVERED,
    LIVES,
    PAID,
    SHIPPED,
    an_order,
    life,
    received,
    reserved,
)
from tests.support.databases import catalogue, database_settings, empty_database
from tests.support.inbox_worker import Worker, handle_concurrently
from tests.support.service import Service, service_deployed
from tests.support.stack import Stack

import orderflow.services.fulfilment
from orderflow.contracts.events import OrderEvent
from orderflow.messaging import postgres
from orderflow.messaging.errors import Transient
from orderflow.messaging.listener import Received
from orderflow.messaging.postgres import inbox
from orderflow.services.fulfilment.listeners import LISTENER
from orderflow.services.fulfilment.model import Contradiction

HERE = Path(orderflow.services.fulfilment.__file__).parent
SCHEMA = (HERE / "schema.sql").read_text()


@pytest.fixture(scope="module")
def service(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    logs = tmp_path_factory.mktemp("fulfilment")
    with service_deployed(stack, logs, "fulfilment") as service:
        yield service


@pytest.fixture
def worker(service: Service) -> Iterator[Worker]:
    with service.connection() as connection:
        connection.execute("TRUNCATE shipment, inbox")
    worker = Worker(service.database_url, LISTENER)
    yield worker
    worker.session.close()


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx2.Client]:
    with service.documented_api() as client:
        yield client


def handle(worker: Worker, events: list[OrderEvent]) -> None:
    """
    What inventory reserved, then one wave for each version, as the container would have it: no two
    records of one order in a batch.
    """
    worker.handle(*stock_of(events))
    for version in sorted({event.version for event in events}):
        worker.handle(*(received(event) for event in events if event.version == version))


def stock_of(events: list[OrderEvent]) -> list[Received]:
    """What inventory announces of those of these orders that are paid."""
    paid = {event.order_id for event in events if event.status is PAID}
    return [received(reserved(an_order(order_id))) for order_id in sorted(paid)]


def test_schema_sql_is_all_migrations_together_and_has_the_kits_inbox(
    stack: Stack, service: Service
) -> None:
    with empty_database(stack, "fulfilment_schema") as described:
        with postgres.connect(database_settings(described), application_name="test") as connection:
            connection.execute(SCHEMA.encode())
        assert catalogue(described) == catalogue(service.database_url)
    assert inbox.DDL in SCHEMA


def test_each_order_has_one_shipment_as_its_life_has_it_and_the_api_shows_it(
    worker: Worker, client: httpx2.Client
) -> None:
    lives = {kind: life(statuses) for kind, statuses in LIVES.items()}
    handle(worker, [event for events in lives.values() for event in events])
    shown = {kind: client.get(f"/shipments/{events[0].order_id}") for kind, events in lives.items()}
    assert {
        kind: answer.json()["status"] for kind, answer in shown.items() if answer.status_code == 200
    } == {
        "is to be packed": "PREPARED",
        "is on its way": "TRACKED",
        "is delivered": "CLOSED",
        "is refunded": "CALLED_OFF",
    }
    assert shown["is given up"].status_code == shown["waits for money"].status_code == 404
    assert shown["is given up"].json()["type"] == "/problems/shipment-not-found"
    delivered = lives["is delivered"]
    assert shown["is delivered"].json() == {
        "orderId": delivered[0].order_id,
        "customerId": "customer-123",
        "status": "CLOSED",
        "version": 4,
        "reason": None,
        "preparedAt": "2026-01-31T09:06:00.123000Z",
        "trackedAt": "2026-01-31T09:07:00.123000Z",
        "closedAt": "2026-01-31T09:08:00.123000Z",
        "calledOffAt": None,
        "paidAt": "2026-01-31T09:06:00.123000Z",
        "reservedAt": shown["is delivered"].json()["reservedAt"],
        "lines": [{"sku": line.sku, "quantity": line.quantity} for line in an_order().lines],
    }
    assert shown["is delivered"].json()["reservedAt"] is not None


@pytest.mark.parametrize("inbox_forgets", [False, True])
def test_a_repeat_writes_no_row_anew(worker: Worker, *, inbox_forgets: bool) -> None:
    records = [received(event) for statuses in LIVES.values() for event in life(statuses)]
    for record in records:
        worker.handle(record)
    before = worker.rows("shipment")
    if inbox_forgets:
        with worker.session.transaction() as cursor:
            cursor.execute("TRUNCATE inbox")
    for record in records + records[::-1]:
        worker.handle(record)
    assert worker.rows("shipment") == before


def test_a_batch_of_five_hundred_takes_as_many_statements_as_one_record(worker: Worker) -> None:
    standing = [life(LIVES["is delivered"]) for _ in range(500)]
    handle(worker, [event for events in standing for event in events[:2]])

    def everything(count: int) -> list[Any]:
        new = [received(life((CREATED, PAID))[1]) for _ in range(count)]
        return new + [received(standing.pop()[2]) for _ in range(count)]

    assert worker.statements(everything(1)) == worker.statements(everything(249)) == 3


def test_the_same_feed_at_four_workers_in_any_order_at_once_has_one_effect(
    service: Service, worker: Worker
) -> None:
    kinds = list(LIVES) * 30
    lives = [life(LIVES[kind]) for kind in kinds]
    records = [received(event) for events in lives for event in events]
    records += stock_of([event for events in lives for event in events])
    handle_concurrently(
        service.database_url,
        LISTENER,
        [Random(slot).sample(records, len(records)) for slot in range(4)],
        batch=25,
    )
    rows = service.rows("SELECT status, version FROM shipment")
    assert Counter(rows) == {
        ("PREPARED", 2): 30,
        ("TRACKED", 3): 30,
        ("CLOSED", 4): 30,
        ("CALLED_OFF", 3): 30,
    }
    before = worker.rows("shipment")
    worker.handle(*records)
    assert worker.rows("shipment") == before


def test_a_shipment_that_was_opened_meanwhile_is_found_the_next_time(worker: Worker) -> None:
    """The window between reading that there is none and writing one."""
    _, paid, cancelled = life((CREATED, PAID, CANCELLED))
    worker.handle(received(cancelled))
    with pytest.raises(Transient, match="another worker"):
        worker.handle_blindly(received(paid), blind_to="FROM shipment")
    before = worker.rows("shipment")
    worker.handle(received(paid))
    assert worker.rows("shipment") == before


def test_what_contradicts_the_feed_itself_is_poison_and_moves_nothing(worker: Worker) -> None:
    events = life((CREATED, PAID, SHIPPED, DELIVERED))
    handle(worker, events)
    again = life((*LIVES["is delivered"], PAID), order_id=events[0].order_id)[-1]
    before = worker.rows("shipment")
    with pytest.raises(Contradiction, match="version 5 is PAID, but recorded is CLOSED"):
        worker.handle(received(again))
    assert worker.rows("shipment") == before


def test_pages_follow_each_other_newest_first_by_customer_and_status_and_end(
    service: Service, worker: Worker, client: httpx2.Client
) -> None:
    lives = [life(LIVES[kind]) for _ in range(25) for kind in ("is to be packed", "is delivered")]
    handle(worker, [event for events in lives for event in events])
    theirs = sorted((events[0].order_id for events in lives[20:30]), reverse=True)
    with service.connection() as connection:
        connection.execute(
            "UPDATE shipment SET customer_id = 'customer-9' WHERE order_id = ANY (%s)", (theirs,)
        )

    def pages(**query: Any) -> tuple[list[str], list[int]]:
        seen, sizes = [], []
        cursor: str | None = ""
        while cursor is not None:
            page = client.get("/shipments", params={"cursor": cursor, **query}).json()
            seen += [shipment["orderId"] for shipment in page["items"]]
            sizes.append(len(page["items"]))
            cursor = page["nextCursor"]
        return seen, sizes

    newest = sorted((events[0].order_id for events in lives), reverse=True)
    assert pages(limit=20) == (newest, [20, 20, 10])
    packed = sorted((events[0].order_id for events in lives[::2]), reverse=True)
    assert pages(status="PREPARED", limit=10) == (packed, [10, 10, 5])
    assert pages(status="CALLED_OFF") == ([], [0])
    for both in (["PREPARED", "CLOSED"], "CLOSED,PREPARED", ["CLOSED", "PREPARED,CALLED_OFF"]):
        assert pages(status=both, limit=20) == (newest, [20, 20, 10])

    assert pages(customerId="customer-9", limit=4) == (theirs, [4, 4, 2])
    assert pages(customerId="customer-9", status=["PREPARED", "TRACKED"]) == (
        [order for order in theirs if order in packed],
        [5],
    )
    assert pages(customerId="nobody") == ([], [0])


@pytest.mark.parametrize(
    "query",
    [
        "status=PAID",
        "status=",
        "limit=0",
        "limit=501",
        "limit=-1",
        "limit=x",
        "limit=1.5",
        "cursor=%00",
        "customerId=%00",
        "customerId=",
        "status=CLOSED&status=PAID",
        "status=CLOSED,",
    ],
)
def test_a_filter_that_is_none_is_refused_with_its_name(client: httpx2.Client, query: str) -> None:
    answer = client.get(f"/shipments?{query}")
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")
    assert query.partition("=")[0] in answer.json()["detail"]


def test_what_can_be_no_order_has_no_shipment(client: httpx2.Client) -> None:
    for order in ("%00", "x" * 65, "a%20b", "0198a0b2-1111-7222-8333-444455556666"):
        assert client.get(f"/shipments/{order}").status_code == 404
