"""
Goods that are as a story needs them, whatever somebody has done to catalogue and shelves.

A story's product is taken if it is offered and there; if not, one of the demo's own, of nearly the
same name, which the demo offers and puts on the shelf itself. Nobody's product is touched.
"""

from __future__ import annotations

import msgspec

from orderflow.cli.demo.services import Services
from orderflow.cli.demo.stories import CURRENCY, SOLD_OUT, Story
from orderflow.messaging.errors import OrderflowError
from orderflow.stack.demo_data import PRODUCTS

OWN = "DEMO-"
RECEIVED = 1000
QUANTITY_MAX = 10_000
"""Of one line of an order."""


def with_goods(services: Services, story: Story) -> Story:
    """
    The story with a product that fits. Raises OrderflowError when the demo's own is no help.

    To be sold out, more than there is will be ordered: a product fits unless that is too many.
    """
    sku = story.sku
    if services.is_offered(sku, CURRENCY) and _fits(story, services.available(sku)):
        return _ordered(story, sku, services.available(sku))

    own = f"{OWN}{sku}"
    product = next(product for product in PRODUCTS if product.sku == sku)
    services.offer(own, f"{product.name} (demo)", {CURRENCY: product.prices[CURRENCY]})
    if story.sku != SOLD_OUT and not _fits(story, services.available(own)):
        services.receive(own, RECEIVED)

    available = services.available(own)
    if not _fits(story, available):
        raise OrderflowError(
            f"{available:,} pieces of {own} are there, which the demo can't order so that they are "
            f"{'out of stock' if story.sku == SOLD_OUT else 'enough'}: set their stock with "
            f"`PUT /stock/{own}` of the inventory API"
        )
    return _ordered(story, own, available)


def _fits(story: Story, available: int) -> bool:
    return available < QUANTITY_MAX if story.sku == SOLD_OUT else available >= story.quantity


def _ordered(story: Story, sku: str, available: int) -> Story:
    quantity = available + 1 if story.sku == SOLD_OUT else story.quantity
    return msgspec.structs.replace(story, sku=sku, quantity=quantity)
