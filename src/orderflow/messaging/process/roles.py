"""The roles that services are made of: an API over a database, a listener, a relay."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

from starlette.types import ASGIApp

from orderflow.messaging.container import Container, ContainerSettings
from orderflow.messaging.container.deliveries.stateful import StateParts
from orderflow.messaging.container.settings import RECORDS_MAX
from orderflow.messaging.errors import NEUTRAL, OperatorCommands
from orderflow.messaging.http.health import Reasons
from orderflow.messaging.http.server import Role
from orderflow.messaging.http.snapshot import Snapshot
from orderflow.messaging.kafka.group_topics import replay_topic_name
from orderflow.messaging.kafka.record_life import RecordLife
from orderflow.messaging.listener import InboxOutbox, Listener
from orderflow.messaging.postgres import (
    BY_KEY,
    ConnectionPool,
    Session,
    inbox,
    open_pool,
)
from orderflow.messaging.process.database_check import DatabaseCheck
from orderflow.messaging.process.measuring import Measurement, measuring
from orderflow.messaging.process.pausable import PausableListener
from orderflow.messaging.process.prerequisites import Prerequisites
from orderflow.messaging.process.role import BuildRole, Launch, worker_role
from orderflow.messaging.process.settings import ListenerSection, StatefulSection
from orderflow.messaging.relay import Caretaker, Relay, RelaySettings
from orderflow.messaging.schemas.catalogue import SchemaCatalogue
from orderflow.messaging.settings import ProcessSettings, RelaySection
from orderflow.messaging.streams import gauges
from orderflow.messaging.streams.local_state import LocalState
from orderflow.messaging.work.turning import Turning

NO_OVERRIDES: Mapping[str, object] = {}


def api_role(
    build_api: Callable[[ConnectionPool, Reasons], ASGIApp],
    *,
    table: str,
    measurements: Sequence[Measurement] = (),
) -> BuildRole[ProcessSettings]:
    """
    An API that reads its service's database through a pool, and takes `measurements` of it.

    Not ready while the database is away, or has no `table`: asked on a connection of its own.
    `build_api` gets the reasons why any role of the process is not ready.
    """

    def build(launch: Launch[ProcessSettings]) -> Role:
        name = f"{launch.service}-{launch.role}"
        pool = open_pool(launch.database, application_name=name)
        check = DatabaseCheck(launch.database, application_name=f"{name}-readiness", table=table)

        # On a thread of its own: while a silent database is asked, other reasons are told.
        snapshot = Snapshot(check.reasons, name="database")

        def close() -> None:
            snapshot.close()
            pool.close()
            check.close()

        role = Role(
            name=name,
            host=launch.role_section.host,
            port=launch.role_section.port,
            app=lambda reasons: build_api(pool, reasons),
            reasons=snapshot,
            start=snapshot.start,
            close=close,
        )
        return measuring(role, measurements, launch)

    return build


def listener_role(
    listener: Listener,
    *,
    catalogue: SchemaCatalogue,
    local: LocalState | None = None,
    overrides: Mapping[str, object] = NO_OVERRIDES,
    records_max: int = RECORDS_MAX,
) -> BuildRole[ProcessSettings]:
    """
    A listener in its container. `overrides` are librdkafka's keys, for its consumer; `records_max`
    is the most that it fetches, and commits, at once.

    With `InboxOutbox` it uses the service's database, waits at start for the relay that publishes
    its outbox, if it publishes, and purges its inbox. With `Stateful` it shows in `local` what it
    has of its tables, and pauses when that says so.
    """

    def build(launch: Launch[ProcessSettings]) -> Role:
        settings, section = launch.settings, launch.role_section
        has_inbox = isinstance(listener.delivery, InboxOutbox)
        of_container = ContainerSettings(
            listener=listener,
            kafka=settings.kafka,
            registry=settings.registry,
            catalogue=catalogue,
            slot=launch.slot,
            database=launch.database if has_inbox else None,
            protocol=section.protocol if isinstance(section, ListenerSection) else "classic",
            consumer_overrides=overrides,
            records_max=records_max,
            log_records=settings.telemetry.log_records,
        )

        if has_inbox:
            return _with_upkeep(launch, listener, Container(of_container))
        if isinstance(launch.section, StatefulSection):
            return _with_state(launch, of_container, launch.section, local or LocalState())
        container = Container(of_container)
        return worker_role(launch, run=container.run, reasons=container.reasons, in_slots=True)

    return build


def _with_state(
    launch: Launch[ProcessSettings],
    settings: ContainerSettings,
    section: StatefulSection,
    local: LocalState,
) -> Role:
    def build() -> Container:
        kafka, slot = launch.settings.kafka, launch.slot
        state = StateParts.on_disk(section.state_dir, kafka, slot=slot, local=local)
        return Container(settings, state=state)

    gauges.export(settings.listener.name, local)
    pausable = PausableListener(build, local.pause)
    return worker_role(launch, run=pausable.run, reasons=pausable.reasons, in_slots=True)


def _with_upkeep(launch: Launch[ProcessSettings], listener: Listener, container: Container) -> Role:
    name = f"{listener.name}-listener-upkeep"
    waiting, purging = (
        Session(launch.database, application_name=name, session=BY_KEY) for _ in ("wait", "purge")
    )
    prerequisites = Prerequisites(
        transaction=waiting.transaction, relay=listener.name if listener.publishes else None
    )

    purge = Turning("inbox purge")
    topics = (topic.name for topic in listener.topics)
    replayed = (replay_topic_name(topic.name, listener.group) for topic in listener.topics)
    life = RecordLife(launch.settings.kafka, (*topics, *replayed))

    def run(stop: threading.Event) -> None:
        # Before the first record: its outbox row might lie behind the relay's first position.
        is_there = prerequisites.wait(stop)
        waiting.close()

        # A stop during the last question must not start a client that nobody waits for.
        if is_there and not stop.is_set():
            threading.Thread(
                target=inbox.purge_until,
                args=(stop, purging, purge, life.ask),
                name="purge-inbox",
                daemon=True,
            ).start()
            container.run(stop)

    return worker_role(
        launch,
        run=run,
        reasons=lambda: prerequisites.reasons() or [*container.reasons(), *purge.reasons()],
        in_slots=True,
    )


def relay_role(*, commands: OperatorCommands = NEUTRAL) -> BuildRole[ProcessSettings]:
    """
    The relay of a service's outbox, or its caretaker where another reader publishes. Refusals name
    `commands`.
    """

    def build(launch: Launch[ProcessSettings]) -> Role:
        section = launch.role_section
        assert isinstance(section, RelaySection)
        settings = RelaySettings(
            service=launch.service,
            database=launch.database,
            kafka=launch.settings.kafka,
            tick_every_s=section.tick_every_s,
            commands=commands,
        )
        relay = Relay(settings) if section.publisher == "relay" else Caretaker(settings)

        return worker_role(launch, run=relay.run, reasons=relay.reasons)

    return build
