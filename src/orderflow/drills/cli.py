"""`orderflow drill …`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from orderflow.cli.output import say, write_json
from orderflow.cli.terminal import Terminal
from orderflow.drills.catalogue import DRILLS, find
from orderflow.drills.conduct import Outcome, Pace
from orderflow.drills.drill import Drill
from orderflow.drills.judge import BooksJudge
from orderflow.drills.programme import run_all
from orderflow.drills.report import markdown
from orderflow.drills.screen import Screen, verdict
from orderflow.messaging.errors import ConfigurationError
from orderflow.stack.addresses import exports
from orderflow.stack.interrupts import all_as_ctrl_c
from orderflow.stack.local_stack import LocalStack
from orderflow.trials.machine import this_machine

TURN_S = 0.2

app = typer.Typer(
    no_args_is_help=True,
    help="Break it and watch it heal: incidents on purpose, on a stack of their own.",
)

AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


@app.callback()
def root() -> None:
    """Drills are listed, or run."""


@app.command("list")
def list_drills(as_json: AsJson = False) -> None:
    """
    List the drills: what each breaks, what should happen, its runbook.

    \b
    Examples:
      orderflow drill list
      orderflow drill list --json | jq -r '.[].name'
    """
    if as_json:
        write_json([_described(drill) for drill in DRILLS])
        return

    table = Table(box=None, pad_edge=False)
    table.add_column("drill", style="bold", no_wrap=True)
    table.add_column("breaks, and what should happen")
    for drill in DRILLS:
        table.add_row(drill.name, f"{drill.breaks}\n[dim]{drill.should}[/dim]")
    console = Terminal(highlight=False)
    console.print(table, width=min(console.width, 80))


@app.command()
def run(
    name: Annotated[
        str,
        typer.Argument(
            help="A drill, as `drill list` names it.",
            autocompletion=lambda incomplete: [
                drill.name for drill in DRILLS if drill.name.startswith(incomplete)
            ],
        ),
    ] = "",
    every: Annotated[bool, typer.Option("--all", help="All drills, one after the other.")] = False,
    rate: Annotated[
        float, typer.Option(min=1, max=200, help="Orders per second while it goes on.")
    ] = Pace().rate_per_s,
    hold: Annotated[
        float, typer.Option(min=0, max=600, help="Seconds for which it stays broken, at least.")
    ] = Pace().hold_s,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the stack until Ctrl-C, to look around.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write what was measured as Markdown to this file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """
    Run a drill, or all: break something under load, watch, heal it, and judge what is left.

    Starts a stack of its own on free ports, beside any other, and leaves nothing behind; Ctrl-C
    heals and takes down. Shows what happens on standard error; the verdicts are on standard
    output, a line for each drill. Exit 0 if all was as it should be, else 1.

    \b
    Examples:
      orderflow drill run poison-record
      orderflow drill run broker-down --rate 100 --hold 30
      orderflow drill run --all --report docs/drills.md
      orderflow drill run --all --json | jq '.[] | {drill, recovered_s, wrong}'
    """
    drills = _chosen(name, every=every)
    pace = Pace(rate_per_s=rate, hold_s=hold)
    all_as_ctrl_c()

    screen = _VerdictScreen(Terminal(stderr=True, highlight=False), printed=not as_json)
    try:
        outcomes = run_all(
            drills,
            pace=pace,
            judge=BooksJudge(),
            display=screen,
            afterwards=_keep if keep else lambda _stack: None,
        )
    finally:
        screen.close()

    if as_json:
        write_json([_shown(outcome) for outcome in outcomes])
    if report is not None:
        runs = [(find(outcome.drill), outcome) for outcome in outcomes]
        report.write_text(markdown(runs, pace=pace, machine=this_machine()))
    if not all(outcome.has_passed for outcome in outcomes):
        raise typer.Exit(1)


class _VerdictScreen(Screen):
    """A screen that prints verdicts on standard output, as they come."""

    def __init__(self, console: Terminal, *, printed: bool) -> None:
        super().__init__(console)
        self._printed = printed

    def ended(self, drill: Drill, outcome: Outcome) -> None:
        super().ended(drill, outcome)
        if self._printed:
            say(verdict(drill, outcome))


def _chosen(name: str, *, every: bool) -> tuple[Drill, ...]:
    if every and name:
        raise ConfigurationError("give the name of a drill, or --all, not both")
    if not every and not name:
        raise ConfigurationError("give the name of a drill (`orderflow drill list`), or --all")
    return DRILLS if every else (find(name),)


def _keep(stack: LocalStack) -> None:
    """Until Ctrl-C, which then is no interruption: the drills are over."""
    console = Terminal(stderr=True, highlight=False)
    console.print("the stack stays until Ctrl-C; in another shell:", style="bold")
    for variable, value in exports(stack.settings).items():
        if variable.endswith(("_URL", "_SERVERS")):
            console.print(f"export {variable}={value}", soft_wrap=True, markup=False)

    try:
        while True:
            stack.turn()
            stack.wait(TURN_S)
    except KeyboardInterrupt:
        console.print("taking it down")


def _described(drill: Drill) -> dict[str, object]:
    return {
        "name": drill.name,
        "lab": drill.lab,
        "breaks": drill.breaks,
        "should": drill.should,
        "degrades": drill.degrades,
        "goesOn": drill.goes_on,
        "runbook": drill.runbook_path,
    }


def _shown(outcome: Outcome) -> dict[str, object]:
    built: dict[str, object] = msgspec.to_builtins(outcome)
    return {"passed": outcome.has_passed, **built, "runbook": find(outcome.drill).runbook_path}
