"""The auditor: has the books audited turn by turn, and exports what was found."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from typing import Protocol

from orderflow.books.report import BooksReport, Verdict
from orderflow.messaging.errors import ConfigurationError, OrderflowError, Stopped, plain
from orderflow.messaging.telemetry import ComputedGauge, MeasuredGauge, histogram, logger
from orderflow.messaging.work.clock import CLOCK, Clock
from orderflow.messaging.work.reasons import Degraded

DURATION_BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
NAMED_MAX = 5

DIFFERENCES = MeasuredGauge(
    "books_differences",
    "What two sides of the books do not agree about, of the last audit; 0 is right.",
    ("check",),
)
IN_FLIGHT = MeasuredGauge(
    "books_in_flight",
    "What the last audit could not decide, because it was still under way.",
    ("check",),
)
AGE = ComputedGauge(
    "books_age_seconds",
    "How long ago the last audit that was decided ended; before the first one, since the start.",
)
DURATION = histogram(
    "books_audit_seconds", "How long an audit of the books takes.", buckets=DURATION_BUCKETS_S
)

log = logger("books")


Pause = Callable[[float], object]
"""Waits for so many seconds."""


class Audited(Protocol):
    """Books that can be audited, by one thread."""

    def run(self) -> BooksReport:
        """
        Audit once. Raises Transient while a side is away: then nothing is proved.
        """
        ...

    def close(self) -> None: ...


class LastAudit:
    """
    The last report, and what is to be said of the books. One thread writes, any reads.

    `missing`: why there is no report, or none of now; empty when all is well.
    """

    def __init__(self, missing: str = "no audit has run in this process") -> None:
        self.report: BooksReport | None = None
        self.missing = missing


class Auditor:
    """
    `run(stop)` on one thread; `reasons` and `age_s` from any.

    `books` are opened by that thread, which alone uses them; they wait by the `pause` that they are
    given, which ends an audit when the process stops. Nothing here makes the process unready: the
    books are looked at, and nobody waits for them.
    """

    def __init__(
        self,
        books: Callable[[Pause], Audited],
        last: LastAudit,
        *,
        every_s: float,
        clock: Clock = CLOCK,
    ) -> None:
        self._open_books = books
        self._last = last
        self._every_s = every_s
        self._clock = clock
        self._decided_at = clock.monotonic()
        self._failed = ""
        last.missing = "the first audit has not ended yet"

    def run(self, stop: threading.Event) -> None:
        AGE.follow(lambda: {(): self.age_s()})

        def pause(seconds: float) -> None:
            if stop.wait(seconds):
                raise Stopped("the process stops, and its audit with it")

        try:
            books = self._open_books(pause)
        except ConfigurationError as error:
            # Whoever has not said where the books are kept still has all the rest.
            self._missed(str(error))
            stop.wait()
            return

        with closing(books):
            while not stop.is_set():
                began = self._clock.monotonic()
                self._turn(books)
                took_s = self._clock.monotonic() - began
                # From beginning to beginning; but never one audit right after the other.
                stop.wait(max(self._every_s - took_s, self._every_s / 10))

    def reasons(self) -> list[str]:
        """
        What kept the books from being audited the last time. What an audit found is no reason: it
        did what it is for.
        """
        return [Degraded(f"books: {self._failed}")] if self._failed else []

    def age_s(self) -> float:
        """How long ago the last audit ended that was decided."""
        return self._clock.monotonic() - self._decided_at

    def _turn(self, books: Audited) -> None:
        began = self._clock.monotonic()
        try:
            report = books.run()
        except Stopped:
            return
        except OrderflowError as error:
            log.warning("the books could not be audited", why=str(error))
            self._missed(plain(error))
            return

        DURATION.observe(self._clock.monotonic() - began)
        self._last.report, self._last.missing, self._failed = report, "", ""
        for row in report.checks:
            DIFFERENCES.set(row.differences, row.check)
            IN_FLIGHT.set(row.in_flight, row.check)
        if report.verdict is not Verdict.UNSETTLED:
            self._decided_at = self._clock.monotonic()
        _log(report)

    def _missed(self, why: str) -> None:
        """The last report stays, with its time; what it counted is not told as if it were now."""
        self._last.missing = self._failed = why
        DIFFERENCES.hide()
        IN_FLIGHT.hide()


def _log(report: BooksReport) -> None:
    if report.verdict is not Verdict.DIFFERENT:
        log.info(
            "books audited",
            verdict=report.verdict,
            compared=report.compared,
            in_flight=report.count("in_flight"),
            took_s=round(report.duration_s, 1),
        )
        return

    log.error(
        "the books differ",
        differences=report.count("differences"),
        first=[f"{row.check} {row.subject} {row.id}" for row in report.differences[:NAMED_MAX]],
    )
