"""Joins what all sides say of customers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from orderflow.books.accounts import CustomerAccount
from orderflow.books.judge import judge_customer
from orderflow.books.positions import Mark, Positions, waits_of
from orderflow.books.report import Check
from orderflow.books.sides.side import Sides, read_in_pages
from orderflow.books.store import BooksStore, CustomerFold
from orderflow.contracts.topics import BY_CUSTOMER_REPARTITION, NOTIFICATIONS, PAYMENTS

COMPLETE = (PAYMENTS.name, BY_CUSTOMER_REPARTITION.name, NOTIFICATIONS.name)
"""What was added up of a customer is only comparable if these were read from their beginnings."""


class CustomerAccounts:
    """A `settling.System` of customers, by their ids."""

    def __init__(
        self,
        sides: Sides,
        store: BooksStore,
        positions: Positions,
        catch_up: Callable[[], bool],
    ) -> None:
        self._sides = sides
        self._store = store
        self._positions = positions
        self._catch_up = catch_up

    def mark(self) -> Mark:
        return self._positions.mark()

    def waits(self, mark: Mark, accounts: Mapping[str, CustomerAccount]) -> Mapping[str, str]:
        # A customer's orders are on all partitions: all customers wait for the same.
        progress = self._positions.progress()
        relay = waits_of(mark, progress, relays=("notification",), key=None)
        group = waits_of(mark, progress, relays=(), key=None)

        waits = {}
        for customer_id, account in accounts.items():
            checks = {each.check for each in judge_customer(account)}
            if who := relay if Check.SEQUENCES in checks else group:
                waits[customer_id] = who
        return waits

    def read(self, keys: Sequence[str]) -> Mapping[str, CustomerAccount] | None:
        return read_in_pages(self.joined, keys) if self._catch_up() else None

    def joined(self, ids: Sequence[str]) -> dict[str, CustomerAccount]:
        """The accounts of at most `IDS_MAX` customers: topics as in the store."""
        folds, notified = self._store.customers(ids), self._sides.customers.read(ids)
        is_complete = not self._store.unknown_before().keys() & set(COMPLETE)

        return {
            customer_id: CustomerAccount(
                customer_id=customer_id,
                paid=fold.paid,
                changed=fold.changed,
                revenue=fold.revenue,
                announced=fold.announced,
                last_announced=fold.last_announced,
                notified=notified.get(customer_id),
                is_complete=is_complete,
            )
            for customer_id in ids
            for fold in (folds.get(customer_id, CustomerFold()),)
        }
