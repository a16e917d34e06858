"""The proof's progress, on standard error, and its outcome, on standard output."""

from __future__ import annotations

from rich.status import Status
from rich.table import Table

from orderflow.cli.terminal import Terminal
from orderflow.prove.ordering import Display, Plan, Report
from orderflow.prove.progress import Progress
from orderflow.trials.disturbances import Disturbed


class StatusLine:
    """A line that changes, on a terminal; elsewhere a line for each disturbance."""

    def __init__(self, console: Terminal, spinner: Status, plan: Plan) -> None:
        self._console = console
        self._spinner = spinner
        self._plan = plan
        self._last = ""
        self.display = Display(
            component=self._component, progress=self._progress, disturbed=self._note_disturbed
        )

    def _component(self, name: str, state: str, _reason: str) -> None:
        if state == "starting":
            self._spinner.update(f"starting {name} …")

    def _progress(self, placed: int, progress: Progress) -> None:
        behind = sum(progress.behind.values())
        self._spinner.update(
            f"{placed:,} of {self._plan.orders:,} orders placed, "
            f"{progress.finished:,} messages told; "
            f"{behind:,} records and {progress.unsent:,} messages to do{self._last}"
        )

    def _note_disturbed(self, disturbed: Disturbed) -> None:
        self._last = f"; {disturbed.what}"
        if not self._console.is_terminal:
            self._console.print(_line(disturbed), markup=False)


def print_report(report: Report) -> None:
    """The tables, and the verdict."""
    console = Terminal(highlight=False)
    plan = report.plan
    console.print(
        f"{plan.orders:,} orders of {plan.customers:,} customers in {report.load_s:.1f} s "
        f"({_commanded(report)}), at rest after {report.rest_s:.1f} s; "
        f"{plan.workers} notification workers, {plan.partitions} partitions",
        soft_wrap=True,
    )
    for disturbed in report.disturbed:
        console.print(_line(disturbed), markup=False)
    console.print(_table(report))

    for finding in report.findings:
        for example in finding.examples:
            console.print(f"{finding.topic}: {example}", style="red", markup=False, soft_wrap=True)
    if report.unheard:
        console.print(
            f"{report.unheard} orders were answered with 201 and are not there", style="red"
        )
    for what in report.missed:
        console.print(f"did not happen, nothing moved any more: {what}", style="yellow")
    console.print(_verdict(report))


def _line(disturbed: Disturbed) -> str:
    return f"  {disturbed.at_s:6.1f} s  {disturbed.what} ({disturbed.behind:,} records behind)"


def _commanded(report: Report) -> str:
    done = report.commanded
    return f"{done.get('cancel', 0):,} cancelled, {done.get('deliver', 0):,} delivered"


def _table(report: Report) -> Table:
    columns = [f"{finding.topic}\n[dim]by {finding.key}[/dim]" for finding in report.findings]
    table = Table("", *columns)
    for column in table.columns[1:]:
        column.justify = "right"
    for label, name in _ROWS:
        table.add_row(label, *(_cell(getattr(finding, name), name) for finding in report.findings))
    return table


def _cell(count: int, name: str) -> str:
    return f"[red]{count:,}[/red]" if count and name in _VIOLATIONS else f"{count:,}"


def _verdict(report: Report) -> str:
    if report.violations:
        return f"[red]{report.violations:,} violations[/red]"
    if report.missed:
        return "[yellow]no violation, but not disturbed as planned: no proof[/yellow]"
    return (
        "[green]every number once, in order, on one partition; nothing lost, nothing twice[/green]"
    )


_ROWS = (
    ("records", "records"),
    ("keys", "keys"),
    ("records per key, at most", "records_per_key_max"),
    ("partitions used", "partitions"),
    ("gaps", "gaps"),
    ("inversions", "inversions"),
    ("repeats", "repeats"),
    ("keys on more than one partition", "split"),
    ("records under a wrong key", "wrong_keys"),
    ("lost: in the database, not on the topic", "lost"),
    ("unknown: on the topic, not in the database", "unknown"),
)
_VIOLATIONS = {"gaps", "inversions", "repeats", "split", "wrong_keys", "lost", "unknown"}
