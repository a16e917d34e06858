"""
One drill, from load to verdict: load, break, expect, heal, catch up, rest, judge.

Recovery is measured under load, from the heal (its beginning: what an operator types) until the
backlog is no larger than it was before anything broke.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

import msgspec

from orderflow.drills.drill import Drill, Expectation, Incident
from orderflow.drills.figures import Figures
from orderflow.drills.judge import Judge
from orderflow.drills.scene import Scene
from orderflow.messaging.errors import OrderflowError

STARTED_WITHIN_S = 60.0
RESTS = 3
"""Readings in a row that must be at rest: records that an outbox still had are in a later one."""
ROOM_S = 1.0
RECORDS_PER_ORDER = 20
"""Records and messages that one order makes all groups read: what is normal to be in flight."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """
    `rate_per_s` orders come, `warm_up` of them before anything breaks. What is broken stays so for
    `hold_s` at least, longer if what is expected takes longer.
    """

    rate_per_s: float = 40.0
    warm_up: int = 100
    hold_s: float = 8.0
    orders_max: int = 20_000

    @property
    def normal(self) -> int:
        """A backlog that says nothing: what is in flight for a second."""
        return int(self.rate_per_s * ROOM_S * RECORDS_PER_ORDER)


SHORT = Pace(rate_per_s=20.0, warm_up=20, hold_s=1.0)
"""For tests: seconds."""


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an expectation. `took_s`: None if it was not met."""

    what: str
    phase: str
    within_s: float
    took_s: float | None

    @property
    def is_met(self) -> bool:
        return self.took_s is not None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """
    How a drill went. Seconds; `recovered_s` and `rested_s` count from the heal, None: not in time.

    `peak_backlog` and `peak_waiting`: the most records, orders and messages that were not done, and
    the most records that waited in place. `answers`: of the order API by status. `wrong`: what the
    judge says, and why the drill broke off, if it did.
    """

    drill: str
    broken_s: float
    recovered_s: float | None
    rested_s: float | None
    placed: int
    answers: dict[str, int]
    peak_backlog: int
    peak_waiting: int
    letters: int
    expected: tuple[Expected, ...]
    judged: str
    wrong: tuple[str, ...]

    @property
    def has_passed(self) -> bool:
        return not self.failures

    @property
    def failures(self) -> tuple[str, ...]:
        """A sentence for each thing that was not as it should be."""
        late = [
            f"{result.phase}: {result.what}: not within {result.within_s:.0f} s"
            if result.within_s
            else f"{result.phase}: {result.what}: not so"
            for result in self.expected
            if not result.is_met
        ]
        slow = ["the backlog did not go away in time"] if self.recovered_s is None else []
        return (*late, *slow, *self.wrong)


class Display(Protocol):
    """Called while a drill runs. All of it is for people: nothing is decided by it."""

    def phase(self, drill: Drill, what: str) -> None:
        """It begins to do that."""

    def look(self, figures: Figures) -> None:
        """Several times a second."""

    def expected(self, result: Expected) -> None:
        """An expectation was met, or was not."""


def conduct(
    drill: Drill, scene: Scene, *, pace: Pace, judge: Judge, display: Display, letters: int = 0
) -> Outcome:
    """
    Run a drill on a stack at rest, with `letters` open dead letters, and judge it.

    What is not as it should be is in the outcome; so is why it broke off. The incident is healed in
    any case, and orders no longer come, also when this raises (KeyboardInterrupt, a defect).
    """
    return _Conduct(drill, scene, pace, judge, display).run(letters)


class _Conduct:
    def __init__(
        self, drill: Drill, scene: Scene, pace: Pace, judge: Judge, display: Display
    ) -> None:
        self._drill, self._scene, self._pace = drill, scene, pace
        self._judge, self._display = judge, display
        self._expected: list[Expected] = []
        self._wrong: list[str] = []
        self._peak_backlog = self._peak_waiting = 0
        self._broken_at = self._healed_at = 0.0
        self._recovered_s: float | None = None
        self._rested_s: float | None = None
        self._judged = ""

    def run(self, letters: int) -> Outcome:
        self._scene.watcher = self._look
        incident = self._drill.incident(self._scene)
        try:
            self._under_load(incident)
            self._at_rest(incident, letters)
        except OrderflowError as error:
            self._wrong.append(f"the drill broke off: {error}")
        finally:
            self._scene.load.stop()
            self._scene.watcher = lambda: None

        figures = self._scene.figures
        return Outcome(
            drill=self._drill.name,
            broken_s=round(max(0.0, self._healed_at - self._broken_at), 1),
            recovered_s=self._recovered_s,
            rested_s=self._rested_s,
            placed=figures.placed,
            answers=dict(figures.answers),
            peak_backlog=self._peak_backlog,
            peak_waiting=self._peak_waiting,
            letters=0 if figures.cluster is None else figures.cluster.letters,
            expected=tuple(self._expected),
            judged=self._judged,
            wrong=tuple(self._wrong),
        )

    def _under_load(self, incident: Incident) -> None:
        scene = self._scene
        self._say("orders come")
        scene.load.start()
        scene.wait_for(
            lambda: len(scene.load.placed) >= self._pace.warm_up and self._is_normal(),
            within_s=STARTED_WITHIN_S,
            what=f"{self._pace.warm_up} orders before anything breaks",
        )

        self._break(incident)
        self._await("once healed", incident.once_healed(), _Throughout(()))
        self._say("healed: what was left undone is done")
        deadline = self._healed_at + self._drill.recovers_within_s
        while self._recovered_s is None and time.monotonic() < deadline:
            scene.turn()
            if self._is_normal(since=self._healed_at):
                self._recovered_s = self._since(self._healed_at)

    def _break(self, incident: Incident) -> None:
        self._say(f"breaks: {self._drill.breaks}")
        self._broken_at = time.monotonic()

        try:
            incident.break_it()
            throughout = _Throughout(incident.throughout())
            self._await("while broken", incident.while_broken(), throughout)
            while self._since(self._broken_at) < self._pace.hold_s:
                self._scene.turn()
                throughout.look()
            self._note(throughout.results())

        finally:
            self._say("heals it")
            self._healed_at = time.monotonic()
            incident.heal()

    def _await(
        self, phase: str, expectations: Sequence[Expectation], throughout: _Throughout
    ) -> None:
        """All at once, each with its own deadline from now on."""
        began_at, left = time.monotonic(), list(expectations)
        while left:
            for expectation in [*left]:
                took_s = self._since(began_at)
                is_met = _holds(expectation)
                if is_met or took_s > expectation.within_s:
                    left.remove(expectation)
                    self._note([_result(phase, expectation, took_s if is_met else None)])

            self._scene.turn()
            throughout.look()

    def _note(self, results: Sequence[Expected]) -> None:
        for result in results:
            self._expected.append(result)
            self._display.expected(result)

    def _at_rest(self, incident: Incident, letters: int) -> None:
        """Orders come no more; judge when nothing has been left to do for some readings."""
        self._say("no more orders; waits for rest")
        self._scene.load.stop()
        if self._scene.load.failure is not None:
            self._wrong.append(f"an order was refused for good: {self._scene.load.failure}")
        stopped_at = time.monotonic()
        rests = set[int]()
        deadline = stopped_at + self._drill.recovers_within_s
        while len(rests) < RESTS and time.monotonic() < deadline:
            self._scene.turn()
            cluster, tables = self._scene.cluster.newest, self._scene.tables.newest
            if cluster is None or tables is None or self._scene.figures.backlog:
                rests.clear()
            elif min(cluster.begun_at, tables.begun_at) > stopped_at and self._scene.stack.is_up:
                rests.add(cluster.number)

        if len(rests) < RESTS:
            self._wrong.append(f"no rest: {_left_undone(self._scene.figures)}")
        else:
            self._rested_s = self._since(self._healed_at)
        self._say("judges")
        judgement = self._judge.judge(self._scene, letters=letters + incident.letters)
        self._judged = judgement.judged
        self._wrong += judgement.wrong

    def _is_normal(self, *, since: float = 0.0) -> bool:
        """Whether readings that began after `since` show no more than what is always in flight."""
        cluster, tables = self._scene.cluster.newest, self._scene.tables.newest
        if cluster is None or tables is None or min(cluster.begun_at, tables.begun_at) <= since:
            return False
        backlog = self._scene.figures.backlog
        return backlog is not None and backlog <= self._pace.normal and self._scene.stack.is_up

    def _look(self) -> None:
        figures = self._scene.figures
        self._peak_backlog = max(self._peak_backlog, figures.backlog or 0)
        self._peak_waiting = max(
            self._peak_waiting, 0 if figures.cluster is None else figures.cluster.waiting
        )
        self._display.look(figures)

    def _say(self, what: str) -> None:
        self._display.phase(self._drill, what)

    def _since(self, moment: float) -> float:
        return round(time.monotonic() - moment, 1)


class _Throughout:
    """Expectations that must hold at each look."""

    def __init__(self, expectations: Sequence[Expectation]) -> None:
        self._expectations = expectations
        self._broken: set[str] = set()
        self._began_at = time.monotonic()

    def look(self) -> None:
        self._broken |= {
            expectation.what for expectation in self._expectations if not _holds(expectation)
        }

    def results(self) -> list[Expected]:
        for_s = round(time.monotonic() - self._began_at, 1)
        return [
            Expected(
                what=expectation.what,
                phase="all the while",
                within_s=0.0,
                took_s=None if expectation.what in self._broken else for_s,
            )
            for expectation in self._expectations
        ]


def _result(phase: str, expectation: Expectation, took_s: float | None) -> Expected:
    return Expected(
        what=expectation.what, phase=phase, within_s=expectation.within_s, took_s=took_s
    )


def _holds(expectation: Expectation) -> bool:
    """A server that is away shows nothing yet."""
    try:
        return expectation.is_met()
    except OrderflowError:
        return False


def _left_undone(figures: Figures) -> str:
    if figures.cluster is None or figures.tables is None:
        return "a server does not answer"
    behind = [f"{service} {records}" for service, records in figures.cluster.lag.items() if records]
    return (
        f"lag {', '.join(behind) or 'none'}; {figures.tables.orders.waiting} orders wait, "
        f"{figures.tables.unsent} messages are to be sent"
    )
