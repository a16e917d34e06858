"""A part of a service that can run as a process of its own, and the thread that most of them are."""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec
from starlette.types import ASGIApp

from orderflow.messaging.http.health import Reasons
from orderflow.messaging.telemetry import logger

STOP_WITHIN_S = 5.0
"""After the edge's 4 s: together below the 10 s that a stop may take."""

Fail = Callable[[BaseException], None]
"""By this a role says that it can't go on; the process ends with the exit code of that error."""

log = logger("process")


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """
    A part of a service that can run as a process of its own.

    `start` returns at once. `stopping` is called in the event loop when the process begins to stop, so that requests
    which wait for something are answered; `close` comes after them, and takes at most 5 s. `app` only if the role has
    an API: it gets the reasons of all roles of the process, so that its `/readyz` speaks for them all.
    """

    name: str
    host: str
    port: int
    start: Callable[[], None]
    close: Callable[[], None]
    reasons: Reasons
    stopping: Callable[[], None] = lambda: None
    app: Callable[[Reasons], ASGIApp] | None = None


def worker_role(
    name: str,
    *,
    host: str,
    port: int,
    run: Callable[[threading.Event], None],
    reasons: Reasons,
    fail: Fail,
) -> Role:
    """
    `run(stop)` on a thread of its own, told to stop by the event. What it raises ends the process.

    A worker that does not come to its end within 5 s is left to end with the process: nothing it has not committed
    counts.
    """
    stop = threading.Event()

    def work() -> None:
        try:
            run(stop)
        except BaseException as error:  # noqa: BLE001 - the thread's end is the process's end: it is told in main
            fail(error)

    thread = threading.Thread(target=work, name=name, daemon=True)

    def close() -> None:
        stop.set()
        thread.join(STOP_WITHIN_S)
        if thread.is_alive():
            log.warning(
                "a role did not stop in time: it ends with the process",
                role=name,
                waited_s=STOP_WITHIN_S,
            )

    return Role(name=name, host=host, port=port, start=thread.start, close=close, reasons=reasons)
