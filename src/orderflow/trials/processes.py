"""Processes beside a stack: a worker that is measured, a generator of load that writes a result."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from orderflow.messaging.errors import OrderflowError

T = TypeVar("T")

STOP_WITHIN_S = 30.0
OWN_GROUP = 0
"""A terminal's Ctrl-C is for us, not for them: we end them, so they have nothing to complain of."""


def python_module(module: str, *arguments: str) -> tuple[str, ...]:
    """The command line of `python -m module arguments…`, with this interpreter."""
    return (sys.executable, "-m", module, *arguments)


def with_task(module: str, task: msgspec.Struct) -> tuple[str, ...]:
    """The command line of a module that takes its task as one JSON argument."""
    return python_module(module, msgspec.json.encode(task).decode())


@contextmanager
def running(
    command: tuple[str, ...], environment: Mapping[str, str] | None = None
) -> Iterator[int]:
    """
    Run a process (`python -m module …`) for as long as the block lasts; yields its pid.

    Raises OrderflowError if the process ended by itself before the block began. At the end it gets
    SIGTERM, and SIGKILL if it still runs after 30 s.
    """
    process = subprocess.Popen(command, env=environment, process_group=OWN_GROUP)

    try:
        yield process.pid
        if process.poll() is not None:
            raise OrderflowError(f"{command[2]} ended by itself with {process.returncode}")

    finally:
        process.terminate()
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            process.kill()
            process.wait()


class Generator(Generic[T]):
    """A process that generates load, then writes what it did, as JSON, to a file."""

    def __init__(self, command: tuple[str, ...], file: Path, kind: type[T]) -> None:
        self.process = subprocess.Popen((*command, str(file)), process_group=OWN_GROUP)
        self._module = command[2]
        self._file = file
        self._kind = kind

    def is_over(self) -> bool:
        return self.process.poll() is not None

    def result(self) -> T:
        """Wait for the end. Raises OrderflowError if the process failed."""
        if self.process.wait():
            raise OrderflowError(
                f"{self._module} ended with {self.process.returncode}: a request was refused, "
                "or the other side is away"
            )
        return msgspec.json.decode(self._file.read_bytes(), type=self._kind)


@contextmanager
def generating(command: tuple[str, ...], kind: type[T]) -> Iterator[Generator[T]]:
    """Run a generator of load, given a file's name as its last argument; killed at the end."""
    with tempfile.TemporaryDirectory() as directory:
        generator = Generator(command, Path(directory) / "result.json", kind)
        try:
            yield generator
        finally:
            generator.process.kill()
            generator.process.wait()
