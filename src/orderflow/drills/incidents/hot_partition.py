"""One customer orders as much as all others together: all of it is told on one partition."""

from __future__ import annotations

from collections.abc import Sequence

from orderflow.drills.drill import Drill, Expectation, Incident
from orderflow.drills.scene import Scene, Snapshot
from orderflow.trials.steady_load import SteadyLoad
from orderflow.trials.stock_up import stock_up

RATE_PER_S = 30.0
ORDERS_MAX = 20_000
SEED = 4_711
ENOUGH = 30
WITHIN_S = 90.0


class HotPartition(Incident):
    """The customer is `customer-0`, one of the load's own."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        settings = scene.stack.settings
        self._hot = SteadyLoad(
            scene.api("order", ""),
            skus=stock_up(settings, actor="drill"),
            customers=1,
            rate_per_s=RATE_PER_S,
            orders_max=ORDERS_MAX,
            seed=SEED,
        )

    def break_it(self) -> None:
        self._before = Snapshot.of(self.scene)
        self._hot.start()

    def heal(self) -> None:
        self._hot.stop()
        # Whatever is judged of the load's orders is judged of these.
        self.scene.load.placed.extend(self._hot.placed)

    def while_broken(self) -> Sequence[Expectation]:
        return (
            Expectation(
                what=f"{ENOUGH} orders of one customer are answered",
                is_met=lambda: len(self._hot.placed) >= ENOUGH,
                within_s=WITHIN_S,
            ),
            Expectation(
                what=f"{ENOUGH} orders of others are answered meanwhile",
                is_met=lambda: Snapshot.of(self.scene).placed >= self._before.placed + ENOUGH,
                within_s=WITHIN_S,
            ),
            Expectation(
                what=f"{2 * ENOUGH} more orders are finished",
                is_met=lambda: (
                    Snapshot.of(self.scene).finished >= self._before.finished + 2 * ENOUGH
                ),
                within_s=WITHIN_S,
            ),
        )

    def throughout(self) -> Sequence[Expectation]:
        return (
            Expectation(
                what="no order is refused",
                is_met=lambda: (
                    Snapshot.of(self.scene).refused == self._before.refused
                    and self._hot.failure is None
                ),
            ),
        )


DRILL = Drill(
    name="hot-partition",
    lab="one key has most of the records",
    breaks=f"one customer places {RATE_PER_S:.0f} orders/s beside the load",
    should="orders, keyed by their own ids, go on; that customer is told in order, and later",
    degrades="that customer's messages, and those on the same partition",
    goes_on="every order, every other customer",
    runbook="consumer-lag.md",
    incident=HotPartition,
    recovers_within_s=120.0,
)
