"""The report of `bench payment` as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from orderflow.bench.payment.bench import (
    HTTP,
    LOOP,
    NAIVE,
    OWNER,
    PLAIN,
    SLOW,
    TAIL,
    Report,
    Turn,
)
from orderflow.cli.terminal import Terminal
from orderflow.trials.harness import median, of_target, rate_cells


def print_report(report: Report) -> None:
    """Medians over the rounds, with the range of the rates."""
    console = Terminal(highlight=False)
    console.print(_table(report))
    console.print(
        "ours with a provider in its own process, but for the one over HTTP; intents and outcomes "
        "are written to the database all the same"
    )

    for name, ratio in report.ratios.items():
        console.print(f"{ratio:.2f} × {name}")
    console.print(str(report.machine))


def _table(report: Report) -> Table:
    table = Table(
        "orders → payments",
        "turns",
        "records/s",
        "min–max",
        "worker µs/record",
        "provider µs/record",
        "twice",
        "never",
    )

    for name in (OWNER, LOOP, HTTP, PLAIN, NAIVE, SLOW, TAIL):
        turns = of_target(report.turns, name)
        table.add_row(
            name,
            f"{len(turns)} × {turns[0].records:,}",
            *rate_cells(turns),
            median((turn.cpu_us_per_record for turn in turns), digits=1),
            _of_provider(turns),
            str(sum(turn.duplicates for turn in turns)),
            str(sum(turn.missing for turn in turns)),
        )

    return table


def _of_provider(turns: Sequence[Turn]) -> str:
    values = [
        turn.provider_us_per_record for turn in turns if turn.provider_us_per_record is not None
    ]
    return median(values, digits=1) if values else "–"
