"""The handler fails for one order, again and again; then it is mended, and the order replayed."""

from __future__ import annotations

from collections.abc import Sequence

from orderflow.contracts.roster import row
from orderflow.drills.drill import Drill, Expectation, Incident
from orderflow.drills.expectations import (
    ends_as,
    letters_are_open,
    nobody_is_refused,
    orders_are_finished,
)
from orderflow.drills.scene import Snapshot
from orderflow.messaging.dead_letters.letters import LetterFilter
from orderflow.messaging.errors import OrderflowError

ATTEMPTS_WITHIN_S = 60.0
"""Three attempts, with about 2 s and 30 s in between."""

CUSTOMER = "customer-with-a-bug"
BREAK = """
CREATE OR REPLACE FUNCTION drill_bug() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.customer_id = '{customer}' THEN
        RAISE EXCEPTION 'a bug in the handler';
    END IF;
    RETURN NEW;
END $$
"""
TRIGGER = (
    "CREATE TRIGGER drill_bug BEFORE INSERT ON reservation "
    "FOR EACH ROW EXECUTE FUNCTION drill_bug()"
)
MEND = "DROP TRIGGER IF EXISTS drill_bug ON reservation"


class HandlerBug(Incident):
    """Inventory can't reserve for one customer, who orders once."""

    _order_id = ""

    def break_it(self) -> None:
        self._before = Snapshot.of(self.scene)
        self.scene.sql("inventory", BREAK.format(customer=CUSTOMER), TRIGGER)
        self._order_id = self.scene.place(customerId=CUSTOMER)

    def heal(self) -> None:
        self.scene.sql("inventory", MEND)
        if not self._order_id:
            return

        mine = LetterFilter(group=row("inventory").group, key=self._order_id.encode())
        report = self.scene.desk.replay(mine, by="drill", reason="the bug is mended")
        if report.done != 1:
            raise OrderflowError(f"{report.done} letters were replayed, not one: {report.held}")

    def while_broken(self) -> Sequence[Expectation]:
        return (
            Expectation(
                what="its record waits for the next attempt, the others go on",
                is_met=lambda: (
                    self.scene.figures.cluster is not None
                    and self.scene.figures.cluster.waiting > 0
                ),
            ),
            orders_are_finished(self.scene, self._before),
            letters_are_open(
                self.scene,
                self._before,
                1,
                what="after three attempts it is a dead letter",
                within_s=ATTEMPTS_WITHIN_S,
            ),
        )

    def throughout(self) -> Sequence[Expectation]:
        return (nobody_is_refused(self.scene, self._before),)

    def once_healed(self) -> Sequence[Expectation]:
        return (
            ends_as(
                self.scene,
                self._order_id,
                what="one replay finishes the order: paid once, and reserved",
                status="PAID",
                payment="SUCCEEDED",
                stock="RESERVED",
            ),
            letters_are_open(self.scene, self._before, 0, what="no letter is open"),
        )


DRILL = Drill(
    name="handler-bug",
    lab="a handler fails for one record, however often it is tried",
    breaks="inventory can't reserve for one order, as by a bug in its handler",
    should="three attempts, then a dead letter; mended, one replay finishes the order",
    degrades="that order alone: paid, and not reserved",
    goes_on="all other orders, also those of the same partition",
    runbook="dead-letters.md",
    incident=HandlerBug,
)
