"""Which drills share a stack, and in which order they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from orderflow.drills.conduct import Display, Outcome, Pace, conduct
from orderflow.drills.drill import SERVICES, Drill, Ground
from orderflow.drills.figures import ClusterFigures, Gauge, TableFigures, cluster_gauge, table_gauge
from orderflow.drills.judge import Judge
from orderflow.drills.scene import Scene
from orderflow.stack.addresses import api_url, database_url
from orderflow.stack.local_stack import LocalStack
from orderflow.stack.local_stack import Progress as StackProgress
from orderflow.stack.temporary_stack import INFRASTRUCTURE, temporary_stack
from orderflow.trials.harness import access, database
from orderflow.trials.steady_load import SteadyLoad
from orderflow.trials.stock_up import stock_up

CUSTOMERS = 200
SEEN_WITHIN_S = 60.0


class ProgrammeDisplay(Display, Protocol):
    """Called besides: for components of a stack that starts, and for a drill that ended."""

    def component(self, name: str, state: str, reason: str, /) -> None: ...

    def ended(self, drill: Drill, outcome: Outcome) -> None: ...


class Stage:
    """A stack with what all its drills share: full shelves, gauges that read."""

    def __init__(self, stack: LocalStack) -> None:
        self.stack = stack
        self._skus = stock_up(stack.settings, actor="drill")
        kafka = access(stack).kafka
        databases = {
            service: database(database_url(stack.settings, service))
            for service in ("order", "notification")
        }

        self._cluster: Gauge[ClusterFigures] = cluster_gauge(kafka)
        self._tables: Gauge[TableFigures] = table_gauge(databases)
        self._drills = 0
        self.open_letters = 0

    def start(self) -> None:
        self._cluster.start()
        self._tables.start()

    def stop(self) -> None:
        self._cluster.stop()
        self._tables.stop()

    def run(self, drill: Drill, *, pace: Pace, judge: Judge, display: Display) -> Outcome:
        """One drill, with a load of its own."""
        self._drills += 1
        load = SteadyLoad(
            api_url(self.stack.settings, "order"),
            skus=self._skus,
            customers=CUSTOMERS,
            rate_per_s=pace.rate_per_s,
            orders_max=pace.orders_max,
            seed=self._drills * 1_000,
        )
        scene = Scene(self.stack, load, cluster=self._cluster, tables=self._tables)
        scene.wait_for(
            lambda: scene.figures.backlog is not None,
            within_s=SEEN_WITHIN_S,
            what="the first figures of the stack",
        )

        outcome = conduct(
            drill, scene, pace=pace, judge=judge, display=display, letters=self.open_letters
        )
        self.open_letters = outcome.letters
        return outcome


@contextmanager
def staged(
    ground: Ground, *, progress: StackProgress = lambda _name, _state, _reason: None
) -> Iterator[Stage]:
    """A stage on a stack of its own; nothing of it is left at the end. Raises StackFailed."""
    environment = {
        "ORDERFLOW_TOPICS__PARTITIONS": str(ground.partitions),
        "ORDERFLOW_TELEMETRY__LOG_RECORDS": "false",
        **ground.environment,
    }

    with temporary_stack(
        (*INFRASTRUCTURE, *(name for name in SERVICES if name not in INFRASTRUCTURE)),
        brokers=ground.brokers,
        environment=environment,
        progress=progress,
    ) as stack:
        stage = Stage(stack)
        stage.start()
        try:
            yield stage
        finally:
            stage.stop()


def run_all(
    drills: Sequence[Drill],
    *,
    pace: Pace,
    judge: Judge,
    display: ProgrammeDisplay,
    afterwards: Callable[[LocalStack], None] = lambda _stack: None,
) -> list[Outcome]:
    """
    Run each drill once; those on equal grounds on one stack, as long as it is fit for another.

    `afterwards` is called before a stack goes down. Raises OrderflowError when a stack can't start;
    whatever goes wrong in a drill is in its outcome.
    """
    outcomes: list[Outcome] = []

    for batch in batches(drills):
        left = list(batch)
        while left:
            with staged(left[0].ground, progress=display.component) as stage:
                while left:
                    drill = left.pop(0)
                    outcome = stage.run(drill, pace=pace, judge=judge, display=display)
                    display.ended(drill, outcome)
                    outcomes.append(outcome)
                    if drill.spoils or not outcome.has_passed:
                        break
                afterwards(stage.stack)
    return outcomes


def batches(drills: Sequence[Drill]) -> list[list[Drill]]:
    """
    The drills by ground, in the order in which each ground comes first; those that spoil their
    stack last.
    """
    by_ground: dict[tuple[object, ...], list[Drill]] = {}
    for drill in drills:
        by_ground.setdefault(drill.ground.key, []).append(drill)
    return [sorted(batch, key=lambda drill: drill.spoils) for batch in by_ground.values()]
