"""The report of `bench relay` as two tables."""

from __future__ import annotations

from rich.table import Table

from orderflow.bench.relay.bench import Report
from orderflow.cli.terminal import Terminal
from orderflow.trials.harness import spread, void_cell
from orderflow.trials.open_loop import LAG_MAX_MS


def print_report(report: Report) -> None:
    """Medians over the rounds, with their range."""
    console = Terminal(highlight=False)
    console.print(_drains(report), _steady(report))
    console.print(
        f"void: rows were written more than {LAG_MAX_MS:.0f} ms late at p99; "
        "such a turn counts for nothing"
    )
    console.print(str(report.machine))


def _drains(report: Report) -> Table:
    table = Table(
        "backlog",
        "rows per transaction",
        "records/s",
        "relay µs/record",
        "MB",
        "twice",
        "never",
    )

    for name, size in sorted({(turn.target, turn.rows_per_transaction) for turn in report.drains}):
        turns = [
            turn
            for turn in report.drains
            if (turn.target, turn.rows_per_transaction) == (name, size)
        ]
        table.add_row(
            name,
            str(size),
            spread([turn.per_s for turn in turns], digits=0),
            spread([turn.cpu_us_per_record for turn in turns]),
            spread([turn.memory_mb for turn in turns], digits=0),
            str(sum(turn.duplicates for turn in turns)),
            str(sum(turn.missing for turn in turns)),
        )

    return table


def _steady(report: Report) -> Table:
    table = Table(
        "steady",
        "rows/s",
        "p50 ms from commit",
        "p99 ms",
        "relay µs/record",
        "twice",
        "never",
        "void",
    )

    for rate, name in sorted({(turn.rate_per_s, turn.target) for turn in report.paced}):
        turns = [turn for turn in report.paced if (turn.rate_per_s, turn.target) == (rate, name)]
        table.add_row(
            name,
            str(rate),
            spread([turn.from_commit.p50_ms for turn in turns]),
            spread([turn.from_commit.p99_ms for turn in turns]),
            spread([turn.cpu_us_per_record for turn in turns], digits=0),
            str(sum(turn.duplicates for turn in turns)),
            str(sum(turn.missing for turn in turns)),
            void_cell([turn.is_void for turn in turns]),
        )

    return table
