"""
The rows of `bench growth`: many orders, nothing on which a service would work, and no slot lost.
"""

from __future__ import annotations

import pytest
from tests.support.databases import database_settings, empty_database, migrate_service
from tests.support.stack import Stack

from orderflow.bench.growth.bench import fill
from orderflow.bench.service_data import open_connection
from orderflow.bench.years.generated import generate
from orderflow.bench.years.log_kept import keep_whole_log
from orderflow.messaging import postgres
from orderflow.services.notification.model import Kind
from orderflow.stack.addresses import database_url
from orderflow.stack.temporary_stack import temporary_stack

ORDERS = 2_000
ROWS = {
    "order": "SELECT count(*) FROM orders",
    "payment": "SELECT count(*) FROM payment",
    "inventory": "SELECT count(*) FROM reservation",
    "fulfilment": "SELECT count(*) FROM shipment",
    "notification": "SELECT count(*) FROM delivery",
    "analytics": "SELECT count(*) FROM followed_order",
}
WORK = {
    "order": "SELECT count(*) FROM orders WHERE waiting_for IN ('PAYMENT', 'STOCK')",
    "payment": "SELECT (SELECT count(*) FROM payment WHERE settled_at IS NULL)"
    " + (SELECT count(*) FROM refund WHERE settled_at IS NULL)",
    "notification": "SELECT (SELECT count(*) FROM customer WHERE due_at IS NOT NULL)"
    " + (SELECT count(*) FROM delivery WHERE occurred_at IS NULL)",
}
"""What the sweeper, the listener's upkeep and the sender would look for."""


@pytest.mark.parametrize("service", ROWS)
def test_the_tables_are_full_and_nothing_waits(stack: Stack, service: str) -> None:
    with empty_database(stack, f"growth_{service}") as url:
        migrate_service(service, url)
        settings = database_settings(url)
        with postgres.connect(settings, application_name="growth", autocommit=True) as connection:
            fill(connection, service, orders=ORDERS)

            assert _count(connection, ROWS[service]) > 0.9 * ORDERS
            assert service not in WORK or _count(connection, WORK[service]) == 0


def test_every_generated_notification_is_of_a_kind_that_the_service_knows(stack: Stack) -> None:
    """One that is held, or waits, ends the process that reads it otherwise."""
    with empty_database(stack, "growth_kinds") as url:
        migrate_service("notification", url)
        settings = database_settings(url)
        with postgres.connect(settings, application_name="growth", autocommit=True) as connection:
            generate(connection, "notification", orders=ORDERS)
            kinds = connection.execute(b"SELECT DISTINCT kind FROM delivery").fetchall()
    assert {kind for (kind,) in kinds} <= set(Kind)


def _count(connection: postgres.Connection, query: str) -> int:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


def test_no_slot_loses_its_log_while_rows_are_generated() -> None:
    with (
        temporary_stack(("postgres",), change=keep_whole_log) as stack,
        open_connection(database_url(stack.settings, "postgres")) as connection,
    ):
        row = connection.execute("SHOW max_slot_wal_keep_size").fetchone()
        assert row == ("-1",)
