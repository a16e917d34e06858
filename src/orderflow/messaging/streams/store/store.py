"""
The interface of a state store: the values of one table on one partition.

A store is a copy: its truth is the changelog. It is written after the Kafka transaction that its
changes were committed in, in one local transaction together with the position up to which it
contains the changelogs. So it never holds what was not committed: it may be behind, never ahead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from orderflow.messaging.errors import Fenced, OrderflowError


class StoreDamaged(OrderflowError):
    """The store can't be read, or what it says is not what was written: set it aside, rebuild."""


class StoreTaken(Fenced):
    """Another process has opened the store since: whatever this one would write may be older."""


class ChangelogPosition(msgspec.Struct, frozen=True):
    """
    The store contains `topic`'s records below `offset`; `last` is that of the last one, -1 if there
    is none. `topic_id`: which topic of that name.
    """

    topic: str
    topic_id: str
    offset: int
    last: int = -1


class StorePosition(msgspec.Struct, frozen=True):
    """
    How far a store is: its changelogs, and the offset of its input (its repartition topic) that was
    committed with the last change; -1 before the first.
    """

    changelogs: tuple[ChangelogPosition, ...] = ()
    input: int = -1


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """
    What one commit, or one piece of a restore, changes. `values` None: the key is gone.

    `ranks` of a changed key stand in for those it had: without any, it is listed nowhere. They fit
    into 64 bits. `facts` are 16 bytes each, and none of them is known. `no_facts`: forget all
    earlier facts first.
    """

    values: Mapping[bytes, bytes | None] = {}
    ranks: Mapping[bytes, Mapping[str, int]] = {}
    facts: Sequence[bytes] = ()
    no_facts: bool = False
    position: StorePosition


class Entry(msgspec.Struct, frozen=True):
    """A key and its value, as on the changelog."""

    key: bytes
    value: bytes


class StoreReader(Protocol):
    """
    Reads a store from any thread, beside its writer. Each method sees one moment, and returns the
    position of that moment with its answer. Raises StoreDamaged, also when the store was set aside
    since, and Unavailable when it can't be read now.
    """

    def get(self, key: bytes) -> tuple[bytes | None, StorePosition]:
        """The value of `key`, None if there is none."""

    def top(self, rank: str, limit: int) -> tuple[list[Entry], StorePosition]:
        """At most `limit` entries that have `rank`, highest first, then by key."""

    def between(self, first: bytes, last: bytes, limit: int) -> tuple[list[Entry], StorePosition]:
        """At most `limit` entries with `first` ≤ key < `last`, in the order of their keys."""

    def close(self) -> None:
        """Close what this reader has opened."""


class Store(Protocol):
    """
    The writer's side, for one thread. Every method may raise StoreDamaged, and Unavailable when
    the disk refuses: then nothing was written, and the same again is right.
    """

    @property
    def position(self) -> StorePosition:
        """How far the store is."""

    @property
    def facts(self) -> int:
        """How many facts were counted."""

    def values(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values of those `keys` that there are."""

    def known(self, facts: Sequence[bytes]) -> set[bytes]:
        """Those of `facts` that were counted."""

    def apply(self, changes: Changes) -> None:
        """
        Write `changes` in one local transaction: all of them, or none. Raises StoreTaken when
        another process has opened the store since.
        """

    def reader(self) -> StoreReader:
        """A reader for other threads. It may outlive the store: then it reads the last state."""

    def close(self) -> None:
        """Close the store. What was applied stays."""


class StateStores(Protocol):
    """Opens state stores: where they are, and whether what is there may be trusted."""

    def open(self, name: str) -> tuple[Store, str]:
        """
        The store of that name, made anew if there is none, and why an old one was set aside (empty
        if none was). From here on no other process writes to it.
        """

    def set_aside(self, name: str, why: str) -> Store:
        """Put the present store of that name aside, closed before, and open an empty one."""
