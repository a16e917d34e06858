"""The report of `bench post` as a table."""

from __future__ import annotations

from rich.table import Table

from orderflow.bench.post.bench import NAIVE, OURS, Report
from orderflow.cli.terminal import Terminal
from orderflow.trials.harness import median, of_target, rate_cells


def print_report(report: Report) -> None:
    """Medians over the rounds, with the range of the rates."""
    console, drain = Terminal(highlight=False), report.drain
    console.print(_table(report))
    console.print(
        "naive: the same HTTP stack, an asyncpg pool of 32, BEGIN + 2 INSERT + COMMIT for each "
        "request"
    )
    console.print(
        "API µs, PG µs: CPU for each order, in the API's process and in all of PostgreSQL"
    )

    for count, ratio in report.ratio_by_connections.items():
        console.print(f"{count} connections: {ratio:.1f} × naive")
    console.print(
        f"relay, started afterwards: {drain.records:,} records in {drain.seconds:.1f} s, "
        "its start included"
    )
    console.print(f"{report.orders_verified:,} orders answered 201, all found in the database")
    console.print(f"load by {report.generator}; {report.machine}")


def _table(report: Report) -> Table:
    table = Table("", "conn.", "orders/s", "min–max", "p50 ms", "p99 ms", "API µs", "PG µs")
    for count in report.ratio_by_connections:
        for name in (OURS, NAIVE):
            turns = of_target(report.of_connections(count), name)
            medians = (
                median((getattr(turn, field) for turn in turns), digits=1)
                for field in ("p50_ms", "p99_ms", "api_cpu_us", "database_cpu_us")
            )
            table.add_row(name, str(count), *rate_cells(turns), *medians)
    return table
