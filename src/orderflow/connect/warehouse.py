"""
The warehouse's table: made once, and looked at before the sink writes into it.

A table that is there and does not fit is named and never altered: what is in it may be somebody's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from importlib.resources import files

import msgspec

from orderflow.messaging.errors import Incompatible
from orderflow.messaging.postgres import Cursor, connect, unavailable_when_transient
from orderflow.messaging.settings import DatabaseSettings

APPLICATION_NAME = "connect"
TABLE = "payments"
KEY = "payment_id"

COLUMNS: Mapping[str, str] = {
    "payment_id": "text",
    "order_id": "text",
    "customer_id": "text",
    "attempt": "integer",
    "amount_minor": "bigint",
    "currency": "text",
    "payment_method": "text",
    "provider_reference": "text",
    "reason": "text",
    "message": "text",
    "refund_id": "text",
    "occurred_at": "timestamp with time zone",
}
"""What the sink writes, with the type that a value needs, whatever else the table has."""


def make_table(settings: DatabaseSettings) -> None:
    """
    Make the table, its trigger and its view if they are missing.

    Raises Incompatible, and changes nothing, when a table of that name is there that the sink can't
    fill. Raises Unavailable when the database is away, or read-only.
    """
    script = files("orderflow.connect").joinpath("warehouse.sql").read_text()

    with (
        connect(settings, application_name=APPLICATION_NAME) as connection,
        unavailable_when_transient(),
        connection.transaction(),
        connection.cursor() as cursor,
    ):
        complaints = _complaints(cursor)
        if complaints:
            raise Incompatible(
                f"the warehouse has a table {TABLE} that the sink can't fill: "
                f"{'; '.join(complaints)}. It is left as it is: rename it or mend it, "
                "then `orderflow connect apply`"
            )
        cursor.execute(script)


def _complaints(cursor: Cursor) -> list[str]:
    """What keeps the sink from filling the table that is there; empty if none is, or it fits."""
    cursor.execute(
        "SELECT column_name, data_type, is_nullable = 'NO' AND column_default IS NULL "
        "AND is_generated = 'NEVER' FROM information_schema.columns "
        "WHERE table_schema = current_schema() AND table_name = %s",
        [TABLE],
    )
    present = {name: (kind, bool(must_be_given)) for name, kind, must_be_given in cursor.fetchall()}
    if not present:
        return []

    missing = [f"it has no column {name}" for name in COLUMNS if name not in present]
    different = [
        f"{name} is {present[name][0]}, not {kind}"
        for name, kind in COLUMNS.items()
        if name in present and present[name][0] != kind
    ]
    foreign = [
        f"{name} must have a value, which no payment has"
        for name, (_, must_be_given) in present.items()
        if must_be_given and name not in COLUMNS
    ]
    return [*missing, *different, *foreign, *_key_complaints(cursor)]


def _key_complaints(cursor: Cursor) -> list[str]:
    cursor.execute(
        "SELECT array_agg(attname::text ORDER BY attname) FROM pg_index "
        "JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey) "
        "WHERE indrelid = %s::regclass AND indisprimary",
        [TABLE],
    )
    (key,) = cursor.fetchone() or (None,)
    return [] if key == [KEY] else [f"its primary key is not {KEY}"]


class WarehousePayment(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table. `amount_minor` in minor units of the currency."""

    payment_id: str
    order_id: str
    status: str
    amount_minor: int
    currency: str
    occurred_at: datetime


def payments_of(settings: DatabaseSettings, order_id: str) -> list[WarehousePayment]:
    """The order's payments, by attempt. Raises Unavailable."""
    names = WarehousePayment.__struct_fields__
    with _reading(settings) as cursor:
        cursor.execute(
            "SELECT payment_id, order_id, status, amount_minor, currency, occurred_at "
            "FROM payments WHERE order_id = %s ORDER BY attempt",
            [order_id],
        )
        return [
            WarehousePayment(**dict(zip(names, fields, strict=True)))
            for fields in cursor.fetchall()
        ]


def net_by_currency(settings: DatabaseSettings) -> dict[str, int]:
    """Captured without refunded, in minor units; without currencies whose net is 0."""
    with _reading(settings) as cursor:
        cursor.execute(
            "SELECT currency, sum(captured_minor - refunded_minor)::bigint FROM books_payments "
            "GROUP BY currency HAVING sum(captured_minor - refunded_minor) <> 0 ORDER BY currency"
        )
        return {str(currency): int(net) for currency, net in cursor.fetchall()}


@contextmanager
def _reading(settings: DatabaseSettings) -> Iterator[Cursor]:
    with (
        connect(settings, application_name=APPLICATION_NAME) as connection,
        unavailable_when_transient(),
        connection.cursor() as cursor,
    ):
        yield cursor
