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
from orderflow.stack.ports import free_ports
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
    free = free_ports(40, start=os.getpid() * 40)
    pairs = [port for port in free if port + 1 in free][::2][:3]
    rest = [port for port in free if port not in pairs and port - 1 not in pairs]
    return StackSettings(
        home=home,
        cache_dir=jars.default_cache_dir(),
        services=services,
        ports=Ports(
            kafka=(pairs[0], pairs[1], pairs[2]),
            postgres=rest[0],
            registry=rest[1],
            registry_health=rest[2],
            order_api=rest[3],
            order_relay=rest[4],
            payment_api=rest[5],
            inventory_api=rest[6],
            psp=rest[7],
        ),
    )
