"""Joins what `payments` and the lake say of offsets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from orderflow.books.accounts import CopyLetters, LakeAccount
from orderflow.books.copy_positions import (
    CopyPositions,
    away_is_said,
    of_letters,
    waits_for_copy,
)
from orderflow.books.sides.side import LakeReader
from orderflow.books.store import BooksStore
from orderflow.contracts.topics import PAYMENTS


def span(partition: int, first: int, end: int) -> str:
    """The key of an account: `0/2000/4000`."""
    return f"{partition}/{first}/{end}"


class LakeAccounts:
    """A `settling.System` of spans of offsets: at most 2,000 events each are in memory."""

    def __init__(
        self,
        lake: LakeReader,
        store: BooksStore,
        positions: CopyPositions,
        catch_up: Callable[[], bool],
    ) -> None:
        self._lake = lake
        self._store = store
        self._positions = positions
        self._catch_up = catch_up

    def mark(self) -> None:
        """None is needed: an account waits for the events that it has itself."""

    def waits(self, _mark: None, accounts: Mapping[str, LakeAccount]) -> Mapping[str, str]:
        return waits_for_copy(self._positions, accounts)

    def read(self, keys: Sequence[str]) -> Mapping[str, LakeAccount] | None:
        return {key: self.joined(key) for key in keys} if self._catch_up() else None

    def of_span(self, partition: int, first: int, end: int) -> Mapping[str, LakeAccount]:
        """The span of these offsets."""
        key = span(partition, first, end)
        return {key: self.joined(key)}

    def of_order(self, order_id: str) -> Mapping[str, LakeAccount]:
        events = self._store.events([order_id]).get(order_id, ())
        keys = [
            span(event.partition, event.offset, event.offset + 1)
            for event in events
            if event.topic == PAYMENTS.name
        ]
        return {key: self.joined(key) for key in keys}

    def next_of_copy(self, _after: str, _limit: int) -> Mapping[str, LakeAccount]:
        """None: a span has all rows of its offsets, whoever knows of them."""
        return {}

    def joined(self, key: str) -> LakeAccount:
        """The account of a span: the topic as in the store, the rows as they are now."""
        partition, first, end = map(int, key.split("/"))
        since = self._positions.since().get(partition)
        orders = self._store.paid(partition, first, end)
        with away_is_said("lake"):
            rows = tuple(self._lake.read(partition, first, end))

        ids = sorted({*orders.values(), *(row.order_id for row in rows)})
        events = self._store.events(ids)
        letters: Mapping[str, CopyLetters] = self._positions.letters(ids)
        by_offset = {
            event.offset: (order_id, event)
            for order_id, of_order in events.items()
            for event in of_order
            if (event.topic, event.partition) == (PAYMENTS.name, partition)
            and event.offset in orders
        }
        return LakeAccount(
            partition=partition,
            first=first,
            end=end,
            events=tuple(by_offset[offset] for offset in sorted(by_offset)),
            rows=rows,
            repeated=frozenset(
                event.event_id
                for of_order in events.values()
                for event in of_order
                if event.repeats
            ),
            letters=of_letters(letters.values()),
            since=since,
            is_complete=PAYMENTS.name not in self._store.unknown_before(),
        )
