"""
Orders over HTTP, from several connections at once, each of which asks its next when it has its answer.

Half of them at full speed; then a trickle, so that work goes on for as long as it is disturbed; the rest when
`release` says that it is disturbed no more. Every fifth order is cancelled some orders later, when it may be paid;
every fifth is shipped and delivered then, if it is.
"""

from __future__ import annotations

import random
import threading
from collections import Counter, deque
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

import msgspec

from orderflow.messaging.errors import OrderflowError

CONNECTIONS = 8
TIMEOUT_S = 30.0
TRICKLE_S = 0.2
"""Between two orders of one connection."""
KEPT = 0.1
"""The share of orders that comes after `release`."""
LATER = 10
"""So many orders of its connection after it, an order is cancelled, or shipped."""
TRY_AGAIN_S = 0.5

CREATED, CONFLICT, TOO_BUSY = 201, 409, 503
FATES = {0: ("cancel",), 1: ("ship", "deliver")}
"""Of each five orders."""


class Load:
    """
    Places `orders` orders of random customers. `placed` are the ids of answered orders, `commanded` what was done to
    some; `failure` is why it stopped before its end.
    """

    def __init__(
        self, url: str, *, skus: list[str], customers: int, orders: int, seed: int
    ) -> None:
        self._place = urlsplit(url)
        draw = random.Random(seed)
        self._bodies = [_order(draw, customers, skus) for _ in range(orders)]
        self._given = 0
        self._lock = threading.Lock()
        self._stop, self._released = threading.Event(), threading.Event()
        self._threads = [
            threading.Thread(target=self._post, daemon=True) for _ in range(CONNECTIONS)
        ]
        self.placed: list[str] = []
        self.commanded: Counter[str] = Counter()
        self.failure: Exception | None = None

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    @property
    def is_over(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def release(self) -> None:
        """Place what is left at full speed."""
        self._released.set()

    def stop(self) -> None:
        """Place no more; returns when what was asked is answered."""
        self._stop.set()
        self._released.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S)

    def _post(self) -> None:
        connection = HTTPConnection(self._place.hostname or "", self._place.port, timeout=TIMEOUT_S)
        later: deque[tuple[str, tuple[str, ...]]] = deque()
        try:
            for number in self._next():
                _, order = self._asked(connection, "/orders", self._bodies[number])
                self._note("placed", order["orderId"])
                later.append((order["orderId"], FATES.get(number % 5, ())))
                if len(later) > LATER:
                    self._command(connection, *later.popleft())
            for order_id, commands in later:
                self._command(connection, order_id, commands)
        except (OSError, HTTPException, OrderflowError) as error:
            if not self._stop.is_set():
                self.failure = error
            self._stop.set()
        finally:
            connection.close()

    def _next(self) -> Iterator[int]:
        """The numbers of the orders to place, as fast as they may be."""
        orders = len(self._bodies)
        while not self._stop.is_set():
            if (
                self._given >= orders // 2
                and not self._released.wait(TRICKLE_S)
                and self._given >= orders * (1 - KEPT)
            ):
                continue
            with self._lock:
                if self._given >= orders:
                    return
                number, self._given = self._given, self._given + 1
            yield number

    def _command(
        self, connection: HTTPConnection, order_id: str, commands: tuple[str, ...]
    ) -> None:
        for command in commands:
            status, _ = self._asked(connection, f"/orders/{order_id}/{command}", b"")
            if status != 200:
                return
            self._note(command, order_id)

    def _note(self, what: str, order_id: str) -> None:
        with self._lock:
            if what == "placed":
                self.placed.append(order_id)
            else:
                self.commanded[what] += 1

    def _asked(
        self, connection: HTTPConnection, path: str, body: bytes
    ) -> tuple[int, dict[str, Any]]:
        """Status and answer. While the API is too busy the same again; nothing is waited for that is still to come."""
        headers = {"Prefer": "wait=0", **({"Content-Type": "application/json"} if body else {})}
        while True:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status in (200, CREATED, 202, CONFLICT):
                return answer.status, msgspec.json.decode(text)
            if answer.status != TOO_BUSY or self._stop.wait(TRY_AGAIN_S):
                raise OrderflowError(
                    f"POST {path} answered {answer.status}: {text[:300].decode(errors='replace')}"
                )


def _order(draw: random.Random, customers: int, skus: list[str]) -> bytes:
    lines = [{"sku": draw.choice(skus), "quantity": draw.randint(1, 3)}]
    return msgspec.json.encode(
        {"customerId": f"customer-{draw.randrange(customers)}", "lines": lines}
    )
