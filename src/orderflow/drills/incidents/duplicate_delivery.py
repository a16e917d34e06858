"""Records come twice: their bytes and headers are on the topic a second time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orderflow.contracts.topics import INVENTORY, ORDER_EVENTS, ORDERS, PAYMENTS
from orderflow.drills.drill import Drill, Expectation, Incident
from orderflow.drills.scene import Snapshot
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.kafka import clients
from orderflow.messaging.kafka.reader import end_offsets, read

REPEATED = (ORDERS.name, PAYMENTS.name, INVENTORY.name, ORDER_EVENTS.name)
EACH_MAX = 200
"""So many offsets of each partition, the newest."""
ENOUGH = 20
SENT_WITHIN_S = 60.0


class DuplicateDelivery(Incident):
    def break_it(self) -> None:
        self._before = Snapshot.of(self.scene)
        self._repeated = sum(self._repeat(topic) for topic in REPEATED)

    def heal(self) -> None:
        """Nothing to mend: whoever reads them knows them by their ids."""

    def while_broken(self) -> Sequence[Expectation]:
        return (
            Expectation(
                what=f"{ENOUGH} more orders are finished behind {self._repeated} repeated records",
                is_met=lambda: Snapshot.of(self.scene).finished >= self._before.finished + ENOUGH,
            ),
        )

    def throughout(self) -> Sequence[Expectation]:
        return (
            Expectation(
                what="nothing becomes a dead letter",
                is_met=lambda: Snapshot.of(self.scene).letters in (0, self._before.letters),
            ),
            Expectation(
                what="no order is refused",
                is_met=lambda: Snapshot.of(self.scene).refused == self._before.refused,
            ),
        )

    def once_healed(self) -> Sequence[Expectation]:
        return (
            Expectation(
                what="the provider has captured each order's payment once",
                is_met=self._captured_once,
            ),
        )

    def _repeat(self, topic: str) -> int:
        """Send the newest records of a topic again, key by key in their order; how many."""
        kafka = self.scene.access.kafka
        start = {
            partition: max(0, end - EACH_MAX)
            for partition, end in end_offsets(kafka, topic).items()
        }
        producer = clients.producer(kafka)
        count = 0
        for record in read(kafka, topic, start=start, follow=False):
            if record is not None:
                headers: Any = record.headers
                producer.produce(topic, record.value, record.key, headers=headers)
                producer.poll(0)
                count += 1

        if producer.flush(SENT_WITHIN_S):
            raise OrderflowError(f"the records of {topic} could not be sent again")
        return count

    def _captured_once(self) -> bool:
        port = self.scene.stack.settings.ports.psp
        ledger = self.scene.ask("GET", f"http://127.0.0.1:{port}/ledger")
        captured = [
            charge["reference"] for charge in ledger["charges"] if charge["status"] == "CAPTURED"
        ]
        return len(captured) == len(set(captured)) > 0


DRILL = Drill(
    name="duplicate-delivery",
    lab="records are delivered twice",
    breaks="the newest records of four topics are written to them again, byte for byte",
    should="whoever reads them knows their ids: no second charge, reservation, shipment or mail",
    degrades="nothing",
    goes_on="everything",
    runbook="duplicate-records.md",
    incident=DuplicateDelivery,
)
