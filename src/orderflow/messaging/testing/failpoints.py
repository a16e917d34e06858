"""
Named lines at which a test can make the process die, as kill -9 would: no handler, no flush, no goodbye.

Inert unless `ORDERFLOW_FAILPOINTS` is set when the process starts: `name=kill@N`, comma-separated, kills at the N-th
pass of that line (N ≥ 1). Source of the idea: FreeBSD fail(9).
"""

from __future__ import annotations

import os
import signal
from typing import NoReturn

from orderflow.messaging.errors import ConfigurationError

VARIABLE = "ORDERFLOW_FAILPOINTS"


def parse(text: str) -> dict[str, int]:
    """`"a=kill@3,b=kill@1"` → {"a": 3, "b": 1}. Raises ConfigurationError on anything else."""
    armed: dict[str, int] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, action = part.partition("=")
        verb, _, count = action.partition("@")
        if not name or verb != "kill" or not count.isdigit() or int(count) < 1:
            raise ConfigurationError(f"{VARIABLE}: {part!r} is not of the form name=kill@N with N ≥ 1")
        armed[name] = int(count)
    return armed


_passes_left = parse(os.environ.get(VARIABLE, ""))


def failpoint(name: str) -> None:
    """Die here if this pass of `name` is the armed one; cost nothing worth naming otherwise."""
    if not _passes_left or name not in _passes_left:
        return
    _passes_left[name] -= 1
    if _passes_left[name] == 0:
        _die()


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable: SIGKILL can't be survived")
