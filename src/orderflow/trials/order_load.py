"""
Orders over HTTP, from several connections at once: a closed loop.

Half of the orders come at full speed; then a trickle, so that work goes on for as long as it is
disturbed; the rest after `release`. Every fifth order is cancelled some orders later, when it may
be paid; every fifth is shipped and delivered then, if it is paid.
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

OK, CREATED, ACCEPTED, CONFLICT, TOO_BUSY = 200, 201, 202, 409, 503
COMMANDS = {0: ("cancel",), 1: ("ship", "deliver")}
"""Of each five orders: the commands that follow, in this order."""


class OrderLoad:
    """
    Places `orders` orders of random customers.

    `placed` are the ids of answered orders; `commanded` counts the commands that were accepted;
    `failure` is why it stopped before its end.
    """

    def __init__(
        self, url: str, *, skus: list[str], customers: int, orders: int, seed: int
    ) -> None:
        self._address = urlsplit(url)
        draw = random.Random(seed)
        self._bodies = [_order(draw, customers, skus) for _ in range(orders)]
        self._next_number = 0
        self._lock = threading.Lock()
        self._stop, self._released = threading.Event(), threading.Event()
        self._threads = [
            threading.Thread(target=self._run, daemon=True) for _ in range(CONNECTIONS)
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
        """Place no more; returns when every sent request is answered."""
        self._stop.set()
        self._released.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S)

    def _run(self) -> None:
        connection = HTTPConnection(
            self._address.hostname or "", self._address.port, timeout=TIMEOUT_S
        )
        try:
            self._place_orders(connection)
        except (OSError, HTTPException, OrderflowError) as error:
            # Not after `stop`: then an answer may be missing because the stack is going down.
            if not self._stop.is_set():
                self.failure = error
            self._stop.set()
        finally:
            connection.close()

    def _place_orders(self, connection: HTTPConnection) -> None:
        later: deque[tuple[str, tuple[str, ...]]] = deque()
        for number in self._numbers():
            _, order = self._post(connection, "/orders", self._bodies[number])
            with self._lock:
                self.placed.append(order["orderId"])

            later.append((order["orderId"], COMMANDS.get(number % 5, ())))
            if len(later) > LATER:
                self._command(connection, *later.popleft())

        for order_id, commands in later:
            self._command(connection, order_id, commands)

    def _numbers(self) -> Iterator[int]:
        """The numbers of the orders to place, each when it may be placed."""
        orders = len(self._bodies)
        while not self._stop.is_set():
            # At full speed, at a trickle, or not at all before `release`.
            if (
                self._next_number >= orders // 2
                and not self._released.wait(TRICKLE_S)
                and self._next_number >= orders * (1 - KEPT)
            ):
                continue

            with self._lock:
                if self._next_number >= orders:
                    return
                number, self._next_number = self._next_number, self._next_number + 1
            yield number

    def _command(
        self, connection: HTTPConnection, order_id: str, commands: tuple[str, ...]
    ) -> None:
        """Send the commands until one is refused."""
        for command in commands:
            status, _ = self._post(connection, f"/orders/{order_id}/{command}", b"")
            if status != OK:
                return
            with self._lock:
                self.commanded[command] += 1

    def _post(
        self, connection: HTTPConnection, path: str, body: bytes
    ) -> tuple[int, dict[str, Any]]:
        """
        Status and answer; repeated while the API answers that it is too busy.

        `wait=0`: the API answers with the state of now. Raises OrderflowError on another refusal.
        """
        headers = {"Prefer": "wait=0", **({"Content-Type": "application/json"} if body else {})}
        while True:
            connection.request("POST", path, body, headers)
            # A response that is left half read keeps its socket open.
            with connection.getresponse() as response:
                text = response.read()
            if response.status in (OK, CREATED, ACCEPTED, CONFLICT):
                return response.status, msgspec.json.decode(text)
            if response.status != TOO_BUSY or self._stop.wait(TRY_AGAIN_S):
                detail = text[:300].decode(errors="replace")
                raise OrderflowError(f"POST {path} answered {response.status}: {detail}")


def _order(draw: random.Random, customers: int, skus: list[str]) -> bytes:
    lines = [{"sku": draw.choice(skus), "quantity": draw.randint(1, 3)}]
    return msgspec.json.encode(
        {"customerId": f"customer-{draw.randrange(customers)}", "lines": lines}
    )
