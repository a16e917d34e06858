"""
The rules of stock. Imports no driver.

`decide` takes the records of a batch in their order, and rows that are locked: nobody else changes
them meanwhile. A reservation starts RESERVED or REJECTED when its payment succeeded. RESERVED
becomes RELEASED when the payment is refunded, or SHIPPED when the goods leave. REJECTED, RELEASED
and SHIPPED are final: later and repeated events change nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
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
from orderflow.messaging.errors import RecordFault

ON_HAND_MAX = 1_000_000_000

ConsumedEvent = PaymentSucceeded | PaymentRefunded | OrderShipped
PublishedEvent = StockReserved | StockRejected | StockReleased


class NothingReserved(RecordFault):
    """An order was shipped for which nothing is reserved: an operator has to correct its stock."""


class NoQuantity(RecordFault):
    """A line asks for less than one piece."""


class ReservationStatus(StrEnum):
    RESERVED = "RESERVED"
    REJECTED = "REJECTED"
    RELEASED = "RELEASED"
    SHIPPED = "SHIPPED"


class MovementKind(StrEnum):
    """
    RECEIPT: pieces came in. SHIPMENT: pieces left with an order. CORRECTION: the difference that a
    stock-take found, which can be none.
    """

    RECEIPT = "RECEIPT"
    CORRECTION = "CORRECTION"
    SHIPMENT = "SHIPMENT"


class Stock(msgspec.Struct, frozen=True, kw_only=True):
    """
    `on_hand`: pieces in the warehouse, reserved ones included; `received + corrected - shipped`.

    `received`, `corrected` and `shipped` are sums over all movements that ever were; `movements`
    is their number, and so the sequence of the last of them.
    """

    sku: Sku
    on_hand: int
    reserved: int
    shipped: int
    received: int
    corrected: int
    movements: int

    @property
    def available(self) -> int:
        return self.on_hand - self.reserved


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """
    The stock of one order, one line for each SKU.

    A final reservation keeps the lines that were reserved, or asked for.
    """

    order_id: OrderId
    customer_id: CustomerId
    payment_id: PaymentId
    status: ReservationStatus
    lines: tuple[StockLine, ...]


class StockChange(msgspec.Struct, frozen=True, kw_only=True):
    """What to add to the numbers of one SKU. `movements`: how many of the shipments are of it."""

    sku: Sku
    on_hand: int = 0
    reserved: int = 0
    shipped: int = 0
    movements: int = 0


class ShippedLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line that left with its order: a movement of SHIPMENT, in the order of the batch."""

    order_id: OrderId
    sku: Sku
    quantity: int


class Movement(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """
    A change of the pieces on hand: `quantity` is signed, `on_hand` is what was there after it.

    `sequence` counts the movements of a SKU from 1, without a gap. A shipment has an `order_id`;
    what people record has an `actor`, and a receipt the key of its request.
    """

    sku: Sku
    sequence: int
    kind: MovementKind
    quantity: int
    on_hand: int
    order_id: OrderId | None
    receipt_key: str | None
    actor: str | None
    reason: str | None
    occurred_at: datetime


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """
    What to write for a batch, and what to publish.

    `events`: each with the position in the batch of the record that caused it.
    """

    changes: tuple[StockChange, ...]
    opened: tuple[Reservation, ...]
    closed: tuple[Reservation, ...]
    events: tuple[tuple[int, PublishedEvent], ...]
    shipments: tuple[ShippedLine, ...] = ()


def skus_to_lock(
    batch: Iterable[ConsumedEvent], reservations: Mapping[OrderId, Reservation]
) -> set[Sku]:
    """The SKUs whose numbers a batch may change, given the reservations of its orders."""
    skus: set[Sku] = set()
    for event in batch:
        reservation = reservations.get(event.order_id)
        if reservation is not None and reservation.status is ReservationStatus.RESERVED:
            skus.update(line.sku for line in reservation.lines)
        elif reservation is None and isinstance(event, PaymentSucceeded):
            skus.update(line.sku for line in event.lines)
    return skus


def decide(
    batch: Sequence[ConsumedEvent],
    *,
    stock: Collection[Stock],
    reservations: Mapping[OrderId, Reservation],
    now: datetime,
) -> Decision:
    """
    Decide about each record in order; each sees what the records before it left.

    `stock`: the rows of `skus_to_lock` that exist. `reservations`: those of the batch's orders.
    Both are locked. Raises NothingReserved and NoQuantity.
    """
    draft = _Draft(stock, reservations, now)
    events = [
        (position, published)
        for position, event in enumerate(batch)
        if (published := draft.apply(event)) is not None
    ]

    changed = draft.changed
    return Decision(
        changes=draft.changes(),
        opened=tuple(changed[order] for order in changed if order not in reservations),
        closed=tuple(changed[order] for order in changed if order in reservations),
        events=tuple(events),
        shipments=tuple(draft.shipments),
    )


class _Draft:
    """Stock and reservations as the batch's records change them, before anything is written."""

    def __init__(
        self, stock: Collection[Stock], reservations: Mapping[OrderId, Reservation], now: datetime
    ) -> None:
        self._available = {row.sku: row.available for row in stock}
        self._reservations = reservations
        self._now = now
        self._reserved: defaultdict[Sku, int] = defaultdict(int)
        self.shipments: list[ShippedLine] = []
        self.changed: dict[OrderId, Reservation] = {}

    def apply(self, event: ConsumedEvent) -> PublishedEvent | None:
        """Change the draft by one event; return the event to publish, if any."""
        order_id = event.order_id
        reservation = self.changed.get(order_id) or self._reservations.get(order_id)

        match event:
            case PaymentSucceeded():
                return self._reserve(event) if reservation is None else None
            case PaymentRefunded():
                return self._release(event, reservation)
            case OrderShipped():
                self._ship(event, reservation)
                return None

    def changes(self) -> tuple[StockChange, ...]:
        """One for each SKU whose numbers are not what they were, in the order of the SKUs."""
        shipped: Counter[Sku] = Counter()
        for line in self.shipments:
            shipped[line.sku] += line.quantity
        movements = Counter(line.sku for line in self.shipments)

        return tuple(
            StockChange(
                sku=sku,
                on_hand=-shipped[sku],
                reserved=self._reserved[sku],
                shipped=shipped[sku],
                movements=movements[sku],
            )
            for sku in sorted(self._reserved)
            if self._reserved[sku] or movements[sku]
        )

    def _reserve(self, paid: PaymentSucceeded) -> StockReserved | StockRejected:
        lines = by_sku(paid.lines)
        if shortages := self._shortages(lines):
            return self._reject(paid, lines, shortages)

        for line in lines:
            self._available[line.sku] -= line.quantity
            self._reserved[line.sku] += line.quantity

        self._open(paid, ReservationStatus.RESERVED, lines)
        return StockReserved(
            order_id=paid.order_id,
            customer_id=paid.customer_id,
            payment_id=paid.payment_id,
            lines=lines,
            occurred_at=self._now,
        )

    def _shortages(self, lines: Sequence[StockLine]) -> tuple[Shortage, ...]:
        available = self._available
        return tuple(
            Shortage(sku=line.sku, requested=line.quantity, available=available.get(line.sku, 0))
            for line in lines
            if line.quantity > available.get(line.sku, 0)
        )

    def _reject(
        self,
        paid: PaymentSucceeded,
        lines: tuple[StockLine, ...],
        shortages: tuple[Shortage, ...],
    ) -> StockRejected:
        reason = StockRejectionReason.OUT_OF_STOCK
        if any(shortage.sku not in self._available for shortage in shortages):
            reason = StockRejectionReason.UNKNOWN_SKU

        self._open(paid, ReservationStatus.REJECTED, lines)
        return StockRejected(
            order_id=paid.order_id,
            customer_id=paid.customer_id,
            payment_id=paid.payment_id,
            reason=reason,
            shortages=shortages,
            occurred_at=self._now,
        )

    def _release(
        self, refunded: PaymentRefunded, reservation: Reservation | None
    ) -> StockReleased | None:
        if reservation is None:
            # The refund came first. Its reservation is stored all the same, so that the payment,
            # when it comes, reserves nothing.
            self._open(refunded, ReservationStatus.RELEASED, ())
            return None
        if reservation.status is not ReservationStatus.RESERVED:
            return None

        for line in reservation.lines:
            self._available[line.sku] += line.quantity
            self._reserved[line.sku] -= line.quantity

        self._close(reservation, ReservationStatus.RELEASED)
        return StockReleased(
            order_id=reservation.order_id,
            customer_id=reservation.customer_id,
            payment_id=reservation.payment_id,
            lines=reservation.lines,
            reason=refunded.reason,
            occurred_at=self._now,
        )

    def _ship(self, shipped: OrderShipped, reservation: Reservation | None) -> None:
        if reservation is None:
            raise _nothing_reserved(shipped, "has no reservation")
        if reservation.status is ReservationStatus.SHIPPED:
            return
        if reservation.status is not ReservationStatus.RESERVED:
            raise _nothing_reserved(shipped, f"has a reservation that is {reservation.status}")

        for line in reservation.lines:
            self._reserved[line.sku] -= line.quantity
            self.shipments.append(
                ShippedLine(order_id=shipped.order_id, sku=line.sku, quantity=line.quantity)
            )
        self._close(reservation, ReservationStatus.SHIPPED)

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

    def _close(self, reservation: Reservation, status: ReservationStatus) -> None:
        self.changed[reservation.order_id] = msgspec.structs.replace(reservation, status=status)


def by_sku(lines: Sequence[OrderLine]) -> tuple[StockLine, ...]:
    """One line for each SKU, with its whole quantity. Raises NoQuantity."""
    quantities: dict[Sku, int] = {}
    for line in lines:
        if line.quantity < 1:
            raise NoQuantity(f"a line asks for {line.quantity} of {line.sku}: at least 1")
        quantities[line.sku] = quantities.get(line.sku, 0) + line.quantity
    return tuple(StockLine(sku=sku, quantity=quantity) for sku, quantity in quantities.items())


def _nothing_reserved(shipped: OrderShipped, state: str) -> NothingReserved:
    return NothingReserved(
        f"order {shipped.order_id} was shipped, but {state}: correct its stock by hand"
    )
