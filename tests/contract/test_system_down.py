"""
Without a running stack, each command that needs it says so at once, and what to type.

The commands run in this process, as they are called; nothing listens where they ask.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import typer.main
from tests.support.printed_commands import printed_commands
from tests.support.runbooks import RUNBOOKS, typed

from orderflow.cli.main import COMMANDS, app, main
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
    "revenue --watch",
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
STARTING = ("up", "demo", "prove", "bench", "drill run", "reset", "state prune")
"""What would start something, or delete what is not this test's."""
LINES = sorted(
    line
    for line in {
        *(shlex.join(each.words) for each in printed_commands()),
        *(shlex.join(words) for file in RUNBOOKS for words in typed(file.read_text(), order=ORDER)),
    }
    if line.split()[0] in COMMANDS and not line.startswith(STARTING)
)
CODES = {0, 1, 2}
"""Of docs/exit-codes.md."""
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
        monkeypatch.setattr("sys.argv", ["orderflow", *shlex.split(line)])
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


@pytest.mark.parametrize("line", LINES)
def test_whatever_is_printed_or_stands_in_a_runbook_can_be_typed_when_nothing_runs(
    line: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says at once what it can't do, and ends with a documented code."""
    with Path(os.devnull).open() as nobody:
        monkeypatch.setattr("sys.stdin", nobody)
        code, said = run(line)
    assert code in CODES, said
    assert "Traceback" not in said
    if code == 1 and not line.startswith("status"):
        assert said.splitlines()[-1].startswith("orderflow: "), said
