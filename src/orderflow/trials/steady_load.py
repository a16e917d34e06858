"""
Orders over HTTP at a steady rate, by clients that insist: a request that is refused for now, or not
answered, is repeated under its Idempotency-Key until it is answered.

Every fifth order is cancelled some orders later, when it may be paid; every fifth is shipped and
delivered then, if it is paid. A client that waits for an answer places nothing else, so that an
outage leaves at most one open request for each client.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit

import msgspec

from orderflow.messaging.errors import OrderflowError

CLIENTS = 8
ANSWER_WITHIN_S = 10.0
TRY_AGAIN_S = 0.25
LATER = 10
"""So many orders of its client after it, an order is cancelled, or shipped."""

NO_ANSWER = "none"
DONE = (200, 201, 202)
CONFLICT, UNPROCESSABLE, TOO_BUSY = 409, 422, 503
COMMANDS = {0: ("cancel",), 1: ("ship", "deliver")}
"""Of each five orders: the commands that follow, in this order."""


class SteadyLoad:
    """
    At most `rate_per_s` orders a second of random customers, until `stop` or `orders_max`.

    `placed` are the ids of answered orders, in the order of their answers; `answers` counts all
    answers by status, and requests without any; `failure` is the first answer that no outage
    explains, after which that client places no more.
    """

    def __init__(
        self,
        url: str,
        *,
        skus: list[str],
        customers: int,
        rate_per_s: float,
        orders_max: int,
        seed: int = 1,
    ) -> None:
        self._address = urlsplit(url)
        self._skus, self._customers = skus, customers
        self._every_s = CLIENTS / rate_per_s
        self._orders_max = orders_max
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._begun = 0

        self._threads = [
            threading.Thread(target=self._run, args=(random.Random(seed + number),), daemon=True)
            for number in range(CLIENTS)
        ]
        self.placed: list[str] = []
        self.answers: Counter[str] = Counter()
        self.failure: Exception | None = None

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Place no more; returns when every sent request is answered, or given up."""
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(ANSWER_WITHIN_S + TRY_AGAIN_S)

    @property
    def refused(self) -> int:
        """Answers that were 503: try again later."""
        return self.answers[str(TOO_BUSY)]

    @property
    def unanswered(self) -> int:
        return self.answers[NO_ANSWER]

    def _run(self, draw: random.Random) -> None:
        client = _Client(self._address.hostname or "", self._address.port or 80)
        # The clients begin one after the other: no bursts of one request from each.
        self._stop.wait(draw.uniform(0, self._every_s))
        try:
            self._place_orders(client, draw)
        except OrderflowError as error:
            self.failure = self.failure or error
        finally:
            client.close()

    def _place_orders(self, client: _Client, draw: random.Random) -> None:
        later: deque[tuple[str, tuple[str, ...]]] = deque()
        due_at = time.monotonic()
        while self._may_begin():
            order = self._insist(client, "/orders", self._body(draw), key=str(uuid.uuid4()))
            if order is not None:
                with self._lock:
                    self.placed.append(order["orderId"])
                later.append((order["orderId"], COMMANDS.get(draw.randrange(5), ())))
            if len(later) > LATER:
                self._command(client, *later.popleft())

            # What was not placed in time is left out: after an outage there is no flood.
            due_at = max(due_at + self._every_s, time.monotonic() - self._every_s)
            self._stop.wait(max(0.0, due_at - time.monotonic()))

    def _may_begin(self) -> bool:
        with self._lock:
            self._begun += 1
            return not self._stop.is_set() and self._begun <= self._orders_max

    def _command(self, client: _Client, order_id: str, commands: tuple[str, ...]) -> None:
        """Send the commands until one is refused."""
        for command in commands:
            if self._insist(client, f"/orders/{order_id}/{command}", b"") is None:
                return

    def _insist(
        self, client: _Client, path: str, body: bytes, *, key: str = ""
    ) -> dict[str, Any] | None:
        """
        The answer, however often it takes; None: refused by the order's state, or stopped.

        `wait=0`: the API answers with the state of now. Raises OrderflowError on an answer that
        nothing explains.
        """
        headers = {"Prefer": "wait=0", **({"Idempotency-Key": key} if key else {})}
        while True:
            status, text = client.post(path, body, headers)
            with self._lock:
                self.answers[str(status or NO_ANSWER)] += 1
            if status in DONE:
                answer: dict[str, Any] = msgspec.json.decode(text)
                return answer
            if status == CONFLICT and not key:
                return None

            # 409 to a key: the same request, whose answer got lost, is still being worked on.
            if status not in (0, TOO_BUSY, CONFLICT):
                detail = text[:300].decode(errors="replace")
                raise OrderflowError(f"POST {path} answered {status}: {detail}")
            if self._stop.wait(TRY_AGAIN_S):
                return None

    def _body(self, draw: random.Random) -> bytes:
        lines = [{"sku": draw.choice(self._skus), "quantity": draw.randint(1, 3)}]
        customer = f"customer-{draw.randrange(self._customers)}"
        return msgspec.json.encode({"customerId": customer, "lines": lines})


class _Client:
    """One connection, opened anew after a request that was not answered."""

    def __init__(self, host: str, port: int) -> None:
        self._connection = HTTPConnection(host, port, timeout=ANSWER_WITHIN_S)

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Status and text; status 0: no answer."""
        kind = {"Content-Type": "application/json"} if body else {}
        try:
            self._connection.request("POST", path, body, {**headers, **kind})
            # A response that is left half read keeps its socket open.
            with self._connection.getresponse() as response:
                return response.status, response.read()
        except (OSError, HTTPException):
            self._connection.close()
            return 0, b""

    def close(self) -> None:
        self._connection.close()
