"""
The HTTP edge of a process: one ASGI application on one socket, started and stopped with a role.

SIGTERM and SIGINT stop accepting, let running requests finish for at most 4 s, then close what
stands behind them, and the process ends with 0.
"""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
import uvicorn
import uvloop
from starlette.types import ASGIApp

from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.http.bounded_protocol import BoundedProtocol
from orderflow.messaging.http.health import Reasons, application
from orderflow.messaging.http.measured import Measured
from orderflow.messaging.http.snapshot import EVERY_S_NOT_READY, Snapshot
from orderflow.messaging.process.garbage import collect_garbage_rarely
from orderflow.messaging.telemetry import logger
from orderflow.messaging.telemetry.traces import close_traces

GRACEFUL_S = 4
BACKLOG = 2048
CONNECTIONS_MAX = 8192
"""Requests on more connections than that are 503: memory has an end."""

Fail = Callable[[BaseException], None]
"""Called by a part that cannot go on. The process stops and `serve` raises that error."""

log = logger("serving")


def _nothing() -> None:
    pass


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a process runs: alone, or with others behind one port (`together`).

    `start` returns at once. `stopping` runs in the event loop when the process begins to stop, so
    that requests which wait for something are answered; `close` runs after them, and takes at most
    5 s. `app` makes the application from the reasons why the whole process is not ready; a role
    without an API has none, and its process serves health alone.
    """

    name: str
    host: str
    port: int
    app: Callable[[Reasons], ASGIApp] | None = None
    reasons: Reasons = list
    start: Callable[[], None] = _nothing
    stopping: Callable[[], None] = _nothing
    close: Callable[[], None] = _nothing


class _Server(uvicorn.Server):
    """Signals are the process's business, not the server's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(build: Callable[[Fail], Role]) -> None:
    """
    Build a role inside the event loop, serve until a signal, close.

    Raises ConfigurationError, before anything is started, when the port is taken; and whatever the
    role passed to the function that `build` gets, because it could not go on.
    """
    uvloop.run(_serve(build))


async def _serve(build: Callable[[Fail], Role]) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    failures: list[BaseException] = []

    def fail(error: BaseException) -> None:
        failures.append(error)
        loop.call_soon_threadsafe(stop.set)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    role = build(fail)
    collect_garbage_rarely()

    # The socket before `start`: a port that is taken is refused before anything runs.
    listener = listen(role.name, role.host, role.port)
    # Often, since nothing in it asks anybody: what does has a snapshot of its own.
    snapshot = Snapshot(role.reasons, every_s=EVERY_S_NOT_READY)
    server = _server(role, snapshot)
    role.start()
    snapshot.start()
    running = asyncio.create_task(server.serve(sockets=[listener]))
    log.info("serving", **{role.name: f"http://{role.host}:{role.port}"})
    await asyncio.wait(
        [asyncio.create_task(stop.wait()), running], return_when=asyncio.FIRST_COMPLETED
    )

    # First those who wait are answered, then the server ends, then what its requests used closes.
    role.stopping()
    server.should_exit = True
    await running
    await asyncio.to_thread(snapshot.close)
    await asyncio.to_thread(role.close)
    await asyncio.to_thread(close_traces)
    log.info("stopped")
    if failures:
        raise failures[0]


def _server(role: Role, reasons: Reasons) -> _Server:
    return _Server(
        uvicorn.Config(
            Measured((role.app or application)(reasons)),
            loop="none",
            http=BoundedProtocol,
            limit_concurrency=CONNECTIONS_MAX,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=GRACEFUL_S,
        )
    )


def listen(name: str, host: str, port: int) -> socket.socket:
    """A listening socket. Raises ConfigurationError, with `name`, when the port can't be had."""
    try:
        return socket.create_server((host, port), backlog=BACKLOG)
    except OSError as error:
        why = "is in use" if error.errno == errno.EADDRINUSE else f"can't be used: {error.strerror}"
        raise ConfigurationError(f"{name}: port {port} on {host} {why}") from error
