"""The command itself: interrupted in the middle, it heals, takes down, and leaves nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from orderflow.messaging.testing.eventually import eventually


@pytest.fixture
def own_tmp() -> Iterator[Path]:
    """Where the command puts its stack; PostgreSQL's user reaches it too."""
    with tempfile.TemporaryDirectory(prefix="orderflow-drill-") as directory:
        place = Path(directory)
        place.chmod(0o755)
        yield place


@pytest.mark.timeout(180)
def test_ctrl_c_heals_and_takes_everything_down(own_tmp: Path) -> None:
    """
    Method: the database is stopped by the drill and would stay so for ten minutes; then SIGINT. The
    command must start it again, and end with 130, without a process or file of its stack.
    """
    words = ("drill", "run", "database-down", "--rate", "10", "--hold", "600")
    with (own_tmp / "log").open("wb") as log:
        command = subprocess.Popen(
            [sys.executable, "-m", "orderflow.cli.main", *words],
            stderr=log,
            env={**os.environ, "TMPDIR": str(own_tmp)},
        )

    def said() -> str:
        return re.sub(r"\s+", " ", (own_tmp / "log").read_text())

    try:
        eventually(lambda: "✓ while broken" in said(), within_s=120, why="it is broken")
        family = psutil.Process(command.pid).children(recursive=True)
        assert family, "the stack runs"
        command.send_signal(signal.SIGINT)
        assert command.wait(60) == 130, said()
    finally:
        command.kill()
        command.wait()

    assert "heals it" in said()
    assert said().endswith("orderflow: interrupted: its stack is stopped, and its data deleted ")
    assert psutil.wait_procs(family, timeout=5)[1] == []
    assert [path.name for path in own_tmp.iterdir()] == ["log"]
