"""The demo products in an order database, without a process that could be asked for them."""

from __future__ import annotations

from tests.support.databases import database_settings

from orderflow.contracts.ids import Sku
from orderflow.messaging import postgres
from orderflow.messaging.http.actor import Actor
from orderflow.services.order import products
from orderflow.services.order.products import ListedProduct, PutProduct
from orderflow.stack.demo_data import PRODUCTS


def add_demo_products(database_url: str) -> None:
    for product in PRODUCTS:
        put_product(database_url, product.sku, prices=product.prices, name=product.name)


def put_product(
    database_url: str,
    sku: str,
    *,
    prices: dict[str, int],
    active: bool = True,
    name: str = "A product",
) -> ListedProduct:
    """The command of `PUT /products/{sku}`, on the database."""
    command = PutProduct(
        sku=Sku(sku),
        name=name,
        prices=prices,
        active=active,
        actor=Actor("test"),
        reason=None,
    )
    settings = database_settings(database_url)
    with (
        postgres.connect(settings, application_name="test") as connection,
        connection.cursor() as cursor,
    ):
        return products.put(cursor, command)
