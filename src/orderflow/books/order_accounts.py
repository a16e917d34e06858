"""Joins what all sides say of orders: one statement for each side and batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from orderflow.books.accounts import LedgerEntry, OrderAccount, OrderSide, PaymentSide
from orderflow.books.handled import is_handled
from orderflow.books.judge import EVENTS_OF
from orderflow.books.positions import Mark, Positions, waits_of
from orderflow.books.sides.side import IDS_MAX, Sides, read_in_pages
from orderflow.books.store import REPLAYED, BooksStore, Events, LetterRow
from orderflow.contracts.topics import NOTIFICATIONS
from orderflow.messaging.postgres.inbox import RETENTION
from orderflow.messaging.work.clock import CLOCK, Clock

KEPT_IN_INBOX = RETENTION - timedelta(days=1)
"""A younger event that was handled is in the inbox."""


def relays_of(account: OrderAccount) -> set[str]:
    """
    The services with a relay of whose events the account lacks some that their rows speak of.

    A row and its outbox commit together: what no row speaks of is not on its way.
    """
    relays = set()
    if account.order is not None and _lacks_of_order(account, account.order):
        relays.add("order")

    reservation = account.reservation
    announced = account.of_type("StockReserved", "StockRejected", "StockReleased")
    if reservation is not None and len(announced) < sum(EVENTS_OF[reservation.status]):
        relays.add("inventory")

    outcomes = {event.subject_id for event in account.events if event.topic == NOTIFICATIONS.name}
    if any(row.sequence and row.notification_id not in outcomes for row in account.notifications):
        relays.add("notification")
    return relays


def _lacks_of_order(account: OrderAccount, order: OrderSide) -> bool:
    event_ids = {event.event_id for event in account.events}
    first = 2 if order.payment_mode == "AUTOMATIC" else 1
    attempts = {event.number for event in account.of_type("PaymentRequested")}
    return (
        not account.of_type("OrderCreated")
        # What a status change publishes on `orders` is in the same transaction as its OrderEvent.
        or any(change.event_id not in event_ids for change in order.changes)
        or not attempts.issuperset(range(first, order.payment_attempt + 1))
    )


class OrderAccounts:
    """A `settling.System` of orders, by order id. `catch_up` brings the store up to the topics."""

    def __init__(
        self,
        sides: Sides,
        store: BooksStore,
        positions: Positions,
        catch_up: Callable[[], bool],
        *,
        clock: Clock = CLOCK,
    ) -> None:
        self._sides = sides
        self._store = store
        self._positions = positions
        self._catch_up = catch_up
        self._clock = clock

    def mark(self) -> Mark:
        return self._positions.mark()

    def waits(self, mark: Mark, accounts: Mapping[str, OrderAccount]) -> Mapping[str, str]:
        progress = self._positions.progress()
        waits = {
            order_id: waits_of(
                mark, progress, relays=relays_of(account), key=order_id, events=account.events
            )
            for order_id, account in accounts.items()
        }
        return {order_id: who for order_id, who in waits.items() if who}

    def read(self, keys: Sequence[str]) -> Mapping[str, OrderAccount] | None:
        return read_in_pages(self.joined, keys) if self._catch_up() else None

    def joined(self, ids: Sequence[str]) -> dict[str, OrderAccount]:
        """The accounts of at most `IDS_MAX` orders: topics as in the store, all else as it is."""
        sides, store = self._sides, self._store
        events = store.events(ids)
        letters = store.letters(ids)
        unknown_before = store.unknown_before()
        orders, payments = sides.order.read(ids), sides.payment.read(ids)
        ledger = self._ledger(payments)
        reservations, shipments = sides.reservation.read(ids), sides.shipment.read(ids)
        notifications, followed = sides.notification.read(ids), sides.followed.read(ids)
        unhandled = self._unhandled(events, letters)

        return {
            order_id: OrderAccount(
                order_id=order_id,
                order=orders.get(order_id),
                payment=payments.get(order_id),
                ledger=ledger.get(order_id, ()),
                reservation=reservations.get(order_id),
                shipment=shipments.get(order_id),
                notifications=tuple(notifications.get(order_id, ())),
                followed=followed.get(order_id),
                events=events.get(order_id, ()),
                unhandled=unhandled.get(order_id, {}),
                letters=tuple(
                    row.letter for row in letters.get(order_id, ()) if not row.disposition
                ),
                unknown_before=unknown_before,
            )
            for order_id in ids
        }

    def _ledger(self, payments: Mapping[str, PaymentSide]) -> dict[str, tuple[LedgerEntry, ...]]:
        owners = {
            reference: order_id
            for order_id, side in payments.items()
            for reference in (
                *(payment.payment_id for payment in side.payments),
                *(refund.refund_id for refund in side.refunds),
            )
        }

        entries: dict[str, list[LedgerEntry]] = {}
        references = sorted(owners)
        for start in range(0, len(references), IDS_MAX):
            some = references[start : start + IDS_MAX]
            for reference, under in self._sides.ledger.read(some).items():
                entries.setdefault(owners[reference], []).extend(under)
        return {
            order_id: tuple(sorted(under, key=lambda entry: entry.entry_id))
            for order_id, under in entries.items()
        }

    def _unhandled(
        self, events: Mapping[str, Events], letters: Mapping[str, Sequence[LetterRow]]
    ) -> dict[str, dict[str, tuple[str, ...]]]:
        """
        By order and group the events that the group's inbox lacks, and that are no dead letters: a
        letter that was replayed is one no more.
        """
        given_up = {
            (row.letter.group, row.letter.event_id)
            for rows in letters.values()
            for row in rows
            if row.disposition != REPLAYED
        }
        oldest_s = (self._clock.now() - KEPT_IN_INBOX).timestamp()
        unhandled: dict[str, dict[str, tuple[str, ...]]] = {}

        for group, inbox in self._sides.inboxes.items():
            wanted = {
                event.event_id: order_id
                for order_id, of_order in events.items()
                for event in of_order
                if is_handled(group, type_name=event.type, status=event.status)
                and event.written_s > oldest_s
            }
            event_ids = sorted(wanted)
            for start in range(0, len(event_ids), IDS_MAX):
                some = event_ids[start : start + IDS_MAX]
                handled = inbox.handled(some)
                for event_id in some:
                    if event_id not in handled and (group, event_id) not in given_up:
                        of_group = unhandled.setdefault(wanted[event_id], {})
                        of_group[group] = (*of_group.get(group, ()), event_id)
        return unhandled
