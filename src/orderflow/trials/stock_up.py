"""Stock for every product that the order service knows, more of it than anybody orders."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2

from orderflow.messaging.errors import OrderflowError
from orderflow.stack.addresses import api_url
from orderflow.stack.settings import StackSettings

QUANTITY = 100_000_000
TIMEOUT_S = 30.0
PAGE = 100


def stock_up(settings: StackSettings, *, actor: str) -> list[str]:
    """
    Put every product in stock, as `actor`, once; returns the SKUs.

    Raises OrderflowError if an API refuses.
    """
    order, inventory = api_url(settings, "order"), api_url(settings, "inventory")

    try:
        with httpx2.Client(timeout=TIMEOUT_S, trust_env=False) as client:
            skus = list(_skus(client, f"{order}/products"))
            for sku in skus:
                # The same key at each run: the shelf is filled once.
                client.post(
                    f"{inventory}/stock/{sku}/receipts",
                    json={"quantity": QUANTITY, "reason": f"orderflow {actor}"},
                    headers={"Idempotency-Key": f"orderflow-{actor}", "Orderflow-Actor": actor},
                ).raise_for_status()
    except httpx2.HTTPError as error:
        raise OrderflowError(f"the shelf could not be filled: {error}") from error
    return skus


def _skus(client: httpx2.Client, url: str) -> Iterator[str]:
    """The SKUs of all pages."""
    cursor = ""
    while True:
        after = {"cursor": cursor} if cursor else {}
        page = client.get(url, params={"limit": PAGE, **after}).raise_for_status().json()
        yield from (str(product["sku"]) for product in page["items"])

        cursor = page["nextCursor"]
        if not cursor:
            return
