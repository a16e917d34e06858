"""`orderflow revenue rebuild`: revenue's totals anew from the payments, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from orderflow.cli.acting import actor_headers
from orderflow.cli.configuration import tool_settings
from orderflow.cli.output import say, write_json_list
from orderflow.cli.terminal import Terminal
from orderflow.messaging.errors import ConfigurationError, OrderflowError
from orderflow.messaging.http.actor import ACTOR_HEADER
from orderflow.stack.addresses import process_environment
from orderflow.stack.lifecycle import current

PROGRAM = "orderflow.services.revenue.rebuild"
WIDTH = 80

Line = dict[str, Any]


def rebuild(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Compare only; exit code 1 if anything differs.")
    ] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the instances' logs.")] = "",
    from_retained: Annotated[
        bool,
        typer.Option(
            "--from-retained",
            help="Though payments lost its beginning: totals begin where the topic does.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object for each difference.")
    ] = False,
) -> None:
    """
    Compute revenue's totals anew from the payments, and put them in the place of the present ones.

    The service goes on meanwhile. Then its instances stand still for some seconds, and answer with
    the old totals; one Kafka transaction puts the new ones in their place. Cut off before that,
    nothing is changed; it can be run again at any time.

    \b
    Examples:
      orderflow revenue rebuild --dry-run
      orderflow revenue rebuild --dry-run --json
      orderflow revenue rebuild --reason "ticket 4711"
    """
    if not dry_run:
        _demand_consent(reason, yes=yes)

    arguments = ["--dry-run"] if dry_run else ["--reason", reason]
    arguments += ["--from-retained"] if from_retained else []
    if actor := actor_headers().get(ACTOR_HEADER):
        arguments += ["--actor", actor]
    differences, unreadable = _differences(_lines(arguments))

    _print(differences, dry_run=dry_run, unreadable=unreadable, as_json=as_json)
    if dry_run and differences:
        raise typer.Exit(1)


def _demand_consent(reason: str, *, yes: bool) -> None:
    if not reason:
        raise ConfigurationError('say why, for the record: --reason "ticket 4711"')
    if yes:
        return
    if not sys.stdin.isatty():
        raise OrderflowError("a rebuild changes totals and nobody is here to be asked: say --yes")
    typer.confirm("Put totals computed anew in the place of the present ones?", abort=True)


def _lines(arguments: Sequence[str]) -> Iterator[Line]:
    """What the process says, line by line. Raises OrderflowError if it fails."""
    tool_settings()
    # An address that is not set is that of this checkout's local stack. Its log would be in the way
    # of the progress, unless something is wrong.
    environment = {
        **process_environment(current()),
        "ORDERFLOW_TELEMETRY__LOG_LEVEL": "warning",
        **os.environ,
    }

    with subprocess.Popen(
        [sys.executable, "-m", PROGRAM, *arguments], env=environment, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            for text in process.stdout:
                yield json.loads(text)
        except KeyboardInterrupt:
            # It was interrupted, too: it lets the instances go on before it ends.
            with suppress(KeyboardInterrupt):
                process.wait()
            raise
    if process.returncode:
        raise OrderflowError(f"the rebuild ended with code {process.returncode}: see above")


def _differences(lines: Iterator[Line]) -> tuple[list[Line], int]:
    """Show the steps; every difference, and how many records could not be read."""
    differences: list[Line] = []
    unreadable = 0
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
        TextColumn("{task.fields[per_s]:,.0f}/s"),
        TimeRemainingColumn(),
    )
    console = Terminal(stderr=True, highlight=False)

    with Progress(*columns, console=console, transient=True) as progress:
        step = progress.add_task("starting", total=0, per_s=0.0)
        for line in lines:
            if "error" in line:
                raise OrderflowError(line["error"])
            if "step" in line:
                step = _show(progress, step, line)
            elif "result" in line:
                unreadable = line["unreadable"]
            else:
                differences.append(line)
    return differences, unreadable


def _show(progress: Progress, step: Any, line: Line) -> Any:
    if progress.tasks[-1].description != line["step"]:
        progress.remove_task(step)
        step = progress.add_task(line["step"], total=0, per_s=0.0)
    speed = progress.tasks[-1].speed or 0.0
    progress.update(step, completed=line["done"], total=line["total"], per_s=speed)
    return step


def _print(differences: Sequence[Line], *, dry_run: bool, unreadable: int, as_json: bool) -> None:
    notes = Terminal(stderr=True, highlight=False)
    if unreadable:
        notes.print(f"{unreadable:,} records are dead letters, and count in no total", style="dim")
    if as_json:
        write_json_list(differences)
        return

    if values := [line for line in differences if "facts" not in line]:
        Terminal(width=WIDTH, highlight=False).print(_table(values))
    for line in differences:
        if facts := line.get("facts"):
            missing, surplus = f"{facts['missing']:,}", f"{facts['surplus']:,}"
            say(f"{line['table']}-{line['partition']}: {missing} facts missing, {surplus} surplus")
    if dry_run and not differences:
        notes.print("nothing differs", style="dim")
    if not dry_run:
        notes.print(f"{len(differences):,} differences are put right", style="dim")


def _table(differences: Sequence[Line]) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("key", max_width=26, overflow="fold")
    table.add_column("cur", no_wrap=True)
    table.add_column("net now", justify="right", no_wrap=True)
    table.add_column("net by payments", justify="right", no_wrap=True)
    table.add_column("differs in", overflow="fold")

    for line in differences:
        for row in _rows(line):
            table.add_row(*row)
    return table


def _rows(line: Line) -> Iterator[tuple[str, ...]]:
    """One row for each currency in which the key's totals differ."""
    present, recomputed = _totals(line["present"]), _totals(line["recomputed"])
    differing = [
        currency
        for currency in sorted({*present, *recomputed})
        if present.get(currency) != recomputed.get(currency)
    ]

    for currency in differing:
        before, after = present.get(currency, {}), recomputed.get(currency, {})
        names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        words = ", ".join(name.removesuffix("Minor") for name in names)
        yield line["key"], currency, _net(before), _net(after), words
    if not differing:
        yield line["key"], "", "", "", "updatedAt"


def _totals(value: Line | None) -> dict[str, Line]:
    """The totals of a customer, or those of an hour, by currency."""
    if value is None:
        return {}
    totals = value["totals"]
    return {value["currency"]: totals} if "currency" in value else totals


def _net(totals: Line) -> str:
    return f"{totals['netMinor']:,}" if totals else "-"
