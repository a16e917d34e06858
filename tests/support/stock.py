"""Stock in an inventory database, without a process that could be asked for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec
from tests.support.databases import database_settings

from orderflow.contracts.ids import Sku
from orderflow.messaging import postgres
from orderflow.messaging.http.actor import Actor
from orderflow.services.inventory import movements
from orderflow.services.inventory.movements import Receipt, StockTake
from orderflow.stack.demo_data import ON_HAND


def add_demo_stock(database_url: str) -> None:
    receive(database_url, ON_HAND)


def receive(database_url: str, quantities: Mapping[str, int]) -> None:
    """The command of `POST /stock/{sku}/receipts`, on the database; none of a SKU: add it."""
    with _cursor(database_url) as cursor:
        for sku, quantity in quantities.items():
            put_in_stock(cursor, sku, quantity)


def put_in_stock(cursor: postgres.Cursor, sku: str, quantity: int, *, key: str = "test") -> None:
    actor = Actor("test")
    if quantity:
        movements.receive(
            cursor, Receipt(sku=Sku(sku), quantity=quantity, key=key, actor=actor, reason=None)
        )
    else:
        movements.take_stock(
            cursor, StockTake(sku=Sku(sku), on_hand=0, actor=actor, reason=None, seen=None)
        )


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    on_hand: int
    received: int
    corrected: int
    shipped: int
    reserved: int
    movements: int


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A SKU whose row does not say what its movements and reservations add up to."""

    sku: str
    recorded: Figures
    added_up: Figures


def audited(database_url: str) -> list[Difference]:
    """
    What is wrong in the books of stock, from every movement and every reservation that the service
    publishes: more than the books of a live system compare.
    """
    with _cursor(database_url) as cursor:
        cursor.execute(_AUDIT)
        return [
            Difference(sku=sku, recorded=_figures(*row[:6]), added_up=_figures(*row[6:]))
            for sku, *row in cursor
        ]


def _figures(*row: int) -> Figures:
    return Figures(**dict(zip(Figures.__struct_fields__, map(int, row), strict=True)))


@contextmanager
def _cursor(database_url: str) -> Iterator[postgres.Cursor]:
    settings = database_settings(database_url)
    with (
        postgres.connect(settings, application_name="test") as connection,
        connection.cursor() as cursor,
    ):
        yield cursor


_AUDIT = """
WITH movement AS (
    SELECT *, sum(quantity) OVER (PARTITION BY sku ORDER BY sequence) AS added_up
    FROM books_movement
), moved AS (
    SELECT sku, sum(quantity) AS on_hand,
           coalesce(sum(quantity) FILTER (WHERE kind = 'RECEIPT'), 0) AS received,
           coalesce(sum(quantity) FILTER (WHERE kind = 'CORRECTION'), 0) AS corrected,
           max(sequence) AS movements,
           bool_and(on_hand = added_up) AND max(sequence) = count(*) AS is_whole
    FROM movement GROUP BY sku
), ordered AS (
    SELECT line->>'sku' AS sku,
           sum((line->>'quantity')::bigint) FILTER (WHERE status = 'RESERVED') AS reserved,
           sum((line->>'quantity')::bigint) FILTER (WHERE status = 'SHIPPED') AS shipped
    FROM books_reservation, jsonb_array_elements(lines) AS line GROUP BY 1
), compared AS (
    SELECT sku, stock.on_hand, stock.received, stock.corrected, stock.shipped, stock.reserved,
           stock.movements,
           coalesce(moved.on_hand, 0) AS on_hand_, coalesce(moved.received, 0) AS received_,
           coalesce(moved.corrected, 0) AS corrected_, coalesce(ordered.shipped, 0) AS shipped_,
           coalesce(ordered.reserved, 0) AS reserved_, coalesce(moved.movements, 0) AS movements_,
           coalesce(is_whole, true) AS is_whole
    FROM books_stock AS stock LEFT JOIN moved USING (sku) LEFT JOIN ordered USING (sku)
)
SELECT sku, on_hand, received, corrected, shipped, reserved, movements,
       on_hand_, received_, corrected_, shipped_, reserved_, movements_
FROM compared
WHERE (on_hand, received, corrected, shipped, reserved, movements)
   <> (on_hand_, received_, corrected_, shipped_, reserved_, movements_) OR NOT is_whole
ORDER BY sku
"""
