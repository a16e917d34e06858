"""
An audit: what has changed since the last one, and a slice of what has not, compared by all checks.

Bounded: topics are read in batches of 2,000 records from where the last run ended; orders are
compared in batches of 2,000, by one statement for each side, and forgotten if they agree. What is
kept in memory is one batch, and the accounts of at most `suspects_max` orders with a difference;
beyond those the rest has its turn in the next run. So 10 M orders are compared without reading them
all again: those that a topic or a new id names, at once, and `slice` of all others in each run.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import timedelta
from heapq import merge
from typing import Any
from uuid import UUID

from orderflow.books.accounts import CustomerAccount, LedgerEntry, OrderAccount
from orderflow.books.copies import CopyBooks, CopyReport
from orderflow.books.copy_positions import CopyPositions
from orderflow.books.customer_accounts import CustomerAccounts
from orderflow.books.ids import batches, paged
from orderflow.books.judge import (
    RULES,
    explanation,
    judge_customer,
    judge_order,
    judge_sku,
    unexplained,
)
from orderflow.books.judge_copies import judge_lake, judge_warehouse
from orderflow.books.lake_accounts import LakeAccounts
from orderflow.books.order_accounts import OrderAccounts
from orderflow.books.positions import Positions
from orderflow.books.report import (
    DIFFERENCES_MAX,
    Awaited,
    BooksReport,
    Check,
    CheckCount,
    Copy,
    CopyState,
    Difference,
    Explained,
    Subject,
    Verdict,
)
from orderflow.books.settings import BooksSection
from orderflow.books.settling import Settled, Suspect, settle
from orderflow.books.sides.open_sides import open_sides
from orderflow.books.sides.side import IDS_MAX, OrderReader
from orderflow.books.store import BooksStore
from orderflow.books.topics import TopicBooks, Watch
from orderflow.books.warehouse_accounts import WarehouseAccounts
from orderflow.contracts.roster import GROUPS, PAYMENTS_WAREHOUSE, row
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.schemas.registry import Registry
from orderflow.messaging.settings import KafkaSettings, RegistrySettings
from orderflow.messaging.work.clock import CLOCK, Clock

REVENUE_GROUP = row("revenue").group
OVERLAP = timedelta(minutes=2)
"""New orders are looked for from so long before the newest: ids are drawn before commits."""

STRANGE_MAX = 100

COPIES = (Check.WAREHOUSE.value, Check.LAKE.value)
LAKE_EXPORTER = row("lake").group
LAKE_SPANS_MAX = 50
"""Spans with a difference that are followed in one run: each is at most 2,000 rows in memory."""


def _watch_nothing(_what: str, _done: int, _all: int) -> None: ...


class Books:
    """
    The books of one system: `run` audits them, again and again over the same connections.

    Used by one thread. Reads only: no row, record or offset of anybody is written. Raises
    ConfigurationError when an address is missing.
    """

    def __init__(
        self,
        section: BooksSection,
        kafka: KafkaSettings,
        registry: RegistrySettings,
        *,
        clock: Clock = CLOCK,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._section = section
        self._clock = clock
        self._pause = pause
        with ExitStack() as opened:
            sides = opened.enter_context(open_sides(section))
            self._store = opened.enter_context(closing(BooksStore(section.state_dir)))
            decoder = Decoder(opened.enter_context(closing(Registry(registry))))
            self._topics = opened.enter_context(closing(TopicBooks(kafka, self._store, decoder)))

            groups = [group for group in GROUPS if group != REVENUE_GROUP]
            of_orders = opened.enter_context(closing(Positions(kafka, groups, sides.logs)))
            of_customers = opened.enter_context(
                closing(Positions(kafka, (REVENUE_GROUP,), sides.logs))
            )
            catch_up = self._topics.catch_up
            self._sides = sides
            self._orders = OrderAccounts(sides, self._store, of_orders, catch_up, clock=clock)
            self._customers = CustomerAccounts(sides, self._store, of_customers, catch_up)
            self._copies = self._copy_books(kafka, opened)
            self._opened = opened.pop_all()

    def close(self) -> None:
        self._opened.close()

    def run(
        self,
        *,
        full: bool = False,
        order_id: str = "",
        within_s: float | None = None,
        watch: Watch = _watch_nothing,
    ) -> BooksReport:
        """
        Audit what has changed, and a slice of what has not; with `full` everything; with `order_id`
        that order alone. `within_s`: how long to wait for what is in flight, about.

        Raises Transient (Unavailable, Contention) when a side can't be asked: nothing is proved
        then, and the next run begins where this one did.
        """
        began = self._clock.monotonic()
        audit = _Audit(self._store, self._section.suspects_max)
        self._topics.notes.clear()
        self._topics.begin()
        self._topics.catch_up(watch)

        if order_id:
            audit.compare_orders(self._orders, [order_id])
        else:
            # First: it names orders that are to be compared.
            self._compare_ledger(audit)
            self._compare_orders(audit, full=full, watch=watch)
            self._compare_customers(audit, full=full)
            self._compare_stock(audit)
            self._compare_letters(audit)
        within_s = self._section.within_s if within_s is None else within_s
        self._settle(audit, within_s)
        self._compare_copies(audit, full=full, order_id=order_id, until_s=began + within_s)

        return audit.report(
            at=self._clock.now(),
            duration_s=self._clock.monotonic() - began,
            is_full=full or audit.went_round,
            orders=self._store.count_orders(),
            positions={f"{t}-{p}": at for (t, p), at in sorted(self._store.positions().items())},
            notes=tuple(self._topics.notes),
        )

    def _copy_books(self, kafka: KafkaSettings, opened: ExitStack) -> list[CopyBooks[Any]]:
        """Of those copies that this system has."""
        sides, store, section = self._sides, self._store, self._section

        def positions(group: str) -> CopyPositions:
            return opened.enter_context(closing(CopyPositions(kafka, group, store)))

        def books(check: Check, system: Any, judge: Any, accounts_max: int) -> CopyBooks[Any]:
            return CopyBooks(
                check,
                system,
                judge,
                store,
                slice_offsets=section.slice,
                accounts_max=accounts_max,
            )

        copies = []
        catch_up = self._topics.catch_up
        if sides.warehouse is not None:
            filled = positions(PAYMENTS_WAREHOUSE.group)
            warehouse = WarehouseAccounts(sides.warehouse, store, filled, catch_up)
            copies.append(books(Check.WAREHOUSE, warehouse, judge_warehouse, section.suspects_max))
        if sides.lake is not None:
            lake = LakeAccounts(sides.lake, store, positions(LAKE_EXPORTER), catch_up)
            copies.append(books(Check.LAKE, lake, judge_lake, LAKE_SPANS_MAX))
        return copies

    def _compare_copies(self, audit: _Audit, *, full: bool, order_id: str, until_s: float) -> None:
        for copy in self._copies:
            report = copy.run(
                full=full,
                order_id=order_id,
                within_s=max(0.0, until_s - self._clock.monotonic()),
                pause=self._pause,
                clock=self._clock,
            )
            audit.add_copy(report)

    def _compare_orders(self, audit: _Audit, *, full: bool, watch: Watch) -> None:
        done = 0
        for ids in batches(self._order_ids(audit, full=full)):
            if not audit.compare_orders(self._orders, ids):
                audit.notes.append(
                    f"more than {self._section.suspects_max:,} orders differ: the rest is compared"
                    " in the next run"
                )
                return
            done += len(ids)
            watch("orders compared", done, max(done, self._store.count_orders()))

    def _order_ids(self, audit: _Audit, *, full: bool) -> Iterator[str]:
        """Those that a topic names; new ones; then a slice of each side's, or all."""
        sides = self._of_orders()
        audit.went_round = True
        if full:
            # All at a time, in the order of their ids: the same ids come one after another, so each
            # is compared once, however many there are.
            everywhere = [self._store.touched_orders, *(side.order_ids for side in sides.values())]
            yield from merge(*(paged(pages) for pages in everywhere))
            yield from self._new_ids()
            audit.cursors.update(dict.fromkeys(sides, ""))
            return

        yield from paged(self._store.touched_orders)
        yield from self._new_ids()
        for name, side in sides.items():
            first = last = self._store.cursor(name)
            count = 0
            for order_id in paged(side.order_ids, first):
                yield order_id
                last, count = order_id, count + 1
                if count >= self._section.slice:
                    break
            is_through = count < self._section.slice
            audit.went_round = audit.went_round and is_through and not first
            audit.cursors[name] = "" if is_through else last

    def _new_ids(self) -> Iterator[str]:
        """Orders that were placed since, whether or not a topic knows of them."""
        newest = self._store.cursor("newest")
        first = _earlier(newest) if newest else ""
        # Without a newest one this is the first run, in which the slice begins at the beginning.
        for order_id in paged(self._sides.order.order_ids, first) if first else ():
            yield order_id
            newest = max(newest, order_id)
        self._store.set_cursor("newest", newest or _now_id(self._clock))

    def _of_orders(self) -> Mapping[str, OrderReader[Any]]:
        sides = self._sides
        return {
            "order": sides.order,
            "payment": sides.payment,
            "reservation": sides.reservation,
            "shipment": sides.shipment,
            "notification": sides.notification,
            "followed": sides.followed,
        }

    def _compare_customers(self, audit: _Audit, *, full: bool) -> None:
        wanted = self._store.customer_ids if full else self._store.touched_customers
        for ids in batches(paged(wanted)):
            if not audit.compare_customers(self._customers, ids):
                return

    def _compare_stock(self, audit: _Audit) -> None:
        """Each SKU is read in one statement: its difference is proved at once."""
        after = ""
        while skus := self._sides.stock.skus(after, IDS_MAX):
            for sku in skus:
                audit.checked[Check.STOCK] += 1
                audit.prove(judge_sku(sku))
            after = skus[-1].sku

    def _compare_ledger(self, audit: _Audit) -> None:
        """What the provider has under references that are no order's; its orders are compared."""
        at = int(self._store.cursor("ledger") or 0)
        strange: list[Difference] = []

        while entries := self._sides.ledger.entries(at, IDS_MAX):
            # What was charged was asked for on a topic before: by now it is known.
            if not self._topics.catch_up():
                return
            known = self._store.orders_of(sorted({entry.charge_reference for entry in entries}))
            strange += [_strange(each) for each in entries if each.charge_reference not in known]
            audit.checked[Check.LEDGER] += len(entries)
            self._store.touch_orders(known.values())
            at += len(entries)
            if not strange:
                # Before it nothing is strange: the next run begins there.
                self._store.set_cursor("ledger", str(at))

        if "orders" not in self._store.unknown_before():
            audit.prove(strange[:DIFFERENCES_MAX])

    def _compare_letters(self, audit: _Audit) -> None:
        known, opened = self._store.letter_counts()
        audit.checked[Check.DEAD_LETTERS] += known
        if opened:
            audit.notes.append(f"{opened:,} dead letters are open")

        audit.prove(
            Difference(
                check=Check.DEAD_LETTERS,
                subject=Subject.DEAD_LETTER,
                id=name,
                expected="dispositions: dealt with",
                actual="no such dead letter",
            )
            for name in self._store.strange_dispositions(STRANGE_MAX)
            if not self._store.unknown_before().get(name.rsplit("/", 2)[0])
        )

    def _settle(self, audit: _Audit, within_s: float) -> None:
        deadline = self._clock.monotonic() + within_s
        orders = settle(
            audit.unexplained_orders(),
            self._orders,
            unexplained,
            within_s=within_s,
            pause=self._pause,
            clock=self._clock,
        )

        customers = settle(
            audit.customers,
            self._customers,
            judge_customer,
            within_s=max(0.0, deadline - self._clock.monotonic()),
            pause=self._pause,
            clock=self._clock,
        )
        audit.settled(orders, customers)
        for name, cursor in audit.cursors.items():
            self._store.set_cursor(name, cursor)


class _Audit:
    """One audit, as far as it is: what was checked, what is suspect, what is proved."""

    def __init__(self, store: BooksStore, suspects_max: int) -> None:
        self._store = store
        self._suspects_max = suspects_max
        self.checked: Counter[Check] = Counter()
        self.orders: dict[str, Suspect[OrderAccount]] = {}
        self.customers: dict[str, Suspect[CustomerAccount]] = {}

        self.proved: list[Difference] = []
        self.in_flight: list[Difference] = []
        self.explained: list[Explained] = []
        self.awaited: Counter[str] = Counter()
        self.cursors: dict[str, str] = {}
        self.notes: list[str] = []
        self.copies: dict[str, Copy] = {}
        self.went_round = False
        self._compared_count = 0
        self._repeats = 0

    def compare_orders(self, accounts: OrderAccounts, ids: Sequence[str]) -> bool:
        """False if there are too many suspects."""
        agreeing = []
        for order_id, account in accounts.joined(ids).items():
            differences = judge_order(account)
            self._repeats += sum(event.repeats for event in account.events)
            if differences:
                self.orders[order_id] = Suspect(account, differences)
            else:
                agreeing.append(order_id)

        for check in RULES:
            self.checked[check] += len(ids)
        self._compared_count += len(ids)
        self._store.settle_orders(agreeing)
        # Until it is decided, and after it, it is compared in every run.
        self._store.touch_orders(self.orders)
        return len(self.orders) <= self._suspects_max

    def compare_customers(self, accounts: CustomerAccounts, ids: Sequence[str]) -> bool:
        agreeing = []
        for customer_id, account in accounts.joined(ids).items():
            if differences := judge_customer(account):
                self.customers[customer_id] = Suspect(account, differences)
            else:
                agreeing.append(customer_id)

        self.checked[Check.REVENUE] += len(ids)
        self.checked[Check.SEQUENCES] += len(ids)
        self._store.settle_customers(agreeing)
        return len(self.customers) <= self._suspects_max

    def add_copy(self, report: CopyReport) -> None:
        self.checked[report.check] += report.checked
        self.copies[report.copy.name] = report.copy
        self.explained += report.explained
        self.notes += report.notes
        self.prove(report.wrong)
        self.in_flight += report.in_flight
        self.awaited.update(who or "what happens meanwhile" for who in report.awaited)

    def prove(self, differences: Iterable[Difference]) -> None:
        self.proved += differences

    def unexplained_orders(self) -> dict[str, Suspect[OrderAccount]]:
        """Suspects with differences that no open dead letter explains; the others are noted."""
        suspects = {}
        for order_id, suspect in self.orders.items():
            for each in suspect.differences:
                if reason := explanation(suspect.account, each):
                    self.explained.append(Explained(difference=each, reason=reason))

            if differences := unexplained(suspect.account):
                suspects[order_id] = Suspect(suspect.account, differences)
        return suspects

    def settled(self, orders: Settled[OrderAccount], customers: Settled[CustomerAccount]) -> None:
        for order in orders.wrong.values():
            self.prove(order.differences)
        for customer in customers.wrong.values():
            self.prove(customer.differences)

        waiting = [
            *((each.waits_for, each.differences) for each in orders.in_flight.values()),
            *((each.waits_for, each.differences) for each in customers.in_flight.values()),
        ]
        for who, differences in waiting:
            self.in_flight += differences
            self.awaited[who or "what happens meanwhile"] += 1

    def report(self, **fields: Any) -> BooksReport:
        differ, fly = (
            Counter(each.check for each in some) for some in (self.proved, self.in_flight)
        )
        explained = Counter(each.difference.check for each in self.explained)
        notes = (*fields.pop("notes"), *self.notes)
        verdict = Verdict.BALANCED
        if self.proved:
            verdict = Verdict.DIFFERENT
        elif self.in_flight or any(it.state is CopyState.AWAY for it in self.copies.values()):
            verdict = Verdict.UNSETTLED

        return BooksReport(
            verdict=verdict,
            compared=self._compared_count,
            checks=tuple(
                CheckCount(
                    check=check,
                    checked=self.checked[check],
                    differences=differ[check],
                    in_flight=fly[check],
                    explained=explained[check],
                )
                for check in Check
            ),
            differences=tuple(self.proved[:DIFFERENCES_MAX]),
            in_flight=tuple(self.in_flight[:DIFFERENCES_MAX]),
            explained=tuple(self.explained[:DIFFERENCES_MAX]),
            awaited=tuple(
                Awaited(who=who.partition(",")[0], what=who.partition(", ")[2], accounts=count)
                for who, count in self.awaited.most_common()
            ),
            repeats=self._repeats,
            copies=tuple(
                self.copies.get(name, Copy(name=name, state=CopyState.ABSENT)) for name in COPIES
            ),
            notes=notes,
            **fields,
        )


def _strange(entry: LedgerEntry) -> Difference:
    return Difference(
        check=Check.LEDGER,
        subject=Subject.REFERENCE,
        id=entry.charge_reference,
        expected="topics: a payment that was asked for",
        actual=f"ledger: {entry.status} {entry.amount_minor} {entry.currency}",
    )


def _earlier(order_id: str) -> str:
    """An id of `OVERLAP` before: a UUIDv7 begins with its milliseconds."""
    millis = max(0, (UUID(order_id).int >> 80) - int(OVERLAP.total_seconds() * 1000))
    return str(UUID(int=millis << 80))


def _now_id(clock: Clock) -> str:
    return str(UUID(int=int(clock.now().timestamp() * 1000) << 80))
