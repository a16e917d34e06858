"""
Without a running stack, each command that needs it says so at once, and what to type.

The commands run in this process, as they are called; nothing listens where they ask.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import typer.main

from orderflow.cli.main import app, main
from orderflow.messaging.settings import PREFIX
from orderflow.stack.ports import free_ports

WITHIN_S = 2.0
"""A command takes some milliseconds; what waits for a server that is away takes 3 s and more."""

ORDER = "019a7c1e-0000-7000-8000-000000000000"
NEED_THE_STACK = (
    "books",
    "connect apply",
    "connect plan",
    "connect restart payments-warehouse",
    "connect rewind payments-warehouse --yes",
    "connect status",
    "dlt discard orders.payment-service.dlt/0/1 --reason test --yes",
    "dlt list",
    "kafka --brokers 3 topics --list",
    "kafka topics --list",
    "dlt replay orders.payment-service.dlt/0/1 --yes",
    "dlt show orders.payment-service.dlt/0/1",
    "lag",
    "logs",
    "mail",
    "product list",
    "relay held list order",
    "relay resync order --yes",
    "restart order-api",
    "revenue",
    "revenue rebuild --dry-run",
    "schemas apply",
    "schemas plan",
    "start order-api",
    "status",
    "stop order-api",
    "stuck",
    f"stuck retry {ORDER}",
    "tail orders",
    "tail orders --brokers 3",
    "tail orders --from-beginning --no-follow",
    "topics apply",
    "topics plan",
    f"trace {ORDER}",
)
Run = Callable[[str], tuple[int | str | None, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line on an instance that was never started: its exit code and its words."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ORDERFLOW_STACK__STATE_DIR", str(tmp_path))
    # A free place for all of the default ports, so nobody answers in the stack's stead.
    offset = free_ports(1, start=os.getpid() * 11)[0] - 8000
    monkeypatch.setenv("ORDERFLOW_STACK__PORT_OFFSET", str(offset))
    monkeypatch.setenv("COLUMNS", "400")

    def run(line: str) -> tuple[int | str | None, str]:
        monkeypatch.setattr("sys.argv", ["orderflow", *line.split()])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capfd.readouterr()
        return ended.value.code, printed.out + printed.err

    return run


@pytest.mark.parametrize("line", NEED_THE_STACK)
def test_a_command_says_at_once_how_to_start_what_it_needs(line: str, run: Run) -> None:
    # Its modules are loaded once; that is no wait for a server.
    typer.main.get_command(app).get_command(None, line.split(maxsplit=1)[0])  # type: ignore[attr-defined]
    begun = time.monotonic()
    code, said = run(line)
    took_s = time.monotonic() - begun
    assert code == 1, said
    assert "`orderflow up" in said
    assert "Traceback" not in said
    assert took_s < WITHIN_S, f"{line}: {took_s:.1f} s"
