"""
What the drills read of the services, from the views that these publish: how many orders and
messages are not done yet.
"""

from __future__ import annotations

import msgspec

from orderflow.messaging.postgres import connect, unavailable_when_transient
from orderflow.messaging.settings import DatabaseSettings

_ORDERS = b"""
SELECT count(*),
       count(*) FILTER (WHERE waiting_for IN ('PAYMENT', 'STOCK', 'REFUND', 'RELEASE'))
FROM books_order
"""
_UNSENT = b"SELECT count(*) FROM books_notification WHERE state IN ('HELD', 'PENDING')"
_KNOWN = b"SELECT count(*) FROM books_order WHERE order_id = ANY(%s::uuid[])"


class OrderCounts(msgspec.Struct, frozen=True, kw_only=True):
    """`waiting`: orders that wait for payment, stock, refund or release: for us, not for people."""

    known: int
    waiting: int

    @property
    def finished(self) -> int:
        return self.known - self.waiting


def count_orders(database: DatabaseSettings) -> OrderCounts:
    """Raises Unavailable when the server does not answer."""
    known, waiting = _row(database, _ORDERS)
    return OrderCounts(known=known, waiting=waiting)


def count_unsent(database: DatabaseSettings) -> int:
    """Messages to customers that are neither sent nor given up."""
    (unsent,) = _row(database, _UNSENT)
    return unsent


def count_known(database: DatabaseSettings, order_ids: list[str]) -> int:
    """How many of these orders the order service has."""
    (known,) = _row(database, _KNOWN, order_ids)
    return known


def _row(database: DatabaseSettings, query: bytes, *arguments: object) -> tuple[int, ...]:
    with (
        unavailable_when_transient(),
        connect(database, application_name="drill") as connection,
    ):
        return connection.execute(query, arguments).fetchone() or ()
