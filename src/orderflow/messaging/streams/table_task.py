"""
One table on one partition: what its records do to it, before and after the commit.

Changes stay in an overlay until their transaction is committed. Then they go to the store, in one
local transaction with the position of the changelog; after an abort the overlay is dropped. So the
store never holds what was not committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from orderflow.messaging.kafka.place import Place
from orderflow.messaging.kafka.transactions import Placed
from orderflow.messaging.streams.changelog import fact_bytes
from orderflow.messaging.streams.store.store import (
    ChangelogPosition,
    Changes,
    Store,
    StorePosition,
    StoreReader,
)
from orderflow.messaging.streams.topology import Table, no_ranks

CACHE_MAX = 20_000
"""Values that a task keeps decoded; about 1 kB each."""

DecodeValue = Callable[[bytes], Any]
"""A value of the changelog to an event."""


class Keyed(Protocol):
    """A record of the repartition topic, as a handler gets it."""

    @property
    def key(self) -> bytes: ...

    @property
    def event(self) -> Any: ...


class Computed(msgspec.Struct, frozen=True):
    """
    What a batch changes: the new value of each key, with the record that changed it last, and the
    facts that were counted. `fresh`: the records that count.
    """

    values: Mapping[bytes, tuple[Any, Any]]
    facts: Sequence[bytes]
    fresh: Sequence[Any]


class TableTask:
    """
    `compute`, then `take` what was computed, any number of times; then `commit` or `drop`. For one
    thread. `decode`: a value of its store. Raises StoreDamaged when the store can't be trusted any
    more.
    """

    def __init__(self, table: Table, number: int, *, store: Store, decode: DecodeValue) -> None:
        self.table = table
        self.number = number
        self._open(store)
        self.decode = decode
        self._ranked = table.ranks is not no_ranks
        self._cache: dict[bytes, Any] = {}
        self._values: dict[bytes, Any] = {}
        self._written: dict[bytes, Placed] = {}
        self._facts: dict[bytes, None] = {}

    @property
    def name(self) -> str:
        """The store's name: `revenue-by-customer-2`."""
        return f"{self.table.name}-{self.number}"

    @property
    def places(self) -> list[Place]:
        """The partitions that the store is restored from."""
        return [(topic.name, self.number) for topic in self.table.changelogs]

    @property
    def has_changes(self) -> bool:
        """Whether anything was taken since the last commit."""
        return bool(self._written or self._facts)

    @property
    def written(self) -> Iterable[Placed]:
        """Records of the changelog for what was taken since the last commit, one of each key."""
        return self._written.values()

    @property
    def facts(self) -> Sequence[bytes]:
        """The facts that were counted since the last commit."""
        return tuple(self._facts)

    def compute(self, batch: Sequence[Keyed]) -> Computed:
        """What `batch` changes, in its order, on top of what was taken. Changes nothing."""
        facts, fresh = self._uncounted(batch)
        values = self._present({record.key for record in fresh})

        fold = self.table.fold
        changed: dict[bytes, tuple[Any, Any]] = {}
        for record in fresh:
            key = record.key
            values[key] = value = fold(values.get(key), record.event)
            changed[key] = (value, record)
        return Computed(changed, facts, fresh)

    def take(self, computed: Computed, written: Mapping[bytes, Placed]) -> None:
        """Add it to the overlay. `written`: each changed key's record of the changelog."""
        self._values.update({key: value for key, (value, _) in computed.values.items()})
        self._written.update(written)
        self._facts.update(dict.fromkeys(computed.facts))

    def drop(self) -> None:
        """The transaction was aborted: nothing of the overlay is true."""
        self._values, self._written, self._facts = {}, {}, {}

    def forget(self) -> None:
        """Drop the overlay and what is kept of the store, which may be restored."""
        self.drop()
        self._cache = {}

    def replace(self, store: Store) -> None:
        """Go on with another store."""
        self.forget()
        self._open(store)

    def commit(self, position: StorePosition) -> None:
        """The transaction is committed: the overlay goes to the store."""
        if self.has_changes:
            ranks = self.table.ranks
            self.store.apply(
                Changes(
                    values={key: placed.value for key, placed in self._written.items()},
                    ranks={
                        key: {} if value is None else ranks(value)
                        for key, value in self._values.items()
                    }
                    if self._ranked
                    else {},
                    facts=tuple(self._facts),
                    position=position,
                )
            )

        self._cache.update(self._values)
        self._trim()
        self.drop()

    def restored(
        self,
        values: Mapping[bytes, bytes | None],
        facts: Sequence[bytes],
        *,
        no_facts: bool,
        position: StorePosition,
    ) -> None:
        """Write what was read from the changelogs."""
        ranks = {key: self._ranks_of(value) for key, value in values.items()}

        # The position may be older than the store: what comes again is there already.
        known = set() if no_facts else self.store.known(facts)
        unknown = [fact for fact in dict.fromkeys(facts) if fact not in known]
        self.store.apply(
            Changes(
                values=values,
                ranks=ranks if self._ranked else {},
                facts=unknown,
                no_facts=no_facts,
                position=position,
            )
        )

    def _open(self, store: Store) -> None:
        self.store = store
        self.reader: StoreReader = store.reader()

    def _uncounted(self, batch: Sequence[Keyed]) -> tuple[Sequence[bytes], Sequence[Keyed]]:
        """The facts that were not counted yet, and their records: the first of each."""
        fact = self.table.fact
        if fact is None:
            return (), batch

        first: dict[bytes, Keyed] = {}
        for record in batch:
            first.setdefault(fact_bytes(fact(record.event)), record)
        fresh = [fact_id for fact_id in first if fact_id not in self._facts]
        known = self.store.known(fresh)
        counted = [fact_id for fact_id in fresh if fact_id not in known]
        return counted, [first[fact_id] for fact_id in counted]

    def _present(self, keys: Iterable[bytes]) -> dict[bytes, Any]:
        """The present values of `keys`: from the overlay, what is kept, and the store."""
        values: dict[bytes, Any] = {}
        missing: list[bytes] = []
        overlay, cache = self._values, self._cache
        for key in keys:
            if key in overlay:
                values[key] = overlay[key]
            elif key in cache:
                values[key] = cache[key]
            else:
                missing.append(key)

        if missing:
            decode = self.decode
            stored = self.store.values(missing)
            values.update({key: decode(value) for key, value in stored.items()})
        return values

    def _ranks_of(self, value: bytes | None) -> Mapping[str, int]:
        return {} if value is None or not self._ranked else self.table.ranks(self.decode(value))

    def _trim(self) -> None:
        excess = len(self._cache) - CACHE_MAX
        if excess > 0:
            for key in list(self._cache)[:excess]:
                del self._cache[key]


def moved(position: StorePosition, ends: Mapping[Place, int], number: int) -> StorePosition:
    """`position` with the changelogs at `ends`, where those of partition `number` are further."""
    return StorePosition(
        changelogs=tuple(
            ChangelogPosition(at.topic, at.topic_id, end, end - 1)
            if (end := ends.get((at.topic, number), 0)) > at.offset
            else at
            for at in position.changelogs
        ),
        input=position.input,
    )
