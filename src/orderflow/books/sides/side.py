"""
What a reader of a side offers. All read only, in batches, with one statement for each.

Errors: every method raises Transient (Unavailable, Contention) when its side can't answer now: the
audit then says which side is away, and proves nothing. A reader keeps no state between calls but
its connection, and is used by one thread. At most `IDS_MAX` ids are asked for at a time; an answer
lacks the ids of which the side has nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

import msgspec

from orderflow.books.accounts import (
    CustomerSide,
    FollowedSide,
    LakeRow,
    LedgerEntry,
    NotificationRow,
    OrderSide,
    PaymentSide,
    ReservationSide,
    ShipmentSide,
    SkuAccount,
    WarehouseRow,
)

IDS_MAX = 2_000
"""Ids in one call, rows in one page."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


def read_in_pages(
    read: Callable[[Sequence[str]], Mapping[str, T]], ids: Sequence[str]
) -> dict[str, T]:
    """What `read` answers for any number of ids, `IDS_MAX` at a time."""
    answers: dict[str, T] = {}
    for start in range(0, len(ids), IDS_MAX):
        answers |= read(ids[start : start + IDS_MAX])
    return answers


class OrderReader(Protocol[T_co]):
    """A side that has something of each order."""

    def read(self, order_ids: Sequence[str]) -> Mapping[str, T_co]:
        """What it says of these orders now, all at one moment."""
        ...

    def order_ids(self, after: str, limit: int) -> Sequence[str]:
        """The next ids of orders that it has, in their order; `after` "" is the beginning."""
        ...


class LedgerReader(Protocol):
    """The provider's ledger."""

    def read(self, references: Sequence[str]) -> Mapping[str, Sequence[LedgerEntry]]:
        """The entries under these references: of payments (charges), of refunds (refunds)."""
        ...

    def entries(self, after: int, limit: int) -> Sequence[LedgerEntry]:
        """The entries from the `after`-th on, in an order that never changes: none at the end."""
        ...


class StockReader(Protocol):
    """The warehouse."""

    def skus(self, after: str, limit: int) -> Sequence[SkuAccount]:
        """The next SKUs by name, each at one moment; `after` "" is the beginning."""
        ...


class CustomerReader(Protocol):
    """What notification has of customers."""

    def read(self, customer_ids: Sequence[str]) -> Mapping[str, CustomerSide]: ...


class InboxReader(Protocol):
    """The inbox of one group's listener."""

    def handled(self, event_ids: Sequence[str]) -> set[str]:
        """Which of these events have their effects in its database."""
        ...


class WarehouseReader(OrderReader[tuple[WarehouseRow, ...]], Protocol):
    """The database that a sink fills with payments."""


class LakeReader(Protocol):
    """The files with the records of `payments`."""

    def read(self, partition: int, first: int, end: int) -> Sequence[LakeRow]:
        """All rows of at most 2,000 offsets, by offset."""
        ...


class LogReader(Protocol):
    """The write-ahead log of a service with a relay."""

    def end(self) -> int:
        """The end of the server's log now (LSN): what committed before is below it."""
        ...


class Sides(msgspec.Struct, frozen=True, kw_only=True):
    """
    Every side of a system. `inboxes` by group, `logs` by service: of those that have one.
    `warehouse`, `lake`: None if the system has none.
    """

    order: OrderReader[OrderSide]
    payment: OrderReader[PaymentSide]
    ledger: LedgerReader
    reservation: OrderReader[ReservationSide]
    shipment: OrderReader[ShipmentSide]
    notification: OrderReader[Sequence[NotificationRow]]
    followed: OrderReader[FollowedSide]
    stock: StockReader
    customers: CustomerReader
    inboxes: Mapping[str, InboxReader]
    logs: Mapping[str, LogReader]
    warehouse: WarehouseReader | None = None
    lake: LakeReader | None = None
