"""A local stack for one run of a tool: ports and data of its own, deleted at the end."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from orderflow.stack.blueprint import everything
from orderflow.stack.interrupts import undisturbed
from orderflow.stack.local_stack import LocalStack, Progress
from orderflow.stack.parts import jars
from orderflow.stack.settings import Ports, Service, StackSettings
from orderflow.stack.supervise.component import Component

INFRASTRUCTURE: tuple[Service, ...] = ("kafka", "postgres", "registry", "deploy")

INTERRUPTED = "interrupted: its stack is stopped, and its data deleted"
_NOTHING: Mapping[str, str] = {}


@contextmanager
def temporary_stack(
    services: tuple[Service, ...] = (*INFRASTRUCTURE, "order"),
    *,
    brokers: Literal[1, 3] = 1,
    environment: Mapping[str, str] = _NOTHING,
    progress: Progress = lambda _name, _state, _reason: None,
    change: Callable[[Component], Component] = lambda part: part,
) -> Iterator[LocalStack]:
    """
    A stack of these services, ready, with `environment` added to that of their processes; `change`
    sees each component before it is used.

    Ports are free ones; data is in a temporary directory on the disk of `TMPDIR`. Raises
    StackFailed; then nothing is left, as at the end, and as after an interrupt, which says so.
    """
    try:
        with _directory() as directory:
            settings = StackSettings(
                home=directory / "stack",
                cache_dir=jars.default_cache_dir(),
                brokers=brokers,
                services=services,
                ports=Ports.free(start=os.getpid() * 40),
                environment=dict(environment),
            )

            components = [change(part) for part in everything(settings)]
            stack = LocalStack(settings, components, progress=progress)
            stack.start()
            try:
                yield stack
            finally:
                stack.stop()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(INTERRUPTED) from None


@contextmanager
def _directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="orderflow-private-"))
    directory.chmod(0o755)  # PostgreSQL runs as another user when we are root.
    try:
        yield directory
    finally:
        with undisturbed():
            shutil.rmtree(directory)
