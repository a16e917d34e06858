"""What an audit has found: the one answer of the books, for people, programs and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

import msgspec

DIFFERENCES_MAX = 1_000
"""Differences that a report lists; the counts are exact beyond."""


class Verdict(StrEnum):
    """
    BALANCED: every side agrees on all that was compared and had settled. DIFFERENT: something was
    lost, doubled or changed. UNSETTLED: no difference is proved, but some could not be decided in
    time: they are in flight, and the report says whom they wait for.
    """

    BALANCED = "BALANCED"
    DIFFERENT = "DIFFERENT"
    UNSETTLED = "UNSETTLED"


class Check(StrEnum):
    """What is compared; one row of the report each. The names are public and stay."""

    COMMITTED = "committed"
    VERSIONS = "versions"
    STATUSES = "statuses"
    MONEY = "money"
    PAYMENTS = "payments"
    LEDGER = "ledger"
    RESERVATIONS = "reservations"
    SHIPMENTS = "shipments"
    NOTIFICATIONS = "notifications"
    ANALYTICS = "analytics"
    HANDLED = "handled"
    DEADLINES = "deadlines"
    STOCK = "stock"
    REVENUE = "revenue"
    SEQUENCES = "sequences"
    DEAD_LETTERS = "dead letters"
    WAREHOUSE = "warehouse"
    LAKE = "lake"


MEANINGS: Mapping[Check, str] = {
    Check.COMMITTED: "orders = OrderCreated = known to payment",
    Check.VERSIONS: "status changes are on order-events once each, without a gap",
    Check.STATUSES: "statuses follow each other as the life cycle allows",
    Check.MONEY: "captured − refunded is the total if paid for, else 0",
    Check.PAYMENTS: "payment's rows = its events, each once",
    Check.LEDGER: "payment's rows = the provider's ledger",
    Check.RESERVATIONS: "reservation = inventory's events = the order's stock",
    Check.SHIPMENTS: "a shipment for each order that was paid, as far as the order",
    Check.NOTIFICATIONS: "a notification for each event that causes one, told once",
    Check.ANALYTICS: "each status change was counted once",
    Check.HANDLED: "each event is handled, a dead letter, waiting, or lag",
    Check.DEADLINES: "an order that is not at its end waits for somebody",
    Check.STOCK: "per SKU: received + corrected = on hand + shipped",
    Check.REVENUE: "per customer: revenue = what payment announced",
    Check.SEQUENCES: "per customer: notifications are numbered without a gap",
    Check.DEAD_LETTERS: "dead letters = replayed + discarded + open",
    Check.WAREHOUSE: "the warehouse's rows = what payment announced",
    Check.LAKE: "the lake's rows = what payment announced, each once",
}


class Subject(StrEnum):
    """What a difference is about."""

    ORDER = "order"
    CUSTOMER = "customer"
    SKU = "sku"
    REFERENCE = "reference"
    PAYMENT = "payment"
    DEAD_LETTER = "dead letter"
    SERVICE = "service"


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """
    Two sides that do not agree about `subject` `id`.

    `expected`, `actual`: both sides' figures in words, each with who says so. `command`: what shows
    more.
    """

    check: Check
    subject: Subject
    id: str
    expected: str
    actual: str
    command: str = ""


class Awaited(msgspec.Struct, frozen=True, kw_only=True):
    """Whom suspects still wait for: `payment-service`, lag 12. `accounts`: how many do."""

    who: str
    what: str
    accounts: int


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """A difference with a known reason that the desk shows; `reason` names it, with its command."""

    difference: Difference
    reason: str


class CopyState(StrEnum):
    """
    Whether a copy of the payments was compared. AWAY: it is there and could not be asked, so its
    books are not known to balance. ABSENT: this system has none.
    """

    COMPARED = "COMPARED"
    AWAY = "AWAY"
    ABSENT = "ABSENT"


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """A copy of the payments outside of the services: `warehouse` or `lake`. `why`: it is away."""

    name: str
    state: CopyState
    why: str = ""


class CheckCount(msgspec.Struct, frozen=True, kw_only=True):
    """One check: how many subjects were compared, and how they are."""

    check: Check
    checked: int = 0
    differences: int = 0
    in_flight: int = 0
    explained: int = 0


class BooksReport(msgspec.Struct, frozen=True, kw_only=True):
    """
    One audit. Lists hold the first `DIFFERENCES_MAX`; counts are exact.

    `compared`: how many orders were compared in this run, of the `orders` that the books know of;
    `is_full`: all of them were. `copies`: whether warehouse and lake were compared, too. `repeats`:
    events that are on their topics once more under the same id, which readers absorb. `positions`:
    how far each topic was read, `topic-partition` → offset.
    """

    verdict: Verdict
    at: datetime
    duration_s: float
    is_full: bool
    orders: int
    compared: int
    checks: tuple[CheckCount, ...]
    differences: tuple[Difference, ...] = ()
    in_flight: tuple[Difference, ...] = ()
    explained: tuple[Explained, ...] = ()
    awaited: tuple[Awaited, ...] = ()
    repeats: int = 0
    positions: Mapping[str, int] = {}
    copies: tuple[Copy, ...] = ()
    notes: tuple[str, ...] = ()

    def count(self, name: str) -> int:
        """The sum over all checks of `differences`, `in_flight` or `explained`."""
        return sum(getattr(check, name) for check in self.checks)
