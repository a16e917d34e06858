"""The payment provider is away: orders are taken, and wait to be charged."""

from __future__ import annotations

from collections.abc import Sequence

from orderflow.drills.drill import Drill, Expectation, Incident
from orderflow.drills.expectations import (
    no_letter_is_opened,
    nobody_is_refused,
    orders_are_finished,
    orders_are_taken,
)
from orderflow.drills.scene import Snapshot
from orderflow.messaging.errors import OrderflowError

PROVIDER = "psp"
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
            orders_are_taken(self.scene, self._before),
            Expectation(
                what="the payment service says that it waits for its provider",
                is_met=lambda: "provider" in self._readiness(),
            ),
        )

    def throughout(self) -> Sequence[Expectation]:
        return (
            nobody_is_refused(self.scene, self._before),
            no_letter_is_opened(self.scene, self._before),
        )

    def once_healed(self) -> Sequence[Expectation]:
        return (orders_are_finished(self.scene, self._healed, within_s=WITHIN_S),)

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
