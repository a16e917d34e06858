"""
Posts orders at moments fixed beforehand, in a process of its own: one event loop, many connections.

`python -m orderflow.bench.flow.poster TASK FILE`. What it did goes into the file as JSON.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import msgspec
import uvloop

from orderflow.messaging.errors import OrderflowError
from orderflow.trials.open_loop import START_IN_NS, constant_schedule, poisson_schedule

ANSWERED_WITHIN_S = 60.0
HEADER_END = b"\r\n\r\n"


class PostTask(msgspec.Struct, frozen=True, kw_only=True):
    """`rate_per_s` orders a second for `seconds`, of that many customers, for one of the SKUs."""

    urls: list[str]
    skus: list[str]
    customers: int
    rate_per_s: float
    seconds: float
    is_poisson: bool
    connections: int
    seed: int


class Posted(msgspec.Struct, array_like=True, frozen=True):
    """An order that was due. CLOCK_MONOTONIC nanoseconds; `order_id` is empty if it was refused."""

    order_id: str
    status: int
    due_ns: int
    sent_ns: int
    answered_ns: int


class Posting(msgspec.Struct, frozen=True):
    """All orders that were due; CPU seconds that it took to post them."""

    orders: list[Posted]
    cpu_s: float


class Poster:
    """
    Sends each request at its moment over a connection that is free, that becomes free, or over a
    new one while there are fewer than `connections`.
    """

    def __init__(self, task: PostTask) -> None:
        self._task = task
        self._draw = random.Random(task.seed)
        self._free: deque[_Connection] = deque()
        self._due: deque[int] = deque()
        self._open = self._connected = 0
        self._connecting = set[asyncio.Task[None]]()
        self._all_sent = False
        self._over = asyncio.Event()
        self._posted: list[Posted] = []

    async def run(self) -> Posting:
        """Returns when all are answered. Raises OrderflowError after a minute without an answer."""
        began_ns, cpu_s = time.monotonic_ns() + START_IN_NS, time.process_time()
        for offset in self._moments():
            due_ns = began_ns + int(offset * 1e9)
            wait_s = (due_ns - time.monotonic_ns()) / 1e9
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            self._due.append(due_ns)
            self._send()

        self._all_sent = True
        self._note_end()
        try:
            await asyncio.wait_for(self._over.wait(), ANSWERED_WITHIN_S)
        except TimeoutError as error:
            unanswered = self._open + len(self._due)
            raise OrderflowError(f"{unanswered} orders were not answered within 60 s") from error
        return Posting(self._posted, time.process_time() - cpu_s)

    def answered(self, connection: _Connection, posted: Posted) -> None:
        """Note an answer; the connection takes the next request that is due."""
        self._posted.append(posted)
        self._open -= 1
        self._free.append(connection)
        self._send()
        self._note_end()

    def _moments(self) -> Sequence[float]:
        task = self._task
        schedule = poisson_schedule if task.is_poisson else constant_schedule
        return list(schedule(rate_per_s=task.rate_per_s, duration_s=task.seconds, seed=task.seed))

    def _send(self) -> None:
        while self._due and self._free:
            self._open += 1
            # The connection that was used last: few stay busy, as behind a proxy.
            self._free.pop().send(self._body(), self._due.popleft())

        waiting = len(self._due) - len(self._connecting)
        for _ in range(min(waiting, self._task.connections - self._connected)):
            self._connected += 1
            task = asyncio.create_task(self._connect())
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self) -> None:
        address = urlsplit(self._task.urls[self._connected % len(self._task.urls)])
        connection = _Connection(self, address.netloc.encode())
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: connection, address.hostname or "", address.port or 80)
        self._free.append(connection)
        self._send()

    def lost(self, connection: _Connection) -> None:
        """The API has ended a connection that was idle for long."""
        self._connected -= 1
        self._free.remove(connection)

    def _note_end(self) -> None:
        if self._all_sent and not self._open and not self._due:
            self._over.set()

    def _body(self) -> bytes:
        customer = self._draw.randrange(self._task.customers)
        sku = self._draw.choice(self._task.skus)
        return b'{"customerId":"customer-%d","lines":[{"sku":"%s","quantity":1}]}' % (
            customer,
            sku.encode(),
        )


class _Connection(asyncio.Protocol):
    """One request at a time. The answer is read as little as is needed: status, length, id."""

    def __init__(self, poster: Poster, host: bytes) -> None:
        self._poster = poster
        self._head = (
            b"POST /orders HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
            b"Content-Length: " % host
        )
        self._received = b""
        self._due_ns = self._sent_ns = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is none of asyncio's classes.
        self._transport = cast("asyncio.WriteTransport", transport)

    def send(self, body: bytes, due_ns: int) -> None:
        self._due_ns, self._sent_ns = due_ns, time.monotonic_ns()
        self._transport.write(b"%s%d\r\n\r\n%s" % (self._head, len(body), body))

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(HEADER_END)
        if not end or len(body) < _length(head):
            return

        now_ns, status = time.monotonic_ns(), int(head[9:12])
        order_id = _order_id(body) if status == 201 else ""
        posted = Posted(order_id, status, self._due_ns, self._sent_ns, now_ns)
        self._received, self._sent_ns = b"", 0
        self._poster.answered(self, posted)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._sent_ns:
            raise OrderflowError(f"the API closed a connection instead of answering: {exc}")
        self._poster.lost(self)


def _length(head: bytes) -> int:
    """The length of the body. Raises ValueError when the API does not tell it."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ValueError("an answer without Content-Length")


def _order_id(body: bytes) -> str:
    return body.partition(b'"orderId":"')[2].partition(b'"')[0].decode()


if __name__ == "__main__":
    task = msgspec.json.decode(sys.argv[1], type=PostTask)
    Path(sys.argv[2]).write_bytes(msgspec.json.encode(uvloop.run(Poster(task).run())))
