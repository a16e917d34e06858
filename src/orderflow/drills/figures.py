"""
What is seen during a drill: read by threads of their own, so that a server that is away holds
nobody up; the newest reading is there for whoever looks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from typing import Any, Generic, TypeVar

import msgspec

from orderflow.contracts.roster import GROUPS, OBSERVED, ROSTER, subscribed
from orderflow.contracts.topics import DEAD_LETTER_DISPOSITIONS
from orderflow.drills.service_views import OrderCounts, count_orders, count_unsent
from orderflow.messaging.dead_letters.letter_watch import LetterWatch
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.kafka.survey import Surveyor
from orderflow.messaging.settings import DatabaseSettings, KafkaSettings

READ_EVERY_S = 0.3
T = TypeVar("T")

SERVICE_OF = {member.group: member.name for member in ROSTER if member.listens}


class ClusterFigures(msgspec.Struct, frozen=True, kw_only=True):
    """
    `lag`: records that each group has not finished, by its service. `waiting`: those that wait in
    place, each with its key behind it. `letters`: open dead letters. `leaderless`: partitions that
    nobody serves; `under_replicated`: with fewer copies in sync than they should have.
    """

    brokers: int
    lag: Mapping[str, int]
    waiting: int
    letters: int
    leaderless: int
    under_replicated: int

    @property
    def behind(self) -> int:
        return sum(self.lag.values())


class TableFigures(msgspec.Struct, frozen=True, kw_only=True):
    """`unsent`: messages to customers that are neither sent nor given up."""

    orders: OrderCounts
    unsent: int


class Reading(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """`value` is what was so at some moment after `begun_at` (CLOCK_MONOTONIC, seconds)."""

    number: int
    begun_at: float
    value: T


class Gauge(Generic[T]):
    """
    Reads again and again on a thread of its own; `newest` is None while the server does not answer.

    `open_reader` is called by that thread, which alone uses what it returns.
    """

    def __init__(
        self, name: str, open_reader: Callable[[ExitStack], Callable[[], T | None]]
    ) -> None:
        self._open_reader = open_reader
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.newest: Reading[T] | None = None
        self.crashed: Exception | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when nothing is read any more, at most some seconds later."""
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        try:
            with ExitStack() as opened:
                self._read_on(self._open_reader(opened))
        except Exception as error:  # noqa: BLE001 - the thread that looks at it raises it
            self.crashed, self.newest = error, None

    def _read_on(self, read: Callable[[], T | None]) -> None:
        number = 0
        while not self._stop.wait(READ_EVERY_S):
            begun_at, number = time.monotonic(), number + 1
            try:
                value = read()
            except OrderflowError:
                value = None
            self.newest = (
                None if value is None else Reading(number=number, begun_at=begun_at, value=value)
            )


def cluster_gauge(kafka: KafkaSettings) -> Gauge[ClusterFigures]:
    """Lags and dead letters."""

    def open_reader(opened: ExitStack) -> Callable[[], ClusterFigures | None]:
        groups = {group: subscribed(group) for group in GROUPS}
        surveyor = opened.enter_context(closing(Surveyor(kafka, groups, topics=OBSERVED)))
        letters = opened.enter_context(
            closing(LetterWatch(kafka, dispositions=DEAD_LETTER_DISPOSITIONS.name))
        )
        return lambda: _read_cluster(surveyor, letters)

    return Gauge("drill-cluster", open_reader)


def _read_cluster(surveyor: Surveyor, letters: LetterWatch) -> ClusterFigures | None:
    survey = surveyor.survey()
    counts = letters.look(survey.logs)
    if not letters.is_complete:
        return None

    lag = dict.fromkeys(SERVICE_OF.values(), 0)
    waiting = 0
    for row in survey.lags:
        if row.lag.group in SERVICE_OF:
            lag[SERVICE_OF[row.lag.group]] += row.lag.records
            waiting += row.lag.waiting
    return ClusterFigures(
        brokers=survey.brokers,
        lag=lag,
        waiting=waiting,
        letters=sum(count.letters for count in counts.values()),
        leaderless=len(survey.leaderless),
        under_replicated=sum(log.under_replicated for log in survey.logs.values()),
    )


def table_gauge(databases: Mapping[str, DatabaseSettings]) -> Gauge[TableFigures]:
    """Orders and messages, from the services' databases."""

    def read() -> TableFigures:
        orders = count_orders(databases["order"])
        return TableFigures(orders=orders, unsent=count_unsent(databases["notification"]))

    return Gauge("drill-tables", lambda _opened: read)


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """
    One look at a drill. None: that server does not answer at the moment.

    `answers`: of the order API, by status, since the drill began; `none`: requests without one.
    """

    placed: int
    answers: Mapping[str, int]
    cluster: ClusterFigures | None
    tables: TableFigures | None

    @property
    def backlog(self) -> int | None:
        """Records and orders that are not done yet; None if that is not known."""
        if self.cluster is None or self.tables is None:
            return None
        return self.cluster.behind + self.tables.orders.waiting + self.tables.unsent

    @property
    def as_json(self) -> dict[str, Any]:
        built: dict[str, Any] = msgspec.to_builtins(self)
        return built
