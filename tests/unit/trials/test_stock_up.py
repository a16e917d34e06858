"""Every product is put in stock, on whatever page of the catalogue it is."""

from __future__ import annotations

import httpx2

from orderflow.trials.stock_up import _skus


def test_the_products_of_all_pages_are_read() -> None:
    catalogue = [f"SKU-{number:03}" for number in range(7)]

    def answer(request: httpx2.Request) -> httpx2.Response:
        after = request.url.params.get("cursor", "")
        rest = [sku for sku in catalogue if sku > after]
        items, cursor = rest[:3], rest[2] if len(rest) > 3 else None
        return httpx2.Response(
            200, json={"items": [{"sku": sku} for sku in items], "nextCursor": cursor}
        )

    with httpx2.Client(transport=httpx2.MockTransport(answer)) as client:
        assert list(_skus(client, "http://order/products")) == catalogue
