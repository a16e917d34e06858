"""What operators, customers and tools ask the services over HTTP, one after the other, timed."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from uuid import UUID

import httpx2

from orderflow.bench.years.generated import YEARS
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.postgres import Connection
from orderflow.trials.latency import Latencies, Percentiles

ASK_EVERY_S = 0.02
ANSWER_WITHIN_S = 30.0
SAMPLES = 200

Question = tuple[str, str]
"""A service, and a path; `{order}` and `{customer}` stand for some of any age."""

QUESTIONS: Mapping[str, Question] = {
    "orders": ("order", "/orders"),
    "orders of a status": ("order", "/orders?status=SHIPPED"),
    "orders of two statuses": ("order", "/orders?status=CREATED,CANCELLED"),
    "orders of a customer": ("order", "/orders?customerId={customer}"),
    "orders of a year ago": ("order", "/orders?to={year_ago}"),
    "orders that are stuck": ("order", "/orders?stuck=true&limit=100"),
    "an order": ("order", "/orders/{order}"),
    "an order's history": ("order", "/orders/{order}/history?all=true"),
    "products": ("order", "/products?limit=100"),
    "an order's payments": ("payment", "/payments/{order}"),
    "payments": ("payment", "/payments"),
    "a customer's payments": ("payment", "/payments?customerId={customer}"),
    "payments that are unknown": ("payment", "/payments?state=UNKNOWN"),
    "ledger": ("payment", "/ledger/summary"),
    "stock": ("inventory", "/stock?limit=100"),
    "a reservation": ("inventory", "/reservations/{order}"),
    "shipments to do": ("fulfilment", "/shipments?status=PREPARED"),
    "a customer's shipments": ("fulfilment", "/shipments?customerId={customer}"),
    "messages that wait": ("notification", "/notifications?state=PENDING"),
    "messages that failed": ("notification", "/notifications?state=FAILED"),
    "a customer's messages": ("notification", "/notifications?customerId={customer}"),
    "funnel": ("analytics", "/analytics/funnel"),
}


class Asker:
    """
    Asks one question after the other, some fifty a second, until it is stopped.

    `urls` are those of the services. An answer of 404 counts: an order may be unknown to a service.
    """

    def __init__(
        self, urls: Mapping[str, str], *, samples: Sequence[tuple[str, str]], seed: int = 1
    ) -> None:
        self._urls, self._samples = urls, samples
        self._draw = random.Random(seed)
        self._stop = threading.Event()
        self._latencies: defaultdict[str, Latencies] = defaultdict(Latencies)
        self._refused: defaultdict[str, int] = defaultdict(int)
        self._failure: OrderflowError | None = None
        self._thread = threading.Thread(target=self._run, name="asker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Raises OrderflowError if a service did not answer."""
        self._stop.set()
        self._thread.join(ANSWER_WITHIN_S)
        if self._failure is not None:
            raise self._failure

    @property
    def percentiles(self) -> dict[str, Percentiles]:
        return {name: times.percentiles() for name, times in self._latencies.items()}

    @property
    def refused(self) -> dict[str, int]:
        """How often a question was answered with 5xx."""
        return dict(self._refused)

    def _run(self) -> None:
        try:
            with httpx2.Client(timeout=ANSWER_WITHIN_S, trust_env=False) as client:
                while not self._stop.is_set():
                    for name, question in QUESTIONS.items():
                        self._ask(client, name, *question)
                        self._stop.wait(ASK_EVERY_S)
        except OrderflowError as error:
            self._failure = error

    def _ask(self, client: httpx2.Client, name: str, service: str, path: str) -> None:
        order_id, customer_id = self._draw.choice(self._samples)
        year_ago = (datetime.now(UTC) - timedelta(days=365)).isoformat()
        place = path.format(
            order=order_id, customer=quote(customer_id, safe=""), year_ago=quote(year_ago)
        )

        began_ns = time.perf_counter_ns()
        try:
            status = client.get(f"{self._urls[service]}{place}").status_code
        except httpx2.HTTPError as error:
            raise OrderflowError(f"{service} gave no answer to {place}: {error}") from error
        self._latencies[name].record_ns(time.perf_counter_ns() - began_ns)
        if status >= 500:
            self._refused[name] += 1
        elif status not in (200, 404):
            raise OrderflowError(f"{service} answered {status} to {place}")


def sample(connection: Connection, *, seed: int = 1) -> list[tuple[str, str]]:
    """Some orders of any age, each with its customer."""
    draw, now = random.Random(seed), time.time()
    samples: list[tuple[str, str]] = []
    for _ in range(SAMPLES):
        moment_ms = int((now - draw.random() * YEARS * 365 * 86_400) * 1000)
        row = connection.execute(_FROM_THEN_ON, (UUID(int=moment_ms << 80),)).fetchone()
        if row is not None:
            samples.append((str(row[0]), row[1]))
    return samples


_FROM_THEN_ON = """
SELECT order_id, customer_id FROM orders WHERE order_id >= %s ORDER BY order_id LIMIT 1
"""
