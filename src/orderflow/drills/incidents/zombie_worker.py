"""A worker is stopped in mid-transaction for longer than its session, and goes on as if nothing."""

from __future__ import annotations

import signal
from collections.abc import Sequence

import psutil

from orderflow.contracts.topics import ORDERS
from orderflow.drills.drill import Drill, Expectation, Incident
from orderflow.drills.expectations import nobody_is_refused, orders_are_finished
from orderflow.drills.scene import Snapshot
from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.kafka.partitioner import partition_of

SERVICE, SLOT = "payment", 1
NAME = f"{SERVICE}-{SLOT}"
STOPS_WITHIN_S = 60.0
TAKEN_OVER_WITHIN_S = 90.0
"""A session of 15 s, and up to 25 s until the broker has ended its transaction."""

SIGNS = ("the producer is replaced", "partitions lost")
"""One of them is in the log of a worker that is fenced."""


class ZombieWorker(Incident):
    """A second worker of payment stops before a commit; the first takes over its partitions."""

    _probes: tuple[str, ...] = ()

    def break_it(self) -> None:
        self._before = Snapshot.of(self.scene)
        self.scene.add_worker(SERVICE, "listener", slot=SLOT)
        self.scene.arm(NAME, "listener.before_commit=stop@2")
        self.scene.wait_for(
            self._is_stopped, within_s=STOPS_WITHIN_S, what=f"{NAME} in mid-transaction"
        )

        self._logged = len(self.scene.log_of(NAME))
        self._probes = self._one_on_each_partition()

    def heal(self) -> None:
        if NAME in self.scene.stack.managed and self.scene.pid(NAME) is not None:
            self.scene.send_signal(NAME, signal.SIGCONT)

    def while_broken(self) -> Sequence[Expectation]:
        return (
            Expectation(
                what="the other worker takes over: orders of all partitions are paid",
                is_met=lambda: all(
                    self.scene.order(order_id)["status"] == "PAID" for order_id in self._probes
                ),
                within_s=TAKEN_OVER_WITHIN_S,
            ),
        )

    def throughout(self) -> Sequence[Expectation]:
        return (nobody_is_refused(self.scene, self._before),)

    def once_healed(self) -> Sequence[Expectation]:
        return (
            Expectation(
                what="the zombie's transaction is refused: it begins anew",
                is_met=lambda: any(
                    sign in self.scene.log_of(NAME)[self._logged :] for sign in SIGNS
                ),
            ),
            orders_are_finished(self.scene, self._before),
        )

    def _is_stopped(self) -> bool:
        pid = self.scene.pid(NAME)
        try:
            return pid is not None and psutil.Process(pid).status() == psutil.STATUS_STOPPED
        except psutil.NoSuchProcess as error:
            raise OrderflowError(f"{NAME} has ended: see its log") from error

    def _one_on_each_partition(self) -> tuple[str, ...]:
        """Orders placed now, so that each partition of orders has one."""
        partitions = len(self.scene.leaders_of(ORDERS.name))
        placed: dict[int, str] = {}
        while len(placed) < partitions:
            order_id = self.scene.place()
            placed[partition_of(order_id.encode(), partitions)] = order_id
        return tuple(placed.values())


DRILL = Drill(
    name="zombie-worker",
    lab="a worker is paused beyond its session, another takes over, then it goes on",
    breaks="one of two payment workers is stopped in the middle of a transaction",
    should="the other takes over; what the zombie then commits is refused, nothing is doubled",
    degrades="its partitions wait until the session and the transaction have timed out",
    goes_on="orders are taken; the other worker's partitions go on",
    runbook="hanging-transaction.md",
    incident=ZombieWorker,
    # A static member that leaves keeps its partitions for a session.
    spoils=True,
)
