"""The report of `bench growth`: three comparisons, and the memory of each process."""

from __future__ import annotations

from rich.table import Table

from orderflow.bench.flow.step import Step
from orderflow.bench.growth.bench import Report
from orderflow.cli.terminal import Terminal


def print_report(report: Report) -> None:
    console = Terminal(highlight=False)
    console.print(_rates(report))
    console.print(_memory(report))
    for name, step in _steps(report):
        if step.foreign_cores > 0.1:
            console.print(f"{name}: something else took {step.foreign_cores:.2f} cores")

    console.print(f"{report.full_to_empty:.2f} × the empty house's rate, over generated orders")
    console.print(f"{report.drain_to_live:.2f} × the live rate, from a backlog")
    balance = "the books balance" if not report.wrong else "the books DIFFER"
    console.print(f"{balance}: {report.orders:,} orders")
    for sentence in report.wrong:
        console.print(f"  {sentence}")
    console.print(str(report.machine))


def _steps(report: Report) -> tuple[tuple[str, Step], ...]:
    generated = f"{report.plan.generated:,} generated orders"
    return (("empty house", report.empty), (generated, report.full), ("steady", report.steady))


def _rates(report: Report) -> Table:
    table = Table("", "orders", "through/s", "CPU ms", "never", "twice")
    for name, step in _steps(report):
        way = step.way
        table.add_row(
            name,
            f"{way.posted:,}",
            f"{way.overall_per_s:,.0f}",
            f"{step.cpu_ms_per_order or 0:.2f}",
            f"{way.missing + way.refused:,}",
            f"{way.repeated:,}",
        )

    back = report.backlog
    table.add_row(
        "backlog, drained",
        f"{back.orders:,}",
        f"{back.per_s:,.0f}",
        "",
        f"{back.missing:,}",
        f"{back.repeated:,}",
    )
    return table


def _memory(report: Report) -> Table:
    """The largest slopes first."""
    minutes = f"{report.plan.minutes:g} min"
    table = Table(f"memory over {minutes}", "first MiB", "last", "most", "MiB/min, 2nd half")

    memory = report.memory
    for name in sorted(memory, key=lambda name: -memory[name].mib_per_minute):
        each = memory[name]
        table.add_row(
            name,
            f"{each.first_mib:,.0f}",
            f"{each.last_mib:,.0f}",
            f"{each.most_mib:,.0f}",
            f"{each.mib_per_minute:+.2f}",
        )
    return table
