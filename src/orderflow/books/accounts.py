"""
What the books know of one order, of one SKU and of one customer: every side's own words.

A *side* is whoever says something of its own: a service through its `books_*` views, the topics,
the provider's ledger. Nothing here is judged; `judge` compares. All of it is plain values, equal if
and only if every side says the same: so an account that was read twice shows whether anything has
changed in between. Amounts are integers in minor units; ids are texts in small letters; a moment is
an aware UTC one.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec


class StatusChange(msgspec.Struct, frozen=True, kw_only=True):
    """One version of an order; `event_id` is that of its OrderEvent."""

    version: int
    status: str
    event_id: str
    occurred_at: datetime


class OrderSide(msgspec.Struct, frozen=True, kw_only=True):
    """
    The order service's row, and its status changes by version (`books_order`,
    `books_order_version`). `waiting_for`: None if nobody is waited for.
    """

    customer_id: str
    status: str
    version: int
    revision: int
    amount_minor: int
    currency: str
    payment_mode: str
    payment_attempt: int
    payment_state: str
    payment_id: str | None
    stock: str
    waiting_for: str | None
    created_at: datetime
    changes: tuple[StatusChange, ...] = ()


class PaymentRow(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt (`books_payment`). `payment_id` is also its reference at the provider."""

    payment_id: str
    attempt: int
    customer_id: str
    state: str
    amount_minor: int
    currency: str
    captured_minor: int
    refunded_minor: int
    provider_reference: str | None = None


class RefundRow(msgspec.Struct, frozen=True, kw_only=True):
    """One refund (`books_refund`). `refund_id` is also its reference at the provider."""

    refund_id: str
    payment_id: str
    state: str
    amount_minor: int
    currency: str
    provider_reference: str | None = None


class PaymentSide(msgspec.Struct, frozen=True, kw_only=True):
    """
    What payment has of an order that it knows; an order that it does not know has no side.

    `is_closed`: it was told of the cancellation. Payments by attempt, refunds by id.
    """

    is_closed: bool = False
    payments: tuple[PaymentRow, ...] = ()
    refunds: tuple[RefundRow, ...] = ()


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """
    One charge or refund in the provider's ledger, by the provider's own id.

    `reference`: the payment's id, or the refund's. `charge_reference`: of a refund the payment's
    id, of a charge its own. `status`: CAPTURED, DECLINED or PENDING; a refund is REFUNDED.
    """

    entry_id: str
    reference: str
    charge_reference: str
    status: str
    amount_minor: int
    currency: str


class ReservationSide(msgspec.Struct, frozen=True, kw_only=True):
    """What inventory decided about an order (`books_reservation`); quantities by SKU."""

    customer_id: str
    payment_id: str
    status: str
    lines: Mapping[str, int]


class ShipmentSide(msgspec.Struct, frozen=True, kw_only=True):
    """Fulfilment's shipment of an order (`books_shipment`)."""

    customer_id: str
    status: str
    version: int


class NotificationRow(msgspec.Struct, frozen=True, kw_only=True):
    """One notification (`books_notification`); `sequence` once it is SENT or FAILED."""

    notification_id: str
    customer_id: str
    kind: str
    cause_id: str
    cause_type: str
    state: str
    sequence: int | None = None


class FollowedSide(msgspec.Struct, frozen=True, kw_only=True):
    """
    What analytics counted of an order (`books_followed_order`, `books_status_change`): where it is,
    and the status of each version that it counted.
    """

    status: str
    version: int
    counted: tuple[tuple[int, str], ...] = ()


class TopicEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, array_like=True):
    """
    One event on a topic, as far as it is compared. `type` without namespace (`OrderCreated`).

    `number`: the version of an order's event, the attempt of a payment's, a notification's
    sequence; 0 where there is none. `subject_id`: the payment's id, the refund's of a
    PaymentRefunded, the notification's; `status`: of an OrderEvent; `customer_id` as it says.
    `repeats`: how often the same event is on the topic once more, under its own id.
    """

    topic: str
    partition: int
    offset: int
    event_id: str
    type: str
    written_s: float
    customer_id: str = ""
    number: int = 0
    subject_id: str = ""
    status: str = ""
    previous_status: str = ""
    reason: str = ""
    amount_minor: int = 0
    currency: str = ""
    cause_id: str = ""
    repeats: int = 0


class OpenLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter nobody has dealt with: its place, whose it is, the event that it is."""

    topic: str
    partition: int
    offset: int
    group: str
    event_id: str = ""
    type: str = ""

    @property
    def name(self) -> str:
        """`<dead-letter topic>/<partition>/<offset>`: as dispositions and `orderflow dlt` say."""
        return f"{self.topic}/{self.partition}/{self.offset}"


class OrderAccount(msgspec.Struct, frozen=True, kw_only=True):
    """
    Everything that the sides say of one order. None: that side has nothing of it.

    `events`: of all topics, in the order of topic, partition and offset. `ledger`: the provider's
    entries under the references of its payments and refunds, by `entry_id`. `unhandled`: by group
    the ids of events that the group handles and whose effects are not in its inbox. `letters`: open
    dead letters of the order. `unknown_before`: of a topic that did not begin where the books began
    to read it, the time of the first record that they read; what was written until then may be
    missing from `events`.
    """

    order_id: str
    order: OrderSide | None = None
    payment: PaymentSide | None = None
    ledger: tuple[LedgerEntry, ...] = ()
    reservation: ReservationSide | None = None
    shipment: ShipmentSide | None = None
    notifications: tuple[NotificationRow, ...] = ()
    followed: FollowedSide | None = None
    events: tuple[TopicEvent, ...] = ()
    unhandled: Mapping[str, tuple[str, ...]] = {}
    letters: tuple[OpenLetter, ...] = ()
    unknown_before: Mapping[str, datetime] = {}

    def of_type(self, *types: str) -> tuple[TopicEvent, ...]:
        """Its events of these types, in the account's order."""
        return tuple(event for event in self.events if event.type in types)


class SkuAccount(msgspec.Struct, frozen=True, kw_only=True):
    """
    One SKU, read at one moment (`books_stock`, `books_moved`, `books_reserved`), in pieces.

    `moved_…`: what its movements add up to; `open_reserved`: what its open reservations do;
    `last_sequence` is that of its last movement, 0 if it has none.
    """

    sku: str
    on_hand: int
    reserved: int
    shipped: int
    received: int
    corrected: int
    movements: int
    open_reserved: int
    moved_on_hand: int
    moved_received: int
    moved_corrected: int
    moved_shipped: int
    moved_count: int
    last_sequence: int


class Sums(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What was captured and refunded in one currency, and by how many facts."""

    captured_minor: int = 0
    refunded_minor: int = 0
    payments: int = 0
    refunds: int = 0


class CustomerSide(msgspec.Struct, frozen=True, kw_only=True):
    """
    What notification has of a customer (`books_notification`): how many of the notifications have
    a number, and the highest.
    """

    numbered: int = 0
    last_sequence: int = 0


class CustomerAccount(msgspec.Struct, frozen=True, kw_only=True):
    """
    One customer. Sums by currency: of `payments`' events, each fact once; of the repartition
    topic's changes, each fact once; of the last record of `revenue-by-customer`.

    `announced`, `last_announced`: events on `notifications`, each once, and their highest sequence.
    `is_complete`: the topics began where the books began to read them; else nothing is compared.
    """

    customer_id: str
    paid: Mapping[str, Sums] = {}
    changed: Mapping[str, Sums] = {}
    revenue: Mapping[str, Sums] = {}
    announced: int = 0
    last_announced: int = 0
    notified: CustomerSide | None = None
    is_complete: bool = True


class WarehouseRow(msgspec.Struct, frozen=True, kw_only=True):
    """One payment as the warehouse has it (`books_payments`)."""

    payment_id: str
    customer_id: str
    status: str
    currency: str
    captured_minor: int
    refunded_minor: int


class LakeRow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One record of `payments` as the lake has it: a row of one of its files."""

    offset: int
    event_id: str
    type: str
    order_id: str
    payment_id: str
    refund_id: str | None = None
    amount_minor: int
    currency: str


class CopyLetters(msgspec.Struct, frozen=True, kw_only=True):
    """
    Dead letters of the group that fills a copy, as far as they are of an account, by event id:
    `open` by the letter's name; `discarded`: those whose effect will never come; `sent_back`.
    """

    open: Mapping[str, str] = {}
    discarded: frozenset[str] = frozenset()
    sent_back: frozenset[str] = frozenset()


class WarehouseAccount(msgspec.Struct, frozen=True, kw_only=True):
    """
    The payments of one order: as announced on `payments`, and as the warehouse has them.

    `since`: by partition the first offset that the group can have read; what was before may be
    missing. Before the group has committed, a partition is not in it. `is_complete`: the books have
    read `payments` from its beginning.
    """

    order_id: str
    events: tuple[TopicEvent, ...] = ()
    rows: tuple[WarehouseRow, ...] = ()
    letters: CopyLetters = CopyLetters()
    since: Mapping[int, int] = {}
    is_complete: bool = True

    @property
    def own_events(self) -> tuple[TopicEvent, ...]:
        return self.events

    @property
    def size(self) -> int:
        """How many payments are compared."""
        return max(len(self.rows), len({event.number for event in self.events}))


class LakeAccount(msgspec.Struct, frozen=True, kw_only=True):
    """
    Offsets `first` to before `end` of a partition of `payments`: the events with their orders, and
    the lake's rows, both by offset.

    `repeated`: ids of events that are on the topic once more, elsewhere. `since`: None before the
    group has committed. The rest as in `WarehouseAccount`.
    """

    partition: int
    first: int
    end: int
    events: tuple[tuple[str, TopicEvent], ...] = ()
    rows: tuple[LakeRow, ...] = ()
    repeated: frozenset[str] = frozenset()
    letters: CopyLetters = CopyLetters()
    since: int | None = None
    is_complete: bool = True

    @property
    def own_events(self) -> tuple[TopicEvent, ...]:
        return tuple(event for _, event in self.events)

    @property
    def size(self) -> int:
        """How many records are compared."""
        return max(len(self.rows), len(self.events))
