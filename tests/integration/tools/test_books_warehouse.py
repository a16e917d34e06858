"""The warehouse as a side of the books, on a real database that the deploy step made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from tests.support.databases import database_settings, empty_database
from tests.support.stack import Stack

from orderflow.books.accounts import WarehouseRow
from orderflow.books.copy_positions import CopyAway, away_is_said
from orderflow.books.sides.views import Views
from orderflow.books.sides.warehouse import WarehouseViews
from orderflow.connect.warehouse import make_table
from orderflow.messaging import postgres
from orderflow.messaging.settings import DatabaseSettings

ROWS = """
    INSERT INTO payments (payment_id, order_id, customer_id, attempt, amount_minor, currency,
        message, refund_id, occurred_at)
    VALUES ('p1', 'o1', 'anna', 1, 500, 'EUR', NULL, NULL, now()),
        ('p2', 'o1', 'anna', 2, 500, 'EUR', 'declined', NULL, now()),
        ('p3', 'o2', 'bert', 1, 700, 'JPY', NULL, 'r3', now())
"""


@pytest.fixture(scope="module")
def warehouse(stack: Stack) -> Iterator[DatabaseSettings]:
    with empty_database(stack, "warehouse") as url:
        settings = database_settings(url)
        make_table(settings)
        with postgres.connect(settings, application_name="test", autocommit=True) as connection:
            connection.execute(ROWS.encode())
        yield settings


def row(payment: str, customer: str, status: str, currency: str, *sums: int) -> WarehouseRow:
    captured, refunded = sums
    return WarehouseRow(
        payment_id=payment,
        customer_id=customer,
        status=status,
        currency=currency,
        captured_minor=captured,
        refunded_minor=refunded,
    )


def test_its_rows_are_read_by_order_and_its_orders_page_by_page(
    warehouse: DatabaseSettings,
) -> None:
    with closing(views := Views(warehouse)):
        side = WarehouseViews(views)
        assert side.read(["o1", "o2", "o3", "nul\0"]) == {
            "o1": (
                row("p1", "anna", "SUCCEEDED", "EUR", 500, 0),
                row("p2", "anna", "FAILED", "EUR", 0, 0),
            ),
            "o2": (row("p3", "bert", "REFUNDED", "JPY", 700, 700),),
        }
        assert side.order_ids("", 1) == ["o1"]
        assert side.order_ids("o1", 5) == ["o2"]
        assert side.order_ids("o2", 5) == []


def test_a_warehouse_without_its_view_is_away(stack: Stack) -> None:
    with empty_database(stack, "empty") as url, closing(Views(database_settings(url))) as views:
        with pytest.raises(CopyAway) as raised, away_is_said("warehouse"):
            WarehouseViews(views).read(["o1"])
        assert raised.value.resource == "warehouse"
