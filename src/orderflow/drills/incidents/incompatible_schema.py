"""Somebody registers a schema that breaks every reader, and writes with it."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Sequence
from contextlib import closing

from orderflow.contracts.events import OrderCreated
from orderflow.contracts.topics import ORDERS
from orderflow.drills.drill import Drill, Expectation, Incident
from orderflow.drills.expectations import nobody_is_refused, orders_are_finished
from orderflow.drills.scene import Scene, Snapshot
from orderflow.messaging.errors import Incompatible
from orderflow.messaging.schemas.catalogue import subject
from orderflow.messaging.schemas.registry import FULL_TRANSITIVE, Registry
from orderflow.trials.records import encoded, orders

SUBJECT = subject(ORDERS.name, OrderCreated.type_name())
BREAKING = (
    '{"type": "record", "name": "OrderCreated", "namespace": "orderflow", '
    '"fields": [{"name": "orderId", "type": "int"}]}'
)
"""`orderId` is a number, and every other field is gone."""
UNCHECKED = "NONE"
READERS = ("payment-service", "notification-service")
"""Groups that handle OrderCreated; inventory reads the topic and skips what it has no use for."""


class IncompatibleSchema(Incident):
    """The registry refuses it; then somebody switches the check off, registers it and writes."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._was_refused = False
        with self._registry() as registry:
            self._versions = len(registry.versions(SUBJECT))

    def break_it(self) -> None:
        self._before = Snapshot.of(self.scene)
        self._was_refused = self._is_refused()
        with self._registry() as registry:
            registry.set_compatibility(UNCHECKED, SUBJECT)
            schema_id = registry.register(SUBJECT, BREAKING)

        _, _, headers = encoded(ORDERS.name, orders(1), self.scene.access.registry)[0]
        self.scene.produce(
            ORDERS.name,
            key=str(uuid.uuid4()).encode(),
            value=struct.pack(">bI", 0, schema_id) + b"\x02",
            headers=headers,
        )

    def heal(self) -> None:
        with self._registry() as registry:
            if len(registry.versions(SUBJECT)) > self._versions:
                self.scene.ask("DELETE", f"{registry.url}/subjects/{SUBJECT}/versions/latest")
            registry.set_compatibility(FULL_TRANSITIVE, SUBJECT)

    def while_broken(self) -> Sequence[Expectation]:
        return (
            Expectation(
                what="the registry had refused the schema with 409",
                is_met=lambda: self._was_refused,
                within_s=1.0,
            ),
            Expectation(
                what=f"the record is a dead letter of each of the {len(READERS)} groups",
                is_met=lambda: (
                    Snapshot.of(self.scene).letters == self._before.letters + len(READERS)
                ),
            ),
            orders_are_finished(self.scene, self._before),
        )

    def throughout(self) -> Sequence[Expectation]:
        return (nobody_is_refused(self.scene, self._before),)

    def once_healed(self) -> Sequence[Expectation]:
        return (
            Expectation(
                what="the registry checks again, and refuses the schema",
                is_met=self._is_refused,
            ),
        )

    @property
    def letters(self) -> int:
        return len(READERS)

    def _is_refused(self) -> bool:
        try:
            with self._registry() as registry:
                registry.register(SUBJECT, BREAKING)
        except Incompatible:
            return True
        return False

    def _registry(self) -> closing[Registry]:
        return closing(Registry(self.scene.access.registry))


DRILL = Drill(
    name="incompatible-schema",
    lab="a schema is registered that old readers can't read with",
    breaks="a breaking version of OrderCreated is registered past the check, and written with",
    should="each group puts the record aside; everybody goes on with the schema of before",
    degrades="that record",
    goes_on="everything",
    runbook="incompatible-schema.md",
    incident=IncompatibleSchema,
)
