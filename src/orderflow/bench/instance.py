"""A local stack for one benchmark: own ports, own data, gone at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from orderflow.messaging.errors import OrderflowError
from orderflow.stack import jars
from orderflow.stack.local import LocalStack
from orderflow.stack.settings import Ports, Service, StackSettings

INFRASTRUCTURE: tuple[Service, ...] = ("kafka", "postgres", "registry", "deploy")


@contextmanager
def private_stack(services: tuple[Service, ...] = (*INFRASTRUCTURE, "order")) -> Iterator[LocalStack]:
    """These services, ready. Ports are free ones; data is in a temporary directory on the disk of `TMPDIR`."""
    directory = Path(tempfile.mkdtemp(prefix="orderflow-bench-"))
    directory.chmod(0o755)  # PostgreSQL runs as another user when we are root.
    try:
        stack = LocalStack(settings(directory / "stack", services))
        stack.start()
        try:
            yield stack
        finally:
            stack.stop()
    finally:
        shutil.rmtree(directory)


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


def settings(home: Path, services: tuple[Service, ...]) -> StackSettings:
    return StackSettings(
        home=home,
        cache_dir=jars.default_cache_dir(),
        services=services,
        ports=Ports.free(start=os.getpid() * 40),
    )
