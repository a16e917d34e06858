"""
What inventory decided about an order is announced again on demand, with the same ids and bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import httpx2
import pytest
from tests.support.builders import an_order, new_order_id, paid
from tests.support.kafka_tools import orderflow
from tests.support.service import Service, service_deployed
from tests.support.stack import Stack

from orderflow.contracts.topics import INVENTORY, PAYMENTS
from orderflow.messaging.testing.eventually import eventually


@pytest.fixture(scope="module")
def service(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    assert orderflow(stack, "topics", "apply").returncode == 0
    assert orderflow(stack, "schemas", "apply").returncode == 0
    logs = tmp_path_factory.mktemp("inventory")
    with service_deployed(stack, logs, "inventory") as service:
        yield service


def test_an_order_that_missed_the_decision_gets_the_same_event_again(service: Service) -> None:
    process = service.start("api,listener,relay")
    order_id = new_order_id()
    service.send(PAYMENTS.name, paid(an_order(order_id)), event_id=uuid4())
    service.flush()

    def announced() -> list[tuple[str, str]]:
        records = service.published(INVENTORY.name)
        return [(record.type, record.id) for record in records if record.key == order_id]

    eventually(lambda: len(announced()) == 1, within_s=60, every_s=0.2)
    answer = process.client.post(f"/reservations/{order_id}/announce")
    assert answer.status_code == 202
    [again] = answer.json()["events"]

    eventually(lambda: len(announced()) == 2, within_s=30, every_s=0.2)
    first, second = announced()
    assert first == second
    assert again["eventId"] == first[1]

    # Once in ten seconds, whatever was published before.
    refused = process.client.post(f"/reservations/{order_id}/announce")
    assert (refused.status_code, refused.json()["type"]) == (429, "/problems/too-soon")
    assert 1 <= int(refused.headers["retry-after"]) <= 10
    with service.connection() as connection:
        connection.execute(
            "UPDATE outbox SET created_at = created_at - interval '10 s' WHERE aggregateid = %s",
            (order_id,),
        )
    assert process.client.post(f"/reservations/{order_id}/announce").status_code == 202


def test_nothing_is_announced_of_an_order_that_inventory_never_heard_of(service: Service) -> None:
    with service.documented_api() as client:
        assert _announce(client, new_order_id()) == 404
        assert _announce(client, "no id") == 404


def test_events_older_than_the_outbox_are_refused(service: Service) -> None:
    order_id = new_order_id()
    with service.connection() as connection:
        connection.execute(
            "INSERT INTO reservation (order_id, customer_id, payment_id, status, lines, created_at,"
            " updated_at) VALUES (%s, 'c', 'p', 'RESERVED', '[]', now(), now())",
            (order_id,),
        )
    with service.documented_api() as client:
        assert _announce(client, order_id) == 409


def _announce(client: httpx2.Client, order_id: str) -> int:
    return client.post(f"/reservations/{order_id}/announce").status_code
