"""A broker, the registry, the database go away, and come back."""

from __future__ import annotations

from collections.abc import Sequence

from orderflow.contracts.roster import ALWAYS_RUN
from orderflow.contracts.topics import ORDERS
from orderflow.drills.drill import Drill, Expectation, Ground, Incident
from orderflow.drills.expectations import (
    nobody_is_refused,
    orders_are_finished,
    orders_are_taken,
)
from orderflow.drills.scene import Snapshot
from orderflow.stack.supervise.managed import State

STARTING_ANEW = "fulfilment"
"""The process that is started while the registry is away."""

OURS = tuple(process.name for member in ALWAYS_RUN for process in member.runs)


class BrokerDown(Incident):
    """The only broker dies, as by a power cut, and stays away."""

    def break_it(self) -> None:
        self._before = Snapshot.of(self.scene)
        self.scene.take_down("kafka")

    def heal(self) -> None:
        self.scene.start("kafka")

    def while_broken(self) -> Sequence[Expectation]:
        return (orders_are_taken(self.scene, Snapshot.of(self.scene)),)

    def throughout(self) -> Sequence[Expectation]:
        return (nobody_is_refused(self.scene, self._before),)

    def once_healed(self) -> Sequence[Expectation]:
        return (orders_are_finished(self.scene, self._before, within_s=60.0),)


class LeaderLost(Incident):
    """Of three brokers the one that leads a partition of `orders` dies."""

    _lost = ""

    def break_it(self) -> None:
        self._before = Snapshot.of(self.scene)
        self._node = self.scene.leaders_of(ORDERS.name)[0]
        self._lost = f"kafka-{self._node}"
        self.scene.take_down(self._lost)

    def heal(self) -> None:
        if self._lost:
            self.scene.start(self._lost)

    def while_broken(self) -> Sequence[Expectation]:
        return (
            Expectation(
                what="another broker leads its partitions",
                is_met=lambda: {-1, self._node}.isdisjoint(
                    self.scene.leaders_of(ORDERS.name).values()
                ),
            ),
            orders_are_finished(self.scene, Snapshot.of(self.scene), within_s=60.0),
        )

    def throughout(self) -> Sequence[Expectation]:
        return (nobody_is_refused(self.scene, self._before),)

    def once_healed(self) -> Sequence[Expectation]:
        return (
            Expectation(
                what="all copies of all partitions are in sync again",
                is_met=lambda: (
                    self.scene.figures.cluster is not None
                    and self.scene.figures.cluster.brokers == 3
                    and self.scene.figures.cluster.under_replicated == 0
                ),
                within_s=60.0,
            ),
        )


class RegistryDown(Incident):
    """The registry is away; a process that starts meanwhile waits for it."""

    def break_it(self) -> None:
        self._before = Snapshot.of(self.scene)
        self.scene.stop(STARTING_ANEW)
        self.scene.take_down("registry")
        self.scene.stack.want(STARTING_ANEW, up=True)

    def heal(self) -> None:
        self.scene.start("registry", STARTING_ANEW)

    def while_broken(self) -> Sequence[Expectation]:
        return (
            orders_are_finished(self.scene, Snapshot.of(self.scene)),
            Expectation(
                what=f"{STARTING_ANEW}, which starts meanwhile, waits and says for what",
                is_met=lambda: "registry" in self.scene.stack.find(STARTING_ANEW).reason,
            ),
        )

    def throughout(self) -> Sequence[Expectation]:
        return (nobody_is_refused(self.scene, self._before),)


class DatabaseDown(Incident):
    """PostgreSQL stops, and with it every API's state."""

    def break_it(self) -> None:
        self._before = Snapshot.of(self.scene)
        self._restarts = self._count_restarts()
        self.scene.stop("postgres")

    def heal(self) -> None:
        self.scene.start("postgres")

    def while_broken(self) -> Sequence[Expectation]:
        return (
            Expectation(
                what="the order API answers 503 with Retry-After, not later than usual",
                is_met=lambda: self.scene.load.refused > self._before.refused,
            ),
        )

    def throughout(self) -> Sequence[Expectation]:
        return (
            Expectation(
                what="the order API answers every request",
                is_met=lambda: self.scene.load.unanswered == self._before.unanswered,
            ),
            Expectation(
                what="no process of ours ends",
                is_met=lambda: self._count_restarts() == self._restarts,
            ),
        )

    def once_healed(self) -> Sequence[Expectation]:
        now = Snapshot.of(self.scene)
        return (
            orders_are_taken(self.scene, now),
            orders_are_finished(self.scene, self._before, within_s=60.0),
        )

    def _count_restarts(self) -> int:
        ours = [self.scene.stack.managed[name] for name in OURS if name in self.scene.stack.managed]
        return sum(managed.restarts + (managed.state is State.BACKING_OFF) for managed in ours)


BROKER = Drill(
    name="broker-down",
    lab="Kafka is away altogether",
    breaks="the only broker dies, and stays away",
    should="orders are taken and wait in the outbox; all others wait; afterwards all of it is done",
    degrades="nothing behind the order API moves: no payment, no stock, no mail",
    goes_on="orders are taken and shown",
    runbook="broker-is-away.md",
    incident=BrokerDown,
    recovers_within_s=120.0,
)

LEADER = Drill(
    name="leader-lost",
    lab="the broker that leads a partition is lost",
    breaks="of three brokers the one that leads a partition of orders dies",
    should="another one leads within seconds; two copies are enough to go on",
    degrades="its partitions pause for seconds; one copy less until it is back",
    goes_on="everything",
    runbook="broker-is-away.md",
    incident=LeaderLost,
    ground=Ground(brokers=3),
    recovers_within_s=120.0,
)

REGISTRY = Drill(
    name="registry-down",
    lab="the schema registry is away",
    breaks="the registry dies; a process starts while it is away",
    should="who knows the schemas goes on; who starts waits, and nothing becomes a dead letter",
    degrades="no process can start, no new schema can be read",
    goes_on="everything that runs",
    runbook="registry-is-away.md",
    incident=RegistryDown,
)

DATABASE = Drill(
    name="database-down",
    lab="the database is away",
    breaks="PostgreSQL stops, the database of all services",
    should="503 with Retry-After instead of orders; everybody waits, nobody ends",
    degrades="no order is taken or shown, nothing is handled",
    goes_on="what needs no database: revenue, and answers that say when to come back",
    runbook="database-is-away.md",
    incident=DatabaseDown,
    recovers_within_s=120.0,
)
