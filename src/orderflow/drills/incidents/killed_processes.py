"""kill -9 at the worst line: within a Kafka transaction of payment, and of a relay."""

from __future__ import annotations

from collections.abc import Sequence

from orderflow.drills.drill import Drill, Expectation, Incident
from orderflow.drills.expectations import comes_back, nobody_is_refused, orders_are_finished
from orderflow.drills.scene import Scene, Snapshot


class Killed(Incident):
    """A process is killed at a failpoint; the stack starts it again."""

    def __init__(self, scene: Scene, process: str, failpoint: str) -> None:
        super().__init__(scene)
        self._process, self._failpoint = process, failpoint

    def break_it(self) -> None:
        self._before = Snapshot.of(self.scene)
        self._restarts = self.scene.restarts(self._process)
        self.scene.arm(self._process, self._failpoint)

    def heal(self) -> None:
        """It comes back by itself."""
        self.scene.start(self._process)

    def while_broken(self) -> Sequence[Expectation]:
        return (comes_back(self.scene, self._process, self._restarts),)

    def throughout(self) -> Sequence[Expectation]:
        return (nobody_is_refused(self.scene, self._before),)

    def once_healed(self) -> Sequence[Expectation]:
        return (orders_are_finished(self.scene, self._before),)


PAYMENT = Drill(
    name="killed-payment-mid-transaction",
    lab="a consumer dies between its output and its offsets",
    breaks="kill -9 of payment, its events written, its transaction not committed",
    should="the transaction is aborted; the same payments are announced once, charged once",
    degrades="payments pause for the seconds of a start",
    goes_on="orders are taken; all that follows payments waits a moment",
    runbook="process-is-down.md",
    incident=lambda scene: Killed(scene, "payment", "listener.before_commit=kill@3"),
)

RELAY = Drill(
    name="killed-relay",
    lab="the outbox relay dies after it has published and before it has noted that",
    breaks="kill -9 of the order service's relay, its records written, its position not committed",
    should="the next relay starts at the committed position; each record is there once",
    degrades="new orders reach Kafka some seconds later",
    goes_on="orders are taken, and wait in the outbox",
    runbook="outbox-waits.md",
    incident=lambda scene: Killed(scene, "order-relay", "relay.after_produce=kill@3"),
)
