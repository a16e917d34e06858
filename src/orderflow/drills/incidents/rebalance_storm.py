"""Workers come and go, one after the other: each time partitions change hands."""

from __future__ import annotations

from collections.abc import Sequence

from orderflow.drills.drill import Drill, Expectation, Incident
from orderflow.drills.expectations import nobody_is_refused, orders_are_finished
from orderflow.drills.scene import Scene, Snapshot

JOINERS = ("payment", "inventory", "notification", "fulfilment")
"""Services that get a second listener, some times; the second of each pair is killed at its end."""
SLOT = 1
WITHIN_S = 90.0


class RebalanceStorm(Incident):
    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._joined: list[str] = []

    def break_it(self) -> None:
        self._before = Snapshot.of(self.scene)
        for number, service in enumerate(JOINERS):
            name = self.scene.add_worker(service, "listener", slot=SLOT)
            self._joined.append(name)
            if number % 2:
                # Its partitions wait for the end of its session, or for its successor.
                self.scene.kill(name)
            self._leave(name)

        for service in JOINERS[:2]:
            self._joined.append(self.scene.add_worker(service, "listener", slot=SLOT))
        self._joining = Snapshot.of(self.scene)

    def heal(self) -> None:
        while self._joined:
            self._leave(self._joined[-1])

    def while_broken(self) -> Sequence[Expectation]:
        return (orders_are_finished(self.scene, self._joining, within_s=WITHIN_S),)

    def throughout(self) -> Sequence[Expectation]:
        return (nobody_is_refused(self.scene, self._before),)

    def _leave(self, name: str) -> None:
        self.scene.remove_worker(name)
        self._joined.remove(name)


DRILL = Drill(
    name="rebalance-storm",
    lab="a group rebalances again and again",
    breaks="second workers join four groups, leave, and die",
    should="nothing is handled twice by two owners of a partition, and nothing is left out",
    degrades="records wait for up to a session time-out (15 s)",
    goes_on="taking orders, the partitions that stay where they are",
    runbook="consumer-lag.md",
    incident=RebalanceStorm,
    recovers_within_s=120.0,
)
