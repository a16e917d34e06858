"""`orderflow up` on an instance of its own: every process, by the command line and over HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx2
from tests.support.stack import RUNNING_STACK, temporary_home

from orderflow.stack.ports import is_free
from orderflow.stack.preflight import DEFAULT_PORTS

WITHIN_S = 300


@dataclass(frozen=True)
class WholeStack:
    """`state`: its directory; `offset`: by how much its ports are moved."""

    state: Path
    offset: int

    @cached_property
    def environment(self) -> dict[str, str]:
        """Of whoever uses this instance."""
        mine = {name: value for name, value in os.environ.items() if name != RUNNING_STACK}
        return {
            **mine,
            "ORDERFLOW_STACK__STATE_DIR": str(self.state),
            "ORDERFLOW_STACK__PORT_OFFSET": str(self.offset),
            "COLUMNS": "240",
        }

    def orderflow(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "orderflow.cli.main", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )

    def shell(self, line: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Type a line, as it is printed somewhere."""
        return subprocess.run(
            ["bash", "-c", line],
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )

    def answers(self, *arguments: str) -> str:
        """What a command prints; it must end with 0."""
        done = self.orderflow(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @cached_property
    def addresses(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.answers("env", "--json"))
        return found

    def api(self, service: str) -> httpx2.Client:
        """A client of the service's API; the caller closes it."""
        url = self.addresses[f"{service.upper()}_API_URL"]
        return httpx2.Client(base_url=url, timeout=30, trust_env=False)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.orderflow("status", "--json").stdout)
        return found

    def lag(self) -> int:
        return sum(int(group["lag"]) for group in self.status()["groups"])


def free_offset() -> int:
    """All of the stack's ports, moved together to where nobody is."""
    for offset in range(1000 + os.getpid() % 500 * 7, 12_000, 13):
        if all(is_free(port + offset) for port in DEFAULT_PORTS.values()):
            return offset
    raise AssertionError("no free block of ports")


@contextmanager
def whole_stack(*extras: str) -> Iterator[WholeStack]:
    """One that is up, with these extras (`zipkin`); nothing of it is left afterwards."""
    with temporary_home() as state:
        stack = WholeStack(state, free_offset())
        try:
            stack.answers("up", *(word for extra in extras for word in ("--with", extra)))
            yield stack
        finally:
            stack.orderflow("down")
