"""What `bench flow` measures with, without a stack: who posts, and who counts what was used."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from orderflow.bench.flow import poster
from orderflow.bench.flow.poster import Poster, Posting, PostTask
from orderflow.bench.flow.profile import recording
from orderflow.bench.flow.usage import snapshot, used_by
from orderflow.messaging.errors import OrderflowError
from orderflow.stack.ports import free_ports

BODY = b'{"status": "CREATED", "orderId": "a"}'
CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (
    len(BODY),
    BODY,
)
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\nRetry-After: 1\r\n\r\n{}"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


async def read_request(reader: asyncio.StreamReader) -> bool:
    """One request with its body; False when the client has gone."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return False
    assert head.startswith(b"POST /orders HTTP/1.1\r\n")
    length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
    assert b'"customerId"' in await reader.readexactly(length)
    return True


def posting(answer: Answer, *, rate_per_s: float = 100, connections: int = 4) -> Posting:
    """What a poster did in 0.2 s of this rate at a server that answers so."""

    serving = set[asyncio.Task[Any]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        while not writer.is_closing() and await read_request(reader):
            await answer(writer)
        writer.close()
        await writer.wait_closed()

    async def run() -> Posting:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            try:
                return await Poster(task(port, rate_per_s, connections)).run()
            finally:
                await asyncio.gather(*serving)

    return asyncio.run(run())


def task(port: int, rate_per_s: float, connections: int) -> PostTask:
    return PostTask(
        urls=[f"http://127.0.0.1:{port}"],
        skus=["KEYBOARD-01"],
        customers=10,
        rate_per_s=rate_per_s,
        seconds=0.2,
        is_poisson=False,
        connections=connections,
        seed=1,
    )


@pytest.mark.parametrize("answer", [CREATED, CHUNKED])
def test_every_order_that_is_due_is_posted_at_its_moment(answer: bytes) -> None:
    async def at_once(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    orders = posting(at_once).orders
    assert [order.order_id for order in orders] == ["a"] * 20
    moments = sorted(order.due_ns for order in orders)
    assert {later - earlier for earlier, later in pairwise(moments)} <= set(
        range(9_999_990, 10_000_010)
    )
    assert all(order.due_ns <= order.sent_ns <= order.answered_ns for order in orders)


def test_a_late_answer_delays_nobody_and_without_a_connection_an_order_keeps_its_moment() -> None:
    """The rule of an open loop: who waits behind a slow answer was due before it."""

    async def late(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        writer.write(CREATED)

    free = posting(late, connections=30).orders
    assert len(free) == 20
    assert max(order.sent_ns - order.due_ns for order in free) < 300e6

    queued = posting(late, connections=2).orders
    assert len(queued) == 20
    assert max(order.sent_ns - order.due_ns for order in queued) > 300e6
    assert max(order.due_ns for order in queued) - min(order.due_ns for order in queued) < 200e6


def test_an_order_that_is_refused_has_no_id() -> None:
    async def busy(writer: asyncio.StreamWriter) -> None:
        writer.write(BUSY)

    orders = posting(busy).orders
    assert {(order.status, order.order_id) for order in orders} == {(503, "")}
    assert len(orders) == 20


def test_a_connection_that_is_closed_while_it_is_idle_is_replaced() -> None:
    async def answer_and_close(writer: asyncio.StreamWriter) -> None:
        writer.write(CREATED)
        writer.close()
        await writer.wait_closed()

    orders = posting(answer_and_close, rate_per_s=20).orders
    assert [order.status for order in orders] == [201] * 4


def test_a_connection_that_the_api_wants_to_close_takes_no_other_request() -> None:
    """As servers do that answer so many requests and no more over one connection."""

    async def last(writer: asyncio.StreamWriter) -> None:
        writer.write(CREATED.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))

    orders = posting(last, connections=1).orders
    assert [order.status for order in orders] == [201] * 20


def test_a_request_whose_connection_ends_is_noted_as_unanswered() -> None:
    async def close(writer: asyncio.StreamWriter) -> None:
        writer.close()
        await writer.wait_closed()

    orders = posting(close).orders
    assert {(order.status, order.order_id) for order in orders} == {(0, "")}
    assert len(orders) == 20


def test_nobody_who_takes_connections_and_nobody_who_answers_are_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [free] = free_ports(1, start=os.getpid() * 7 + 9_000)

    async def nobody() -> None:
        await Poster(task(free, 100, 4)).run()

    async def silent(_writer: asyncio.StreamWriter) -> None:
        pass

    with pytest.raises(OrderflowError, match="takes no connections"):
        asyncio.run(nobody())
    monkeypatch.setattr(poster, "ANSWERED_WITHIN_S", 0.1)
    with pytest.raises(OrderflowError, match="20 orders were not answered"):
        posting(silent)


def test_what_a_process_used_grows_with_what_it_does() -> None:
    before = used_by(os.getpid())
    until = time.process_time() + 0.3
    while time.process_time() < until:
        pass
    time.sleep(0.01)
    spent = used_by(os.getpid()).since(before)
    assert spent.cpu_s >= 0.25
    assert spent.switches > 0
    assert spent.memory_mib > 1


def test_what_a_child_used_counts_with_its_parent_while_it_runs_and_after_its_end() -> None:
    burn = "import time\nwhile time.process_time() < 0.5: pass\n"
    idle = f"import sys, subprocess\nsubprocess.run([sys.executable, '-c', {burn!r}])\nprint(1, flush=True)\nsys.stdin.read()"  # noqa: E501
    with subprocess.Popen(
        [sys.executable, "-c", idle], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        # The child is waited for by its parent before this line comes.
        parent.stdout.readline()
        taken = snapshot({"parent": parent.pid}, at_s=1.0)
        parent.stdin.close()
    assert taken.used["parent"].cpu_s >= 0.45
    assert taken.busy_s > 0


def test_what_is_asked_of_a_process_that_is_gone_raises() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        pass
    with pytest.raises(psutil.NoSuchProcess):
        used_by(child.pid)


def test_a_process_that_runs_python_is_recorded_and_one_that_cannot_be_is_said(
    tmp_path: Path,
) -> None:
    burn = "print(1, flush=True)\nwhile True: sum(range(1000))\n"
    with subprocess.Popen([sys.executable, "-c", burn], stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        with recording({"worker": worker.pid}, tmp_path / "graphs", seconds=1) as failures:
            assert failures == []
        assert failures == []
        assert b"speedscope" in (tmp_path / "graphs" / "worker.speedscope.json").read_bytes()

        (tmp_path / "graphs" / "other.speedscope.json").mkdir()
        with recording({"other": worker.pid}, tmp_path / "graphs", seconds=1) as failures:
            pass
        worker.kill()
    (sentence,) = failures
    assert sentence.startswith("other was not recorded: Error")
