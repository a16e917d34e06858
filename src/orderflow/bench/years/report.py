"""The report of `bench years` as two tables."""

from __future__ import annotations

from rich.table import Table

from orderflow.bench.years.bench import Report
from orderflow.cli.terminal import Terminal


def print_report(report: Report) -> None:
    """Each question beside itself on an empty house."""
    console = Terminal(highlight=False)
    empty, full = report.turns
    table = Table(
        "question", "empty: p50 ms", "p99 ms", f"after {full.orders_before:,}: p50 ms", "p99 ms"
    )
    for name, times in full.questions.items():
        before = empty.questions[name]
        figures = (before.p50_ms, before.p99_ms, times.p50_ms, times.p99_ms)
        table.add_row(name, *(f"{figure:.1f}" for figure in figures))

    console.print(table)
    console.print(
        f"orders placed meanwhile: {empty.per_s:.0f}/s, {full.per_s:.0f}/s; "
        f"asked for: {report.plan.rate_per_s:.0f}/s; 5xx: {sum(full.refused.values())}"
    )

    purges = Table("purge, under load", "rows", "rows/s", "left")
    for purge in full.purges:
        purges.add_row(purge.what, f"{purge.rows:,}", f"{purge.per_s:,.0f}", f"{purge.left:,}")
    console.print(purges)
    console.print(str(report.machine))
