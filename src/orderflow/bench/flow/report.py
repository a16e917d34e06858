"""The report of `bench flow` as tables: the steps, their hops, and what each component used."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from orderflow.bench.flow.bench import Report, Step

REQUESTS_SHOWN = 8


def print_report(report: Report) -> None:
    console = Console(highlight=False)
    console.print(_steps(report))
    console.print(_hops(report))
    console.print(_components(report))
    console.print(_work(report))
    for step in report.steps:
        if step.why_void:
            console.print(f"{step.rate_per_s}/s is void: {step.why_void}")

    console.print(f"sustained: {report.sustained_per_s} orders/s")
    balance = "the books balance" if not report.wrong else "the books DIFFER"
    console.print(f"{balance}: {report.orders:,} orders")
    for sentence in report.wrong:
        console.print(f"  {sentence}")
    console.print(str(report.machine))


def _steps(report: Report) -> Table:
    table = Table("orders/s", "through/s", "p50 ms", "p99 ms", "late", "never", "CPU ms", "")
    for step in report.steps:
        way = step.way
        table.add_row(
            f"{step.rate_per_s:,}",
            f"{way.through_per_s:,.0f}",
            f"{way.whole.p50_ms:,.0f}",
            f"{way.whole.p99_ms:,.0f}",
            f"{way.late:,}",
            f"{way.missing:,}",
            f"{step.cpu_ms_per_order:.2f}",
            "sustained" if way.is_sustained else "not sustained",
        )
    return table


def _hops(report: Report) -> Table:
    """Each hop's p50 and p99, by step."""
    table = Table("p50 / p99 ms", *(f"{step.rate_per_s}/s" for step in report.steps))
    for name in report.steps[0].way.hops:
        hops = [step.way.hops[name] for step in report.steps]
        table.add_row(name, *(f"{hop.p50_ms:,.0f} / {hop.p99_ms:,.0f}" for hop in hops))
    lags = [step.way.generator_lag for step in report.steps]
    table.add_row("(sent late)", *(f"{lag.p50_ms:,.1f} / {lag.p99_ms:,.1f}" for lag in lags))
    return table


def _components(report: Report) -> Table:
    """CPU and context switches of each component for an order, and its memory in the last step."""
    table = Table(
        "µs of CPU (switches) an order", *(f"{step.rate_per_s}/s" for step in report.steps), "MiB"
    )
    last = report.steps[-1]
    for name in sorted(last.used, key=lambda name: -last.used[name].cpu_s):
        cells = [
            f"{1e6 * step.used[name].cpu_s / step.way.posted:,.0f} "
            f"({step.used[name].switches / step.way.posted:.1f})"
            for step in report.steps
        ]
        table.add_row(name, *cells, f"{last.used[name].memory_mib:,.0f}")
    generators = [f"{step.generator_cores:.2f} cores" for step in report.steps]
    table.add_row("(generator)", *generators, "")
    table.add_row("(foreign)", *(f"{step.foreign_cores:.2f} cores" for step in report.steps), "")
    return table


def _work(report: Report) -> Table:
    table = Table("an order", *(f"{step.rate_per_s}/s" for step in report.steps))
    rows: tuple[tuple[str, Callable[[Step], float], int], ...] = (
        ("database commits", lambda step: step.work.commits, 2),
        ("rows inserted", lambda step: step.work.inserted, 1),
        ("rows updated", lambda step: step.work.updated, 1),
        ("log, bytes", lambda step: step.work.wal_bytes, 0),
    )

    for name, count, digits in rows:
        table.add_row(
            name, *(f"{count(step) / step.way.posted:,.{digits}f}" for step in report.steps)
        )
    kinds = report.steps[-1].work.requests
    for kind in sorted(kinds, key=lambda kind: -kinds[kind])[:REQUESTS_SHOWN]:
        counts = [step.work.requests.get(kind, 0) / step.way.posted for step in report.steps]
        table.add_row(f"Kafka: {kind}", *(f"{count:,.3f}" for count in counts))
    return table
