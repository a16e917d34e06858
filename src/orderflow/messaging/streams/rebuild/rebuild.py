"""
The steps of a rebuild, in their order.

1. Recompute, beside the running service: nothing is changed, and an interruption leaves nothing.
2. Pause the instances, be the group's only member, read what came meanwhile.
3. Commit what differs, together with the offsets: the source at where the recomputation stopped,
   everything behind it at its end, because the new state has all of that.
4. Let the instances go on: they restore from where they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import msgspec

from orderflow.messaging.errors import ConfigurationError, Refused, Transient
from orderflow.messaging.event import EventId, Headers, Metadata, to_headers
from orderflow.messaging.kafka.logs import Logs
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.kafka.transactions import TransactionAborted
from orderflow.messaging.listener import Listener, Stateful
from orderflow.messaging.schemas.avro import Decoder, Encoder
from orderflow.messaging.schemas.catalogue import SchemaCatalogue
from orderflow.messaging.schemas.registry import SchemaLookup
from orderflow.messaging.settings import KafkaSettings
from orderflow.messaging.streams.broker_changelog import BrokerChangelogReader
from orderflow.messaging.streams.rebuild.differences import Differences, differences, records
from orderflow.messaging.streams.rebuild.present import PresentState
from orderflow.messaging.streams.rebuild.recomputation import Recomputation
from orderflow.messaging.streams.rebuild.source import SourceReader
from orderflow.messaging.streams.rebuild.takeover import Instances, Takeover
from orderflow.messaging.streams.store.sqlite_store import SqliteStores
from orderflow.messaging.telemetry import logger

TRIES = 3
"""The group may change once more, as when the session of a killed instance ends."""
COMPARISONS = 3
AGAIN_AFTER_S = 1.5
"""What is under way between two topics has arrived by then."""

log = logger("streams")

ShowStep = Callable[[str, int, int], None]
"""Shows a step's name, how much of it is done, and of how much."""


class RebuildSettings(msgspec.Struct, frozen=True, kw_only=True):
    """
    `from_retained`: also if the source has lost its beginning; the totals then begin where it does.
    `actor` and `reason` are recorded by the instances.
    """

    listener: Listener
    kafka: KafkaSettings
    catalogue: SchemaCatalogue
    actor: str
    reason: str
    from_retained: bool = False


class Rebuild:
    """
    One rebuild: `compare`, or `run`. Then `close`.

    Raises Refused when going on would lose something; Unavailable when brokers or registry are
    away. Whatever is raised before the commit: nothing was changed.
    """

    def __init__(self, settings: RebuildSettings, registry: SchemaLookup, show: ShowStep) -> None:
        delivery = settings.listener.delivery
        if not isinstance(delivery, Stateful):
            raise ConfigurationError(f"listener {settings.listener.name} has no state")
        self._settings = settings
        self._topology = delivery.topology
        self._show = show
        self._registry = registry
        self._decoder = Decoder(registry)
        self._logs = Logs(settings.kafka)
        self._closing = ExitStack()
        self._open()

    def compare(self) -> Differences:
        """
        What differs, while the service goes on: only what differs in each of three comparisons, so
        that nothing which was only under way is listed.
        """
        self._catch_up()
        lasting = differences(self._present.tasks, self._anew)
        for _ in range(COMPARISONS - 1):
            if not lasting:
                break
            time.sleep(AGAIN_AFTER_S)
            self._catch_up()
            lasting = lasting.lasting(differences(self._present.tasks, self._anew))
        return lasting

    def run(self) -> Differences:
        """Put the recomputed state in the place of the present one; what that has changed."""
        settings = self._settings
        self._catch_up()

        group = settings.listener.group
        instances = Instances(settings.kafka, group, actor=settings.actor, reason=settings.reason)
        takeover = Takeover(
            settings.kafka, group, self._partitions_read, between=instances.keep_paused
        )
        try:
            return self._switch(takeover, instances)
        finally:
            # Out of the group first: then the instances need not wait for this member.
            takeover.close()
            with suppress(Transient):
                instances.resume()
            instances.close()

    @property
    def unreadable(self) -> int:
        """How many records the listener makes dead letters of."""
        return self._source.unreadable

    def close(self) -> None:
        self._closing.close()

    def _switch(self, takeover: Takeover, instances: Instances) -> Differences:
        encoder = self._load_encoder()
        for left in reversed(range(TRIES)):
            try:
                return self._try_to_switch(takeover, instances, encoder)
            except TransactionAborted as error:
                log.warning("nothing was changed", why=str(error), tries_left=left)
                if not left:
                    raise
        raise AssertionError("the last try raises")

    def _try_to_switch(
        self, takeover: Takeover, instances: Instances, encoder: Encoder
    ) -> Differences:
        def stay(_done: int = 0, _total: int = 0) -> None:
            instances.keep_paused()
            takeover.keep()

        self._show("taking over", 0, 0)
        takeover.take()
        # From here on nobody else can commit, so what is read now to its end is everything.
        self._catch_up(stay)
        self._show("comparing", 0, 0)
        changes = differences(self._present.tasks, self._anew)
        stay()

        self._show("committing", 0, 0)
        placed = list(records(changes, self._anew, self._writing(encoder)))
        takeover.commit(placed, {**self._ends_behind(), **self._source.reached})
        return changes

    def _open(self) -> None:
        settings, topology = self._settings, self._topology
        names = [*settings.listener.subscribed, *(t.name for t in _changelogs(topology))]
        self._partitions = self._logs.partitions(names)
        if missing := [
            name for name in (t.name for t in topology.topics) if name not in self._partitions
        ]:
            raise ConfigurationError(f"{', '.join(missing)} does not exist: apply the topics first")

        scratch = Path(self._closing.enter_context(TemporaryDirectory(prefix="orderflow-rebuild-")))
        self._anew = Recomputation(
            topology, partitions=self._partitions, stores=SqliteStores(scratch / "anew")
        )
        self._present = self._closing.enter_context(
            closing(
                PresentState(
                    topology,
                    partitions=self._partitions,
                    stores=SqliteStores(scratch / "present"),
                    reader=BrokerChangelogReader(settings.kafka),
                    decoder=self._decoder,
                )
            )
        )
        self._source = self._closing.enter_context(
            closing(
                SourceReader(settings.kafka, settings.listener, self._decoder, self._beginning())
            )
        )

    @property
    def _partitions_read(self) -> Mapping[str, int]:
        """The topics that the group reads, with their partitions."""
        return {
            name: self._partitions[name]
            for name in self._settings.listener.subscribed
            if name in self._partitions
        }

    def _places(self, *, of_source: bool) -> list[Place]:
        """Partitions of the source and of its replay topic, or of all others that are read."""
        subscribed, source = self._settings.listener.subscribed, self._topology.source.name
        return [
            (name, number)
            for name, count in self._partitions_read.items()
            if (subscribed[name].name == source) is of_source
            for number in range(count)
        ]

    def _beginning(self) -> dict[Place, int]:
        """Where to begin. Raises Refused if the source has lost its beginning."""
        firsts = self._logs.firsts(self._places(of_source=True))
        if not self._settings.from_retained:
            refuse_lost_beginning(self._topology.source.name, firsts)
        return firsts

    def _catch_up(self, stay: Callable[[int, int], None] = lambda _done, _total: None) -> None:
        """Read source and changelogs up to their present ends."""
        # The changelogs second: what they have is then mostly in what was recomputed.
        ends = self._logs.stable_ends(self._places(of_source=True))
        name = self._topology.source.name
        total = sum(max(end - self._source.reached[place], 0) for place, end in ends.items())
        begin = sum(self._source.reached.values())

        for events in self._source.read_to(ends):
            self._anew.add(events)
            done = sum(self._source.reached.values()) - begin
            self._show(f"reading {name}", done, total)
            stay(done, total)

        def show(done: int, total: int) -> None:
            self._show("reading changelogs", done, total)
            stay(done, total)

        self._present.catch_up(show)

    def _ends_behind(self) -> dict[Place, int]:
        """The ends of everything that comes from the source: the new state has it already."""
        return self._logs.ends(self._places(of_source=False))

    def _load_encoder(self) -> Encoder:
        topics = [table.changelog.name for table in self._topology.tables]
        return Encoder.load(self._registry, self._settings.catalogue, topics)

    def _writing(self, encoder: Encoder) -> Callable[[str, Any], tuple[bytes, Headers]]:
        def write(topic: str, value: Any) -> tuple[bytes, Headers]:
            metadata = Metadata(
                id=EventId(uuid4()),
                type=value.type_name(),
                source=self._settings.listener.source,
                time=value.happened_at,
                subject=value.subject,
                correlation_id=value.subject,
            )
            return encoder.encode(topic, value), to_headers(metadata)

        return write


def refuse_lost_beginning(source: str, firsts: Mapping[Place, int]) -> None:
    """
    Raise Refused if the log of `source` does not begin at offset 0 by now. That of its replay topic
    need not: what was replayed stands on the source, too, unless that has lost it.
    """
    lost = sum(first for (topic, _number), first in firsts.items() if topic == source)
    if lost:
        raise Refused(
            f"{source} has lost its first {lost:,} offsets to its retention: totals that begin"
            " there would lose what came before; nothing was changed. --from-retained takes that"
            " loss"
        )


def _changelogs(topology: Any) -> list[Any]:
    return [topic for table in topology.tables for topic in table.changelogs]
