"""The report of `bench tracing` as a table."""

from __future__ import annotations

from rich.table import Table

from orderflow.bench.tracing.bench import ALL, OFF, TENTH, Report
from orderflow.cli.terminal import Terminal
from orderflow.trials.harness import median, of_target, rate_cells


def print_report(report: Report) -> None:
    """Medians over the rounds, with the range of the rates."""
    console = Terminal(highlight=False)
    table = Table("traces", "turns", "records/s", "min–max", "CPU µs", "twice", "never")
    for name in (OFF, TENTH, ALL):
        turns = of_target(report.turns, name)
        table.add_row(
            name,
            f"{len(turns)} × {turns[0].records:,}",
            *rate_cells(turns),
            median((turn.cpu_us_per_record for turn in turns), digits=1),
            str(sum(turn.duplicates for turn in turns)),
            str(sum(turn.missing for turn in turns)),
        )

    console.print(table)
    console.print("CPU of the worker for each record, its exporter included")
    console.print(f"{report.spans:,} spans arrived at the back end")
    for name, ratio in report.ratios.items():
        console.print(f"{ratio:.2f} × off: {name}")
    console.print(str(report.machine))
