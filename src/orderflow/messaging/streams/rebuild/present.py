"""The state that the changelogs say, in stores of its own: what an instance would restore."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.streams.changelog import ChangelogReader
from orderflow.messaging.streams.local_state import TaskId
from orderflow.messaging.streams.rebuild.recomputation import open_tasks
from orderflow.messaging.streams.restore import Restorer
from orderflow.messaging.streams.store.store import StateStores
from orderflow.messaging.streams.table_task import DecodeValue, TableTask
from orderflow.messaging.streams.topology import Table, Topology
from orderflow.messaging.work.clock import CLOCK, Clock

Show = Callable[[int, int], None]
"""Shows how much is done, and of how much."""


class PresentState:
    """`catch_up` any number of times; `tasks` are then as the changelogs were at its beginning."""

    def __init__(
        self,
        topology: Topology,
        *,
        partitions: Mapping[str, int],
        stores: StateStores,
        reader: ChangelogReader,
        decoder: Decoder,
        clock: Clock = CLOCK,
    ) -> None:
        def decoding(table: Table) -> DecodeValue:
            return lambda value: decoder.decode_as(value, table.value)

        self._restorer = Restorer(reader, stores, clock)
        self.tasks: dict[TaskId, TableTask] = open_tasks(topology, partitions, stores, decoding)

    def catch_up(self, show: Show) -> None:
        """Read the changelogs up to their present ends. Raises Unavailable."""
        for task in self.tasks.values():
            task.forget()
            self._restorer.begin(task, input_offset=0)

        while self._restorer:
            progress = [self._restorer.progress(task) for task in self.tasks.values()]
            known = [it for it in progress if it is not None]
            show(sum(it.done for it in known), sum(it.total for it in known))
            self._restorer.step()

    def close(self) -> None:
        self._restorer.close()
