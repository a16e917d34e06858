"""
Posts orders at moments fixed beforehand, in a process of its own, for `bench inventory`'s way from POST to the shelf:
`python -m orderflow.bench.order_poster URL SKU RATE SECONDS SEED FILE`
"""

from __future__ import annotations

import sys
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from orderflow.bench.latency import poisson_schedule, wait_until

ORDER = b'{"customerId":"customer-123","lines":[{"sku":"%s","quantity":1}]}'
POSTERS = 32
START_IN_NS = 500_000_000


class Posted(msgspec.Struct, array_like=True, frozen=True):
    """One answered POST; CLOCK_MONOTONIC nanoseconds."""

    order_id: str
    due_ns: int
    sent_ns: int
    answered_ns: int


class _Answer(msgspec.Struct, rename="camel"):
    order_id: str


def paced(url: str, *, sku: str, rate_per_s: float, duration_s: float, seed: int) -> list[Posted]:
    """One order at each Poisson moment; a poster that is free takes the next moment."""
    place = urlsplit(url)
    body = ORDER % sku.encode()
    began_ns = time.monotonic_ns() + START_IN_NS
    schedule = poisson_schedule(rate_per_s=rate_per_s, duration_s=duration_s, seed=seed)
    moments = iter([began_ns + int(moment * 1e9) for moment in schedule])
    lock, posted = threading.Lock(), list[Posted]()

    def post() -> None:
        connection = HTTPConnection(place.hostname or "", place.port)
        connection.connect()
        while True:
            with lock:
                due_ns = next(moments, None)
            if due_ns is None:
                return
            wait_until(due_ns)
            sent_ns = time.monotonic_ns()
            connection.request("POST", "/orders", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            answered_ns = time.monotonic_ns()
            if answer.status != 201:
                raise RuntimeError(f"POST {url}: {answer.status} {text!r}")
            posted.append(
                Posted(
                    msgspec.json.decode(text, type=_Answer).order_id, due_ns, sent_ns, answered_ns
                )
            )

    posters = [threading.Thread(target=post) for _ in range(POSTERS)]
    for poster in posters:
        poster.start()
    for poster in posters:
        poster.join()
    return posted


if __name__ == "__main__":
    url, sku, rate, seconds, seed, file = sys.argv[1:]
    done = paced(url, sku=sku, rate_per_s=float(rate), duration_s=float(seconds), seed=int(seed))
    Path(file).write_bytes(msgspec.json.encode(done))
