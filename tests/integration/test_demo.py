"""`orderflow demo`, twice, on an instance of its own: everything arrives, and each run shows its own orders only."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.stack import RUNNING_STACK, temporary_home

from orderflow.stack.ports import is_free
from orderflow.stack.preflight import DEFAULT_PORTS

WITHIN_S = 180


def free_offset() -> int:
    """All of the stack's ports, moved together to where nobody is."""
    for offset in range(1000 + os.getpid() % 500 * 7, 12_000, 13):
        if all(is_free(port + offset) for port in DEFAULT_PORTS.values()):
            return offset
    raise AssertionError("no free block of ports")


def orderflow(state: Path, offset: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != RUNNING_STACK}
    return subprocess.run(
        [sys.executable, "-m", "orderflow.cli.main", *arguments],
        env={
            **environment,
            "ORDERFLOW_STACK__STATE_DIR": str(state),
            "ORDERFLOW_STACK__PORT_OFFSET": str(offset),
            "COLUMNS": "120",
        },
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )


def order_ids(output: str) -> set[str]:
    return set(re.findall(r"key +([0-9a-f-]{36})", output))


@pytest.mark.timeout(400)
def test_the_demo_shows_every_record_as_kafkas_own_consumer_sees_it_and_its_own_orders_only() -> None:
    with temporary_home() as state:
        offset = free_offset()
        try:
            first = orderflow(state, offset, "demo")
            assert first.returncode == 0, first.stdout + first.stderr
            second = orderflow(state, offset, "demo")
            assert second.returncode == 0, second.stdout + second.stderr
        finally:
            orderflow(state, offset, "down")
    for output in (first.stdout, second.stdout):
        assert len(re.findall(r"^orders-\d@\d+ +OrderCreated", output, re.MULTILINE)) == 5
        assert len(re.findall(r"^order-events-\d@\d+ +OrderEvent", output, re.MULTILINE)) == 5
        assert len(re.findall(r"Java saw +Partition:\d +Offset:\d+ +[0-9a-f-]{36}", output)) == 10
        assert "missing" not in output
        assert "make down" in output
        assert f":{8080 + offset}/docs" in output
    assert len(order_ids(first.stdout)) == len(order_ids(second.stdout)) == 5
    assert not order_ids(first.stdout) & order_ids(second.stdout)
    assert "already running" in second.stderr
