"""Joins what `payments` and the warehouse say of orders."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from orderflow.books.accounts import CopyLetters, WarehouseAccount
from orderflow.books.copy_positions import CopyPositions, away_is_said, waits_for_copy
from orderflow.books.sides.side import WarehouseReader, read_in_pages
from orderflow.books.store import BooksStore
from orderflow.contracts.topics import PAYMENTS


class WarehouseAccounts:
    """A `settling.System` of orders, by order id."""

    def __init__(
        self,
        warehouse: WarehouseReader,
        store: BooksStore,
        positions: CopyPositions,
        catch_up: Callable[[], bool],
    ) -> None:
        self._warehouse = warehouse
        self._store = store
        self._positions = positions
        self._catch_up = catch_up

    def mark(self) -> None:
        """None is needed: an account waits for the events that it has itself."""

    def waits(self, _mark: None, accounts: Mapping[str, WarehouseAccount]) -> Mapping[str, str]:
        return waits_for_copy(self._positions, accounts)

    def read(self, keys: Sequence[str]) -> Mapping[str, WarehouseAccount] | None:
        return read_in_pages(self.joined, keys) if self._catch_up() else None

    def of_span(self, partition: int, first: int, end: int) -> Mapping[str, WarehouseAccount]:
        """The orders with an event between these offsets, at most 2,000."""
        return self.joined(sorted({*self._store.paid(partition, first, end).values()}))

    def of_order(self, order_id: str) -> Mapping[str, WarehouseAccount]:
        return self.joined([order_id])

    def next_of_copy(self, after: str, limit: int) -> Mapping[str, WarehouseAccount]:
        """The next orders of which the warehouse has a row, whoever knows of them."""
        with away_is_said("warehouse"):
            ids = self._warehouse.order_ids(after, limit)
        return self.joined(ids)

    def joined(self, ids: Sequence[str]) -> dict[str, WarehouseAccount]:
        """The accounts of at most `IDS_MAX` orders: the topic as in the store, the rows as now."""
        events, letters = self._store.events(ids), self._positions.letters(ids)
        since = self._positions.since()
        is_complete = PAYMENTS.name not in self._store.unknown_before()
        with away_is_said("warehouse"):
            rows = self._warehouse.read(ids)

        return {
            order_id: WarehouseAccount(
                order_id=order_id,
                events=tuple(
                    event for event in events.get(order_id, ()) if event.topic == PAYMENTS.name
                ),
                rows=rows.get(order_id, ()),
                letters=letters.get(order_id, CopyLetters()),
                since=since,
                is_complete=is_complete,
            )
            for order_id in ids
        }
