"""
Posts orders at moments fixed beforehand, in a process of its own, for `flow`.

`python -m orderflow.bench.inventory.order_poster URL SKU RATE SECONDS SEED FILE`
"""

from __future__ import annotations

import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from orderflow.trials.open_loop import Schedule, in_threads, wait_until

ORDER = b'{"customerId":"customer-123","lines":[{"sku":"%s","quantity":1}]}'
POSTERS = 32


class Posted(msgspec.Struct, array_like=True, frozen=True):
    """An answered POST; CLOCK_MONOTONIC nanoseconds."""

    order_id: str
    due_ns: int
    sent_ns: int
    answered_ns: int


class _Answer(msgspec.Struct, rename="camel"):
    order_id: str


def paced(url: str, *, sku: str, rate_per_s: float, duration_s: float, seed: int) -> list[Posted]:
    """Post an order at each Poisson moment. Raises RuntimeError unless it is answered 201."""
    schedule = Schedule(rate_per_s=rate_per_s, duration_s=duration_s, seed=seed)
    address = urlsplit(url)
    body = ORDER % sku.encode()
    posted: list[Posted] = []

    def post() -> None:
        connection = HTTPConnection(address.hostname or "", address.port)
        connection.connect()
        for due_ns in schedule.due():
            wait_until(due_ns)
            sent_ns = time.monotonic_ns()
            connection.request("POST", "/orders", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read()
            answered_ns = time.monotonic_ns()

            if response.status != 201:
                raise RuntimeError(f"POST {url}: {response.status} {text!r}")
            order_id = msgspec.json.decode(text, type=_Answer).order_id
            posted.append(Posted(order_id, due_ns, sent_ns, answered_ns))

    in_threads(POSTERS, post)
    return posted


if __name__ == "__main__":
    url, sku, rate, seconds, seed, file = sys.argv[1:]
    orders = paced(url, sku=sku, rate_per_s=float(rate), duration_s=float(seconds), seed=int(seed))
    Path(file).write_bytes(msgspec.json.encode(orders))
