"""
The product catalogue: what can be ordered, at which price, and who changed that when and why.

One table serves everybody: an order reads its prices in its own transaction, `GET /products` reads
the same rows. A change is in force with its commit, in every process.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

import msgspec

from orderflow.contracts.ids import Sku
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.event import read_clock
from orderflow.messaging.http.actor import Actor
from orderflow.messaging.postgres import Cursor, array
from orderflow.services.order.model import Product

PRICE_MINOR_MAX = 10**11
"""So that a line of the largest quantity does not exceed the largest total."""


class ListedProduct(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    A product as it is now. `prices`: minor units by ISO 4217 currency.

    `active`: it can be ordered. `version` counts the changes.
    """

    sku: Sku
    name: str
    prices: dict[str, int]
    active: bool
    version: int
    updated_at: datetime


class ProductVersion(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A product as it was from `occurred_at` on; the row before it has what was changed."""

    sku: Sku
    version: int
    name: str
    prices: dict[str, int]
    active: bool
    actor: str
    reason: str | None
    occurred_at: datetime


class PutProduct(msgspec.Struct, frozen=True, kw_only=True):
    """
    A command: the product is to be like this from now on.

    `expected_version`: only if that is its version now. `only_new`: only if there is none yet.
    """

    sku: Sku
    name: str
    prices: Mapping[str, int]
    active: bool
    actor: Actor
    reason: str | None
    expected_version: int | None = None
    only_new: bool = False


class Overtaken(OrderflowError):
    """The product is not what the command expects it to be. `product` is what it is, if it is."""

    def __init__(self, why: str, product: ListedProduct | None) -> None:
        super().__init__(why)
        self.product = product


def orderable(cursor: Cursor, skus: Collection[Sku]) -> dict[Sku, Product]:
    """Those of these products that can be ordered now; one statement, so one moment for all."""
    if not skus:
        return {}
    cursor.execute(_ORDERABLE, (array(sorted(skus)),))
    return {
        Sku(sku): Product(sku=Sku(sku), name=name, prices=prices) for sku, name, prices in cursor
    }


def page(cursor: Cursor, *, after: str, limit: int) -> list[ListedProduct]:
    """What can be ordered, by SKU, from the one after `after` on."""
    cursor.execute(_PAGE, (after, limit))
    return [_listed(*row) for row in cursor]


def find(cursor: Cursor, sku: Sku) -> ListedProduct | None:
    """The product, withdrawn or not."""
    cursor.execute(_FIND, (sku,))
    row = cursor.fetchone()
    return None if row is None else _listed(*row)


def versions(cursor: Cursor, sku: Sku, *, before: int, limit: int) -> list[ProductVersion]:
    """The product's versions below `before`, the newest first."""
    cursor.execute(_VERSIONS, (sku, before, limit))

    return [
        ProductVersion(
            sku=sku,
            version=version,
            name=name,
            prices=prices,
            active=active,
            actor=actor,
            reason=reason,
            occurred_at=occurred_at,
        )
        for version, name, prices, active, actor, reason, occurred_at in cursor
    ]


def put(cursor: Cursor, command: PutProduct) -> ListedProduct:
    """
    Bring the product to what the command says, with a row of history; a repeat changes nothing.

    Raises Overtaken if it is not what the command expects.
    """
    # One command at a time; those who only read do not wait for this lock.
    cursor.execute("LOCK TABLE product IN SHARE ROW EXCLUSIVE MODE")
    before = find(cursor, command.sku)
    if command.only_new and before is not None:
        raise Overtaken(f"{command.sku} exists already", before)

    # A repeat before the version: whoever lost the answer to this very command gets it again.
    if before is not None and _is_as_wanted(before, command):
        return before
    version = 0 if before is None else before.version
    if command.expected_version not in (None, version):
        raise Overtaken(f"{command.sku} has version {version} now", before)

    after = ListedProduct(
        sku=command.sku,
        name=command.name,
        prices=dict(command.prices),
        active=command.active,
        version=version + 1,
        updated_at=read_clock(),
    )
    _write(cursor, after, command)
    return after


def _is_as_wanted(product: ListedProduct, command: PutProduct) -> bool:
    return (product.name, product.prices, product.active) == (
        command.name,
        command.prices,
        command.active,
    )


def _write(cursor: Cursor, product: ListedProduct, command: PutProduct) -> None:
    content = (
        product.sku,
        product.version,
        product.name,
        msgspec.json.encode(product.prices).decode(),
        product.active,
        product.updated_at,
    )
    cursor.execute(_UPSERT, content)
    cursor.execute(_INSERT_VERSION, (*content, command.actor, command.reason))


def _listed(
    sku: str, name: str, prices: dict[str, int], active: bool, version: int, updated_at: datetime
) -> ListedProduct:
    return ListedProduct(
        sku=Sku(sku),
        name=name,
        prices=prices,
        active=active,
        version=version,
        updated_at=updated_at,
    )


_ORDERABLE = "SELECT sku, name, prices FROM product WHERE sku = ANY (%s::text[]) AND active"
_LISTED = "SELECT sku, name, prices, active, version, updated_at FROM product"
_PAGE = f"{_LISTED} WHERE active AND sku > %s ORDER BY sku LIMIT %s"
_FIND = f"{_LISTED} WHERE sku = %s"
_VERSIONS = """
SELECT version, name, prices, active, actor, reason, occurred_at
FROM product_history WHERE sku = %s AND version < %s ORDER BY version DESC LIMIT %s
"""
_UPSERT = """
INSERT INTO product (sku, version, name, prices, active, updated_at)
VALUES (%s, %s, %s, %s::jsonb, %s, %s)
ON CONFLICT (sku) DO UPDATE SET version = excluded.version, name = excluded.name,
    prices = excluded.prices, active = excluded.active, updated_at = excluded.updated_at
"""
_INSERT_VERSION = """
INSERT INTO product_history (sku, version, name, prices, active, occurred_at, actor, reason)
VALUES (%s, %s, %s, %s::jsonb, %s, %s, %s, %s)
"""
