"""The demo data of a fresh stack, through an API that is busy."""

from __future__ import annotations

from collections.abc import Callable

import httpx2
import pytest

from orderflow.messaging.errors import Unavailable
from orderflow.messaging.testing.memory_clock import MemoryClock
from orderflow.messaging.work.patience import Patience
from orderflow.stack.demo_data import ON_HAND, PRODUCTS, fill


class Api:
    """Both APIs; `trouble` stands in for the answers to the requests of these numbers."""

    def __init__(self, trouble: Callable[[], httpx2.Response], *numbers: int) -> None:
        self.things: set[str] = set()
        self.requests = 0
        self._trouble = trouble
        self._numbers = numbers

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests += 1
        if request.method == "GET":
            answer = httpx2.Response(
                200, json={"items": [{"sku": sku} for sku in sorted(self.things)]}
            )
        else:
            sku = request.url.path.split("/")[2]
            answer = httpx2.Response(412 if sku in self.things else 201)
            self.things.add(sku)
        # What a busy API did not answer in time it has done all the same.
        return self._trouble() if self.requests - 1 in self._numbers else answer


def filled(what: str, api: Api) -> float:
    """Fill it; the seconds that it waited."""
    clock = MemoryClock()
    began = clock.monotonic()
    patience = Patience(waiting=lambda _error, _left_s: None, clock=clock, rest=clock.advance)
    with httpx2.Client(base_url="http://api.test", transport=httpx2.MockTransport(api)) as client:
        fill(what, client, patience)
    return clock.monotonic() - began


def silence() -> httpx2.Response:
    raise httpx2.ReadTimeout("no answer")


@pytest.mark.parametrize(
    ("what", "wanted"),
    [("products", {product.sku for product in PRODUCTS}), ("stock", set(ON_HAND))],
)
@pytest.mark.parametrize(
    "trouble", [silence, lambda: httpx2.Response(503), lambda: httpx2.Response(429)]
)
def test_one_slow_answer_ends_no_start(
    what: str, wanted: set[str], trouble: Callable[[], httpx2.Response]
) -> None:
    api = Api(trouble, 0, 3, 6)
    filled(what, api)
    assert api.things == wanted


def test_an_api_that_stays_away_is_given_up_after_a_minute() -> None:
    with pytest.raises(Unavailable, match="the API answers 503"):
        filled("stock", Api(lambda: httpx2.Response(503), *range(1_000)))


def test_a_refusal_ends_it_at_once() -> None:
    api = Api(lambda: httpx2.Response(422), *range(1_000))
    with pytest.raises(httpx2.HTTPStatusError, match="422"):
        filled("products", api)
    assert api.requests == 1
