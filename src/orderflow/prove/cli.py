"""`orderflow prove …`."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from orderflow.cli.output import write_json
from orderflow.cli.terminal import Terminal
from orderflow.prove.ordering import Plan, run
from orderflow.prove.report import StatusLine, print_report
from orderflow.stack.interrupts import all_as_ctrl_c

app = typer.Typer(
    no_args_is_help=True,
    help="Put a promise to the test on a stack of its own, under load and kills.",
)


@app.callback()
def root() -> None:
    """Each proof is a command of its own."""


@app.command()
def ordering(
    customers: Annotated[
        int, typer.Option(min=1, help="How many customers the orders are of.")
    ] = 1_000,
    orders: Annotated[int, typer.Option(min=1, help="How many orders are placed.")] = 20_000,
    workers: Annotated[
        int, typer.Option(min=1, max=16, help="Notification workers, each a process.")
    ] = 3,
    partitions: Annotated[int, typer.Option(min=1, max=100, help="Of each topic.")] = 6,
    as_json: Annotated[
        bool, typer.Option("--json", help="The report as JSON on standard output.")
    ] = False,
) -> None:
    """
    Per-customer order on `notifications` and per-order order on `order-events`, while workers join,
    leave and die.

    Starts a stack of its own on free ports, beside any other. Places orders over HTTP, cancels and
    delivers some. Lets a worker join and leave, kills two with SIGKILL. At rest both topics are
    read from the beginning: each customer's messages and each order's versions must be there once
    each, gapless, in order, on one partition, and be what the databases hold. Takes some minutes,
    leaves nothing behind, also if Ctrl-C ends it. Exit 0 if everything is so, else 1.

    \b
    Examples:
      orderflow prove ordering
      orderflow prove ordering --customers 200 --orders 3000 --workers 2
      orderflow prove ordering --json | jq '.findings[] | {topic, records, gaps, inversions}'
    """
    all_as_ctrl_c()
    plan = Plan(customers=customers, orders=orders, workers=workers, partitions=partitions)

    console = Terminal(stderr=True, highlight=False)
    with console.status("starting …") as spinner:
        report = run(plan, StatusLine(console, spinner, plan).display)

    if as_json:
        fields = {**msgspec.to_builtins(report), "violations": report.violations}
        write_json(fields)
    else:
        print_report(report)
    if report.violations or report.missed:
        raise typer.Exit(1)
