"""
`orderflow prove ordering` as its user runs it: what it finds, what it leaves behind, and that it
can be stopped.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from tests.support.stack import RUNNING_STACK, temporary_home

from orderflow.messaging.testing.eventually import eventually


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Where the proof keeps its data."""
    with temporary_home() as home:
        yield home.parent


@contextmanager
def proving(
    scratch: Path, *, errors: int | None = None, **options: int
) -> Iterator[subprocess.Popen[bytes]]:
    """In a session of its own, as a terminal has it."""
    environment = {name: value for name, value in os.environ.items() if name != RUNNING_STACK}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    with subprocess.Popen(
        (sys.executable, "-m", "orderflow.cli.main", "prove", "ordering", "--json", *words),
        env={**environment, "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=errors,
        start_new_session=True,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def proved(scratch: Path, *, within_s: float, **options: int) -> dict[str, Any]:
    """The report of a proof that found nothing and left nothing behind."""
    with proving(scratch, **options) as running:
        output, _ = running.communicate(timeout=within_s)
    assert running.returncode == 0, output.decode()
    assert not list(scratch.iterdir())
    report: dict[str, Any] = msgspec.json.decode(output)
    assert (report["violations"], report["unheard"], report["missed"]) == (0, 0, [])
    return report


def assert_worth_something(report: dict[str, Any], *, orders: int) -> None:
    """Enough was seen, and disturbed, that a violation would have shown."""
    of_orders, of_customers = report["findings"]
    assert (of_orders["topic"], of_orders["keys"]) == ("order-events", orders)
    assert (of_customers["topic"], of_customers["keys"]) == (
        "notifications",
        report["plan"]["customers"],
    )
    assert of_orders["records"] >= 2 * orders
    assert of_customers["records"] >= 2 * orders
    assert of_orders["records_per_key_max"] == 4, "some orders went all the way"
    assert of_customers["records_per_key_max"] > 10
    assert of_orders["partitions"] == of_customers["partitions"] == report["plan"]["partitions"]
    assert len(report["disturbed"]) == 4
    assert report["commanded"]["cancel"] > 0


def test_order_survives_workers_that_join_leave_and_are_killed(scratch: Path) -> None:
    report = proved(scratch, within_s=280, customers=200, orders=3_000, workers=2)
    assert_worth_something(report, orders=3_000)


def test_a_proof_that_is_interrupted_leaves_nothing_behind_and_says_so(scratch: Path) -> None:
    """Ctrl-C of a terminal is for the whole group."""
    with proving(scratch, errors=subprocess.PIPE) as running:
        process = psutil.Process(running.pid)
        children = eventually(
            lambda: process.children(recursive=True), within_s=60, why="its stack is starting"
        )
        os.killpg(running.pid, signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    last = said.decode().splitlines()[-1]
    assert last == "orderflow: interrupted: its stack is stopped, and its data deleted"
    assert b"Traceback" not in said
    eventually(
        lambda: not any(child.is_running() for child in children),
        within_s=10,
        why="no process is left",
    )
    assert not list(scratch.iterdir())


@pytest.mark.soak
def test_order_survives_two_hundred_thousand_events(scratch: Path) -> None:
    report = proved(scratch, within_s=3_500, customers=2_000, orders=45_000, workers=3)
    assert_worth_something(report, orders=45_000)
    assert sum(finding["records"] for finding in report["findings"]) >= 200_000
