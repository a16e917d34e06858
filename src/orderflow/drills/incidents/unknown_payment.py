"""Charges that were sent and never answered, and a provider that can't be asked about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orderflow.drills.drill import Drill, Expectation, Incident
from orderflow.drills.expectations import (
    no_letter_is_opened,
    nobody_is_refused,
    orders_are_finished,
)
from orderflow.drills.incidents.provider_lies import faults_url
from orderflow.drills.scene import Snapshot

UNKNOWN = 10
"""So many charges get lost."""
RULES: tuple[dict[str, Any], ...] = (
    {"fault": "reply_lost", "operations": ["charge"], "first": UNKNOWN},
    {"fault": "503", "operations": ["find"]},
    {"fault": "late", "operations": ["webhook"]},
)
LATE_S = 120
"""The charge is made, its answer is lost, no look-up is answered, webhooks come after `LATE_S`."""
WITHIN_S = 90.0


class UnknownPayment(Incident):
    def break_it(self) -> None:
        self._before = Snapshot.of(self.scene)
        self.scene.ask("PUT", faults_url(self.scene), body={"rules": [*RULES], "slowS": LATE_S})

    def heal(self) -> None:
        self.scene.ask("PUT", faults_url(self.scene), body={})

    def while_broken(self) -> Sequence[Expectation]:
        return (
            Expectation(
                what=f"{UNKNOWN} charges were sent and are unknown",
                is_met=lambda: self._unknown() >= UNKNOWN,
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
    breaks=f"{UNKNOWN} charges are made and their answers lost; nobody can ask about them",
    should="they wait in place and are looked up when that is possible; nobody is charged twice",
    degrades=f"these {UNKNOWN} orders wait",
    goes_on="all other orders, on the same partitions",
    runbook="payments-unknown.md",
    incident=UnknownPayment,
    recovers_within_s=120.0,
)
