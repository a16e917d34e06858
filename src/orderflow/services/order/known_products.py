"""
The products that this process has read, so that an order can be priced before its transaction.

Nothing is true because it is known here: whoever prices by it compares what it used with the table
in the statement that writes (`new_orders.write`), and reads anew if that has changed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from orderflow.contracts.ids import Sku
from orderflow.messaging.postgres import Cursor
from orderflow.services.order import products
from orderflow.services.order.model import Product

PRODUCTS_MAX = 10_000


class KnownProducts:
    """Belongs to one thread. Forgets everything when it has more than `PRODUCTS_MAX`."""

    def __init__(self) -> None:
        self._products: dict[Sku, Product] = {}

    def find(self, skus: Collection[Sku]) -> Mapping[Sku, Product] | None:
        """These products as they were when they were read; None if one of them never was."""
        known = self._products
        try:
            return {sku: known[sku] for sku in skus}
        except KeyError:
            return None

    def read(self, cursor: Cursor, skus: Collection[Sku]) -> Mapping[Sku, Product]:
        """Those of these products that can be ordered now, from the table."""
        orderable = products.orderable(cursor, skus)
        if len(self._products) + len(orderable) > PRODUCTS_MAX:
            self._products.clear()
        self._products |= orderable
        return orderable
