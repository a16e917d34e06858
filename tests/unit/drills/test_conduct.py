"""One drill from load to verdict, on a scene in memory: in any case it is healed and judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
from tests.support.quiet_display import QuietDisplay

from orderflow.drills.conduct import Expected, Outcome, Pace, conduct
from orderflow.drills.drill import Drill, Expectation, Incident
from orderflow.drills.figures import ClusterFigures, Figures, Reading, TableFigures
from orderflow.drills.judge import Judgement
from orderflow.drills.scene import Scene
from orderflow.drills.service_views import OrderCounts
from orderflow.messaging.errors import OrderflowError

PACE = Pace(rate_per_s=10.0, warm_up=3, hold_s=0.0)
NORMAL = PACE.normal


class Load:
    """Each turn of the scene an order is placed, while it runs."""

    def __init__(self) -> None:
        self.placed: list[str] = []
        self.answers: dict[str, int] = {}
        self.failure: Exception | None = None
        self.is_running = False

    def start(self) -> None:
        self.is_running = True

    def stop(self) -> None:
        self.is_running = False


class NewestReading:
    newest: Reading[Any] | None = None


class SceneInMemory:
    """`backlog` is what the cluster shows from the next turn on; None: it does not answer."""

    def __init__(self) -> None:
        self.load, self.stack = Load(), self
        self.cluster, self.tables = NewestReading(), NewestReading()
        self.backlog: int | None = 0
        self.waiting = self.letters = self.turns = 0
        self.is_up = True
        self.watcher: Callable[[], None] = lambda: None

    def turn(self) -> None:
        self.turns += 1
        if self.load.is_running:
            self.load.placed.append(str(self.turns))
        cluster = ClusterFigures(
            brokers=1,
            lag={"payment": self.backlog or 0},
            waiting=self.waiting,
            letters=self.letters,
            leaderless=0,
            under_replicated=0,
        )
        orders = OrderCounts(known=len(self.load.placed), waiting=0)
        tables = TableFigures(orders=orders, unsent=0)
        is_there = self.backlog is not None
        self.cluster.newest = self._reading(cluster) if is_there else None
        self.tables.newest = self._reading(tables)
        self.watcher()

    def _reading(self, value: Any) -> Reading[Any]:
        return Reading(number=self.turns, begun_at=time.monotonic(), value=value)

    def wait_for(self, condition: Callable[[], bool], *, within_s: float, what: str) -> None:
        for _ in range(100):
            if condition():
                return
            self.turn()
        raise OrderflowError(f"{what}: not within {within_s} s")

    @property
    def figures(self) -> Figures:
        cluster, tables = self.cluster.newest, self.tables.newest
        return Figures(
            placed=len(self.load.placed),
            answers=self.load.answers,
            cluster=cluster.value if cluster else None,
            tables=tables.value if tables else None,
        )


class Scripted(Incident):
    """Does nothing but count, unless a test says otherwise."""

    def __init__(self, scene: SceneInMemory) -> None:
        super().__init__(cast("Scene", scene))
        self.memory = scene
        self.healed = 0
        self.broken: Callable[[], None] = lambda: None
        self.mended: Callable[[], None] = lambda: None
        self.during: Sequence[Expectation] = ()
        self.always: Sequence[Expectation] = ()
        self.after: Sequence[Expectation] = ()

    def break_it(self) -> None:
        self.broken()

    def heal(self) -> None:
        self.healed += 1
        self.mended()

    def while_broken(self) -> Sequence[Expectation]:
        return self.during

    def throughout(self) -> Sequence[Expectation]:
        return self.always

    def once_healed(self) -> Sequence[Expectation]:
        return self.after


class JudgeInMemory:
    """Writes down whether the drill was healed, and at rest, when it was called."""

    def __init__(self, incident: Scripted, *wrong: str) -> None:
        self._incident, self._wrong = incident, wrong
        self.judged: list[tuple[int, bool, int]] = []

    def judge(self, scene: Scene, *, letters: int) -> Judgement:
        load = self._incident.memory.load
        self.judged.append((self._incident.healed, load.is_running, letters))
        return Judgement(judged="all", wrong=self._wrong)


class Shown(QuietDisplay):
    def __init__(self) -> None:
        self.phases: list[str] = []
        self.results: list[Expected] = []

    def phase(self, drill: Drill, what: str) -> None:
        self.phases.append(what)

    def expected(self, result: Expected) -> None:
        self.results.append(result)


@pytest.fixture
def incident() -> Scripted:
    return Scripted(SceneInMemory())


def run(
    incident: Scripted,
    *,
    judge: JudgeInMemory | None = None,
    recovers_within_s: float = 0.3,
    letters: int = 0,
    display: Shown | None = None,
) -> Outcome:
    drill = Drill(
        name="scripted",
        lab="something",
        breaks="something",
        should="heal",
        degrades="little",
        goes_on="much",
        runbook="stuck-order.md",
        incident=lambda _scene: incident,
        recovers_within_s=recovers_within_s,
    )
    return conduct(
        drill,
        incident.scene,
        pace=PACE,
        judge=judge or JudgeInMemory(incident),
        display=display or Shown(),
        letters=letters,
    )


def so(what: str = "so", *, within_s: float = 0.1) -> Expectation:
    return Expectation(what=what, is_met=lambda: True, within_s=within_s)


def never(what: str = "never", *, within_s: float = 0.01) -> Expectation:
    return Expectation(what=what, is_met=lambda: False, within_s=within_s)


def test_a_drill_that_goes_as_it_should_has_passed_with_its_figures(incident: Scripted) -> None:
    scene, display = incident.memory, Shown()

    def fall_behind() -> None:
        scene.backlog, scene.waiting = NORMAL + 7, 2

    def catch_up() -> None:
        scene.backlog = scene.waiting = 0

    incident.broken, incident.mended = fall_behind, catch_up
    incident.during = (
        Expectation(what="behind", is_met=lambda: (scene.figures.backlog or 0) > NORMAL),
    )
    incident.always, incident.after = (so("all the time"),), (so("healed"),)
    judge = JudgeInMemory(incident)

    outcome = run(incident, judge=judge, letters=2, display=display)

    assert outcome.failures == ()
    assert outcome.has_passed
    assert [(result.phase, result.what) for result in outcome.expected] == [
        ("while broken", "behind"),
        ("all the while", "all the time"),
        ("once healed", "healed"),
    ]
    assert display.results == list(outcome.expected)
    assert (outcome.peak_backlog, outcome.peak_waiting) == (NORMAL + 7, 2)
    assert outcome.placed >= PACE.warm_up
    assert outcome.recovered_s is not None
    assert outcome.rested_s is not None
    assert judge.judged == [(1, False, 2)], "once healed and without load, by the letters before"


def test_nothing_is_broken_before_the_orders_flow(incident: Scripted) -> None:
    placed = []
    incident.broken = lambda: placed.append(len(incident.memory.load.placed))
    run(incident)
    assert placed == [PACE.warm_up]


@pytest.mark.parametrize("phase", ["during", "after"])
def test_what_was_not_met_in_time_fails_the_drill_and_it_is_healed_and_judged_all_the_same(
    incident: Scripted, phase: str
) -> None:
    setattr(incident, phase, (never(), so("met")))
    judge = JudgeInMemory(incident)
    outcome = run(incident, judge=judge)
    assert not outcome.has_passed
    assert {result.what: result.is_met for result in outcome.expected} == {
        "never": False,
        "met": True,
    }
    assert len(outcome.failures) == 1
    assert len(judge.judged) == 1


def test_what_must_hold_all_the_while_fails_by_one_look(incident: Scripted) -> None:
    looks = iter([True, False])
    incident.during = (never(within_s=0.02),)
    incident.always = (
        Expectation(what="steady", is_met=lambda: next(looks, True)),
        so("really steady"),
    )
    outcome = run(incident)
    met = {result.what: result.is_met for result in outcome.expected}
    assert (met["steady"], met["really steady"]) == (False, True)


def test_a_server_that_is_away_has_not_met_an_expectation_yet(incident: Scripted) -> None:
    failures = iter([OrderflowError("away"), OrderflowError("away")])

    def ask() -> bool:
        if (failure := next(failures, None)) is not None:
            raise failure
        return True

    incident.during = (Expectation(what="it answers", is_met=ask, within_s=5.0),)
    assert run(incident).has_passed


def test_a_break_that_fails_half_way_is_healed_and_said(incident: Scripted) -> None:
    def fail() -> None:
        raise OrderflowError("no such process")

    incident.broken = fail
    outcome = run(incident)
    assert incident.healed == 1
    assert not incident.memory.load.is_running
    assert outcome.wrong == ("the drill broke off: no such process",)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interruption_or_a_defect_heals_ends_the_orders_and_goes_on(
    incident: Scripted, error: type[BaseException]
) -> None:
    def interrupt() -> bool:
        raise error

    incident.during = (Expectation(what="interrupted", is_met=interrupt),)
    with pytest.raises(error):
        run(incident)
    assert incident.healed == 1
    assert not incident.memory.load.is_running


@pytest.mark.parametrize("left", [NORMAL + 1, None])
def test_a_backlog_that_stays_or_is_not_known_fails_the_drill(
    incident: Scripted, left: int | None
) -> None:
    def fall_behind() -> None:
        incident.memory.backlog = left

    incident.broken = fall_behind
    outcome = run(incident, recovers_within_s=0.02)
    assert outcome.recovered_s is None
    assert "the backlog did not go away in time" in outcome.failures
    assert any(failure.startswith("no rest") for failure in outcome.failures)


def test_what_a_busy_system_always_has_in_flight_is_caught_up_but_no_rest(
    incident: Scripted,
) -> None:
    incident.memory.backlog = 1
    outcome = run(incident, recovers_within_s=0.02)
    assert outcome.recovered_s is not None
    assert outcome.rested_s is None
    assert outcome.failures == ("no rest: lag payment 1; 0 orders wait, 0 messages are to be sent",)


def test_what_the_judge_says_is_wrong_fails_the_drill(incident: Scripted) -> None:
    outcome = run(incident, judge=JudgeInMemory(incident, "an order is lost"))
    assert outcome.failures == ("an order is lost",)


def test_an_order_refused_for_good_fails_the_drill(incident: Scripted) -> None:
    incident.memory.load.failure = OrderflowError("POST /orders answered 500")
    assert run(incident).failures == ("an order was refused for good: POST /orders answered 500",)
