"""The report of `bench copies` as two tables."""

from __future__ import annotations

from rich.table import Table

from orderflow.bench.copies.bench import LAKE, NAIVE, ONE_FILE, READ, WAREHOUSE, Report
from orderflow.bench.copies.paced import Cost, Paced
from orderflow.cli.terminal import Terminal
from orderflow.trials.harness import of_target, spread, void_cell
from orderflow.trials.latency import Percentiles
from orderflow.trials.open_loop import LAG_MAX_MS


def print_report(report: Report) -> None:
    """Medians over the rounds, with their range."""
    console = Terminal(highlight=False)
    console.print(_backlog(report))
    for name, ratio in report.ratios.items():
        console.print(f"{ratio:.2f} × {name}")
    console.print(_steady(report.paced))

    plan = report.plan
    console.print(
        f"the lake writes when {plan.flush_records:,} rows are there or {plan.flush_s:g} s have "
        "passed: its milliseconds are that setting's"
    )
    console.print(
        f"void: payments were begun more than {LAG_MAX_MS:.0f} ms late at p99 "
        f"({report.paced.generator_lag.p99_ms:.1f} ms): {void_cell([report.paced.is_void])}"
    )
    console.print(f"{report.machine}, load {report.machine.load_average_before} before")


def _backlog(report: Report) -> Table:
    table = Table("backlog", "rows", "rows/s", "µs of CPU per row", "MB")

    for name in (WAREHOUSE, NAIVE, LAKE, READ, ONE_FILE):
        turns = of_target(report.turns, name)
        table.add_row(
            name,
            f"{len(turns)} × {turns[0].rows:,}",
            spread([turn.per_s for turn in turns], digits=0),
            spread([turn.cpu_us_per_row for turn in turns], digits=0),
            spread([turn.memory_mb for turn in turns], digits=0),
        )
    return table


def _steady(paced: Paced) -> Table:
    table = Table(
        f"{paced.rate_per_s}/s, {paced.payments:,} payments",
        "p50 ms from commit",
        "p99 ms",
        "max ms",
        f"CPU s in {paced.seconds:.0f} s",
        "MB",
    )
    table.add_row("warehouse", *_cells(paced.warehouse, paced.worker))
    table.add_row("lake", *_cells(paced.lake, paced.exporter))
    return table


def _cells(latency: Percentiles, cost: Cost) -> tuple[str, ...]:
    milliseconds = (latency.p50_ms, latency.p99_ms, latency.max_ms)
    return (
        *(f"{value:,.0f}" for value in milliseconds),
        f"{cost.cpu_s:.1f}",
        f"{cost.memory_mb:.0f}",
    )
