"""
What each service says of its orders, SKUs and customers, read from its views.

`docs/books.md` has the table of the views.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from orderflow.books.accounts import (
    CustomerSide,
    FollowedSide,
    NotificationRow,
    OrderSide,
    PaymentRow,
    PaymentSide,
    RefundRow,
    ReservationSide,
    ShipmentSide,
    SkuAccount,
    StatusChange,
)
from orderflow.books.sides.views import FIRST_UUID, Row, Views, rows, texts, uuids
from orderflow.messaging.postgres import Cursor, array

T = TypeVar("T", bound=msgspec.Struct)


class OrderViews:
    """The order service: its orders with their status changes."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def read(self, order_ids: Sequence[str]) -> Mapping[str, OrderSide]:
        ids = array(uuids(order_ids))
        with self._views.moment() as cursor:
            orders = rows(cursor, _ORDERS, (ids,))
            changes = _by_order(StatusChange, rows(cursor, _VERSIONS, (ids,)))
        return {
            str(order_id): _struct(OrderSide, row, changes=tuple(changes[str(order_id)]))
            for order_id, *row in orders
        }

    def order_ids(self, after: str, limit: int) -> Sequence[str]:
        return _ids(self._views, _NEXT_ORDERS, after or FIRST_UUID, limit)


class PaymentViews:
    """The payment service: the orders that it knows, with payments and refunds."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def read(self, order_ids: Sequence[str]) -> Mapping[str, PaymentSide]:
        ids = array(uuids(order_ids))

        with self._views.moment() as cursor:
            known = rows(cursor, _KNOWN_ORDERS, (ids,))
            payments = _by_order(PaymentRow, rows(cursor, _PAYMENTS, (ids,)))
            refunds = _by_order(RefundRow, rows(cursor, _REFUNDS, (ids,)))
        return {
            str(order_id): PaymentSide(
                is_closed=bool(is_closed),
                payments=tuple(payments[str(order_id)]),
                refunds=tuple(refunds[str(order_id)]),
            )
            for order_id, is_closed in known
        }

    def order_ids(self, after: str, limit: int) -> Sequence[str]:
        return _ids(self._views, _NEXT_KNOWN_ORDERS, after or FIRST_UUID, limit)


class ReservationViews:
    """The inventory service: what it decided about each order."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def read(self, order_ids: Sequence[str]) -> Mapping[str, ReservationSide]:
        reservations = self._views.rows(_RESERVATIONS, (array(texts(order_ids)),))
        return {
            str(order_id): _struct(ReservationSide, row, lines=_quantities(lines))
            for order_id, lines, *row in reservations
        }

    def order_ids(self, after: str, limit: int) -> Sequence[str]:
        return _ids(self._views, _NEXT_RESERVATIONS, after, limit)


class ShipmentViews:
    """The fulfilment service: its shipments."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def read(self, order_ids: Sequence[str]) -> Mapping[str, ShipmentSide]:
        shipments = self._views.rows(_SHIPMENTS, (array(texts(order_ids)),))
        return {str(order_id): _struct(ShipmentSide, row) for order_id, *row in shipments}

    def order_ids(self, after: str, limit: int) -> Sequence[str]:
        return _ids(self._views, _NEXT_SHIPMENTS, after, limit)


class NotificationViews:
    """The notification service: what it told, or is to tell, of each order."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def read(self, order_ids: Sequence[str]) -> Mapping[str, Sequence[NotificationRow]]:
        notifications = self._views.rows(_NOTIFICATIONS, (array(texts(order_ids)),))
        by_order = _by_order(NotificationRow, notifications)
        return {order_id: tuple(of_order) for order_id, of_order in by_order.items()}

    def order_ids(self, after: str, limit: int) -> Sequence[str]:
        return _ids(self._views, _NEXT_NOTIFIED_ORDERS, after, limit)


class FollowedViews:
    """The analytics service: where each order is, and what was counted of it."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def read(self, order_ids: Sequence[str]) -> Mapping[str, FollowedSide]:
        ids = array(texts(order_ids))
        counted: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        with self._views.moment() as cursor:
            followed = rows(cursor, _FOLLOWED_ORDERS, (ids,))
            for order_id, version, status in _counted(cursor, ids):
                counted[order_id].append((version, status))
        return {
            str(order_id): _struct(FollowedSide, row, counted=tuple(counted[str(order_id)]))
            for order_id, *row in followed
        }

    def order_ids(self, after: str, limit: int) -> Sequence[str]:
        return _ids(self._views, _NEXT_FOLLOWED_ORDERS, after, limit)


class StockViews:
    """
    The inventory service: what it counts of each SKU, and what movements and open reservations add
    up to. One statement, so one moment.
    """

    def __init__(self, views: Views) -> None:
        self._views = views

    def skus(self, after: str, limit: int) -> Sequence[SkuAccount]:
        return [
            _struct(SkuAccount, (sku, *(int(str(figure)) for figure in figures)))
            for sku, *figures in self._views.rows(_SKUS, (after, limit))
        ]


class CustomerViews:
    """The notification service: how each customer's notifications are numbered."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def read(self, customer_ids: Sequence[str]) -> Mapping[str, CustomerSide]:
        customers = self._views.rows(_CUSTOMERS, (array(texts(customer_ids)),))
        return {str(customer_id): _struct(CustomerSide, row) for customer_id, *row in customers}


class InboxView:
    """One listener's inbox."""

    def __init__(self, views: Views, *, listener: str) -> None:
        self._views = views
        self._listener = listener

    def handled(self, event_ids: Sequence[str]) -> set[str]:
        parameters = (self._listener, array(uuids(event_ids)))
        return {str(event_id) for (event_id,) in self._views.rows(_HANDLED, parameters)}


class LogEnd:
    """The write-ahead log of a database server."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def end(self) -> int:
        [(end,)] = self._views.rows(_LOG_END, ())
        return int(str(end))


def _ids(views: Views, query: str, after: str, limit: int) -> list[str]:
    return [str(order_id) for (order_id,) in views.rows(query, (after, limit))]


def _struct(kind: type[T], row: Iterable[object], **fields: object) -> T:
    """`kind` with the row's columns as those of its fields that `fields` lacks, in their order."""
    names = (name for name in kind.__struct_fields__ if name not in fields)
    return kind(**dict(zip(names, row, strict=False)), **fields)


def _by_order(kind: type[T], table: Iterable[Row]) -> defaultdict[str, list[T]]:
    """The rows as `kind`, by the order id in their first column."""
    by_order: defaultdict[str, list[T]] = defaultdict(list)
    for order_id, *row in table:
        by_order[str(order_id)].append(_struct(kind, row))
    return by_order


def _counted(cursor: Cursor, ids: str) -> Iterable[tuple[str, int, str]]:
    return rows(cursor, _STATUS_CHANGES, (ids,))  # type: ignore[return-value]


def _quantities(lines: Any) -> Mapping[str, int]:
    quantities: defaultdict[str, int] = defaultdict(int)
    for line in lines:
        quantities[line["sku"]] += line["quantity"]
    return dict(quantities)


_ORDERS = """
SELECT order_id::text, customer_id, status, version, revision, amount_minor, currency, payment_mode,
       payment_attempt, payment_state, payment_id::text, stock, waiting_for, created_at
FROM books_order WHERE order_id = ANY(%s::uuid[])
"""
_VERSIONS = """
SELECT order_id::text, version, status, event_id::text, occurred_at
FROM books_order_version WHERE order_id = ANY(%s::uuid[]) ORDER BY order_id, version
"""
_NEXT_ORDERS = """
SELECT order_id::text FROM books_order WHERE order_id > %s::uuid ORDER BY order_id LIMIT %s
"""
_KNOWN_ORDERS = """
SELECT order_id::text, closed FROM books_known_order WHERE order_id = ANY(%s::uuid[])
"""
_PAYMENTS = """
SELECT order_id::text, payment_id::text, attempt, customer_id, state, amount_minor, currency,
       captured_minor, refunded_minor, provider_reference
FROM books_payment WHERE order_id = ANY(%s::uuid[]) ORDER BY order_id, attempt
"""
_REFUNDS = """
SELECT order_id::text, refund_id::text, payment_id::text, state, amount_minor, currency,
       provider_reference
FROM books_refund WHERE order_id = ANY(%s::uuid[]) ORDER BY order_id, refund_id
"""
_NEXT_KNOWN_ORDERS = """
SELECT order_id::text FROM books_known_order WHERE order_id > %s::uuid ORDER BY order_id LIMIT %s
"""
_RESERVATIONS = """
SELECT order_id, lines, customer_id, payment_id, status
FROM books_reservation WHERE order_id = ANY(%s::text[])
"""
_NEXT_RESERVATIONS = """
SELECT order_id FROM books_reservation WHERE order_id > %s ORDER BY order_id LIMIT %s
"""
_SKUS = """
WITH page AS (SELECT * FROM books_stock WHERE sku > %s ORDER BY sku LIMIT %s)
SELECT page.sku, page.on_hand, page.reserved, page.shipped, page.received, page.corrected,
       page.movements, coalesce(held.reserved, 0), coalesce(moved.on_hand, 0),
       coalesce(moved.received, 0), coalesce(moved.corrected, 0), coalesce(moved.shipped, 0),
       coalesce(moved.movements, 0), coalesce(moved.last_sequence, 0)
FROM page LEFT JOIN books_reserved AS held USING (sku)
LEFT JOIN LATERAL (
    -- OFFSET keeps it a look-up for each SKU: joined, all movements before the page are added up.
    SELECT * FROM books_moved WHERE books_moved.sku = page.sku OFFSET 0
) AS moved ON true
ORDER BY page.sku
"""
_SHIPMENTS = """
SELECT order_id, customer_id, status, version
FROM books_shipment WHERE order_id = ANY(%s::text[])
"""
_NEXT_SHIPMENTS = """
SELECT order_id FROM books_shipment WHERE order_id > %s ORDER BY order_id LIMIT %s
"""
_NOTIFICATIONS = """
SELECT order_id, notification_id::text, customer_id, kind, cause_id::text, cause_type, state,
       sequence
FROM books_notification WHERE order_id = ANY(%s::text[]) ORDER BY order_id, notification_id
"""
_NEXT_NOTIFIED_ORDERS = """
SELECT DISTINCT order_id FROM books_notification WHERE order_id > %s ORDER BY order_id LIMIT %s
"""
_CUSTOMERS = """
SELECT customer_id, count(sequence), coalesce(max(sequence), 0)
FROM books_notification WHERE customer_id = ANY(%s::text[]) GROUP BY customer_id
"""
_FOLLOWED_ORDERS = """
SELECT order_id, status, version
FROM books_followed_order WHERE order_id = ANY(%s::text[])
"""
_STATUS_CHANGES = """
SELECT order_id, version, status
FROM books_status_change WHERE order_id = ANY(%s::text[]) ORDER BY order_id, version
"""
_NEXT_FOLLOWED_ORDERS = """
SELECT order_id FROM books_followed_order WHERE order_id > %s ORDER BY order_id LIMIT %s
"""
_HANDLED = """
SELECT event_id::text FROM books_inbox WHERE listener = %s AND event_id = ANY(%s::uuid[])
"""
_LOG_END = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint"
