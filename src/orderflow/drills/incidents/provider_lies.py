"""The payment provider answers what is not so, or what nobody can read, or not yet."""

from __future__ import annotations

from collections.abc import Sequence

from orderflow.drills.drill import Drill, Expectation, Incident
from orderflow.drills.expectations import nobody_is_refused, orders_are_finished
from orderflow.drills.scene import Scene, Snapshot
from orderflow.stack.ports import HOST

LIES = ("error_after_commit", "nonsense", "truncated", "html")
RATE = 0.15
"""Of each lie: six of ten calls are answered wrongly."""
PENDING = 5
"""So many orders whose charge the provider takes on and decides later."""
WITHIN_S = 60.0


def faults_url(scene: Scene) -> str:
    """Where the simulated provider is told how to misbehave."""
    return f"http://{HOST}:{scene.stack.settings.ports.psp}/faults"


class ProviderLies(Incident):
    def break_it(self) -> None:
        self._before = Snapshot.of(self.scene)
        rules = [{"fault": lie, "rate": RATE} for lie in LIES]
        self.scene.ask("PUT", faults_url(self.scene), body={"rules": rules})
        self._pending = [
            self.scene.place(paymentMethod="pm_pending", customerId=f"customer-pending-{number}")
            for number in range(PENDING)
        ]

    def heal(self) -> None:
        self.scene.ask("PUT", faults_url(self.scene), body={})
        self._healed = Snapshot.of(self.scene)

    def while_broken(self) -> Sequence[Expectation]:
        return (
            Expectation(
                what="the provider has lied in each way",
                is_met=lambda: self._applied() >= set(LIES),
            ),
            orders_are_finished(self.scene, self._before, within_s=WITHIN_S),
        )

    def throughout(self) -> Sequence[Expectation]:
        return (nobody_is_refused(self.scene, self._before),)

    def once_healed(self) -> Sequence[Expectation]:
        return (
            Expectation(
                what="the charges that were pending are decided, and their orders PAID",
                is_met=lambda: all(
                    self.scene.order(order_id)["status"] == "PAID" for order_id in self._pending
                ),
                within_s=WITHIN_S,
            ),
        )

    def _applied(self) -> set[str]:
        faults = self.scene.ask("GET", faults_url(self.scene))
        return {fault for fault, count in faults["applied"].items() if count}


DRILL = Drill(
    name="provider-lies",
    lab="the payment provider answers 500 after it charged, or what nobody can read",
    breaks="six of ten answers of the provider are wrong; some charges stay pending",
    should="no answer but a clear no is taken for a no; each order is charged once",
    degrades="payments take seconds longer",
    goes_on="everything",
    runbook="payments-unknown.md",
    incident=ProviderLies,
    recovers_within_s=120.0,
)
