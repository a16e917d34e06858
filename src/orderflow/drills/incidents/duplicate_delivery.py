"""Records come twice: their bytes and headers are on the topic a second time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orderflow.contracts.topics import INVENTORY, ORDER_EVENTS, ORDERS, PAYMENTS
from orderflow.drills.drill import Drill, Expectation, Incident
from orderflow.drills.expectations import (
    no_letter_is_opened,
    nobody_is_refused,
    orders_are_finished,
)
from orderflow.drills.scene import Snapshot
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.kafka import clients
from orderflow.messaging.kafka.reader import end_offsets, read

REPEATED = (ORDERS.name, PAYMENTS.name, INVENTORY.name, ORDER_EVENTS.name)
EACH_MAX = 200
"""So many offsets of each partition, the newest."""
SENT_WITHIN_S = 60.0


class DuplicateDelivery(Incident):
    def break_it(self) -> None:
        self._before = Snapshot.of(self.scene)
        for topic in REPEATED:
            self._repeat(topic)

    def heal(self) -> None:
        """Nothing to mend: whoever reads them knows them by their ids."""

    def while_broken(self) -> Sequence[Expectation]:
        return (orders_are_finished(self.scene, self._before),)

    def throughout(self) -> Sequence[Expectation]:
        return (
            no_letter_is_opened(self.scene, self._before),
            nobody_is_refused(self.scene, self._before),
        )

    def once_healed(self) -> Sequence[Expectation]:
        return (
            Expectation(
                what="the provider has captured each order's payment once",
                is_met=self._captured_once,
            ),
        )

    def _repeat(self, topic: str) -> None:
        """Send the newest records of a topic again, in the order of each key."""
        kafka = self.scene.access.kafka
        start = {
            partition: max(0, end - EACH_MAX)
            for partition, end in end_offsets(kafka, topic).items()
        }
        producer = clients.producer(kafka)
        for record in read(kafka, topic, start=start, follow=False):
            if record is not None:
                headers: Any = record.headers
                producer.produce(topic, record.value, record.key, headers=headers)
                producer.poll(0)

        if producer.flush(SENT_WITHIN_S):
            raise OrderflowError(f"the records of {topic} could not be sent again")

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
