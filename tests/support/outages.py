"""
Outages of a whole stack, in the form of drills: what is done to it under load, and what goes on.

They are no drills: they need a second API, a disk of their own, a clock that can be stepped.
`OUTAGES` are the long ones, of a campaign; `SHORT_OUTAGES`, for each run, three of them in seconds:
servers away, services away, one after the other away.
"""

from __future__ import annotations

import re
import signal
import statistics
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

from tests.support import stepped_clock
from tests.support.balancer import balancing
from tests.support.small_disk import SmallDisk

from orderflow.contracts.roster import ALWAYS_RUN, OBSERVED
from orderflow.contracts.topics import ORDERS
from orderflow.drills.drill import Drill, Expectation, Ground, Incident
from orderflow.drills.scene import Scene, Snapshot
from orderflow.messaging.kafka.survey import Surveyor
from orderflow.messaging.postgres import connect
from orderflow.stack.ports import free_ports
from orderflow.stack.supervise.component import Command, Component, http_probe
from orderflow.stack.supervise.managed import State
from orderflow.trials.arrivals import FirstByKey, Reader
from orderflow.trials.steady_load import SteadyLoad
from orderflow.trials.stock_up import stock_up

GROUND = Ground(brokers=3)
BROKERS = ("kafka-1", "kafka-2", "kafka-3")
ENOUGH = 50
"""So many more orders must be answered, or finished, while something is broken."""
OLD_S = 5.0
"""Older than this no record may be when it can be read, on a machine with other work."""
HOUR_S = 3_600
LOG_TIME = re.compile(r"\b(20\d\d-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)")
LOG_TAIL = 20_000
WITHIN_S = 120.0

WORKERS = ("order-relay", *(m.name for m in ALWAYS_RUN if m.name not in ("order", "operations")))
"""The processes that listen, relay and send; each has its API in it, order's apart."""


class Outage(Incident):
    """With words for what all outages expect."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self.before = Snapshot.of(scene)

    def take_note(self) -> None:
        """From now on is 'meanwhile'."""
        self.before = Snapshot.of(self.scene)

    def orders_are_answered(self) -> Expectation:
        return Expectation(
            what=f"{ENOUGH} more orders are answered with 201",
            is_met=lambda: Snapshot.of(self.scene).placed >= self.before.placed + ENOUGH,
            within_s=WITHIN_S,
        )

    def orders_are_finished(self) -> Expectation:
        return Expectation(
            what=f"{ENOUGH} more orders are finished",
            is_met=lambda: Snapshot.of(self.scene).finished >= self.before.finished + ENOUGH,
            within_s=WITHIN_S,
        )

    def nobody_is_refused(self) -> Expectation:
        return Expectation(
            what="no order is refused, and each is answered",
            is_met=lambda: (
                (Snapshot.of(self.scene).refused, Snapshot.of(self.scene).unanswered)
                == (self.before.refused, self.before.unanswered)
            ),
        )

    def all_replicas_are_in_sync(self) -> Expectation:
        return Expectation(
            what="every replica is in sync again",
            is_met=lambda: replicas_are_in_sync(self.scene),
            within_s=WITHIN_S,
        )

    def lasts(self, seconds: float, what: str) -> Expectation:
        over_at = time.monotonic() + seconds
        return Expectation(
            what=f"{what} for {seconds:.0f} s",
            is_met=lambda: time.monotonic() >= over_at,
            within_s=seconds + 10,
        )


def replicas_are_in_sync(scene: Scene) -> bool:
    with closing(Surveyor(scene.access.kafka, {}, topics=OBSERVED)) as surveyor:
        survey = surveyor.survey()
    return (
        survey.brokers == len(BROKERS)
        and not survey.leaderless
        and not any(log.under_replicated for log in survey.logs.values())
    )


class BelowMinIsr(Outage):
    """Two of three brokers are killed: nothing can be written, and no controller is elected."""

    def __init__(self, scene: Scene, *, for_s: float) -> None:
        super().__init__(scene)
        self._for_s = for_s

    def break_it(self) -> None:
        self.take_note()
        for name in BROKERS[1:]:
            self.scene.kill(name)
            self.scene.stack.want(name, up=False)

    def heal(self) -> None:
        self.scene.start(*BROKERS[1:])

    def while_broken(self) -> Sequence[Expectation]:
        return (
            self.lasts(self._for_s, "two of three brokers are away"),
            self.orders_are_answered(),
        )

    def throughout(self) -> Sequence[Expectation]:
        return (self.nobody_is_refused(),)

    def once_healed(self) -> Sequence[Expectation]:
        return (self.all_replicas_are_in_sync(), self.orders_are_finished())


class EverythingKilled(Outage):
    """Every process of ours, at once, some times."""

    def __init__(self, scene: Scene, *, times: int) -> None:
        super().__init__(scene)
        self._times = times
        services = {member.name for member in ALWAYS_RUN}
        self.names = [
            part.name
            for part in scene.stack.managed.values()
            if part.component.service in services and not part.component.once
        ]

    def break_it(self) -> None:
        for _ in range(self._times):
            for name in self.names:
                self.scene.kill(name)
            self.scene.wait_for(
                lambda: not any(self.scene.is_up(name) for name in self.names),
                within_s=WITHIN_S,
                what="every process is gone",
            )
            self.scene.wait_for(
                lambda: all(self.scene.is_up(name) for name in self.names),
                within_s=WITHIN_S,
                what="every process is back",
            )
        self.take_note()

    def heal(self) -> None:
        """The stack has started them again."""

    def while_broken(self) -> Sequence[Expectation]:
        return (self.orders_are_answered(), self.orders_are_finished())


class ForeignTransaction(Outage):
    """Somebody else's transaction in the order database stays open, with a snapshot and a row."""

    def __init__(self, scene: Scene, *, for_s: float) -> None:
        super().__init__(scene)
        self._for_s = for_s
        self._open = ExitStack()
        self._over = threading.Event()
        self._seen = FirstByKey([ORDERS.name])
        self._began_ms = 0.0

    def break_it(self) -> None:
        self._began_ms = time.time() * 1e3
        foreign = self._open.enter_context(
            connect(self.scene.databases["order"], application_name="somebody else")
        )
        foreign.execute(b"CREATE TABLE IF NOT EXISTS somebody_elses (number bigint)")
        foreign.commit()
        foreign.execute(b"SET LOCAL idle_in_transaction_session_timeout = 0")
        foreign.execute(b"INSERT INTO somebody_elses VALUES (1)")
        foreign.execute(b"SELECT count(*) FROM orders")
        reading = threading.Thread(target=self._read, daemon=True)
        reading.start()
        self._open.callback(reading.join, 30)
        self.take_note()

    def heal(self) -> None:
        self._over.set()
        self._open.close()

    def while_broken(self) -> Sequence[Expectation]:
        return (
            self.lasts(self._for_s, "the transaction is open"),
            self.orders_are_answered(),
            self.orders_are_finished(),
        )

    def throughout(self) -> Sequence[Expectation]:
        return (self.nobody_is_refused(),)

    def once_healed(self) -> Sequence[Expectation]:
        ages = self._ages_s()
        p99, most = statistics.quantiles(ages, n=100)[-1], max(ages)
        return (
            Expectation(
                what=(
                    f"of {len(ages)} orders placed meanwhile each could be read within {OLD_S:.0f} "
                    f"s (p99 {p99:.2f} s, the slowest {most:.2f} s)"
                ),
                is_met=lambda: len(ages) > ENOUGH and most < OLD_S,
                within_s=1,
            ),
        )

    def _read(self) -> None:
        with Reader(self.scene.access.kafka, ORDERS.name) as reader:
            reader.collect_until(self._seen, self._over.is_set)

    def _ages_s(self) -> list[float]:
        """From the moment that an order's id holds until its first record could be read."""
        offset_ms = time.time() * 1e3 - time.monotonic_ns() / 1e6
        placed = (
            (uuid.UUID(key).int >> 80, at_ns / 1e6 + offset_ms)
            for key, at_ns in self._seen.at_ns[ORDERS.name].items()
        )
        return [(at_ms - id_ms) / 1e3 for id_ms, at_ms in placed if id_ms > self._began_ms]


class RollingRestart(Outage):
    """
    One process after the other is stopped in good order and started again, servers too.

    The API has two instances behind a balancer, which takes one out before it stops. The load that
    counts comes through the balancer; the scene's own goes to one instance all the time.
    """

    RATE_PER_S = 40.0

    def __init__(self, scene: Scene, *, names: Sequence[str]) -> None:
        super().__init__(scene)
        self._names = names
        self._open = ExitStack()
        self._second = "order-api-2"

    def break_it(self) -> None:
        settings = self.scene.stack.settings
        first = settings.ports.of("order", "api")
        port = free_ports(1, start=settings.ports.postgres)[0]
        self.scene.stack.add(self._second_api(port))
        self.scene.start(self._second)
        ports = {"order-api": first, self._second: port}

        self._balancer = self._open.enter_context(balancing(list(ports.values())))
        self._load = SteadyLoad(
            f"http://127.0.0.1:{self._balancer.port}",
            skus=stock_up(settings, actor="drill"),
            customers=100,
            rate_per_s=self.RATE_PER_S,
            orders_max=100_000,
            seed=77_000,
        )
        self._load.start()
        self._open.callback(self._load.stop)

        self.take_note()
        for name in [*self._names, self._second]:
            if name in ports:
                self._balancer.take_out(ports[name])
            self.scene.restart(name)
            if name in ports:
                self._balancer.put_back(ports[name])
            if name in BROKERS:
                self.scene.wait_for(
                    lambda: replicas_are_in_sync(self.scene),
                    within_s=WITHIN_S,
                    what=f"every replica is in sync after {name}",
                )
        self._load.stop()

    def heal(self) -> None:
        self._open.close()
        if self._second in self.scene.stack.managed:
            self.scene.remove_worker(self._second)

    def while_broken(self) -> Sequence[Expectation]:
        self.scene.load.placed.extend(self._load.placed)
        got = self._balancer
        return (
            Expectation(
                what=(
                    f"of {got.answers.total()} requests none failed, but {got.answers[503]} that "
                    f"were told when to come back {got.failed[:3]}"
                ),
                is_met=lambda: (
                    not got.failed
                    and not got.without_retry_after
                    and not self._load.unanswered
                    and self._load.failure is None
                    and len(self._load.placed) > ENOUGH
                    and set(got.answers) <= {200, 201, 202, 409, 503}
                ),
                within_s=1,
            ),
            self.orders_are_finished(),
        )

    def _second_api(self, port: int) -> Component:
        first = self.scene.stack.find("order-api").component

        def command() -> Command:
            plain = first.command()
            return replace(plain, env={**plain.env, "ORDERFLOW_ORDER__API__PORT": str(port)})

        return replace(
            first,
            name=self._second,
            address=f"http://127.0.0.1:{port}",
            ports=(port,),
            command=command,
            probe=http_probe(port, "/readyz"),
        )


class Paused(Outage):
    """Processes are stopped like by a long pause of the machine, some at a time, and go on."""

    def __init__(self, scene: Scene, *, turns: Sequence[Sequence[str]], for_s: float) -> None:
        super().__init__(scene)
        self._turns, self._for_s = turns, for_s
        self._stopped: list[str] = []

    def break_it(self) -> None:
        self.take_note()
        for names in self._turns:
            for name in names:
                self.scene.send_signal(name, signal.SIGSTOP)
                self._stopped.append(name)
            over_at = time.monotonic() + self._for_s
            self.scene.wait_for(
                lambda over_at=over_at: time.monotonic() >= over_at,  # type: ignore[misc]
                within_s=self._for_s + 10,
                what="the pause is over",
            )
            self._go_on()

    def heal(self) -> None:
        self._go_on()

    def while_broken(self) -> Sequence[Expectation]:
        return (self.orders_are_answered(), self.orders_are_finished())

    def _go_on(self) -> None:
        while self._stopped:
            name = self._stopped.pop()
            if self.scene.pid(name) is not None:
                self.scene.send_signal(name, signal.SIGCONT)


class SteppedClock(Outage):
    """The clocks of these processes are put an hour forward, then an hour back, while they run."""

    def __init__(self, scene: Scene, *, names: Sequence[str]) -> None:
        super().__init__(scene)
        self._names = names
        self._file = scene.stack.settings.home / "clock-offset"
        self._components: dict[str, Component] = {}

    def break_it(self) -> None:
        self._step(0)
        for name in self._names:
            managed = self.scene.stack.find(name)
            self._components[name] = managed.component
            self.scene.stop(name)
            managed.component = self._with_clock(managed.component)
            self.scene.start(name)

        for offset_s in (HOUR_S, -HOUR_S):
            self.take_note()
            self._step(offset_s)
            finished = self.orders_are_finished()
            self.scene.wait_for(
                finished.is_met,
                within_s=finished.within_s,
                what=f"{finished.what} with the clock {offset_s:+} s off",
            )
            self._expect_clocks_off(offset_s)

        self.take_note()

    def heal(self) -> None:
        self._step(0)
        for name, component in self._components.items():
            self.scene.stack.find(name).component = component

    def throughout(self) -> Sequence[Expectation]:
        return (self.nobody_is_refused(),)

    def once_healed(self) -> Sequence[Expectation]:
        return (self.orders_are_finished(),)

    def _expect_clocks_off(self, offset_s: int) -> None:
        """Each process has written its time into its log, and it is wrong by as much."""
        for name in self._names:
            log = self.scene.stack.find(name).log
            self.scene.wait_for(
                lambda log=log: any(  # type: ignore[misc]
                    abs(said - time.time() - offset_s) < HOUR_S / 2 for said in _times_in(log)
                ),
                within_s=WITHIN_S,
                what=f"the clock of {name} is {offset_s:+} s off",
            )

    def _step(self, offset_s: int) -> None:
        # In one step: a process that reads half a number would be off by something else.
        new = self._file.with_suffix(".new")
        new.write_text(str(offset_s))
        new.chmod(0o644)
        new.rename(self._file)

    def _with_clock(self, component: Component) -> Component:
        def command() -> Command:
            plain = component.command()
            python, _, *module = plain.argv
            runner = (python, str(Path(stepped_clock.__file__)), str(self._file))
            return replace(plain, argv=(*runner, *module))

        return replace(component, command=command)


def _times_in(log: Path) -> list[float]:
    """The times of a log's last lines, as seconds of the epoch."""
    found = LOG_TIME.findall(log.read_text(errors="replace")[-LOG_TAIL:])
    return [datetime.fromisoformat(f"{day}T{at}+00:00").timestamp() for day, at in found]


class FullDisk(Outage):
    """One broker's disk is full: it ends, and comes back when there is room again."""

    NAME = BROKERS[2]

    def break_it(self) -> None:
        scene = self.scene
        managed = scene.stack.find(self.NAME)
        self._component = managed.component
        scene.stop(self.NAME)
        self._disk = SmallDisk.over(scene.stack.settings.data / self.NAME)
        managed.component = self._on(self._disk, managed.component)
        scene.start(self.NAME)
        scene.wait_for(
            lambda: replicas_are_in_sync(scene), within_s=WITHIN_S, what="a broker on a small disk"
        )
        self._restarts = scene.restarts(self.NAME)
        self.take_note()
        self._disk.fill()

    def heal(self) -> None:
        self._disk.free()
        self.scene.wait_for(
            lambda: self.scene.is_up(self.NAME), within_s=WITHIN_S, what="the broker comes back"
        )
        self._disk.let_go()

    def while_broken(self) -> Sequence[Expectation]:
        return (
            Expectation(
                what="the broker has ended by itself",
                is_met=lambda: self.scene.stack.find(self.NAME).state is State.BACKING_OFF,
                within_s=WITHIN_S,
            ),
            self.orders_are_answered(),
            self.orders_are_finished(),
        )

    def throughout(self) -> Sequence[Expectation]:
        return (self.nobody_is_refused(),)

    def once_healed(self) -> Sequence[Expectation]:
        return (self.all_replicas_are_in_sync(), self.orders_are_finished())

    def _on(self, disk: SmallDisk, component: Component) -> Component:
        def command() -> Command:
            plain = component.command()
            return replace(plain, argv=disk.command(plain.argv))

        return replace(component, command=command)


def outage(name: str, breaks: str, incident: Callable[[Scene], Incident]) -> Drill:
    return Drill(
        name=name,
        lab=name,
        breaks=breaks,
        should="nothing is lost or doubled, and all is caught up",
        degrades="",
        goes_on="",
        runbook="process-is-down.md",
        incident=incident,
        ground=GROUND,
        recovers_within_s=240.0,
    )


def below_min_isr(*, for_s: float) -> Drill:
    return outage(
        "below-min-isr",
        "two of three brokers are killed",
        partial(BelowMinIsr, for_s=for_s),
    )


def everything_killed(*, times: int) -> Drill:
    return outage(
        "everything-killed",
        "all services are killed at once",
        partial(EverythingKilled, times=times),
    )


def rolling_restart(*names: str) -> Drill:
    return outage(
        "rolling-restart",
        "one process after the other is restarted",
        partial(RollingRestart, names=names),
    )


OUTAGES = (
    below_min_isr(for_s=60),
    everything_killed(times=3),
    outage(
        "foreign-transaction",
        "a transaction of somebody else stays open in the order database",
        partial(ForeignTransaction, for_s=60),
    ),
    outage(
        "paused",
        "each worker is stopped for longer than its session, and goes on",
        partial(Paused, turns=[(name,) for name in ("order-api", *WORKERS)], for_s=20),
    ),
    outage(
        "stepped-clock",
        "the clock is put an hour forward, then back, under running services",
        partial(SteppedClock, names=("order-api", *WORKERS)),
    ),
    rolling_restart("order-api", *WORKERS, "psp", "mail", "registry", "postgres", *BROKERS),
)
FULL_DISK = outage("full-disk", "the disk of one of three brokers is full", FullDisk)
SHORT_OUTAGES = (
    below_min_isr(for_s=5),
    everything_killed(times=1),
    rolling_restart("order-api", "order-relay", "postgres"),
)
