"""A consumer that is slower than what comes in."""

from __future__ import annotations

from collections.abc import Sequence

from orderflow.drills.drill import Drill, Expectation, Incident
from orderflow.drills.expectations import ends_as, is_behind, nobody_is_refused
from orderflow.drills.scene import Snapshot

SLOW = """
CREATE OR REPLACE FUNCTION drill_slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep({seconds});
    RETURN NEW;
END $$
"""
TRIGGER = (
    "CREATE TRIGGER drill_slow BEFORE INSERT ON reservation "
    "FOR EACH ROW EXECUTE FUNCTION drill_slow()"
)
EACH_S = 0.25
BEHIND = 50
MEND = "DROP TRIGGER IF EXISTS drill_slow ON reservation"


class SlowConsumer(Incident):
    """Each reservation takes a quarter of a second: four a second, fewer than come in."""

    def break_it(self) -> None:
        self._before = Snapshot.of(self.scene)
        self.scene.sql("inventory", SLOW.format(seconds=EACH_S), TRIGGER)

    def heal(self) -> None:
        # The function first: to drop the trigger takes a lock that a slow batch holds for seconds.
        self.scene.sql("inventory", SLOW.format(seconds=0), MEND)

    def while_broken(self) -> Sequence[Expectation]:
        order_id = self.scene.place()
        return (
            is_behind(self.scene, "inventory", BEHIND),
            ends_as(self.scene, order_id, what="an order is paid meanwhile", status="PAID"),
        )

    def throughout(self) -> Sequence[Expectation]:
        return (
            nobody_is_refused(self.scene, self._before),
            Expectation(
                what="nothing becomes a dead letter",
                is_met=lambda: Snapshot.of(self.scene).letters <= self._before.letters,
            ),
        )


DRILL = Drill(
    name="slow-consumer",
    lab="a consumer is slower than what comes in, and its lag grows",
    breaks="each reservation of stock takes a quarter of a second",
    should="inventory's lag grows and its batches shrink; orders are taken and paid all the same",
    degrades="stock is reserved late, customers hear of it late",
    goes_on="orders are taken and paid; inventory works on, batch by batch",
    runbook="consumer-lag.md",
    incident=SlowConsumer,
)
