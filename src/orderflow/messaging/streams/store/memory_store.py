"""
State stores in memory, with the behaviour of those on disk: for tests.

What was applied survives `close`, as a file does; `damage` makes a store that can't be trusted.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count

import msgspec

from orderflow.messaging.streams.store.store import (
    Changes,
    Entry,
    StoreDamaged,
    StorePosition,
    StoreTaken,
)


class _Content(msgspec.Struct):
    """What a file holds."""

    values: dict[bytes, bytes]
    ranks: dict[bytes, Mapping[str, int]]
    facts: set[bytes]
    position: StorePosition = StorePosition()
    owner: int = 0
    damaged: str = ""
    lock: threading.RLock = msgspec.field(default_factory=threading.RLock)

    @contextmanager
    def trusted(self) -> Iterator[None]:
        """A moment in which nobody writes. Raises StoreDamaged if nothing in it may be trusted."""
        with self.lock:
            if self.damaged:
                raise StoreDamaged(self.damaged)
            yield


class MemoryStore:
    """One store, as `store.Store` says."""

    def __init__(self, content: _Content, owner: int) -> None:
        self._content = content
        self._owner = owner
        with content.lock:
            content.owner = owner
            self._position = content.position

    @property
    def position(self) -> StorePosition:
        return self._position

    @property
    def facts(self) -> int:
        with self._content.trusted():
            return len(self._content.facts)

    def values(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        with self._content.trusted():
            values = self._content.values
            return {key: values[key] for key in keys if key in values}

    def known(self, facts: Sequence[bytes]) -> set[bytes]:
        with self._content.trusted():
            return self._content.facts.intersection(facts)

    def apply(self, changes: Changes) -> None:
        _refuse_others(changes)
        content = self._content
        with content.lock:
            if content.owner != self._owner:
                raise StoreTaken("another process has opened this store since")

        with content.trusted():
            if changes.no_facts:
                content.facts.clear()
            content.facts.update(changes.facts)
            for key, value in changes.values.items():
                content.values.pop(key, None)
                content.ranks.pop(key, None)
                if value is not None:
                    content.values[key] = value
                    content.ranks[key] = dict(changes.ranks.get(key, {}))
            self._position = content.position = changes.position

    def reader(self) -> MemoryReader:
        return MemoryReader(self._content)

    def close(self) -> None:
        """Nothing is open."""


class MemoryReader:
    """As `store.StoreReader` says."""

    def __init__(self, content: _Content) -> None:
        self._content = content

    def get(self, key: bytes) -> tuple[bytes | None, StorePosition]:
        with self._content.trusted():
            return self._content.values.get(key), self._content.position

    def top(self, rank: str, limit: int) -> tuple[list[Entry], StorePosition]:
        with self._content.trusted():
            scores = [
                (-ranks[rank], key) for key, ranks in self._content.ranks.items() if rank in ranks
            ]
            values = self._content.values
            entries = [Entry(key, values[key]) for _score, key in sorted(scores)[:limit]]
            return entries, self._content.position

    def between(self, first: bytes, last: bytes, limit: int) -> tuple[list[Entry], StorePosition]:
        with self._content.trusted():
            values = self._content.values
            keys = sorted(key for key in values if first <= key < last)[:limit]
            return [Entry(key, values[key]) for key in keys], self._content.position

    def close(self) -> None:
        """Nothing is open."""


class MemoryStores:
    """As `store.StateStores` says. `aside`: the names and reasons of what was set aside."""

    def __init__(self) -> None:
        self.aside: list[tuple[str, str]] = []
        self._contents: dict[str, _Content] = {}
        self._owners = count(1)

    def open(self, name: str) -> tuple[MemoryStore, str]:
        content = self._contents.get(name)
        if content is not None and content.damaged:
            return self.set_aside(name, content.damaged), content.damaged
        if content is None:
            content = self._contents[name] = _Content({}, {}, set())
        return MemoryStore(content, next(self._owners)), ""

    def set_aside(self, name: str, why: str) -> MemoryStore:
        content = self._contents.pop(name, None)
        if content is not None:
            self.aside.append((name, why))
            with content.lock:
                content.owner, content.damaged = 0, "it was set aside"
        return self.open(name)[0]

    def damage(self, name: str, why: str = "a checksum does not fit") -> None:
        """From here on nothing that reads this store may trust it."""
        self._contents[name].damaged = why

    def delete(self, name: str | None = None) -> None:
        """Lose a store, or all of them, as with its directory."""
        for gone in [name] if name else list(self._contents):
            self._contents.pop(gone, None)

    @property
    def names(self) -> list[str]:
        return sorted(self._contents)


def _refuse_others(changes: Changes) -> None:
    """Raise TypeError for what could not be written to a file."""
    fits = all(isinstance(value, bytes | None) for value in changes.values.values()) and all(
        isinstance(score, int) for ranks in changes.ranks.values() for score in ranks.values()
    )
    if not fits:
        raise TypeError("values are bytes, ranks are whole numbers")
