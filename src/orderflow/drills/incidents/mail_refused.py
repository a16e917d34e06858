"""The mail server takes no mail; then none of one customer, for good."""

from __future__ import annotations

from collections.abc import Sequence

from orderflow.drills.drill import Drill, Expectation, Incident
from orderflow.drills.expectations import nobody_is_refused, orders_are_finished
from orderflow.drills.scene import Snapshot
from orderflow.stack.ports import HOST

ENOUGH = 20
WITHIN_S = 60.0


class MailRefused(Incident):
    def break_it(self) -> None:
        self._before = Snapshot.of(self.scene)
        self._told({"temporary": 1.0})

    def heal(self) -> None:
        self._told({})

    def while_broken(self) -> Sequence[Expectation]:
        return (
            Expectation(
                what=f"{ENOUGH} messages wait for the mail server",
                is_met=lambda: self._unsent() >= ENOUGH,
                within_s=WITHIN_S,
            ),
            orders_are_finished(self.scene, self._before, within_s=WITHIN_S),
        )

    def throughout(self) -> Sequence[Expectation]:
        return (nobody_is_refused(self.scene, self._before),)

    def _told(self, faults: dict[str, float]) -> None:
        url = f"http://{HOST}:{self.scene.stack.settings.ports.mail_api}/faults"
        self.scene.ask("PUT", url, body=faults)

    def _unsent(self) -> int:
        tables = self.scene.figures.tables
        return 0 if tables is None else tables.unsent


DRILL = Drill(
    name="mail-refused",
    lab="messages to customers can't be delivered",
    breaks="the mail server refuses every mail for now (451)",
    should="messages wait, in each customer's order, and go out once each when it takes them",
    degrades="customers are told late",
    goes_on="every order",
    runbook="mail-does-not-go-out.md",
    incident=MailRefused,
    recovers_within_s=180.0,
)
