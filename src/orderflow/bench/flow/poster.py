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

import httptools
import msgspec
import uvloop

from orderflow.messaging.errors import OrderflowError
from orderflow.trials.open_loop import START_IN_NS, constant_schedule, poisson_schedule

ANSWERED_WITHIN_S = 60.0
ACCEPTED = (200, 201, 202)


class PostTask(msgspec.Struct, frozen=True, kw_only=True):
    """
    `rate_per_s` orders a second for `seconds`, of that many customers, for one of the SKUs, to
    `/orders` at each of the URLs in turn.
    """

    urls: list[str]
    skus: list[str]
    customers: int
    rate_per_s: float
    seconds: float
    is_poisson: bool
    connections: int
    seed: int


class Posted(msgspec.Struct, array_like=True, frozen=True):
    """
    An order that was due. CLOCK_MONOTONIC nanoseconds.

    `order_id` is empty if it was refused; `status` is 0 if the connection ended without an answer.
    """

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
        self._all = set[_Connection]()
        self._free: deque[_Connection] = deque()
        self._due: deque[int] = deque()
        self._open = 0
        self._connecting = set[asyncio.Task[None]]()
        self._all_sent = False
        self._over: asyncio.Future[None]
        self._posted: list[Posted] = []

    async def run(self) -> Posting:
        """
        Returns when all are answered.

        Raises OrderflowError when nobody takes connections, or a minute after the last request was
        due.
        """
        self._over = asyncio.get_running_loop().create_future()
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
            await asyncio.wait_for(self._over, ANSWERED_WITHIN_S)
        except TimeoutError as error:
            unanswered = self._open + len(self._due)
            raise OrderflowError(f"{unanswered} orders were not answered within 60 s") from error
        finally:
            await self._end_connections()
        return Posting(self._posted, time.process_time() - cpu_s)

    def answered(self, connection: _Connection, posted: Posted, *, stays: bool) -> None:
        """Note an answer; a connection that stays takes the next request that is due."""
        self._posted.append(posted)
        self._open -= 1
        if stays:
            self._free.append(connection)
        else:
            self._all.discard(connection)
            connection.end()
        self._send()
        self._note_end()

    def unanswered(self, connection: _Connection, posted: Posted) -> None:
        """Note a request whose connection has ended."""
        self._posted.append(posted)
        self._open -= 1
        self._all.discard(connection)
        self._send()
        self._note_end()

    def lost(self, connection: _Connection) -> None:
        """A connection has ended that was idle, or that was not to stay."""
        if connection in self._all:
            self._all.discard(connection)
            self._free.remove(connection)

    def _moments(self) -> Sequence[float]:
        task = self._task
        schedule = poisson_schedule if task.is_poisson else constant_schedule
        return list(schedule(rate_per_s=task.rate_per_s, duration_s=task.seconds, seed=task.seed))

    def _send(self) -> None:
        if self._over.done():
            return
        while self._due and self._free:
            self._open += 1
            # The connection that was used last: few stay busy, as behind a proxy.
            self._free.pop().send(self._body(), self._due.popleft())

        waiting = len(self._due) - len(self._connecting)
        for _ in range(min(waiting, self._task.connections - self._count())):
            url = self._task.urls[self._count() % len(self._task.urls)]
            task = asyncio.create_task(self._connect(url))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self, url: str) -> None:
        address, loop = urlsplit(url), asyncio.get_running_loop()
        connection = _Connection(self, address.netloc.encode())
        try:
            await loop.create_connection(
                lambda: connection, address.hostname or "", address.port or 80
            )
        except OSError as error:
            self._fail(OrderflowError(f"{url} takes no connections: {error}"))
            return
        self._all.add(connection)
        self._free.append(connection)
        self._send()

    def _count(self) -> int:
        """Connections that there are, and that are being opened."""
        return len(self._all) + len(self._connecting)

    async def _end_connections(self) -> None:
        """Returns when all are gone. What was not answered then is noted as unanswered."""
        for connecting in self._connecting:
            connecting.cancel()
        for connection in self._all:
            connection.end()
        while self._all or self._connecting:
            await asyncio.sleep(0)

    def _fail(self, error: OrderflowError) -> None:
        if not self._over.done():
            self._over.set_exception(error)

    def _note_end(self) -> None:
        if self._all_sent and not (self._open or self._due or self._over.done()):
            self._over.set_result(None)

    def _body(self) -> bytes:
        customer = self._draw.randrange(self._task.customers)
        sku = self._draw.choice(self._task.skus)
        return b'{"customerId":"customer-%d","lines":[{"sku":"%s","quantity":1}]}' % (
            customer,
            sku.encode(),
        )


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, poster: Poster, host: bytes) -> None:
        self._poster = poster
        self._head = (
            b"POST /orders HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
            b"Content-Length: " % host
        )
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""
        self._due_ns = self._sent_ns = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is none of asyncio's classes.
        self._transport = cast("asyncio.WriteTransport", transport)

    def send(self, body: bytes, due_ns: int) -> None:
        self._due_ns, self._sent_ns = due_ns, time.monotonic_ns()
        self._transport.write(b"%s%d\r\n\r\n%s" % (self._head, len(body), body))

    def end(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, part: bytes) -> None:
        self._body += part

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        posted = self._posted(status, _order_id(self._body) if status in ACCEPTED else "")
        self._body, self._sent_ns = b"", 0
        self._poster.answered(self, posted, stays=self._parser.should_keep_alive())

    def connection_lost(self, exc: Exception | None) -> None:
        if self._sent_ns:
            self._poster.unanswered(self, self._posted(0, ""))
        else:
            self._poster.lost(self)

    def _posted(self, status: int, order_id: str) -> Posted:
        return Posted(order_id, status, self._due_ns, self._sent_ns, time.monotonic_ns())


class _Answer(msgspec.Struct, rename="camel"):
    order_id: str = ""


def _order_id(body: bytes) -> str:
    return msgspec.json.decode(body, type=_Answer).order_id


if __name__ == "__main__":
    task = msgspec.json.decode(sys.argv[1], type=PostTask)
    Path(sys.argv[2]).write_bytes(msgspec.json.encode(uvloop.run(Poster(task).run())))
