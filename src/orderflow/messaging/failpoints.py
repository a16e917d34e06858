"""
Named lines at which a test makes the process die as by kill -9: no handler, no flush.

Inert unless `ORDERFLOW_FAILPOINTS` is set when the process starts, to a comma-separated list of
`name=action@N`, for the N-th pass of that line (N ≥ 1). `kill` ends the process; `stop` stops it
until it gets SIGCONT, like a long pause of the machine; `raise` raises an error that no code
expects. Source of the idea: FreeBSD fail(9).
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

from orderflow.messaging.errors import ConfigurationError

VARIABLE = "ORDERFLOW_FAILPOINTS"
RAISE = "raise"
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
ACTIONS = (*SIGNALS, RAISE)


class ForcedError(Exception):
    """Raised by an armed failpoint; no code handles it in particular."""


def parse(text: str) -> dict[str, tuple[str, int]]:
    """
    `"a=kill@3,b=stop@1"` → {"a": ("kill", 3), "b": ("stop", 1)}.

    Raises ConfigurationError on text of another form.
    """
    armed: dict[str, tuple[str, int]] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, rest = part.partition("=")
        action, _, count = rest.partition("@")
        if not name or action not in ACTIONS or not count.isdigit() or int(count) < 1:
            raise ConfigurationError(
                f"{VARIABLE}: {part!r} is not of the form name=kill|stop|raise@N, N ≥ 1"
            )
        armed[name] = (action, int(count))
    return armed


_armed = parse(os.environ.get(VARIABLE, ""))


def failpoint(name: str, *, before: Callable[[], None] | None = None) -> None:
    """
    Die, stop or raise here if this pass of `name` is the armed one; otherwise do nothing.

    `before` runs at that pass only: it completes what the name promises has happened by then.
    """
    if not _armed or (armed := _armed.get(name)) is None:
        return

    action, passes_left = armed
    _armed[name] = (action, passes_left - 1)
    if passes_left == 1:
        if before is not None:
            before()
        if action == RAISE:
            raise ForcedError(f"failpoint {name}")
        # To this thread, not to the process: another thread might take the signal first, and this
        # one go on beyond the line for some microseconds, enough to take a lock.
        signal.pthread_kill(threading.get_ident(), SIGNALS[action])
