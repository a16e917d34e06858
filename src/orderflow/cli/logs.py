"""`orderflow logs`: what the processes of the local stack said, and all they said of an order."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.text import Text

from orderflow.cli import completion
from orderflow.cli.output import printable, say, write_json
from orderflow.cli.stack import BrokersOption, Json, instance
from orderflow.cli.terminal import Terminal
from orderflow.cli.watching import until_ctrl_c
from orderflow.contracts.known_names import there_are
from orderflow.messaging.errors import ConfigurationError, OrderflowError
from orderflow.stack.order_lines import OrderLine, order_line, order_lines
from orderflow.stack.supervise.logs import follow, last_lines

COLOURS = {"warning": "yellow", "error": "red", "critical": "red"}


def logs(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A process or step; default: all.", autocompletion=completion.processes
        ),
    ] = None,
    order: Annotated[
        str | None,
        typer.Option("--order", metavar="ID", help="All lines about this order, merged by time."),
    ] = None,
    keep_on: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as lines arrive, until Ctrl-C.")
    ] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Last lines of each.")] = 50,
    as_json: Json = False,
    brokers: BrokersOption = None,
) -> None:
    """
    The last lines that each process wrote, and with -f the next ones; or, with --order, what all
    processes wrote about one order.

    \b
    Examples:
      orderflow logs order-relay
      orderflow logs kafka -f
      orderflow logs supervisor -n 200
      orderflow logs --order 019a7c1e-0000-7000-8000-000000000000
    """
    written = sorted(instance(brokers).logs.glob("*.log"))
    chosen = [path for path in written if name is None or path.stem == name]

    if not chosen:
        if name and written:
            stems = [path.stem for path in written]
            raise ConfigurationError(f"there is no log called {name!r}; {there_are(name, stems)}")
        raise OrderflowError("no logs: nothing has been started yet, `orderflow up` does")
    if order is not None:
        _show_order(chosen, _order_id(order), keep_on=keep_on, as_json=as_json)
        return

    for path in chosen:
        for line in last_lines(path, lines):
            _print_line(path.stem, line, as_json=as_json, alone=name is not None)
    if keep_on:
        with until_ctrl_c():
            for source, line in follow(chosen):
                _print_line(source, line, as_json=as_json, alone=name is not None)


def _order_id(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise OrderflowError(f"{text!r} is no order id: an order's id is a UUID") from None


def _show_order(paths: list[Path], order_id: str, *, keep_on: bool, as_json: bool) -> None:
    console = Terminal(highlight=False, soft_wrap=True)
    about = order_lines(paths, order_id)
    for line in about:
        _print_order_line(console, line, as_json=as_json)

    if keep_on:
        with until_ctrl_c():
            for source, text in follow(paths):
                fresh = order_line(source, text, order_id) if order_id in text else None
                if fresh is not None:
                    _print_order_line(console, fresh, as_json=as_json)
    elif not about:
        raise OrderflowError(
            f"no line names order {order_id}: it is none of this instance, or its lines are older "
            "than what the log files keep; its records may be there still: "
            f"orderflow tail orders --from-beginning --key {order_id}"
        )


def _print_order_line(console: Terminal, line: OrderLine, *, as_json: bool) -> None:
    if as_json:
        write_json({"name": line.source, **line.fields})
        return
    level = line.fields.get("level", "info")
    text = Text(f"{line.at:%H:%M:%S}.{line.at.microsecond // 1000:03d}  ", style="dim")
    text.append(f"{line.source:<22} ", style="cyan")
    words = printable(line.text)
    text.append(
        words if level in ("info", "debug") else f"{printable(level).upper()} {words}",
        style=COLOURS.get(level, ""),
    )
    console.print(text)


def _print_line(source: str, line: str, *, as_json: bool, alone: bool) -> None:
    if as_json:
        write_json({"name": source, "line": line})
    else:
        words = printable(line.expandtabs())
        say(words if alone else f"{source:<14} {words}")
