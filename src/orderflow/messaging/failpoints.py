"""
Named lines at which a test can make the process die, as kill -9 would: no handler, no flush, no goodbye.

Inert unless `ORDERFLOW_FAILPOINTS` is set when the process starts: `name=kill@N`, comma-separated, kills at the N-th
pass of that line (N ≥ 1); `name=stop@N` stops the process there until it gets SIGCONT, as a long pause of the machine
would; `name=raise@N` raises what nobody expects. Source of the idea: FreeBSD fail(9).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from orderflow.messaging.errors import ConfigurationError

VARIABLE = "ORDERFLOW_FAILPOINTS"
RAISE = "raise"
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
ACTIONS = (*SIGNALS, RAISE)


class ForcedError(Exception):
    """Raised by an armed failpoint; of no kind that the code knows."""


def parse(text: str) -> dict[str, tuple[str, int]]:
    """`"a=kill@3,b=stop@1"` → {"a": ("kill", 3), "b": ("stop", 1)}. Raises ConfigurationError on anything else."""
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
    Die, stop or raise here if this pass of `name` is the armed one; cost nothing worth naming otherwise.

    `before` runs just then, and only then: what must have happened for the line to mean what its name says.
    """
    if not _armed or (found := _armed.get(name)) is None:
        return
    action, passes_left = found
    _armed[name] = (action, passes_left - 1)
    if passes_left == 1:
        if before is not None:
            before()
        if action == RAISE:
            raise ForcedError(f"failpoint {name}")
        os.kill(os.getpid(), SIGNALS[action])
