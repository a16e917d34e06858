"""The report of `bench inventory` as two tables."""

from __future__ import annotations

import statistics

from rich.table import Table

from orderflow.bench.inventory.bench import NAIVE, OURS, Report
from orderflow.bench.inventory.flow import HOPS
from orderflow.cli.terminal import Terminal
from orderflow.trials.harness import median, of_target, rate_cells, void_cell
from orderflow.trials.open_loop import LAG_MAX_MS


def print_report(report: Report) -> None:
    """Medians over the rounds, with the range of the rates."""
    console = Terminal(highlight=False)
    console.print(_rates(report))
    console.print(
        f"{report.ratio:.1f} × {NAIVE}; a fifth of the events came twice; "
        "every turn's stock was exactly right"
    )

    console.print(_flows(report))
    console.print(
        f"void: orders were posted more than {LAG_MAX_MS:.0f} ms late at p99; "
        "such a turn counts for nothing"
    )
    console.print(str(report.machine))


def _rates(report: Report) -> Table:
    table = Table(
        "payments → stock", "events/s", "min–max", "listener µs/event", "reserved", "rejected"
    )

    for name in (OURS, NAIVE):
        turns = of_target(report.turns, name)
        table.add_row(
            name,
            *rate_cells(turns),
            median(turn.cpu_us_per_event for turn in turns),
            f"{sum(turn.reserved for turn in turns):,}",
            f"{sum(turn.rejected for turn in turns):,}",
        )

    return table


def _flows(report: Report) -> Table:
    table = Table("POST → inventory", "p50 ms", "p99 ms", "share of p50", "void")

    for rate in report.plan.rates_per_s:
        flows = [flow for flow in report.flows if flow.rate_per_s == rate]
        whole = statistics.median(flow.whole.p50_ms for flow in flows)
        worst = statistics.median(flow.whole.p99_ms for flow in flows)
        void = void_cell([flow.is_void for flow in flows])
        table.add_row(f"at {rate}/s", f"{whole:.1f}", f"{worst:.1f}", "", void)

        for name in HOPS:
            middle = statistics.median(flow.hops[name].p50_ms for flow in flows)
            late = statistics.median(flow.hops[name].p99_ms for flow in flows)
            share = f"{100 * middle / whole:.0f} %"
            table.add_row(f"  {name}", f"{middle:.1f}", f"{late:.1f}", share, "")

    return table
