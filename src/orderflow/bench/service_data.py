"""
What the benchmarks read of the services, from the views that these publish, and the stock that they
begin with: the one table that is written here. The naive baselines write their own tables with
their own SQL.
"""

from __future__ import annotations

from collections.abc import Sequence

from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.postgres import Connection, array, connect
from orderflow.trials.harness import database


def open_connection(dsn: str) -> Connection:
    """Autocommit: a statement is a transaction."""
    return connect(database(dsn), application_name="bench", autocommit=True)


def count_orders(dsn: str) -> int:
    with open_connection(dsn) as connection:
        return _integer(connection, "SELECT count(*) FROM books_order")


def stock_up(dsn: str, skus: Sequence[str], on_hand: int) -> None:
    """So many pieces of each SKU on the shelf."""
    with open_connection(dsn) as connection:
        connection.execute(_STOCK_UP, (array(list(skus)), on_hand))


def count_decided(connection: Connection, sku_prefix: str) -> int:
    """Orders that are reserved or rejected, of those whose first line has such a SKU."""
    return _integer(connection, _COUNT_DECIDED, f"{sku_prefix}-%")


def count_reserved_and_rejected(connection: Connection, sku_prefix: str) -> tuple[int, int]:
    """
    How many orders were reserved and how many rejected.

    Raises OrderflowError if a SKU has not reserved exactly what its reservations add up to.
    """
    wrong = _integer(connection, _COUNT_WRONG_STOCK)
    if wrong:
        raise OrderflowError(
            f"{wrong} SKUs have not reserved what their reservations say: no figure"
        )
    row = connection.execute(_COUNT_BY_STATUS, (f"{sku_prefix}-%",)).fetchone()
    reserved, rejected = row or (0, 0)
    return reserved, rejected


def count_notifications(connection: Connection) -> int:
    return _integer(connection, "SELECT count(*) FROM books_notification")


def count_announced(connection: Connection) -> int:
    """The events that a service has committed to be published."""
    return _integer(connection, "SELECT count(*) FROM books_outbox")


def count_unnumbered(connection: Connection) -> int:
    """Notifications that are not sent, and numbers that a customer's lack."""
    return _integer(connection, _COUNT_UNNUMBERED)


def _integer(connection: Connection, query: str, *parameters: str) -> int:
    row = connection.execute(query.encode(), parameters).fetchone()
    assert row is not None
    return int(row[0])


_STOCK_UP = """
INSERT INTO stock (sku, on_hand, received)
SELECT sku, on_hand, on_hand FROM unnest(%s::text[]) AS sku, (SELECT %s::int AS on_hand) AS count
ON CONFLICT (sku) DO UPDATE SET on_hand = excluded.on_hand,
    corrected = excluded.on_hand + stock.shipped - stock.received
"""
_COUNT_DECIDED = "SELECT count(*) FROM books_reservation WHERE lines->0->>'sku' LIKE %s"
_COUNT_BY_STATUS = """
SELECT count(*) FILTER (WHERE status = 'RESERVED'), count(*) FILTER (WHERE status = 'REJECTED')
FROM books_reservation WHERE lines->0->>'sku' LIKE %s
"""
_COUNT_WRONG_STOCK = """
SELECT count(*) FROM books_stock AS stock LEFT JOIN books_reserved AS held USING (sku)
WHERE stock.reserved <> coalesce(held.reserved, 0)
   OR stock.reserved > stock.on_hand OR stock.reserved < 0
"""
_COUNT_UNNUMBERED = """
SELECT coalesce(sum(greatest(count, last) - sent), 0) FROM (
    SELECT count(*) AS count, count(*) FILTER (WHERE state = 'SENT') AS sent,
           coalesce(max(sequence), 0) AS last
    FROM books_notification GROUP BY customer_id
) AS customers
"""
