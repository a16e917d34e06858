"""What the warehouse has of payments, read from its view `books_payments`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from orderflow.books.accounts import WarehouseRow
from orderflow.books.sides.views import Views, rows, texts
from orderflow.messaging.postgres import array


class WarehouseViews:
    """The database that a sink fills."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def read(self, order_ids: Sequence[str]) -> Mapping[str, tuple[WarehouseRow, ...]]:
        """The payments of these orders, by payment id. Raises Transient."""
        by_order: defaultdict[str, list[WarehouseRow]] = defaultdict(list)
        with self._views.moment() as cursor:
            for order_id, *fields in rows(cursor, _PAYMENTS, (array(texts(order_ids)),)):
                row = WarehouseRow(**dict(zip(WarehouseRow.__struct_fields__, fields, strict=True)))  # type: ignore[arg-type]
                by_order[str(order_id)].append(row)
        return {order_id: tuple(of_order) for order_id, of_order in by_order.items()}

    def order_ids(self, after: str, limit: int) -> Sequence[str]:
        """The next orders of which it has a payment, in their order; `after` "": the first."""
        return [str(order_id) for (order_id,) in self._views.rows(_NEXT_ORDERS, (after, limit))]


_PAYMENTS = """
SELECT order_id, payment_id, customer_id, status, currency, captured_minor, refunded_minor
FROM books_payments WHERE order_id = ANY(%s::text[]) ORDER BY order_id, payment_id
"""
_NEXT_ORDERS = """
SELECT DISTINCT order_id FROM books_payments WHERE order_id > %s ORDER BY order_id LIMIT %s
"""
