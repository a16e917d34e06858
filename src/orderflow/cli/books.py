"""`orderflow books`: an audit of a live system, read-only."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from orderflow.books.audit import Books
from orderflow.books.report import (
    MEANINGS,
    BooksReport,
    CheckCount,
    CopyState,
    Difference,
    Verdict,
)
from orderflow.books.settings import BooksSection, BooksSettings
from orderflow.cli.called import as_called, line_as_called
from orderflow.cli.configuration import tool_settings
from orderflow.cli.output import printable, write_json
from orderflow.cli.terminal import Terminal
from orderflow.cli.watching import until_ctrl_c
from orderflow.contracts.roster import SECTIONS
from orderflow.messaging.errors import Transient
from orderflow.messaging.settings import PREFIX, load
from orderflow.stack.addresses import books_environment
from orderflow.stack.lifecycle import current

UNSETTLED = 3
SHOWN_MAX = 10
WIDTH_MAX = 80
WATCH_EVERY_S = 5.0
STYLES = {Verdict.BALANCED: "green", Verdict.DIFFERENT: "red", Verdict.UNSETTLED: "yellow"}


def books(
    *,
    full: Annotated[
        bool, typer.Option("--full", help="Compare every order, not only what has changed.")
    ] = False,
    watching: Annotated[
        bool, typer.Option("--watch", "-w", help="One audit after the other, until Ctrl-C.")
    ] = False,
    order: Annotated[
        str, typer.Option("--order", metavar="ID", help="Compare this order alone.")
    ] = "",
    within: Annotated[
        float | None,
        typer.Option(
            "--within", min=0.0, metavar="S", help="Wait so long for what is in flight, about."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="The report as one JSON object and line.")
    ] = False,
) -> None:
    """
    Compare what every service, every topic and the payment provider say of orders, stock and
    revenue: that nothing was lost, and nothing done twice; and the copies of the payments in the
    warehouse and the lake, where there are such. Reads only, on a live system.

    What is still on its way is told apart by positions: somebody who stands still is named, and is
    no difference. A run goes on where the last one ended.

    Exit 0: balanced. 1: there are differences, each with both figures and the command that shows
    more. 3: no difference is proved, but some could not be decided in time, or a copy is away.

    \b
    Examples:
      orderflow books
      orderflow books --full
      orderflow books --order 019ac5d2-6c4e-7b1a-9d3f-2f6d0c8e4a10
      orderflow books --watch --within 10
      orderflow books --json | jq '.differences[] | {check, id, expected, actual}'
    """
    settings = tool_settings()
    console = Terminal(highlight=False, soft_wrap=False)
    with closing(Books(books_section(), settings.kafka, settings.registry)) as kept:
        if not watching:
            report = _run(kept, full=full, order=order, within=within)
            show(console, report, as_json=as_json)
            raise typer.Exit(exit_code(report))

        with until_ctrl_c():
            while True:
                _turn(console, kept, full=full, order=order, within=within, as_json=as_json)
                time.sleep(WATCH_EVERY_S)


def exit_code(report: BooksReport) -> int:
    return {Verdict.BALANCED: 0, Verdict.DIFFERENT: 1, Verdict.UNSETTLED: UNSETTLED}[report.verdict]


def screen(report: BooksReport) -> RenderableType:
    """Within 80 columns: the checks, the first differences, what is waited for, the verdict."""
    parts: list[RenderableType] = [_table(report.checks)]
    parts += [_shown(each, "red") for each in report.differences[:SHOWN_MAX]]
    parts += [
        Group(_shown(each.difference, "yellow"), _whole(as_called(each.reason), "yellow"))
        for each in report.explained[:SHOWN_MAX]
    ]

    if not report.differences:
        parts += [_shown(each, "dim") for each in report.in_flight[:SHOWN_MAX]]
    parts += [
        Text(f"{each.accounts:,} in flight, wait for {each.who}: {each.what}".rstrip(": "), "dim")
        for each in report.awaited
    ]
    if report.repeats:
        parts.append(
            Text(f"{report.repeats:,} events are on their topics again, under the same id", "dim")
        )
    parts += [Text(printable(note), "dim") for note in report.notes]
    compared = [copy.name for copy in report.copies if copy.state is CopyState.COMPARED]
    if compared:
        parts.append(Text(f"also compared: {', '.join(compared)}", "dim"))
    return Group(*parts, _verdict(report))


def books_section() -> BooksSection:
    """The books' settings; an address that is not set is that of this checkout's local stack."""
    section = load(BooksSettings, neighbours=SECTIONS).books
    local = books_environment(current())
    prefix = f"{PREFIX}BOOKS__"
    databases = {
        name: local[f"{prefix}DATABASES__{name.upper()}"]
        for name, dsn in section.databases
        if dsn is None
    }

    # Only of an instance that has them.
    copies = {
        name: local[variable]
        for name in ("warehouse", "lake_url")
        if (variable := f"{prefix}{name.upper()}") in local
    }
    given = section.model_dump(exclude_unset=True)
    return BooksSection.model_validate(
        {
            "ledger_url": local[f"{prefix}LEDGER_URL"],
            "state_dir": local[f"{prefix}STATE_DIR"],
            **copies,
            **given,
            "databases": {**given.get("databases", {}), **databases},
        }
    )


def _run(kept: Books, *, full: bool, order: str, within: float | None) -> BooksReport:
    """With a bar on a terminal, for a run over millions of orders takes its time."""
    errors = Terminal(stderr=True, highlight=False)
    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
        tasks: dict[str, Any] = {}

        def watch(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=max(done, total))

        return kept.run(full=full, order_id=order.lower(), within_s=within, watch=watch)


def _turn(
    console: Terminal, kept: Books, *, full: bool, order: str, within: float | None, as_json: bool
) -> None:
    try:
        show(console, _run(kept, full=full, order=order, within=within), as_json=as_json)
    except Transient as error:
        Terminal(stderr=True, highlight=False).print(Text(str(error), "yellow"), soft_wrap=True)


def show(console: Terminal, report: BooksReport, *, as_json: bool) -> None:
    if as_json:
        write_json(report)
    else:
        console.print(screen(report), width=min(console.width, WIDTH_MAX), crop=False)


def _table(checks: tuple[CheckCount, ...]) -> Table:
    table = Table("check", box=None, pad_edge=False)
    for title in ("compared", "differ", "in flight", "explained"):
        table.add_column(title, justify="right")
    for row in checks:
        table.add_row(
            row.check.value,
            f"{row.checked:,}",
            Text(f"{row.differences:,}", "red" if row.differences else ""),
            f"{row.in_flight:,}",
            f"{row.explained:,}",
        )
    return table


def _shown(difference: Difference, style: str) -> RenderableType:
    lines = [
        Text(
            f"{difference.subject} {printable(difference.id)}: {MEANINGS[difference.check]}", style
        ),
        Text(f"  {printable(difference.expected)}"),
        Text(f"  {printable(difference.actual)}"),
    ]
    if difference.command:
        lines.append(_whole(line_as_called(printable(difference.command)), "cyan"))
    return Group(*lines)


def _whole(line: str, style: str) -> Text:
    """A line that is not wrapped: its command is there to be copied."""
    return Text(f"  {line}", style, no_wrap=True, overflow="ignore")


def _verdict(report: BooksReport) -> Text:
    count = report.count("differences")
    what = "every order" if report.is_full else f"{report.compared:,} orders"
    words = {
        Verdict.BALANCED: "the books balance",
        Verdict.DIFFERENT: f"the books differ in {count:,} place{'s'[: count != 1]}",
        Verdict.UNSETTLED: "no difference is proved, but not all could be decided in time",
    }[report.verdict]
    return Text(f"{words}: {what} compared in {report.duration_s:.1f} s", STYLES[report.verdict])
