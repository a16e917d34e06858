"""A drill as people see it: figures that change, within 80 columns; plain lines elsewhere."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Mapping

from rich.live import Live
from rich.table import Table
from rich.text import Text

from orderflow.cli.terminal import Terminal
from orderflow.drills.conduct import Expected, Outcome
from orderflow.drills.drill import Drill
from orderflow.drills.figures import Figures

WIDTH_MAX = 80
REFRESH_S = 0.25
LINE_EVERY_S = 2.0
"""Where figures can't change in place."""

UNKNOWN = "?"
"""A figure of a server that does not answer at the moment."""


class Screen:
    """
    Shows drills on `console`. On a terminal the figures change in place and all else stays above
    them; elsewhere a line of figures comes every 2 s.
    """

    def __init__(self, console: Terminal) -> None:
        self._console = console
        self._live: Live | None = None
        self._shown_at = 0.0
        self._announced: Drill | None = None
        self._doing = ""

    def component(self, name: str, state: str, _reason: str) -> None:
        """A component of a stack that starts."""
        if state == "starting" and self._announced is None:
            self._set(Text(f"starting {name} …", "dim"))

    def phase(self, drill: Drill, what: str) -> None:
        if self._announced is not drill:
            self._announced = drill
            self._print(Text(f"{drill.name}: {drill.lab}", "bold"))
            self._print(Text(f"  should happen: {drill.should}"))
        self._doing = what
        self._print(Text(f"  {what}", "cyan"))

    def look(self, figures: Figures) -> None:
        now, on_terminal = time.monotonic(), self._console.is_terminal
        if now - self._shown_at < (REFRESH_S if on_terminal else LINE_EVERY_S):
            return
        self._shown_at = now
        if on_terminal:
            self._set(screen(self._announced.name if self._announced else "", figures))
        else:
            self._print(Text(f"  {line(figures)}"))

    def expected(self, result: Expected) -> None:
        mark, style = ("✓", "green") if result.is_met else ("✗", "red")
        took = f" ({result.took_s:.1f} s)" if result.took_s is not None else ""
        self._print(Text(f"  {mark} {result.phase}: {result.what}{took}", style))

    def ended(self, drill: Drill, outcome: Outcome) -> None:
        for failure in outcome.failures:
            self._print(Text(f"  {failure}", "red"))
        self._announced = None
        self.close()

    def close(self) -> None:
        """Take away what changes in place."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _set(self, shown: Table | Text) -> None:
        if not self._console.is_terminal:
            return
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(shown, refresh=True)

    def _print(self, text: Text) -> None:
        """Continued lines are indented below their beginning."""
        width = min(self._console.width, WIDTH_MAX)
        for shown in textwrap.wrap(text.plain, width, subsequent_indent="    "):
            self._console.print(Text(shown, text.style), soft_wrap=True)


def screen(name: str, figures: Figures) -> Table:
    """All figures, within 80 columns."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(max_width=64)
    for label, value in rows(figures):
        table.add_row(label, value)
    table.title, table.title_justify, table.title_style = name, "left", "bold"
    return table


def rows(figures: Figures) -> list[tuple[str, str]]:
    """Label and value of each line."""
    cluster, tables = figures.cluster, figures.tables
    finished, waiting = _orders(figures)
    lag = [] if cluster is None else [f"{name} {count:,}" for name, count in cluster.lag.items()]
    return [
        ("orders", f"{figures.placed:,} placed, {finished} finished, {waiting} wait"),
        ("answers", answers(figures.answers)),
        ("lag", ", ".join(lag) or "kafka does not answer"),
        ("waiting keys", UNKNOWN if cluster is None else f"{cluster.waiting:,}"),
        ("dead letters", UNKNOWN if cluster is None else f"{cluster.letters:,} open"),
        ("mails", UNKNOWN if tables is None else f"{tables.unsent:,} to be sent"),
    ]


def _orders(figures: Figures) -> tuple[str, str]:
    """Those that are finished, and those that wait."""
    if figures.tables is None:
        return UNKNOWN, UNKNOWN
    return f"{figures.tables.orders.finished:,}", f"{figures.tables.orders.waiting:,}"


def line(figures: Figures) -> str:
    """The most important figures in one line of at most 78 columns."""
    cluster, tables = figures.cluster, figures.tables
    return (
        f"{figures.placed:,} placed, "
        f"{UNKNOWN if tables is None else f'{tables.orders.finished:,}'} finished; "
        f"lag {UNKNOWN if cluster is None else f'{cluster.behind:,}'}, "
        f"{UNKNOWN if cluster is None else cluster.waiting} waiting, "
        f"{UNKNOWN if cluster is None else cluster.letters} letters; {answers(figures.answers)}"
    )


def answers(counts: Mapping[str, int]) -> str:
    """What the order API answered: done, asked to come back later, and not at all."""
    done = sum(count for status, count in counts.items() if status.startswith("2"))
    parts = [f"{done:,} done"]
    parts += [f"{counts[status]:,} × 503" for status in ("503",) if counts.get(status)]
    parts += [f"{counts['none']:,} unanswered"] if counts.get("none") else []
    return ", ".join(parts)


def verdict(drill: Drill, outcome: Outcome) -> str:
    """One line: passed or failed, what was measured, and where to read on."""
    word = "passed" if outcome.has_passed else "FAILED"
    recovered = (
        f"caught up {outcome.recovered_s:.1f} s after"
        if outcome.recovered_s is not None
        else "not caught up"
    )
    return (
        f"{word}  {drill.name}: {outcome.placed:,} orders, {answers(outcome.answers)}; "
        f"{outcome.peak_backlog:,} behind at most, {recovered}; "
        f"{outcome.judged or 'not judged'}{'' if outcome.wrong else ' in order'}. "
        f"{drill.runbook_path}"
    )
