"""
The revenue service's own listener, with its stores on disk; or the same work without state.

`python -m orderflow.bench.revenue.worker JSON`. Without state both hops are the same, and so are
the sums, but they are kept in memory alone: no changelog, no set of facts, no store, no ranks.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from orderflow.contracts.schemas import CATALOGUE
from orderflow.messaging.container import Container, ContainerSettings
from orderflow.messaging.container.client.broker_client import BrokerClient
from orderflow.messaging.container.client.kafka_client import Windows
from orderflow.messaging.container.deliveries.stateful import StateParts
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.kafka.transactions import Placed, Produced
from orderflow.messaging.listener import Stateful
from orderflow.messaging.process.garbage import collect_garbage_rarely
from orderflow.messaging.streams.broker_changelog import BrokerChangelogReader
from orderflow.messaging.streams.local_state import LocalState
from orderflow.messaging.streams.store.memory_store import MemoryStores
from orderflow.messaging.streams.topology import Table, Topology, no_ranks
from orderflow.messaging.telemetry import configure
from orderflow.services.revenue.bootstrap import RECORDS_MAX, SERVICE
from orderflow.services.revenue.config import Settings
from orderflow.services.revenue.listeners import LISTENER
from orderflow.services.revenue.topology import TOPOLOGY


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """`state_dir`: where stores are; without it there is no state."""

    group: str
    state_dir: str = ""


class SumsInMemory:
    """A table's fold that keeps its values itself, and has nothing for the changelog."""

    def __init__(self, table: Table) -> None:
        self._fold = table.fold
        self.values: dict[str, Any] = {}

    def __call__(self, _value: object, event: Any) -> None:
        self.values[event.key] = self._fold(self.values.get(event.key), event)


class NothingToRestore(BrokerChangelogReader):
    """Every changelog seems to end where it begins."""

    def ends(self, places: Iterable[Place]) -> dict[Place, int]:
        return self.firsts(places)


class NoChangelogs(BrokerClient):
    """Sends outputs and offsets, and nothing to changelogs."""

    def transact(
        self, records: Sequence[Produced], windows: Windows, placed: Sequence[Placed] = ()
    ) -> Mapping[Place, int]:
        del placed
        return super().transact(records, windows)


def without_state(topology: Topology) -> Topology:
    """The same hops and sums; every record counts, and nothing is kept."""
    tables = tuple(
        msgspec.structs.replace(
            table, fold=SumsInMemory(table), ranks=no_ranks, fact=None, facts=None
        )
        for table in topology.tables
    )
    return msgspec.structs.replace(topology, tables=tables)


def container(task: Task, settings: Settings) -> Container:
    """The container that is measured."""
    topology = TOPOLOGY if task.state_dir else without_state(TOPOLOGY)
    listener = msgspec.structs.replace(
        LISTENER, name=task.group, group=task.group, delivery=Stateful(topology=topology)
    )
    container_settings = ContainerSettings(
        listener=listener,
        kafka=settings.kafka,
        registry=settings.registry,
        catalogue=CATALOGUE,
        log_records=settings.telemetry.log_records,
        records_max=RECORDS_MAX,
    )

    collect_garbage_rarely()
    local = LocalState()
    if task.state_dir:
        directory = Path(task.state_dir)
        state = StateParts.on_disk(directory, settings.kafka, slot=0, local=local)
        return Container(container_settings, state=state)
    memory = StateParts(MemoryStores(), lambda: NothingToRestore(settings.kafka), local)
    return Container(container_settings, state=memory, connect=NoChangelogs)


def main(task: Task) -> None:
    settings = SERVICE.load()
    configure("revenue", settings.telemetry)
    measured = container(task, settings)

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    measured.run(stop)


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Task))
