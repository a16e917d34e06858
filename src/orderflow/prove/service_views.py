"""
What the proofs read of the services, from the views that these publish: what each has given out,
and what is left.
"""

from __future__ import annotations

from collections import defaultdict

from orderflow.messaging.postgres import connect
from orderflow.messaging.settings import DatabaseSettings
from orderflow.prove.checker import Ledger

ORDER_VERSIONS = "SELECT order_id::text, version FROM books_order_version"
"""Order and version of every event that the order service has written."""

MESSAGE_SEQUENCES = (
    "SELECT customer_id, sequence FROM books_notification WHERE state <> 'OVERTAKEN'"
)
"""Customer and sequence of every message that the notification service has numbered."""


def ledger(database: DatabaseSettings, owner_and_number: str) -> Ledger:
    """By owner, the numbers that the query returns; read through a server-side cursor."""
    numbers: dict[str, list[int]] = defaultdict(list)
    with (
        connect(database, application_name="prove") as connection,
        connection.cursor("ledger") as cursor,
    ):
        cursor.execute(owner_and_number.encode())
        for owner, number in cursor:
            numbers[owner].append(number)
    return numbers


def count_messages(database: DatabaseSettings) -> tuple[int, int]:
    """Messages that are sent or given up, and messages that are neither."""
    finished, unsent = _row(database, _MESSAGES)
    return finished, unsent


def count_waiting_orders(database: DatabaseSettings) -> int:
    """Orders that wait for payment or inventory."""
    (waiting,) = _row(database, _WAITING)
    return waiting


def _row(database: DatabaseSettings, query: bytes) -> tuple[int, ...]:
    with connect(database, application_name="prove") as connection:
        return connection.execute(query).fetchone() or ()


_MESSAGES = b"""
SELECT count(*) FILTER (WHERE state IN ('SENT', 'FAILED')),
       count(*) FILTER (WHERE state IN ('HELD', 'PENDING'))
FROM books_notification
"""
_WAITING = b"""
SELECT count(*) FROM books_order WHERE waiting_for IN ('PAYMENT', 'STOCK', 'REFUND', 'RELEASE')
"""
