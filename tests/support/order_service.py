"""The order service as processes of their own, against a stack of a test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
from tests.support.kafka_tools import orderflow
from tests.support.stack import Stack

from orderflow.messaging.testing.eventually import eventually
from orderflow.stack.ports import HOST, free_ports


@contextmanager
def order_service(stack: Stack, logs: Path) -> Iterator[httpx2.Client]:
    """
    Topics, schemas and tables deployed, API and relay running; a client of the API. Both must end with 0 on SIGTERM.
    """
    api, relay = free_ports(2, start=os.getpid() * 7 + 3_000)
    environment = {
        **stack.service_environment,
        "ORDERFLOW_ORDER__DATABASE__DSN": stack.create_database("order"),
        "ORDERFLOW_ORDER__API__PORT": str(api),
        "ORDERFLOW_ORDER__RELAY__PORT": str(relay),
    }
    for step in ("topics", "schemas"):
        applied = orderflow(stack, step, "apply")
        assert applied.returncode == 0, applied.stderr
    subprocess.run([*_command("migrate")], env=environment, check=True, timeout=60)
    with ExitStack() as running:
        running.enter_context(_process("relay", environment, relay, logs))
        running.enter_context(_process("api", environment, api, logs))
        yield running.enter_context(httpx2.Client(base_url=f"http://{HOST}:{api}", timeout=15, trust_env=False))


@contextmanager
def _process(role: str, environment: dict[str, str], port: int, logs: Path) -> Iterator[None]:
    log = logs / f"order-{role}.log"
    with log.open("wb") as sink, subprocess.Popen(_command(role), env=environment, stderr=sink) as process:
        try:
            eventually(lambda: _ready(process, port), within_s=60, why=f"{role} is ready\n{log.read_text()}")
            yield
            assert process.poll() is None, f"{role} ended by itself:\n{log.read_text()}"
            process.terminate()
            assert process.wait(15) == 0, f"{role}:\n{log.read_text()}"
        finally:
            if process.poll() is None:
                process.kill()


def _command(role: str) -> list[str]:
    return [sys.executable, "-m", "orderflow.services.order", "--roles", role]


def _ready(process: subprocess.Popen[bytes], port: int) -> bool:
    if process.poll() is not None:
        return False
    return httpx2.get(f"http://{HOST}:{port}/readyz", trust_env=False).status_code == 200
