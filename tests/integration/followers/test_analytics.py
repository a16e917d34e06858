"""
The funnel in a real database: the handler as the container calls it, behind the inbox; and the API
over it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import pytest
from tests.support.builders import AT, CREATED, DELIVERED, LIVES, PAID, SHIPPED, life, received
from tests.support.databases import catalogue, database_settings, empty_database
from tests.support.inbox_worker import Worker, handle_concurrently
from tests.support.service import Service, service_deployed
from tests.support.stack import Stack

import orderflow.services.analytics
from orderflow.contracts.events import OrderEvent
from orderflow.messaging import postgres
from orderflow.messaging.postgres import inbox
from orderflow.services.analytics.listeners import LISTENER

HERE = Path(orderflow.services.analytics.__file__).parent
SCHEMA = (HERE / "schema.sql").read_text()
TABLES = ("followed_order", "status_change", "funnel_status", "funnel_hour", "funnel_stay")


SUMS = (
    "SELECT status, entered, current FROM funnel_status",
    "SELECT hour, status, orders, last_at FROM funnel_hour",
    "SELECT status, left_to, sum(orders) FROM funnel_stay GROUP BY 1, 2",
)
_COUNTED = """
SELECT status, count(*), (SELECT count(*) FROM followed_order WHERE status = change.status)
FROM status_change AS change GROUP BY status
"""
_BY_HOUR = """
SELECT date_trunc('hour', entered_at), status, count(*), max(entered_at)
FROM status_change GROUP BY 1, 2
"""
_LEFT = """
SELECT status, left_to, count(*) FROM status_change WHERE left_to IS NOT NULL GROUP BY 1, 2
"""
CHANGES = (_COUNTED, _BY_HOUR, _LEFT)


@pytest.fixture(scope="module")
def service(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    logs = tmp_path_factory.mktemp("analytics")
    with service_deployed(stack, logs, "analytics") as service:
        yield service


@pytest.fixture
def worker(service: Service) -> Iterator[Worker]:
    with service.connection() as connection:
        connection.execute(f"TRUNCATE {', '.join(TABLES)}, inbox".encode())
    worker = Worker(service.database_url, LISTENER)
    yield worker
    worker.session.close()


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx2.Client]:
    with service.documented_api() as client:
        yield client


def within_a_fortieth(seconds: float) -> object:
    return pytest.approx(seconds, rel=1 / 40)


def funnel(client: httpx2.Client, **query: Any) -> dict[str, Any]:
    answer: dict[str, Any] = client.get("/analytics/funnel", params=query).json()
    return answer


def summed_up(service: Service) -> list[set[tuple[object, ...]]]:
    """The sums that the funnel reads."""
    return [set(service.rows(statement)) for statement in SUMS]


def added_up(service: Service) -> list[set[tuple[object, ...]]]:
    """The same from every change there is."""
    return [set(service.rows(statement)) for statement in CHANGES]


def two_hundred_lives() -> list[OrderEvent]:
    """Orders of every kind, one begun each minute; the longer they take, the later they begin."""
    kinds = list(LIVES) * 34
    lives = [
        life(LIVES[kind], begin=AT + timedelta(minutes=number), seconds=number + 0.25)
        for number, kind in enumerate(kinds[:200])
    ]
    return [event for events in lives for event in events]


def test_schema_sql_is_all_migrations_together_and_has_the_kits_inbox(
    stack: Stack, service: Service
) -> None:
    with empty_database(stack, "analytics_schema") as described:
        with postgres.connect(database_settings(described), application_name="test") as connection:
            connection.execute(SCHEMA.encode())
        assert catalogue(described) == catalogue(service.database_url)
    assert inbox.DDL in SCHEMA


def test_nothing_heard_yet_is_a_funnel_too(worker: Worker, client: httpx2.Client) -> None:
    nothing = dict.fromkeys(("CREATED", "PAID", "SHIPPED", "DELIVERED", "CANCELLED"), 0)
    assert funnel(client) == {
        "orders": 0,
        "current": nothing,
        "entered": nothing,
        "conversion": [],
        "timeInState": {},
        "byHour": [],
        "lastEventAt": None,
    }


def test_the_funnel_tells_where_orders_are_go_and_stay(
    worker: Worker, client: httpx2.Client
) -> None:
    for seconds in (10, 20, 30, 1000):
        worker.handle(
            *(
                received(event)
                for event in life((CREATED, PAID, SHIPPED, DELIVERED), seconds=seconds)
            )
        )
    worker.handle(
        *(
            received(event)
            for event in life(LIVES["is given up"], begin=AT + timedelta(hours=3), seconds=7)
        )
    )
    counted = funnel(client)
    assert counted["orders"] == 5
    assert counted["current"] == {
        "CREATED": 0,
        "PAID": 0,
        "SHIPPED": 0,
        "DELIVERED": 4,
        "CANCELLED": 1,
    }
    assert counted["entered"] == {
        "CREATED": 5,
        "PAID": 4,
        "SHIPPED": 4,
        "DELIVERED": 4,
        "CANCELLED": 1,
    }
    assert counted["conversion"] == [
        {"from": "CREATED", "to": "PAID", "orders": 4, "share": 0.8},
        {"from": "CREATED", "to": "CANCELLED", "orders": 1, "share": 0.2},
        {"from": "PAID", "to": "SHIPPED", "orders": 4, "share": 1.0},
        {"from": "SHIPPED", "to": "DELIVERED", "orders": 4, "share": 1.0},
    ]
    stay = {"orders": 4, "p50S": within_a_fortieth(20), "p95S": within_a_fortieth(1000)}
    assert counted["timeInState"] == {
        "CREATED": {**stay, "orders": 5},
        "PAID": stay,
        "SHIPPED": stay,
    }
    assert counted["byHour"] == [
        {"hour": "2026-01-31T09:00:00Z", "status": "CREATED", "count": 4},
        {"hour": "2026-01-31T09:00:00Z", "status": "PAID", "count": 4},
        {"hour": "2026-01-31T09:00:00Z", "status": "SHIPPED", "count": 4},
        {"hour": "2026-01-31T09:00:00Z", "status": "DELIVERED", "count": 4},
        {"hour": "2026-01-31T12:00:00Z", "status": "CREATED", "count": 1},
        {"hour": "2026-01-31T12:00:00Z", "status": "CANCELLED", "count": 1},
    ]
    assert counted["lastEventAt"] == "2026-01-31T12:05:07.123000Z"
    assert [hour["hour"] for hour in funnel(client, hours=3)["byHour"]] == [
        "2026-01-31T12:00:00Z"
    ] * 2
    assert funnel(client, hours=4)["byHour"] == counted["byHour"]


def test_the_same_feed_in_any_order_at_any_number_of_workers_makes_the_same_funnel(
    service: Service, worker: Worker, client: httpx2.Client
) -> None:
    records = [received(event) for event in two_hundred_lives()]
    for start in range(0, len(records), 50):
        worker.handle(*records[start : start + 50])
    wanted = funnel(client)
    assert wanted["orders"] == 200
    for attempt in range(3):
        with service.connection() as connection:
            connection.execute(f"TRUNCATE {', '.join(TABLES)}, inbox".encode())
        shares = [Random(10 * attempt + slot).sample(records, len(records)) for slot in range(4)]
        handle_concurrently(service.database_url, LISTENER, shares, batch=25)
        assert funnel(client) == wanted
        assert summed_up(service) == added_up(service)


@pytest.mark.parametrize("inbox_forgets", [False, True])
def test_a_repeat_writes_no_row_anew(worker: Worker, *, inbox_forgets: bool) -> None:
    records = [received(event) for event in two_hundred_lives()]
    worker.handle(*records)
    before = [worker.rows(table) for table in TABLES]
    if inbox_forgets:
        with worker.session.transaction() as cursor:
            cursor.execute("TRUNCATE inbox")
    for record in records[:50]:
        worker.handle(record)
    worker.handle(*records)
    assert [worker.rows(table) for table in TABLES] == before


def test_a_change_that_comes_late_is_put_in_its_place(
    worker: Worker, client: httpx2.Client
) -> None:
    """
    As a dead letter does that was sent back: until then nobody knows how long the one before it
    was.
    """
    created, paid, shipped = (received(event) for event in life((CREATED, PAID, SHIPPED)))
    worker.handle(created)
    worker.handle(shipped)
    assert funnel(client)["timeInState"] == {}
    assert funnel(client)["current"]["SHIPPED"] == 1
    worker.handle(paid)
    assert {status: stay["p50S"] for status, stay in funnel(client)["timeInState"].items()} == {
        "CREATED": within_a_fortieth(60),
        "PAID": within_a_fortieth(60),
    }
    assert funnel(client)["current"]["SHIPPED"] == 1


def test_a_batch_of_five_hundred_takes_as_many_statements_as_one_record(worker: Worker) -> None:
    records = [received(event) for event in two_hundred_lives()]
    assert worker.statements(records[:1]) == worker.statements(records[1:501]) == 4


@pytest.mark.parametrize("hours", ["0", "745", "-1", "x", "", "1.5"])
def test_hours_that_are_none_are_refused(client: httpx2.Client, hours: str) -> None:
    answer = client.get("/analytics/funnel", params={"hours": hours})
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")
    assert "hours" in answer.json()["detail"]
