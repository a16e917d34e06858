"""The payment provider is away: orders are taken, and wait to be charged."""

from __future__ import annotations

from collections.abc import Sequence

from orderflow.drills.drill import Drill, Expectation, Incident
from orderflow.drills.scene import Snapshot
from orderflow.messaging.errors import OrderflowError

PROVIDER = "psp"
ENOUGH = 20
"""So many more orders must be answered while it is away, and finished when it is back."""
WITHIN_S = 60.0


class ProviderDown(Incident):
    def break_it(self) -> None:
        self._before = Snapshot.of(self.scene)
        self.scene.stop(PROVIDER)

    def heal(self) -> None:
        self.scene.start(PROVIDER)
        self._healed = Snapshot.of(self.scene)

    def while_broken(self) -> Sequence[Expectation]:
        return (
            Expectation(
                what=f"{ENOUGH} more orders are answered with 201",
                is_met=lambda: Snapshot.of(self.scene).placed >= self._before.placed + ENOUGH,
            ),
            Expectation(
                what="the payment service says that it waits for its provider",
                is_met=lambda: "provider" in self._readiness(),
            ),
        )

    def throughout(self) -> Sequence[Expectation]:
        return (
            Expectation(
                what="no order is refused",
                is_met=lambda: Snapshot.of(self.scene).refused == self._before.refused,
            ),
            Expectation(
                what="nothing becomes a dead letter",
                is_met=lambda: Snapshot.of(self.scene).letters in (0, self._before.letters),
            ),
        )

    def once_healed(self) -> Sequence[Expectation]:
        return (
            Expectation(
                what=f"{ENOUGH} more orders are finished",
                is_met=lambda: Snapshot.of(self.scene).finished >= self._healed.finished + ENOUGH,
                within_s=WITHIN_S,
            ),
        )

    def _readiness(self) -> str:
        """What the payment service says of itself, ready or not."""
        try:
            return str(self.scene.ask("GET", self.scene.api("payment", "/readyz")))
        except OrderflowError as error:
            return str(error)


DRILL = Drill(
    name="provider-down",
    lab="the payment provider does not answer",
    breaks="the payment provider is stopped",
    should="orders are taken and wait, unpaid; nobody is charged twice when it is back",
    degrades="orders stay CREATED; refunds are owed",
    goes_on="taking orders, everything about orders that are paid",
    runbook="payments-unknown.md",
    incident=ProviderDown,
    recovers_within_s=120.0,
)
