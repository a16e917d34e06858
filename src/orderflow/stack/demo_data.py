"""
What a fresh local stack is filled with, through the public commands, as an operator would do it.

`python -m orderflow.stack.demo_data products URL`, or `stock`: steps of `orderflow up`. Repeated,
they change nothing; a catalogue or a shelf with anything else in it is somebody's own, and is left
as it is. No migration
contains demo data, so that no other database begins with it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

import httpx2
import msgspec

TIMEOUT_S = 20.0
ACTOR = {"Orderflow-Actor": "orderflow-up"}


class DemoProduct(msgspec.Struct, frozen=True):
    """`prices`: minor units by ISO 4217 currency."""

    sku: str
    name: str
    prices: dict[str, int]


PRODUCTS = (
    DemoProduct("KEYBOARD-01", "Mechanical keyboard", {"EUR": 8990, "USD": 9490, "JPY": 14200}),
    DemoProduct("MOUSE-01", "Wireless mouse", {"EUR": 3490, "USD": 3690, "JPY": 5500}),
    DemoProduct("MONITOR-27", "Monitor, 27 inches", {"EUR": 28900, "USD": 30900, "JPY": 46800}),
    DemoProduct(
        "CABLE-USBC-2M", "USB-C cable, two metres", {"EUR": 1290, "USD": 1390, "JPY": 2100}
    ),
    DemoProduct("DOCK-01", "Docking station", {"EUR": 14900, "USD": 15900}),
    DemoProduct("HEADSET-01", "Headset", {"EUR": 7900, "USD": 8400, "JPY": 12900}),
    DemoProduct("DESK-160", "Standing desk, 160 cm", {"EUR": 49900}),
    DemoProduct("LAMP-01", "Desk lamp", {"EUR": 4590, "USD": 4890, "JPY": 7400}),
)

ON_HAND = {product.sku: 1_000_000 for product in PRODUCTS} | {"DESK-160": 0}
"""Pieces of each product. One is sold out until somebody receives some."""


def put_products(client: httpx2.Client) -> int:
    """
    Put the demo products that are missing into the order API's catalogue; how many those were.

    A catalogue that lists anything else is left alone. Raises httpx2.HTTPError if the API refuses
    or does not answer.
    """
    demo = {product.sku for product in PRODUCTS}
    page = client.get("/products", params={"limit": 100}).raise_for_status().json()
    if any(product["sku"] not in demo for product in page["items"]):
        return 0
    return sum(_put_product(client, product) for product in PRODUCTS)


def _put_product(client: httpx2.Client, product: DemoProduct) -> bool:
    """Create it; False if it exists, whatever became of it since."""
    body = {"name": product.name, "prices": product.prices, "reason": "demo data"}
    headers = {"If-None-Match": "*", **ACTOR}
    answer = client.put(f"/products/{product.sku}", json=body, headers=headers)
    if answer.status_code == httpx2.codes.PRECONDITION_FAILED:
        return False
    answer.raise_for_status()
    return True


def put_stock(client: httpx2.Client) -> int:
    """
    Put the demo products that are missing on the inventory API's shelf; how many those were.

    A shelf with anything else on it is left alone. Raises httpx2.HTTPError if the API refuses or
    does not answer.
    """
    shelf = client.get("/stock").raise_for_status().json()["items"]
    known = {item["sku"] for item in shelf}
    if not known <= ON_HAND.keys():
        return 0
    missing = ON_HAND.keys() - known
    for sku in sorted(missing):
        _put_in_stock(client, sku, ON_HAND[sku])
    return len(missing)


def _put_in_stock(client: httpx2.Client, sku: str, quantity: int) -> None:
    """Receive so many pieces, once whoever repeats it; or add the product, sold out."""
    if quantity:
        body = {"quantity": quantity, "reason": "demo data"}
        headers = {"Idempotency-Key": "orderflow-up", **ACTOR}
        client.post(f"/stock/{sku}/receipts", json=body, headers=headers).raise_for_status()
        return

    headers = {"If-None-Match": "*", **ACTOR}
    answer = client.put(f"/stock/{sku}", json={"onHand": 0, "reason": "demo data"}, headers=headers)
    if answer.status_code != httpx2.codes.PRECONDITION_FAILED:
        answer.raise_for_status()


FILLS: Mapping[str, Callable[[httpx2.Client], int]] = {
    "products": put_products,
    "stock": put_stock,
}
"""What can be filled in, by its name on the command line, through a client of its API."""


def main(arguments: list[str]) -> int:
    what, url = arguments
    try:
        with httpx2.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False) as client:
            FILLS[what](client)
    except httpx2.HTTPError as error:
        print(f"no demo {what}: {error}", file=sys.stderr)  # noqa: T201 - the step's own log
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
