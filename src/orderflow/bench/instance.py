"""A process beside a benchmark's stack, for as long as it is measured."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from orderflow.messaging.errors import OrderflowError


@contextmanager
def running(command: tuple[str, ...], environment: Mapping[str, str]) -> Iterator[int]:
    """A process (`python -m module …`) for as long as the block lasts; its pid. Raises if it ended before that."""
    process = subprocess.Popen(command, env=environment)
    try:
        yield process.pid
        if process.poll() is not None:
            raise OrderflowError(f"{command[2]} ended by itself with {process.returncode}")
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
