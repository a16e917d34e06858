"""A record that nobody can read, under the key of an order that has work to come."""

from __future__ import annotations

from collections.abc import Sequence

from orderflow.contracts.roster import GROUPS
from orderflow.contracts.topics import ORDERS
from orderflow.drills.drill import Drill, Expectation, Incident
from orderflow.drills.scene import Snapshot

POISON = b"\x00\xff\xff\xff\xffno schema has this id"
READERS = tuple(group for group, topics in GROUPS.items() if ORDERS in topics)
"""Each puts the record aside for itself."""

ENOUGH = 20
"""So many orders must be finished after it: the partitions go on."""


class PoisonRecord(Incident):
    """The order is paid, then the record comes, then the order is cancelled and refunded."""

    def break_it(self) -> None:
        self._order_id = self.scene.place()
        self.scene.wait_for(
            lambda: self.scene.order(self._order_id)["status"] == "PAID",
            within_s=30.0,
            what="an order that is paid",
        )

        self._before = Snapshot.of(self.scene)
        self.scene.produce(ORDERS.name, key=self._order_id.encode(), value=POISON)
        self.scene.ask("POST", self.scene.api("order", f"/orders/{self._order_id}/cancel"))

    def heal(self) -> None:
        """Nothing to mend: the record is aside, with its evidence, for somebody to look at."""

    def while_broken(self) -> Sequence[Expectation]:
        return (
            Expectation(
                what=f"it is a dead letter of each of the {len(READERS)} groups that read it",
                is_met=lambda: self._letters() == len(READERS),
            ),
            Expectation(
                what="the same order's next record, behind it, is handled: it is refunded",
                is_met=lambda: self.scene.order(self._order_id)["payment"]["state"] == "REFUNDED",
            ),
            Expectation(
                what=f"{ENOUGH} more orders are finished",
                is_met=lambda: Snapshot.of(self.scene).finished >= self._before.finished + ENOUGH,
            ),
        )

    def throughout(self) -> Sequence[Expectation]:
        return (
            Expectation(
                what="no order is refused",
                is_met=lambda: Snapshot.of(self.scene).refused == self._before.refused,
            ),
            Expectation(
                what="no record waits",
                is_met=lambda: (
                    self.scene.figures.cluster is None or self.scene.figures.cluster.waiting == 0
                ),
            ),
        )

    @property
    def letters(self) -> int:
        return len(READERS)

    def _letters(self) -> int:
        return Snapshot.of(self.scene).letters - self._before.letters


DRILL = Drill(
    name="poison-record",
    lab="a record that nobody can read stops its partition",
    breaks="a record of an unknown schema is written to orders, under the key of a paid order",
    should="each group puts it aside with its evidence; the records behind it go on at once",
    degrades="nothing but that record",
    goes_on="everything, also the records of the same key behind it",
    runbook="dead-letters.md",
    incident=PoisonRecord,
)
