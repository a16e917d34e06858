"""
What a fresh local stack is filled with, through the public commands, as an operator would do it.

`python -m orderflow.stack.demo_data products URL`, or `stock`: steps of `orderflow up`. Repeated,
they change nothing; a catalogue or a shelf with anything else in it is somebody's own, and is left
as it is. An API that is away or busy is asked again for up to a minute. No migration contains demo
data, so that no other database begins with it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

import httpx2
import msgspec

from orderflow.messaging.error_text import error_text
from orderflow.messaging.errors import Transient, Unavailable
from orderflow.messaging.work.patience import Patience

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


def fill(what: str, client: httpx2.Client, patience: Patience) -> int:
    """
    Fill in what is missing; how many that were at the last try.

    Raises Unavailable when the API is away or busy for longer than `patience` lasts, and
    httpx2.HTTPStatusError at once when it refuses.
    """
    return patience.through(lambda: _fill_once(what, client))


def _fill_once(what: str, client: httpx2.Client) -> int:
    try:
        return FILLS[what](client)
    except httpx2.HTTPStatusError as error:
        status = error.response.status_code
        if not error.response.is_server_error and status != httpx2.codes.TOO_MANY_REQUESTS:
            raise
        raise _unavailable(f"answers {status}") from error
    except httpx2.TransportError as error:
        raise _unavailable(f"does not answer: {error_text(error)}") from error


def _unavailable(reason: str) -> Unavailable:
    return Unavailable(f"the API {reason}", resource="API", reason=reason)


def _say_waiting(error: Transient, left_s: float) -> None:
    _say(f"{error}; asking again for up to {left_s:.0f} s")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - the step's own log


def main(arguments: list[str]) -> int:
    what, url = arguments
    try:
        with httpx2.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False) as client:
            fill(what, client, Patience(waiting=_say_waiting))
    except (httpx2.HTTPError, Unavailable) as error:
        _say(f"no demo {what}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
