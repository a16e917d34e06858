"""
Closed-loop HTTP load: each connection sends its next request when it has the answer to the last.

Uses wrk where it is on PATH, because it costs least; else a generator in this process, which shares
the cores with the measured processes; the report says which.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import cast
from urllib.parse import SplitResult, urlsplit

import httptools
import msgspec
import uvloop

from orderflow.messaging.errors import OrderflowError
from orderflow.trials.latency import Latencies

CRLF = "\r\n"
_SCRIPT = """
wrk.method = "POST"
wrk.body = [[%s]]
wrk.headers["Content-Type"] = "application/json"
function done(summary, latency)
  local errors = summary.errors
  local broken = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format('RESULT {"requests":%%d,"duration_us":%%d,"refused":%%d,"broken":%%d,',
    summary.requests, summary.duration, errors.status, broken))
  io.write(string.format('"p50_us":%%d,"p99_us":%%d,"max_us":%%d}\\n',
    latency:percentile(50), latency:percentile(99), latency.max))
end
"""


class LoadFailed(OrderflowError):
    """The generator ended without a result."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """`refused`: answers from 400 on; `broken`: connections that failed."""

    requests: int
    duration_us: int
    refused: int
    broken: int
    p50_us: int
    p99_us: int
    max_us: int

    @property
    def done(self) -> int:
        return self.requests - self.refused

    @property
    def per_s(self) -> float:
        return self.done / (self.duration_us / 1e6)


def generator() -> str:
    return "wrk" if shutil.which("wrk") else "bundled (shares the cores with what it measures)"


def post(url: str, body: str, *, connections: int, duration_s: float) -> Result:
    """POST `body` over and over from `connections` connections."""
    if shutil.which("wrk"):
        return _wrk(url, body, connections=connections, duration_s=duration_s)
    return uvloop.run(_bundled(url, body, connections=connections, duration_s=duration_s))


def _wrk(url: str, body: str, *, connections: int, duration_s: float) -> Result:
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "post.lua"
        script.write_text(_SCRIPT % body)
        command = (
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{max(1, round(duration_s))}s",
            "-s",
            str(script),
            url,
        )
        wrk = subprocess.run(command, capture_output=True, text=True, check=False)

    results = [line for line in wrk.stdout.splitlines() if line.startswith("RESULT ")]
    if wrk.returncode or not results:
        raise LoadFailed(f"wrk ended with {wrk.returncode}: {wrk.stderr or wrk.stdout}")
    return msgspec.json.decode(results[0].removeprefix("RESULT "), type=Result)


class _Client(asyncio.Protocol):
    """One connection: sends, parses the answer, notes the time, sends again, until `over`."""

    def __init__(self, request: bytes, tally: _Tally) -> None:
        self._request = request
        self._tally = tally
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is none of asyncio's classes.
        self._transport = cast("asyncio.WriteTransport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._tally.note(self._parser.get_status_code(), time.monotonic_ns() - self._sent_at_ns)
        if self._tally.over:
            self._transport.close()
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._tally.broken += not self._tally.over
        self.closed.set_result(None)

    def _send(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._sent_at_ns = time.monotonic_ns()
        self._transport.write(self._request)


class _Tally:
    def __init__(self) -> None:
        self.latencies = Latencies()
        self.requests = self.refused = self.broken = 0
        self.over = False

    def note(self, status: int, duration_ns: int) -> None:
        self.requests += 1
        self.refused += status >= 400
        self.latencies.record_ns(duration_ns)


async def _bundled(url: str, body: str, *, connections: int, duration_s: float) -> Result:
    target = urlsplit(url)
    assert target.hostname is not None
    assert target.port is not None
    host, port, request = target.hostname, target.port, _request(target, body)
    loop, tally, began_ns = asyncio.get_running_loop(), _Tally(), time.monotonic_ns()

    opened = [
        await loop.create_connection(lambda: _Client(request, tally), host, port)
        for _ in range(connections)
    ]
    await asyncio.sleep(duration_s)
    tally.over = True
    await asyncio.wait_for(asyncio.gather(*(client.closed for _, client in opened)), 30)

    latencies = tally.latencies.percentiles()
    return Result(
        requests=tally.requests,
        duration_us=(time.monotonic_ns() - began_ns) // 1000,
        refused=tally.refused,
        broken=tally.broken,
        p50_us=round(latencies.p50_ms * 1000),
        p99_us=round(latencies.p99_ms * 1000),
        max_us=round(latencies.max_ms * 1000),
    )


def _request(target: SplitResult, body: str) -> bytes:
    lines = (
        f"POST {target.path} HTTP/1.1",
        f"Host: {target.netloc}",
        "Content-Type: application/json",
        f"Content-Length: {len(body.encode())}",
    )
    return f"{CRLF.join(lines)}{CRLF}{CRLF}{body}".encode()
