"""The report of `bench revenue` as a table."""

from __future__ import annotations

from rich.table import Table

from orderflow.bench.revenue.bench import NAIVE, NO_STATE, OURS, Report
from orderflow.cli.terminal import Terminal
from orderflow.trials.harness import median, of_target, rate_cells


def print_report(report: Report) -> None:
    """Medians over the rounds, with the range of the rates."""
    console = Terminal(highlight=False)
    console.print(_table(report))
    for name, ratio in report.ratios.items():
        console.print(f"{ratio:.2f} × {name}")

    verified = max(turn.customers for turn in of_target(report.turns, OURS))
    console.print(
        f"one process, both hops, read committed; after every turn the totals of {verified:,} "
        "customers and of all hours were read back, and were exactly right"
    )
    console.print(str(report.machine))


def _table(report: Report) -> Table:
    table = Table(
        "payments → revenue", "turns", "payments/s", "min–max", "worker µs each", "twice", "never"
    )

    for name in (OURS, NO_STATE, NAIVE):
        turns = of_target(report.turns, name)
        table.add_row(
            name,
            f"{len(turns)} × {turns[0].records:,}",
            *rate_cells(turns),
            median((turn.cpu_us_per_record for turn in turns), digits=1),
            str(sum(turn.duplicates for turn in turns)),
            str(sum(turn.missing for turn in turns)),
        )

    return table
