"""A record that nobody can read, under the key of an order that has work to come."""

from __future__ import annotations

from collections.abc import Sequence

from orderflow.contracts.roster import GROUPS
from orderflow.contracts.topics import ORDERS
from orderflow.drills.drill import Drill, Expectation, Incident
from orderflow.drills.expectations import (
    ends_as,
    letters_are_open,
    nobody_is_refused,
    orders_are_finished,
)
from orderflow.drills.scene import Snapshot
from orderflow.messaging.dead_letters.letters import LetterFilter

POISON = b"\x00\xff\xff\xff\xffno schema has this id"
READERS = tuple(group for group, topics in GROUPS.items() if ORDERS in topics)
"""Each puts the record aside for itself."""


class PoisonRecord(Incident):
    """An order is paid, then the record comes, then the order is cancelled and refunded."""

    _order_id = ""

    def break_it(self) -> None:
        self._before = Snapshot.of(self.scene)
        self._order_id = self.scene.place()
        self.scene.wait_for(
            lambda: self.scene.order(self._order_id)["status"] == "PAID",
            within_s=30.0,
            what="an order that is paid",
        )

        self.scene.produce(ORDERS.name, key=self._order_id.encode(), value=POISON)
        self.scene.ask("POST", self.scene.api("order", f"/orders/{self._order_id}/cancel"))

    def heal(self) -> None:
        if self._order_id:
            self.scene.desk.discard(
                LetterFilter(key=self._order_id.encode()), by="drill", reason="nobody can read it"
            )

    def while_broken(self) -> Sequence[Expectation]:
        return (
            letters_are_open(
                self.scene,
                self._before,
                len(READERS),
                what=f"it is a dead letter of each of the {len(READERS)} groups that read it",
            ),
            ends_as(
                self.scene,
                self._order_id,
                what="the records of the same key behind it are handled: the order is refunded",
                status="CANCELLED",
                payment="REFUNDED",
            ),
            orders_are_finished(self.scene, self._before),
        )

    def throughout(self) -> Sequence[Expectation]:
        return (nobody_is_refused(self.scene, self._before),)

    def once_healed(self) -> Sequence[Expectation]:
        return (
            letters_are_open(
                self.scene, self._before, 0, what="no letter is open once they are discarded"
            ),
        )


DRILL = Drill(
    name="poison-record",
    lab="a record that nobody can read stops its partition",
    breaks="a record of an unknown schema is written to orders, under the key of a paid order",
    should="each group puts it aside with its evidence; the records behind it go on at once",
    degrades="nothing but that record, which is discarded with a reason",
    goes_on="everything, also the records of the same key behind it",
    runbook="dead-letters.md",
    incident=PoisonRecord,
)
