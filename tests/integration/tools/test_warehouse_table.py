"""
The warehouse's table, on a real PostgreSQL: in whatever order a payment's events come, and however
often, the row is the latest state; a table of somebody else's is named and left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import permutations

import pytest
from tests.support.databases import database_settings, empty_database
from tests.support.stack import Stack

from orderflow.connect.warehouse import make_table, net_by_currency, payments_of
from orderflow.messaging import postgres
from orderflow.messaging.errors import Incompatible
from orderflow.messaging.postgres import Connection
from orderflow.messaging.settings import DatabaseSettings

COMMON = {
    "payment_id": "p-1",
    "order_id": "o-1",
    "customer_id": "c-1",
    "attempt": "1",
    "amount_minor": "1250",
    "currency": "EUR",
}
SUCCEEDED = {
    **COMMON,
    "payment_method": "pm_ok",
    "provider_reference": "ch_1",
    "occurred_at": "2026-01-31T10:00:00Z",
}
REFUNDED = {
    **COMMON,
    "refund_id": "r-1",
    "reason": "CUSTOMER",
    "provider_reference": "re_1",
    "occurred_at": "2026-01-31T10:05:00Z",
}


@pytest.fixture
def warehouse(stack: Stack) -> Iterator[DatabaseSettings]:
    with empty_database(stack, "warehouse") as url:
        yield database_settings(url)


@pytest.fixture
def connection(warehouse: DatabaseSettings) -> Iterator[Connection]:
    with postgres.connect(warehouse, application_name="test", autocommit=True) as connection:
        yield connection


def upsert(connection: Connection, event: Mapping[str, str]) -> None:
    """As the sink does it: the columns that the event has, whatever the row holds."""
    columns = ", ".join(event)
    values = ", ".join(f"'{value}'" for value in event.values())
    changes = ", ".join(f"{column} = EXCLUDED.{column}" for column in event)
    statement = (
        f"INSERT INTO payments ({columns}) VALUES ({values}) "
        f"ON CONFLICT (payment_id) DO UPDATE SET {changes}"
    )
    connection.execute(statement.encode())


@pytest.mark.parametrize("events", sorted(set(permutations("srsr"))))
def test_a_row_never_goes_back(
    warehouse: DatabaseSettings, connection: Connection, events: tuple[str, ...]
) -> None:
    make_table(warehouse)
    for event in events:
        upsert(connection, SUCCEEDED if event == "s" else REFUNDED)
    [row] = connection.execute(
        b"SELECT status, provider_reference, payment_method, reason, refund_id,"
        b" to_char(occurred_at, 'HH24:MI') FROM payments"
    ).fetchall()
    assert row == ("REFUNDED", "re_1", "pm_ok", "CUSTOMER", "r-1", "10:05")


def test_what_is_paid_counts_and_what_is_refunded_or_failed_does_not(
    warehouse: DatabaseSettings, connection: Connection
) -> None:
    make_table(warehouse)
    upsert(connection, SUCCEEDED)
    failed = {**COMMON, "payment_id": "p-2", "attempt": "2", "message": "no", "reason": "DECLINED"}
    upsert(connection, {**failed, "occurred_at": "2026-01-31T10:01:00Z"})
    assert net_by_currency(warehouse) == {"EUR": 1250}
    assert [row.status for row in payments_of(warehouse, "o-1")] == ["SUCCEEDED", "FAILED"]
    upsert(connection, REFUNDED)
    assert net_by_currency(warehouse) == {}


def test_made_twice_it_is_the_same(warehouse: DatabaseSettings, connection: Connection) -> None:
    make_table(warehouse)
    upsert(connection, SUCCEEDED)
    make_table(warehouse)
    assert [row.payment_id for row in payments_of(warehouse, "o-1")] == ["p-1"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("DROP COLUMN currency CASCADE", "it has no column currency"),
        ("ALTER COLUMN attempt TYPE text", "attempt is text, not integer"),
        ("ADD COLUMN region text NOT NULL", "region must have a value, which no payment has"),
        ("DROP CONSTRAINT payments_pkey", "its primary key is not payment_id"),
    ],
)
def test_a_table_that_does_not_fit_is_named_and_left_alone(
    warehouse: DatabaseSettings, connection: Connection, change: str, complaint: str
) -> None:
    make_table(warehouse)
    connection.execute(f"ALTER TABLE payments {change}".encode())
    with pytest.raises(Incompatible, match=complaint):
        make_table(warehouse)


def test_more_columns_than_the_sink_fills_do_no_harm(
    warehouse: DatabaseSettings, connection: Connection
) -> None:
    """A field of a newer schema, or somebody's own with a default."""
    make_table(warehouse)
    connection.execute(
        b"ALTER TABLE payments ADD COLUMN risk_score integer, ADD COLUMN seen boolean DEFAULT false"
    )
    make_table(warehouse)
    upsert(connection, SUCCEEDED)
