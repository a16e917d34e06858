"""
Stock's rules, without a driver in sight: records are judged in their order, against rows that nobody else can change.

A reservation is RESERVED or REJECTED when its payment succeeded. RESERVED becomes RELEASED when the money went back, or
SHIPPED when the goods left. REJECTED, RELEASED and SHIPPED are final: whatever comes later, or again, moves nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from orderflow.contracts.events import (
    OrderLine,
    OrderShipped,
    PaymentRefunded,
    PaymentSucceeded,
    Shortage,
    StockLine,
    StockRejected,
    StockRejectionReason,
    StockReleased,
    StockReserved,
)
from orderflow.contracts.ids import CustomerId, OrderId, PaymentId, Sku
from orderflow.messaging.errors import OrderflowError

ON_HAND_MAX = 1_000_000_000

Heard = PaymentSucceeded | PaymentRefunded | OrderShipped
Told = StockReserved | StockRejected | StockReleased


class NothingReserved(OrderflowError):
    """Goods are said to have left that were not kept for that order: somebody has to look."""


class NoQuantity(OrderflowError):
    """A line asks for nothing, or for less."""


class ReservationStatus(StrEnum):
    RESERVED = "RESERVED"
    REJECTED = "REJECTED"
    RELEASED = "RELEASED"
    SHIPPED = "SHIPPED"


class Stock(msgspec.Struct, frozen=True, kw_only=True):
    """`on_hand` is what is physically there, reserved pieces included; `shipped` is what ever left."""

    sku: Sku
    on_hand: int
    reserved: int
    shipped: int

    @property
    def available(self) -> int:
        return self.on_hand - self.reserved


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept for one order, one line for each SKU. Of a final one: what was kept, or was asked for."""

    order_id: OrderId
    customer_id: CustomerId
    payment_id: PaymentId
    status: ReservationStatus
    lines: tuple[StockLine, ...]


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """By how much one SKU's numbers change."""

    sku: Sku
    on_hand: int = 0
    reserved: int = 0
    shipped: int = 0


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch comes to. `told`: events, each with the position of the record that caused it."""

    moves: tuple[Move, ...]
    opened: tuple[Reservation, ...]
    closed: tuple[Reservation, ...]
    told: tuple[tuple[int, Told], ...]


def wanted(batch: Iterable[Heard], reservations: Mapping[OrderId, Reservation]) -> set[Sku]:
    """The SKUs whose numbers a batch needs, given the reservations that its orders have."""
    skus: set[Sku] = set()
    for event in batch:
        held = reservations.get(event.order_id)
        if held is not None and held.status is ReservationStatus.RESERVED:
            skus.update(line.sku for line in held.lines)
        elif held is None and isinstance(event, PaymentSucceeded):
            skus.update(line.sku for line in event.lines)
    return skus


def decide(
    batch: Sequence[Heard],
    *,
    stock: Collection[Stock],
    reservations: Mapping[OrderId, Reservation],
    now: datetime,
) -> Decision:
    """
    Judge the records in their order; each finds what the ones before it left.

    `stock` has the known ones of the `wanted` SKUs, `reservations` those of the batch's orders; both locked.
    """
    books = _Books(stock, reservations, now)
    told = [
        (position, said)
        for position, event in enumerate(batch)
        if (said := books.enter(event)) is not None
    ]
    return Decision(
        moves=books.moves(),
        opened=tuple(
            one for order_id, one in books.changed.items() if order_id not in reservations
        ),
        closed=tuple(one for order_id, one in books.changed.items() if order_id in reservations),
        told=tuple(told),
    )


class _Books:
    """The numbers while a batch is judged."""

    def __init__(
        self, stock: Collection[Stock], reservations: Mapping[OrderId, Reservation], now: datetime
    ) -> None:
        self._available = {one.sku: one.available for one in stock}
        self._reservations = reservations
        self._now = now
        self._reserved: defaultdict[Sku, int] = defaultdict(int)
        self._shipped: defaultdict[Sku, int] = defaultdict(int)
        self.changed: dict[OrderId, Reservation] = {}

    def enter(self, event: Heard) -> Told | None:
        held = self.changed.get(event.order_id) or self._reservations.get(event.order_id)
        match event:
            case PaymentSucceeded():
                return self._reserve(event) if held is None else None
            case PaymentRefunded():
                return self._release(event, held)
            case OrderShipped():
                self._ship(event, held)
                return None

    def moves(self) -> tuple[Move, ...]:
        return tuple(
            Move(
                sku=sku,
                on_hand=-self._shipped[sku],
                reserved=self._reserved[sku],
                shipped=self._shipped[sku],
            )
            for sku in sorted(self._reserved)
            if self._reserved[sku] or self._shipped[sku]
        )

    def _reserve(self, paid: PaymentSucceeded) -> StockReserved | StockRejected:
        lines = by_sku(paid.lines)
        available = self._available
        shortages = tuple(
            Shortage(sku=line.sku, requested=line.quantity, available=available.get(line.sku, 0))
            for line in lines
            if line.quantity > available.get(line.sku, 0)
        )
        if shortages:
            self._open(paid, ReservationStatus.REJECTED, lines)
            reason = StockRejectionReason.OUT_OF_STOCK
            if any(short.sku not in available for short in shortages):
                reason = StockRejectionReason.UNKNOWN_SKU
            return StockRejected(
                order_id=paid.order_id,
                customer_id=paid.customer_id,
                payment_id=paid.payment_id,
                reason=reason,
                shortages=shortages,
                occurred_at=self._now,
            )
        for line in lines:
            available[line.sku] -= line.quantity
            self._reserved[line.sku] += line.quantity
        self._open(paid, ReservationStatus.RESERVED, lines)
        return StockReserved(
            order_id=paid.order_id,
            customer_id=paid.customer_id,
            payment_id=paid.payment_id,
            lines=lines,
            occurred_at=self._now,
        )

    def _release(self, refunded: PaymentRefunded, held: Reservation | None) -> StockReleased | None:
        if (
            held is None
        ):  # The refund came first: leave a mark, so that the payment reserves nothing.
            self._open(refunded, ReservationStatus.RELEASED, ())
            return None
        if held.status is not ReservationStatus.RESERVED:
            return None
        for line in held.lines:
            self._available[line.sku] += line.quantity
            self._reserved[line.sku] -= line.quantity
        self._close(held, ReservationStatus.RELEASED)
        return StockReleased(
            order_id=held.order_id,
            customer_id=held.customer_id,
            payment_id=held.payment_id,
            lines=held.lines,
            reason=refunded.reason,
            occurred_at=self._now,
        )

    def _ship(self, shipped: OrderShipped, held: Reservation | None) -> None:
        if held is not None and held.status is ReservationStatus.SHIPPED:
            return
        if held is None or held.status is not ReservationStatus.RESERVED:
            found = (
                "has no reservation" if held is None else f"has a reservation that is {held.status}"
            )
            raise NothingReserved(
                f"order {shipped.order_id} was shipped, but {found}: correct its stock by hand"
            )
        for line in held.lines:
            self._reserved[line.sku] -= line.quantity
            self._shipped[line.sku] += line.quantity
        self._close(held, ReservationStatus.SHIPPED)

    def _open(
        self,
        cause: PaymentSucceeded | PaymentRefunded,
        status: ReservationStatus,
        lines: tuple[StockLine, ...],
    ) -> None:
        self.changed[cause.order_id] = Reservation(
            order_id=cause.order_id,
            customer_id=cause.customer_id,
            payment_id=cause.payment_id,
            status=status,
            lines=lines,
        )

    def _close(self, held: Reservation, status: ReservationStatus) -> None:
        self.changed[held.order_id] = msgspec.structs.replace(held, status=status)


def by_sku(lines: Sequence[OrderLine]) -> tuple[StockLine, ...]:
    """One line for each SKU with the whole quantity. Raises NoQuantity on a line of less than one piece."""
    quantities: dict[Sku, int] = {}
    for line in lines:
        if line.quantity < 1:
            raise NoQuantity(f"a line asks for {line.quantity} of {line.sku}: at least 1")
        quantities[line.sku] = quantities.get(line.sku, 0) + line.quantity
    return tuple(StockLine(sku=sku, quantity=quantity) for sku, quantity in quantities.items())
