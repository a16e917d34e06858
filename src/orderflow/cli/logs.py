"""`orderflow logs`: what the processes of the local stack said, and all they said of an order."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.text import Text

from orderflow.cli import completion
from orderflow.cli.instance import BrokersOption, instance
from orderflow.cli.moments import moment_of
from orderflow.cli.output import printable, write_json
from orderflow.cli.terminal import Terminal
from orderflow.cli.watching import until_ctrl_c
from orderflow.contracts.known_names import there_are
from orderflow.messaging.errors import ConfigurationError, OrderflowError
from orderflow.stack.log_lines import LEVELS, LogLine, at_least, log_line, log_lines
from orderflow.stack.order_lines import order_line, order_lines
from orderflow.stack.supervise.logs import all_lines, follow, last_lines

LINES = 50
EARLY = datetime.min.replace(tzinfo=UTC)
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
    lines: Annotated[
        int | None,
        typer.Option("--last", "-n", min=0, help="Last lines of each; 50, with --since all."),
    ] = None,
    since: Annotated[
        str,
        typer.Option("--since", metavar="TIME", help="Only newer: 10min, 2h, 2026-01-31T09:05."),
    ] = "",
    level: Annotated[
        str, typer.Option("--level", metavar="|".join(LEVELS), help="Only this level and above.")
    ] = "debug",
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per line, with its fields.")
    ] = False,
    brokers: BrokersOption = None,
) -> None:
    """
    The last lines that each process wrote, merged by time, and with -f the next ones; or, with
    --order, what all processes wrote about one order.

    \b
    Examples:
      orderflow logs order-relay
      orderflow logs --since 10min --level warning
      orderflow logs kafka -f
      orderflow logs --order 019a7c1e-0000-7000-8000-000000000000
    """
    if level not in LEVELS:
        raise ConfigurationError(f"there is no level {level!r}; there are: {', '.join(LEVELS)}")
    written = sorted(instance(brokers).logs.glob("*.log"))
    chosen = [path for path in written if name is None or path.stem == name]

    if not chosen:
        if name and written:
            stems = [path.stem for path in written]
            raise ConfigurationError(f"there is no log called {name!r}; {there_are(name, stems)}")
        raise OrderflowError("no logs: nothing has been started yet, `orderflow up` does")
    newer = moment_of(since, now=datetime.now(UTC)) if since else None
    wanted = _Wanted(level=level, since=newer, order_id=_order_id(order) if order else None)
    _show(chosen, wanted, count=lines, keep_on=keep_on, as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which lines are shown."""

    level: str
    since: datetime | None
    order_id: str | None

    def has(self, line: LogLine) -> bool:
        if line.level not in at_least(self.level):
            return False
        return self.since is None or line.at is None or line.at >= self.since

    def of(self, paths: Sequence[Path], count: int | None) -> list[LogLine]:
        """Those that are there, the oldest first; of each file the last `count`."""
        if self.order_id is not None:
            about = (
                log_line(line.source, json.dumps(line.fields), None)
                for line in order_lines(paths, self.order_id)
            )
            return [line for line in about if self.has(line)]
        return merged(self._of_file(path, count) for path in paths)

    def _of_file(self, path: Path, count: int | None) -> list[LogLine]:
        if self.since is None and self.level == LEVELS[0]:
            raw: Iterable[str] = last_lines(path, LINES if count is None else count)
            return list(log_lines(path.stem, raw))
        most = (None if self.since else LINES) if count is None else count
        fitting = (line for line in log_lines(path.stem, all_lines(path)) if self.has(line))
        return list(deque(fitting, maxlen=most))


def merged(files: Iterable[Sequence[LogLine]]) -> list[LogLine]:
    """The lines of all files in the order of time, and within each file in its own."""
    timed: list[tuple[datetime, LogLine]] = []
    for lines in files:
        # What comes before the first line with a time belongs to it.
        at = next((line.at for line in lines if line.at is not None), EARLY)
        for line in lines:
            at = max(at, line.at or at)
            timed.append((at, line))
    return [line for _, line in sorted(timed, key=itemgetter(0))]


def _arriving(paths: Sequence[Path], wanted: _Wanted) -> Iterator[LogLine]:
    """The lines that are wanted, as they are written; without end."""
    before: dict[str, LogLine] = {}
    for source, text in follow(list(paths)):
        if not text.strip():
            continue
        before[source] = line = log_line(source, text, before.get(source))
        if wanted.has(line) and (
            wanted.order_id is None or order_line(source, text, wanted.order_id) is not None
        ):
            yield line


def _show(
    paths: Sequence[Path], wanted: _Wanted, *, count: int | None, keep_on: bool, as_json: bool
) -> None:
    console = Terminal(highlight=False, soft_wrap=True)
    there = wanted.of(paths, count)
    for line in there:
        _print_line(console, line, as_json=as_json)

    if keep_on:
        with until_ctrl_c():
            for line in _arriving(paths, wanted):
                _print_line(console, line, as_json=as_json)
    elif wanted.order_id is not None and not there:
        raise OrderflowError(
            f"no line names order {wanted.order_id}: it is none of this instance, or its lines are "
            "older than what the log files keep, or of a lower level; its records may be there "
            f"still: `orderflow order {wanted.order_id}`"
        )


def _order_id(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise OrderflowError(f"{text!r} is no order id: an order's id is a UUID") from None


def _print_line(console: Terminal, line: LogLine, *, as_json: bool) -> None:
    if as_json:
        write_json({"name": line.source, **line.fields})
        return
    time = f"{line.at:%H:%M:%S}.{line.at.microsecond // 1000:03d}" if line.at else f"{'':<12}"
    text = Text(f"{time}  ", style="dim")
    text.append(f"{line.source:<22} ", style="cyan")
    words = printable(line.text)
    text.append(
        words if line.level in ("info", "debug") else f"{line.level.upper()} {words}",
        style=COLOURS.get(line.level, ""),
    )
    console.print(text)
