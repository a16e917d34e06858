"""Stock in an inventory database, without a process that could be asked for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.support.databases import database_settings

from orderflow.contracts.ids import Sku
from orderflow.messaging import postgres
from orderflow.messaging.http.actor import Actor
from orderflow.services.inventory import movements
from orderflow.services.inventory.movements import Difference, Receipt, StockTake
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


def audited(database_url: str) -> list[Difference]:
    """What is wrong in the books of stock."""
    with _cursor(database_url) as cursor:
        return movements.audit(cursor)


@contextmanager
def _cursor(database_url: str) -> Iterator[postgres.Cursor]:
    settings = database_settings(database_url)
    with (
        postgres.connect(settings, application_name="test") as connection,
        connection.cursor() as cursor,
    ):
        yield cursor
