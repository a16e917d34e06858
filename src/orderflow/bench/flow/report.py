"""The report of `bench flow` as tables: the steps, their hops, and what each component used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich.table import Table

from orderflow.bench.flow.bench import Report
from orderflow.bench.flow.step import Step
from orderflow.bench.flow.work_done import WorkDone
from orderflow.cli.terminal import Terminal

REQUESTS_SHOWN = 8


def print_report(report: Report) -> None:
    console = Terminal(highlight=False)
    console.print(_steps(report.steps))
    console.print(_hops(report))
    if report.steps[-1].used:
        console.print(_components(report))
        console.print(_work(report))
    if report.naive:
        console.print("the naive flow, by the same measure:")
        console.print(_steps(report.naive))

    for name, steps in (("", report.steps), ("naive, ", report.naive)):
        for step in steps:
            if step.why_void:
                console.print(f"{name}{step.rate_per_s}/s is void: {step.why_void}")
    for line in _verdict(report):
        console.print(line)
    console.print(str(report.machine))


def _verdict(report: Report) -> Iterator[str]:
    rate, naive_rate = report.sustained_per_s, report.naive_sustained_per_s
    yield f"sustained: {rate:,} orders/s"
    if naive_rate:
        yield f"{rate / naive_rate:.1f} times the naive flow's {naive_rate:,}"
    if report.beside_naive is not None:
        ours = report.beside_naive.way.whole.p99_ms
        naive = next(step for step in report.naive if step.rate_per_s == naive_rate)
        other = naive.way.whole.p99_ms
        yield f"at {naive_rate:,}/s p99 is {ours:,.0f} ms, the naive flow's {other:,.0f} ms"

    if report.orders is not None:
        balance = "the books balance" if not report.wrong else "the books DIFFER"
        yield f"{balance}: {report.orders:,} orders"
    yield from (f"  {sentence}" for sentence in report.wrong)


def _steps(steps: Sequence[Step]) -> Table:
    table = Table("orders/s", "through/s", "p50 ms", "p99 ms", "late", "never", "CPU ms", "")
    for step in steps:
        way, cpu_ms = step.way, step.cpu_ms_per_order

        table.add_row(
            f"{step.rate_per_s:,}",
            f"{way.through_per_s:,.0f}",
            f"{way.whole.p50_ms:,.0f}",
            f"{way.whole.p99_ms:,.0f}",
            f"{way.late:,}",
            f"{way.missing:,}",
            "?" if cpu_ms is None else f"{cpu_ms:.2f}",
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
    done = [(step.work, step.way.posted) for step in report.steps if step.work is not None]
    table = Table("an order", *(f"{step.rate_per_s}/s" for step in report.steps))
    rows: tuple[tuple[str, Callable[[WorkDone], float], int], ...] = (
        ("database commits", lambda work: work.commits, 2),
        ("rows inserted", lambda work: work.inserted, 1),
        ("rows updated", lambda work: work.updated, 1),
        ("log, bytes", lambda work: work.wal_bytes, 0),
    )

    for name, count, digits in rows:
        table.add_row(name, *(f"{count(work) / posted:,.{digits}f}" for work, posted in done))
    kinds = done[-1][0].requests
    for kind in sorted(kinds, key=lambda kind: -kinds[kind])[:REQUESTS_SHOWN]:
        counts = [work.requests.get(kind, 0) / posted for work, posted in done]
        table.add_row(f"Kafka: {kind}", *(f"{count:,.3f}" for count in counts))
    return table
