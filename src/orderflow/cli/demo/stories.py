"""The kinds of order that the demo places: the request, every record it causes, and its end."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from orderflow.contracts.events import (
    Event,
    OrderCancelled,
    OrderCreated,
    OrderEvent,
    OrderShipped,
    PaymentFailed,
    PaymentRefunded,
    PaymentRequested,
    PaymentSucceeded,
    StockRejected,
    StockReleased,
    StockReserved,
)
from orderflow.contracts.topics import INVENTORY, ORDER_EVENTS, ORDERS, PAYMENTS

WATCHED = tuple(topic.name for topic in (ORDERS, ORDER_EVENTS, PAYMENTS, INVENTORY))
WRITERS = {
    ORDERS.name: "order-relay",
    ORDER_EVENTS.name: "order-relay",
    PAYMENTS.name: "payment",
    INVENTORY.name: "inventory",
}
"""The process that writes a topic: its log explains why a record is missing."""

SOLD_OUT = "DESK-160"
SLOW = "pm_slow"
CURRENCY = "EUR"
"""Of every order: the default is a setting, which a user may have changed."""


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """
    A kind of order.

    `records`: how many of each event it causes; `ends`: status, payment and stock at the end.
    `captures` and `refunds`: how often the provider takes and gives back the money, by its own
    ledger. `commands` are given by hand, one after the other; such an order is placed in the short
    form, and charged by its command. `mails`: how many its customer gets; `shipment`: its last
    status, empty if there never is one.
    """

    name: str
    about: str
    customer: str
    sku: str
    quantity: int
    payment_method: str
    records: Counter[str]
    ends: tuple[str, str, str]
    captures: int
    refunds: int = 0
    commands: tuple[str, ...] = ()
    mails: int
    shipment: str = ""

    @property
    def path(self) -> str:
        return "/api/orders" if self.commands else "/orders"

    @property
    def request(self) -> dict[str, Any]:
        """The body of the POST; prices are the order service's."""
        return {
            "customerId": self.customer,
            "currency": CURRENCY,
            "paymentMethod": self.payment_method,
            "lines": [{"sku": self.sku, "quantity": self.quantity}],
        }

    def contradicts(self, seen: Counter[str], name: str) -> bool:
        """Whether so many records of that event are more than the story has."""
        return seen[name] > self.records[name]

    def lacks(self, seen: Counter[str]) -> Counter[str]:
        """The records that have not come yet."""
        return self.records - seen


def _each(*events: type[Event]) -> Counter[str]:
    return Counter(event.type_name() for event in events)


STORIES = (
    Story(
        name="the whole way",
        about="paid, shipped and delivered by hand",
        customer="ada",
        sku="KEYBOARD-01",
        quantity=2,
        payment_method="pm_ok",
        records=_each(
            *(OrderCreated, OrderEvent, PaymentRequested, PaymentSucceeded, OrderEvent),
            *(StockReserved, OrderShipped, OrderEvent, OrderEvent),
        ),
        ends=("DELIVERED", "SUCCEEDED", "RESERVED"),
        captures=1,
        commands=("pay", "ship", "deliver"),
        mails=4,
        shipment="CLOSED",
    ),
    Story(
        name="changed her mind",
        about="paid, then cancelled: the money goes back, the stock as well",
        customer="barbara",
        sku="MOUSE-01",
        quantity=1,
        payment_method="pm_ok",
        records=_each(
            *(OrderCreated, OrderEvent, PaymentRequested, PaymentSucceeded, OrderEvent),
            *(StockReserved, OrderCancelled, OrderEvent, PaymentRefunded, StockReleased),
        ),
        ends=("CANCELLED", "REFUNDED", "RELEASED"),
        captures=1,
        refunds=1,
        commands=("pay", "cancel"),
        mails=4,
        shipment="CALLED_OFF",
    ),
    Story(
        name="declined",
        about="the provider says no, so the order stays CREATED",
        customer="grace",
        sku="MONITOR-27",
        quantity=1,
        payment_method="pm_declined",
        records=_each(OrderCreated, OrderEvent, PaymentFailed),
        ends=("CREATED", "FAILED", "NONE"),
        captures=0,
        mails=2,
    ),
    Story(
        name="out of stock",
        about="paid, but sold out: cancelled, the money goes back",
        customer="linus",
        sku=SOLD_OUT,
        quantity=1,
        payment_method="pm_ok",
        records=_each(
            *(OrderCreated, OrderEvent, PaymentSucceeded, OrderEvent),
            *(StockRejected, OrderCancelled, OrderEvent, PaymentRefunded),
        ),
        ends=("CANCELLED", "REFUNDED", "REJECTED"),
        captures=1,
        refunds=1,
        mails=5,
        shipment="CALLED_OFF",
    ),
    Story(
        name="unknown for a while",
        about="the provider is silent; nobody guesses, it is asked again",
        customer="margaret",
        sku="HEADSET-01",
        quantity=3,
        payment_method=SLOW,
        records=_each(OrderCreated, OrderEvent, PaymentSucceeded, OrderEvent, StockReserved),
        ends=("PAID", "SUCCEEDED", "RESERVED"),
        captures=1,
        mails=2,
        shipment="PREPARED",
    ),
)
