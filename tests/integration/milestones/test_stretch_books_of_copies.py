"""
The books of a stack with a warehouse and a lake: they balance, and whatever is planted in a copy is
found and named, to the row and the minor unit; a copy that is away is said to be.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from tests.support.databases import database_settings
from tests.support.whole_stack import WholeStack, whole_stack

from orderflow.contracts.ids import OrderId, payment_id
from orderflow.messaging import postgres
from orderflow.messaging.testing.eventually import eventually

SKU = "MOUSE-01"
BALANCED, DIFFERENT, UNSETTLED = 0, 1, 3

pytestmark = pytest.mark.timeout(900)


@dataclass
class Shop:
    """`orders`: paid, paid and refunded, in this order."""

    stack: WholeStack
    orders: tuple[str, str]

    @property
    def payments(self) -> tuple[str, str]:
        first, second = (payment_id(OrderId(order), 1) for order in self.orders)
        return first, second

    def books(self, *options: str) -> tuple[int, dict[str, Any]]:
        done = self.stack.orderflow("books", "--full", "--within", "60", "--json", *options)
        assert done.stdout, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return done.returncode, report

    @contextmanager
    def in_warehouse(self, *statements: str) -> Iterator[None]:
        """The warehouse after these statements; afterwards it is as before."""
        settings = database_settings(self.stack.addresses["WAREHOUSE_DATABASE_URL"])
        with postgres.connect(settings, application_name="test", autocommit=True) as connection:

            def run(*each: str) -> None:
                for statement in each:
                    connection.execute(statement.encode())

            run("CREATE TABLE kept AS TABLE payments")
            run("ALTER TABLE kept DROP COLUMN status")
            try:
                run(*statements)
                yield
            finally:
                [columns] = connection.execute(
                    b"SELECT string_agg(quote_ident(column_name), ', ')"
                    b" FROM information_schema.columns WHERE table_name = 'kept'"
                ).fetchone() or ("",)
                run(
                    "DELETE FROM payments",
                    f"INSERT INTO payments ({columns}) SELECT {columns} FROM kept",
                    "DROP TABLE kept",
                )

    @contextmanager
    def in_lake(self, payment: str, change: Callable[[pa.Table, int], pa.Table]) -> Iterator[None]:
        """The object with this payment after `change(rows, row)`; afterwards it is as before."""
        for file in self.stack.state.rglob("payments-*.parquet"):
            rows = pq.ParquetFile(file).read()
            at = pc.index(rows["payment_id"], payment).as_py()
            if at >= 0:
                break
        else:
            raise AssertionError(f"{payment} is in no object")

        before = file.read_bytes()
        _replace(file, _parquet(change(rows, at)))
        try:
            yield
        finally:
            _replace(file, before)


def _parquet(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink)
    return bytes(sink.getvalue())


def _replace(file: Path, body: bytes) -> None:
    aside = file.with_suffix(".planted")
    aside.write_bytes(body)
    aside.rename(file)


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with whole_stack("connect") as stack, stack.api("order") as api:
        orders = tuple(_paid(api, customer) for customer in ("anna", "bert"))
        assert api.post(f"/orders/{orders[1]}/cancel").status_code == 200
        shop = Shop(stack, (orders[0], orders[1]))
        eventually(
            lambda: _is_refunded(api, orders[1]), within_s=60, why=f"{orders[1]} is refunded"
        )
        yield shop


def _paid(api: httpx2.Client, customer: str) -> str:
    body = {"customerId": customer, "lines": [{"sku": SKU, "quantity": 1}]}
    order = str(api.post("/orders", json=body).raise_for_status().json()["orderId"])
    eventually(
        lambda: api.get(f"/orders/{order}").json()["stock"] == "RESERVED",
        within_s=60,
        why=f"{order} is paid and reserved",
    )
    return order


def _is_refunded(api: httpx2.Client, order: str) -> bool:
    return bool(api.get(f"/orders/{order}").json()["payment"]["state"] == "REFUNDED")


def test_the_books_balance_and_say_that_both_copies_were_compared(shop: Shop) -> None:
    code, report = shop.books()
    assert (code, report["verdict"]) == (BALANCED, "BALANCED"), report
    assert {copy["name"]: copy["state"] for copy in report["copies"]} == {
        "warehouse": "COMPARED",
        "lake": "COMPARED",
    }
    checked = {row["check"]: row["checked"] for row in report["checks"]}
    assert checked["warehouse"] >= 2
    assert checked["lake"] >= 3


WAREHOUSE: Mapping[str, tuple[str, int, str]] = {
    "a row is gone": ("DELETE FROM payments WHERE payment_id = '{0}'", 0, "no row"),
    "an amount is one more": (
        "UPDATE payments SET amount_minor = amount_minor + 1 WHERE payment_id = '{0}'",
        0,
        "SUCCEEDED",
    ),
    "a refund is gone": (
        "UPDATE payments SET refund_id = NULL WHERE payment_id = '{1}'",
        1,
        "SUCCEEDED",
    ),
}


@pytest.mark.parametrize("name", WAREHOUSE)
def test_what_is_planted_in_the_warehouse_is_named(shop: Shop, name: str) -> None:
    sql, which, actual = WAREHOUSE[name]
    with shop.in_warehouse(sql.format(*shop.payments)):
        code, report = shop.books()
    [difference] = report["differences"]
    assert (code, difference["check"]) == (DIFFERENT, "warehouse")
    assert difference["id"] == shop.payments[which]
    assert actual in difference["actual"]


def test_a_row_that_nobody_announced_is_named(shop: Shop) -> None:
    insert = (
        "INSERT INTO payments (payment_id, order_id, customer_id, attempt, amount_minor, currency,"
        " occurred_at) VALUES ('nobodys', 'no-order', 'c', 1, 5, 'EUR', now())"
    )
    with shop.in_warehouse(insert):
        code, report = shop.books()
    [difference] = report["differences"]
    assert (code, difference["check"], difference["id"]) == (DIFFERENT, "warehouse", "nobodys")


def _without(rows: pa.Table, at: int) -> pa.Table:
    return pa.concat_tables([rows.slice(0, at), rows.slice(at + 1)])


def _twice(rows: pa.Table, at: int) -> pa.Table:
    return pa.concat_tables([rows, rows.slice(at, 1)])


def _one_more(rows: pa.Table, at: int) -> pa.Table:
    amounts = rows["amount_minor"].to_pylist()
    amounts[at] += 1
    column = rows.column_names.index("amount_minor")
    return rows.set_column(column, "amount_minor", pa.array(amounts, pa.int64()))


LAKE: Mapping[str, tuple[Callable[[pa.Table, int], pa.Table], str]] = {
    "a row is gone": (_without, "no row"),
    "a row is there twice": (_twice, "2 rows"),
    "an amount is one more": (_one_more, "PaymentSucceeded"),
}


@pytest.mark.parametrize("name", LAKE)
def test_what_is_planted_in_the_lake_is_named(shop: Shop, name: str) -> None:
    change, actual = LAKE[name]
    with shop.in_lake(shop.payments[0], change):
        code, report = shop.books()
    [difference] = report["differences"]
    assert (code, difference["check"], difference["id"]) == (DIFFERENT, "lake", shop.payments[0])
    assert actual in difference["actual"]


def test_a_warehouse_that_is_away_is_said_and_hides_no_other_difference(shop: Shop) -> None:
    with shop.in_warehouse("ALTER VIEW books_payments RENAME TO elsewhere"):
        try:
            code, report = shop.books()
            assert (code, report["verdict"]) == (UNSETTLED, "UNSETTLED")
            assert {copy["name"]: copy["state"] for copy in report["copies"]} == {
                "warehouse": "AWAY",
                "lake": "COMPARED",
            }
            assert any(note.startswith("not compared: the warehouse") for note in report["notes"])
            with shop.in_lake(shop.payments[0], _without):
                code, report = shop.books()
            assert (code, len(report["differences"])) == (DIFFERENT, 1)
        finally:
            settings = database_settings(shop.stack.addresses["WAREHOUSE_DATABASE_URL"])
            with postgres.connect(settings, application_name="test", autocommit=True) as connection:
                connection.execute(b"ALTER VIEW elsewhere RENAME TO books_payments")
    assert shop.books()[0] == BALANCED
