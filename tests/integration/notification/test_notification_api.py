"""
The notification API and its database: what it answers is what its document says; what a DBA reads
is what is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import jsonschema
import pytest
from tests.support.databases import catalogue, database_settings, empty_database
from tests.support.service import Service, service_deployed
from tests.support.stack import Stack

import orderflow.services.notification
from orderflow.contracts.topics import NOTIFICATIONS
from orderflow.messaging import postgres
from orderflow.messaging.postgres import inbox, outbox
from orderflow.messaging.testing.eventually import eventually

ROOM = Path(orderflow.services.notification.__file__).parent
SCHEMA = (ROOM / "schema.sql").read_text()


ORDERS = str(uuid4()), str(uuid4())


@pytest.fixture(scope="module")
def service(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    logs = tmp_path_factory.mktemp("notification")
    with service_deployed(stack, logs, "notification") as deployed:
        yield deployed


@pytest.fixture(scope="module")
def client(service: Service) -> httpx2.Client:
    with service.connection() as connection:
        for number in range(7):
            ids = (str(uuid4()), ORDERS[number >= 5], str(uuid4()))
            connection.execute(_NOTED, ids)
        connection.execute(_SENT)
        connection.execute(_DUE)
    return service.start("api").client


def asked(client: httpx2.Client, **parameters: Any) -> dict[str, Any]:
    answer = client.get("/notifications", params=parameters)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_what_a_customer_was_told_comes_in_its_order_page_by_page(client: httpx2.Client) -> None:
    whole = asked(client, customerId="anna")["items"]
    assert [item["sequence"] for item in whole] == [1, 2, 3, None, None, None, None]
    seen: list[dict[str, Any]] = []
    page = asked(client, customerId="anna", limit=3)
    while True:
        seen += page["items"]
        if page["nextCursor"] is None:
            break
        page = asked(client, customerId="anna", limit=3, cursor=page["nextCursor"])
    assert seen == whole
    assert [item["orderId"] for item in asked(client, orderId=ORDERS[1])["items"]] == [
        ORDERS[1]
    ] * 2
    assert asked(client, orderId="no such order") == {"items": [], "nextCursor": None}


def test_what_is_in_a_state_comes_newest_first_page_by_page(
    service: Service, client: httpx2.Client
) -> None:
    with service.connection() as connection:
        for state in ("HELD", "OVERTAKEN", "FAILED") * 2:
            connection.execute(_IN_STATE, (str(uuid4()), state))

    for state, count in (("HELD", 2), ("OVERTAKEN", 2), ("FAILED", 2), ("PENDING", 4)):
        whole = asked(client, state=state)["items"]
        assert [item["state"] for item in whole] == [state] * count
        first = asked(client, state=state, limit=1)
        second = asked(client, state=state, limit=1, cursor=first["nextCursor"])
        assert [*first["items"], *second["items"]] == whole[:2]
        last = asked(client, state=state, limit=count - 1)["nextCursor"]
        assert asked(client, state=state, cursor=last) == {"items": whole[-1:], "nextCursor": None}

    pending = asked(client, state="PENDING")["items"]
    theirs = asked(client, customerId="anna", state="PENDING")["items"]
    assert pending == theirs[::-1], "of a customer as they are told, of all the newest first"
    assert [item["sequence"] for item in asked(client, customerId="anna", state="SENT")["items"]]
    assert asked(client, customerId="anna", state="HELD")["items"] == []
    assert asked(client, orderId=ORDERS[1], state="PENDING")["items"] == theirs[-2:]


def test_a_cursor_of_one_list_is_none_of_the_other(client: httpx2.Client) -> None:
    by_customer = asked(client, customerId="anna", limit=1)["nextCursor"]
    by_state = asked(client, state="PENDING", limit=1)["nextCursor"]
    for query in (
        {"state": "PENDING", "cursor": by_customer},
        {"customerId": "anna", "cursor": by_state},
    ):
        assert client.get("/notifications", params=query).status_code == 422


def test_mails_that_wait_are_measured(client: httpx2.Client) -> None:
    eventually(
        lambda: "orderflow_mail_pending 4.0" in client.get("/metrics").text,
        within_s=20,
        why="4 of 7 were not sent",
    )
    assert "orderflow_mail_pending_oldest_seconds " in client.get("/metrics").text


def test_it_answers_as_its_document_says(client: httpx2.Client) -> None:
    document = client.get("/openapi.json").json()
    described = document["paths"]["/notifications"]["get"]["responses"]["200"]["content"][
        "application/json"
    ]
    for shown in (asked(client, customerId="anna"), asked(client, orderId=ORDERS[1], limit=1)):
        schema = {**described["schema"], "components": document["components"]}
        jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(
            shown
        )


@pytest.mark.parametrize(
    "query",
    [
        "",
        "orderId=",
        "orderId=a&customerId=b",
        f"orderId={'a' * 257}",
        "customerId=a%00b",
        "orderId=a&limit=0",
        "orderId=a&limit=501",
        "orderId=a&limit=x",
        "orderId=a&cursor=-1",
        "orderId=a&cursor=9223372036854775808",
        "state=SENT",
        "state=",
        "state=NONE",
        "orderId=a&state=NONE",
    ],
)
def test_anything_else_is_not_valid(client: httpx2.Client, query: str) -> None:
    answer = client.get(f"/notifications?{query}")
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")


def test_schema_sql_is_all_migrations_together(stack: Stack) -> None:
    with (
        empty_database(stack, "notification_schema") as url,
        empty_database(stack, "notification_schema") as migrated,
    ):
        with postgres.connect(database_settings(url), application_name="test") as connection:
            connection.execute(SCHEMA.encode())
        postgres.migrate(migrated, ROOM / "migrations")
        described = catalogue(url)
        assert {name for kind, name, *_ in described if kind == "table"} >= {
            "customer",
            "delivery",
            "outbox",
        }
        assert described == catalogue(migrated)


def test_inbox_and_outbox_are_the_kits_word_for_word() -> None:
    assert inbox.DDL in SCHEMA
    assert outbox.ddl([NOTIFICATIONS.name]) in SCHEMA
    migrations = [path.read_text() for path in (ROOM / "migrations").glob("*.sql")]
    for upgrade in (outbox.MEASURE, outbox.HOLD, outbox.BY_KEY):
        assert any(upgrade in text for text in migrations)


_NOTED = b"""
INSERT INTO delivery (notification_id, customer_id, order_id, kind, channel, subject, text,
    cause_id, cause_type,
                      correlation_id)
VALUES (%s, 'anna', %s, 'ORDER_CREATED', 'EMAIL', 's', 't', %s, 'orderflow.OrderCreated', 'c')
"""
_SENT = b"""
UPDATE delivery SET state = 'SENT', sequence = position, occurred_at = now(),
    attempts = 1 WHERE position <= 3
"""
_IN_STATE = b"""
INSERT INTO delivery (notification_id, customer_id, order_id, kind, channel, subject, text,
    cause_id, cause_type, correlation_id, state, sequence, occurred_at)
SELECT %s, 'otto', 'o', 'ORDER_CREATED', 'EMAIL', 's', 't', gen_random_uuid(),
       'orderflow.OrderCreated', 'c', state, CASE state WHEN 'FAILED' THEN 1 END,
       CASE state WHEN 'FAILED' THEN now() END
FROM (SELECT %s::text AS state) AS stated
"""
_DUE = b"INSERT INTO customer VALUES ('anna', 3, now(), NULL, 3)"
