"""The report of `bench notification` as a table."""

from __future__ import annotations

from rich.table import Table

from orderflow.bench.notification.bench import LISTENER, NAIVE, SENDER, Report
from orderflow.cli.terminal import Terminal
from orderflow.trials.harness import median, of_target, rate_cells


def print_report(report: Report) -> None:
    """Medians over the rounds, with the range of the rates."""
    table = Table("events → notifications → mails", "per s", "min–max", "µs each", "sink µs/mail")
    for name, what in ((LISTENER, "events"), (SENDER, "mails"), (NAIVE, "mails")):
        turns = of_target(report.turns, name)
        sink = "" if name == LISTENER else median(turn.sink_cpu_us for turn in turns)
        cells = (*rate_cells(turns), median(turn.cpu_us for turn in turns), sink)
        table.add_row(f"{name}: {what}", *cells)

    console = Terminal(highlight=False)
    console.print(table)
    console.print(
        f"sender: {report.ratio:.1f} × {NAIVE}; {report.mails:,} mails, each accepted once and "
        "under its number"
    )
    console.print(str(report.machine))
