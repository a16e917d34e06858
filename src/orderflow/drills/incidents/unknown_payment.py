"""Charges whose answers are lost, and charges that the provider does not decide."""

from __future__ import annotations

from collections.abc import Sequence

from orderflow.contracts.ids import OrderId, payment_id
from orderflow.drills.drill import Drill, Expectation, Incident
from orderflow.drills.expectations import (
    no_letter_is_opened,
    nobody_is_refused,
    orders_are_finished,
)
from orderflow.drills.incidents.provider_lies import faults_url
from orderflow.drills.scene import Scene, Snapshot
from orderflow.stack.ports import HOST

PROVIDER = "psp"
LOST = 10
"""So many answers to charges that were made get lost."""
UNDECIDED = 10
"""So many orders whose charge stays pending."""
UNDECIDED_FOR = {"ORDERFLOW_PSP__PENDING_S": "3600"}
WITHIN_S = 90.0


class UnknownPayment(Incident):
    """Nobody knows how the undecided ones end, not even the provider, until it is asked to."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._undecided: list[str] = []

    def break_it(self) -> None:
        self.scene.restart(PROVIDER, UNDECIDED_FOR)
        self._before = Snapshot.of(self.scene)
        lost = {"fault": "reply_lost", "operations": ["charge"], "first": LOST}
        self.scene.ask("PUT", faults_url(self.scene), body={"rules": [lost]})
        for number in range(UNDECIDED):
            customer = f"customer-undecided-{number}"
            self._undecided.append(
                self.scene.place(paymentMethod="pm_pending", customerId=customer)
            )

    def heal(self) -> None:
        port = self.scene.stack.settings.ports.psp
        while self._undecided:
            reference = payment_id(OrderId(self._undecided.pop()), 1)
            self.scene.ask("POST", f"http://{HOST}:{port}/charges/{reference}/settle", body={})
        self.scene.restart(PROVIDER)

    def while_broken(self) -> Sequence[Expectation]:
        return (
            Expectation(
                what=f"{UNDECIDED} payments are unknown",
                is_met=lambda: self._unknown() >= UNDECIDED,
                within_s=WITHIN_S,
            ),
            orders_are_finished(self.scene, self._before, within_s=WITHIN_S),
        )

    def throughout(self) -> Sequence[Expectation]:
        return (
            nobody_is_refused(self.scene, self._before),
            no_letter_is_opened(self.scene, self._before),
        )

    def once_healed(self) -> Sequence[Expectation]:
        return (
            Expectation(
                what="each of them is known, by a look-up or a webhook",
                is_met=lambda: self._unknown() == 0,
                within_s=WITHIN_S,
            ),
        )

    def _unknown(self) -> int:
        summary = self.scene.ask("GET", self.scene.api("payment", "/ledger/summary"))
        return sum(int(currency["unknown"]) for currency in summary["items"])


DRILL = Drill(
    name="unknown-payment",
    lab="the outcome of a payment is not known",
    breaks=f"{LOST} answers to charges get lost, {UNDECIDED} charges stay undecided",
    should="these wait in place and are looked up until they are known; nobody is charged twice",
    degrades=f"{UNDECIDED} orders wait",
    goes_on="all other orders, on the same partitions",
    runbook="payments-unknown.md",
    incident=UnknownPayment,
    recovers_within_s=120.0,
)
