"""
The HTTP edge of a process: one or more ASGI applications on sockets of their own, started and stopped together.

SIGTERM and SIGINT stop accepting, let running requests finish for at most 4 s, then close what stands behind them, and
the process ends with 0.
"""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import msgspec
import uvicorn
import uvloop
from starlette.types import ASGIApp

from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.telemetry import logger

GRACEFUL_S = 4
BACKLOG = 2048

log = logger("serving")


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """An application, where it listens, what starts before and closes after it, and what is told of a stop first."""

    name: str
    host: str
    port: int
    app: ASGIApp
    start: Callable[[], None]
    close: Callable[[], None]
    stopping: Callable[[], None] = lambda: None


class _Server(uvicorn.Server):
    """Signals are the process's business, not each server's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(build: Callable[[Callable[[BaseException], None]], Sequence[Served]]) -> None:
    """
    Build inside the event loop, serve until a signal, close; raise what a part reported as its failure.

    `build` gets the function by which a part says that it can't go on. Raises ConfigurationError, before anything is
    started, when a port is taken.
    """
    uvloop.run(_serve(build))


async def _serve(build: Callable[[Callable[[BaseException], None]], Sequence[Served]]) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    failures: list[BaseException] = []

    def fail(error: BaseException) -> None:
        failures.append(error)
        loop.call_soon_threadsafe(stop.set)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    parts = build(fail)
    sockets = [listen(part.name, part.host, part.port) for part in parts]
    servers = [_server(part) for part in parts]
    for part in parts:
        part.start()
    running = [
        asyncio.create_task(server.serve(sockets=[listener]))
        for server, listener in zip(servers, sockets, strict=True)
    ]
    log.info("serving", **{part.name: f"http://{part.host}:{part.port}" for part in parts})
    await asyncio.wait(
        [asyncio.create_task(stop.wait()), *running], return_when=asyncio.FIRST_COMPLETED
    )
    for part in parts:
        part.stopping()
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*running)
    await asyncio.gather(*(asyncio.to_thread(part.close) for part in parts))
    log.info("stopped")
    if failures:
        raise failures[0]


def _server(part: Served) -> _Server:
    return _Server(
        uvicorn.Config(
            part.app,
            loop="none",
            http="httptools",
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
