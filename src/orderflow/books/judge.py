"""
The judge: what the sides say of one order, one SKU, one customer, and where they do not agree.

Pure. `judge_order` of an account that is at rest has no differences if and only if the sides agree
in everything that the checks compare; while something is in flight it has those that what is in
flight will mend. Which of the two it is, `audit` decides; nothing here knows of time or positions,
but for one: what was written to a topic before the books began to read it is not missed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from shlex import quote

from orderflow.books.accounts import (
    CustomerAccount,
    NotificationRow,
    OrderAccount,
    OrderSide,
    PaymentRow,
    SkuAccount,
    StatusChange,
    Sums,
    TopicEvent,
)
from orderflow.books.report import Check, Difference, Subject
from orderflow.contracts.events import (
    OrderCancelled,
    OrderCreated,
    OrderEvent,
    OrderShipped,
    OrderStatus,
    PaymentFailed,
    PaymentRefunded,
    PaymentRequested,
    PaymentSucceeded,
    StockRejected,
    StockReleased,
    StockReserved,
)
from orderflow.contracts.topics import INVENTORY, NOTIFICATIONS, ORDER_EVENTS, ORDERS, PAYMENTS

CREATED, PAID, SHIPPED = OrderStatus.CREATED, OrderStatus.PAID, OrderStatus.SHIPPED
DELIVERED, CANCELLED = OrderStatus.DELIVERED, OrderStatus.CANCELLED

LEGAL: Mapping[str, frozenset[str]] = {
    "": frozenset({CREATED}),
    CREATED: frozenset({PAID, CANCELLED}),
    PAID: frozenset({SHIPPED, CANCELLED}),
    SHIPPED: frozenset({DELIVERED}),
    DELIVERED: frozenset(),
    CANCELLED: frozenset(),
}
"""Which status may follow which; "" is the beginning."""

PAID_FOR = frozenset({PAID, SHIPPED, DELIVERED})

Words = tuple[str, str]
"""What is expected, and what is there instead: each with who says so."""

Rule = Callable[[OrderAccount, OrderSide], Iterator[Words]]


def judge_order(account: OrderAccount) -> list[Difference]:
    """Every difference between the sides of one order, by check."""
    order = account.order
    if order is None:
        return [_order_difference(account, Check.COMMITTED, words) for words in _unknown(account)]

    return [
        _order_difference(account, check, words)
        for check, rule in RULES.items()
        for words in rule(account, order)
    ]


def explanation(account: OrderAccount, difference: Difference) -> str:
    """Which open dead letter of the order is why, and what shows it; "" if none is."""
    for letter in account.letters:
        if difference.check in EXPLAINS.get(letter.group, ALL_CHECKS):
            return f"open dead letter: `orderflow dlt show {letter.name}`"
    return ""


def unexplained(account: OrderAccount) -> list[Difference]:
    """The differences of an order that no open dead letter explains."""
    return [each for each in judge_order(account) if not explanation(account, each)]


def judge_sku(account: SkuAccount) -> list[Difference]:
    """Every difference of one SKU: between its numbers, its movements and its reservations."""
    pairs = (
        (
            "received + corrected",
            account.received + account.corrected,
            "on hand + shipped",
            account.on_hand + account.shipped,
        ),
        ("on hand", account.on_hand, "movements add up to", account.moved_on_hand),
        ("received", account.received, "receipts add up to", account.moved_received),
        ("corrected", account.corrected, "corrections add up to", account.moved_corrected),
        ("shipped", account.shipped, "shipments add up to", account.moved_shipped),
        ("movements", account.movements, "there are", account.moved_count),
        ("movements", account.movements, "the last one is number", account.last_sequence),
        ("reserved", account.reserved, "open reservations add up to", account.open_reserved),
    )
    differences = [
        (f"stock: {name} {figure}", f"{other} {another}")
        for name, figure, other, another in pairs
        if figure != another
    ]
    if not 0 <= account.reserved <= account.on_hand:
        differences.append(
            ("stock: 0 ≤ reserved ≤ on hand", f"{account.reserved} of {account.on_hand}")
        )

    return [
        Difference(
            check=Check.STOCK,
            subject=Subject.SKU,
            id=account.sku,
            expected=expected,
            actual=actual,
            command="",
        )
        for expected, actual in differences
    ]


def judge_customer(account: CustomerAccount) -> list[Difference]:
    """Every difference of one customer: of revenue, and of what the customer was sent."""
    if not account.is_complete:
        return []

    return [
        *(
            _customer_difference(account, Check.REVENUE, words)
            for currency in sorted({*account.paid, *account.changed, *account.revenue})
            for words in _revenue(account, currency)
        ),
        *(_customer_difference(account, Check.SEQUENCES, words) for words in _sequence(account)),
    ]


def _unknown(account: OrderAccount) -> Iterator[Words]:
    """No such order: nobody may know it."""
    known = {
        "payment": account.payment is not None,
        "the provider": bool(account.ledger),
        "inventory": account.reservation is not None,
        "fulfilment": account.shipment is not None,
        "notification": bool(account.notifications),
        "analytics": account.followed is not None,
        **{f"topic {event.topic}": True for event in account.events},
    }
    if who := [name for name, knows in known.items() if knows]:
        yield "order: a row, because it is known to " + ", ".join(who), "order: none"


def _committed(account: OrderAccount, order: OrderSide) -> Iterator[Words]:
    created = account.of_type(OrderCreated.__name__)
    total = _money(order.amount_minor, order.currency)
    if not created and _is_expected(account, ORDERS.name, order.created_at):
        yield f"order: committed, {total}", "orders: no OrderCreated"
    if len(created) > 1:
        yield "orders: one OrderCreated", f"orders: {len(created)}, {_places(created)}"
    for event in created:
        if (event.amount_minor, event.currency) != (order.amount_minor, order.currency):
            yield f"order: {total}", f"orders: {_money(event.amount_minor, event.currency)}"
        if event.customer_id != order.customer_id:
            yield f"order: of {order.customer_id}", f"orders: of {event.customer_id}"
    # Before anybody asks for a payment, payment has nothing to write about an order.
    if account.payment is None and order.payment_attempt > 0:
        yield "order: committed", "payment: does not know the order"

    yield from _once_per_change(account, order, CANCELLED, OrderCancelled.__name__)
    yield from _once_per_change(account, order, SHIPPED, OrderShipped.__name__)
    yield from _requests(account, order)


def _once_per_change(
    account: OrderAccount, order: OrderSide, status: str, type_name: str
) -> Iterator[Words]:
    """The status change and its event on `orders`: both, or neither."""
    changes = [change for change in order.changes if change.status == status]
    numbers = sorted(event.number for event in account.of_type(type_name))
    expected = sorted(
        change.version
        for change in changes
        if change.version in numbers or _is_expected(account, ORDERS.name, change.occurred_at)
    )
    if numbers != expected:
        yield (
            f"order: {type_name} of version {_listed(expected)}",
            f"orders: of version {_listed(numbers)}",
        )


def _requests(account: OrderAccount, order: OrderSide) -> Iterator[Words]:
    """One PaymentRequested for each attempt, but for the first of an order paid for at once."""
    if not _is_expected(account, ORDERS.name, order.created_at):
        return

    first = 2 if order.payment_mode == "AUTOMATIC" else 1
    expected = list(range(first, order.payment_attempt + 1))
    # A retry may have made the same request anew, under another id.
    attempts = sorted({event.number for event in account.of_type(PaymentRequested.__name__)})
    if attempts != expected:
        yield (
            f"order: requested attempt {_listed(expected)}",
            f"orders: PaymentRequested for {_listed(attempts)}",
        )


def _versions(account: OrderAccount, order: OrderSide) -> Iterator[Words]:
    versions = [change.version for change in order.changes]
    if versions != list(range(1, order.version + 1)):
        yield f"order: version {order.version}", f"its history: {_listed(versions)}"

    events = account.of_type(OrderEvent.__name__)
    by_version: dict[int, list[TopicEvent]] = {}
    for event in events:
        by_version.setdefault(event.number, []).append(event)
    for change in order.changes:
        yield from _announced(account, change, by_version.pop(change.version, []))
    for version, strange in sorted(by_version.items()):
        yield f"order: no version {version}", f"order-events: {_places(strange)}"

    numbers = [event.number for event in events]
    if numbers != sorted(numbers) or len({event.partition for event in events}) > 1:
        yield "order-events: versions in order, on one partition", _places(events)


def _announced(
    account: OrderAccount, change: StatusChange, events: list[TopicEvent]
) -> Iterator[Words]:
    """One status change, and the events of its version."""
    named = f"order: version {change.version} is {change.status}, event {change.event_id}"
    if not events:
        if _is_expected(account, ORDER_EVENTS.name, change.occurred_at):
            yield named, "order-events: none"
        return

    if [(event.event_id, event.status) for event in events] != [(change.event_id, change.status)]:
        yield (
            named,
            "order-events: "
            + ", ".join(f"{event.status} {event.event_id} at {_place(event)}" for event in events),
        )


def _statuses(account: OrderAccount, order: OrderSide) -> Iterator[Words]:
    before = ""
    for change in order.changes:
        if change.status not in LEGAL.get(before, ()):
            yield (
                f"order: a legal status after {before or 'nothing'}",
                f"version {change.version} is {change.status}",
            )
        before = change.status
    if before != order.status:
        yield f"order: {order.status}", f"its history: {before or 'nothing'}"

    for event in account.of_type(OrderEvent.__name__):
        if event.status not in LEGAL.get(event.previous_status, ()):
            yield (
                f"order-events: a legal status after {event.previous_status or 'nothing'}",
                f"version {event.number} is {event.status}",
            )


def _money_of(account: OrderAccount, order: OrderSide) -> Iterator[Words]:
    payments = account.payment.payments if account.payment else ()
    net = sum(payment.captured_minor - payment.refunded_minor for payment in payments)
    expected = order.amount_minor if order.status in PAID_FOR else 0
    if net != expected:
        yield (
            f"order: {order.status}, {_money(expected, order.currency)}",
            f"payment: captured − refunded is {_money(net, order.currency)}",
        )
    for payment in payments:
        if payment.captured_minor and payment.currency != order.currency:
            yield f"order: in {order.currency}", f"payment: in {payment.currency}"


def _payments(account: OrderAccount, order: OrderSide) -> Iterator[Words]:
    side = account.payment
    if side is None:
        return

    is_expected = _is_expected(account, PAYMENTS.name, order.created_at)
    for payment in side.payments:
        yield from _outcome(account, payment, is_expected=is_expected)
    for refund in side.refunds:
        yield from _facts(
            account,
            PaymentRefunded.__name__,
            refund.refund_id,
            f"payment: refund {refund.refund_id} is {refund.state}",
            (refund.amount_minor, refund.currency) if refund.state == "SUCCEEDED" else None,
            is_expected=is_expected,
        )

    known = {payment.payment_id for payment in side.payments} | {
        refund.refund_id for refund in side.refunds
    }
    outcomes = account.of_type(
        PaymentSucceeded.__name__, PaymentFailed.__name__, PaymentRefunded.__name__
    )
    for event in outcomes:
        if event.subject_id not in known:
            yield f"payment: no row {event.subject_id}", f"payments: {_described(event)}"
    yield from _recorded(account, order)


def _outcome(account: OrderAccount, payment: PaymentRow, *, is_expected: bool) -> Iterator[Words]:
    """A payment's row, and the events that announce how it ended."""
    named = f"payment: attempt {payment.attempt} is {payment.state}"
    for type_name, state in (
        (PaymentSucceeded.__name__, "SUCCEEDED"),
        (PaymentFailed.__name__, "FAILED"),
    ):
        figure = (payment.amount_minor, payment.currency) if payment.state == state else None
        yield from _facts(
            account, type_name, payment.payment_id, named, figure, is_expected=is_expected
        )


def _facts(
    account: OrderAccount,
    type_name: str,
    subject_id: str,
    named: str,
    figure: tuple[int, str] | None,
    *,
    is_expected: bool,
) -> Iterator[Words]:
    """The event of this type about that payment or refund: one with `figure`, or none."""
    events = [event for event in account.of_type(type_name) if event.subject_id == subject_id]
    if figure is None:
        if events:
            yield named, f"payments: {_described(events[0])}"
        return

    amounts = [(event.amount_minor, event.currency) for event in events]
    if amounts != [figure] and (events or is_expected):
        told_of = ", ".join(map(_described, events)) or f"no {type_name}"
        yield f"{named}, {_money(*figure)}", f"payments: {told_of}"


def _recorded(account: OrderAccount, order: OrderSide) -> Iterator[Words]:
    """What the order has recorded of its newest attempt, and what payment has of it."""
    assert account.payment is not None
    by_attempt = {payment.attempt: payment for payment in account.payment.payments}
    payment = by_attempt.get(order.payment_attempt)
    if order.payment_state == "NONE":
        if payment is not None:
            yield "order: no payment was requested", f"payment: attempt {payment.attempt}"
        return
    if payment is None:
        yield f"order: attempt {order.payment_attempt} requested", "payment: no such attempt"
        return

    state = _state_of(account, payment)
    if (order.payment_state, order.payment_id) != (state, payment.payment_id):
        yield (
            f"payment: attempt {payment.attempt} is {state} ({payment.payment_id})",
            f"order: {order.payment_state} ({order.payment_id})",
        )


def _state_of(account: OrderAccount, payment: PaymentRow) -> str:
    """The state of a payment as the order's row names it."""
    refunds = account.payment.refunds if account.payment else ()
    if payment.state in ("REQUESTED", "UNKNOWN"):
        return "REQUESTED"
    if any(
        refund.payment_id == payment.payment_id and refund.state == "SUCCEEDED"
        for refund in refunds
    ):
        return "REFUNDED"
    return payment.state


def _ledger(account: OrderAccount, order: OrderSide) -> Iterator[Words]:
    side = account.payment
    expected: Counter[tuple[str, str, int, str]] = Counter()
    if side is not None:
        for payment in side.payments:
            if payment.state == "SUCCEEDED" and payment.amount_minor:
                row = ("captured", payment.payment_id, payment.amount_minor, payment.currency)
                expected[row] += 1
        for refund in side.refunds:
            if refund.state == "SUCCEEDED" and refund.amount_minor:
                row = ("refunded", refund.refund_id, refund.amount_minor, refund.currency)
                expected[row] += 1

    words = {"CAPTURED": "captured", "REFUNDED": "refunded"}
    entered = Counter(
        (words[entry.status], entry.reference, entry.amount_minor, entry.currency)
        for entry in account.ledger
        if entry.status in words
    )
    for missing in (expected - entered).elements():
        yield f"payment: {_entry(missing)}", "ledger: no such entry"
    for strange in (entered - expected).elements():
        yield f"payment: no such row (order {order.status})", f"ledger: {_entry(strange)}"


def _reservations(account: OrderAccount, order: OrderSide) -> Iterator[Words]:
    reserved, rejected, released = (
        account.of_type(event.__name__) for event in (StockReserved, StockRejected, StockReleased)
    )
    events = f"{len(reserved)} reserved, {len(rejected)} rejected, {len(released)} released"
    reservation = account.reservation
    if reservation is None:
        if reserved or rejected or released:
            yield "inventory: no reservation", f"inventory's events: {events}"
        if account.of_type(PaymentSucceeded.__name__):
            yield "payments: PaymentSucceeded", "inventory: no reservation"
        if order.stock != "NONE":
            yield "inventory: no reservation", f"order: stock {order.stock}"
        return

    named = f"inventory: {reservation.status}"
    # Released without a line: the refund came first, and nothing is announced of it.
    never_was = reservation.status == "RELEASED" and not reservation.lines and not reserved
    expected = (0, 0, 0) if never_was else EVENTS_OF[reservation.status]
    if (len(reserved), len(rejected), len(released)) != expected and (
        reserved or rejected or released or _is_expected(account, INVENTORY.name, order.created_at)
    ):
        yield named, f"inventory's events: {events}"

    stock = "NONE" if never_was else STOCK_OF[reservation.status]
    if order.stock != stock:
        yield named, f"order: stock {order.stock}"
    if reservation.status not in RESERVATIONS_OF[order.status]:
        yield f"order: {order.status}", named


def _shipments(account: OrderAccount, order: OrderSide) -> Iterator[Words]:
    shipment = account.shipment
    statuses = [change.status for change in order.changes]
    was_paid = PAID in statuses
    if not was_paid:
        # Stock that was reserved before the order knew of its payment opens a shipment, too.
        if shipment is not None and order.status == CREATED:
            yield "order: never paid", f"fulfilment: {shipment.status}"
        if shipment is not None and shipment.status not in ("WAITING", "CALLED_OFF", "PREPARED"):
            yield "order: never paid", f"fulfilment: {shipment.status}"
        return
    if shipment is None:
        yield f"order: {order.status}", "fulfilment: no shipment"
        return

    expected = SHIPMENT_OF.get(order.status) or (
        "PREPARED"
        if account.of_type(StockReserved.__name__) or order.stock == "RESERVED"
        else "WAITING"
    )
    if (shipment.status, shipment.version) != (expected, order.version):
        yield (
            f"order: {order.status}, version {order.version}: {expected}",
            f"fulfilment: {shipment.status}, version {shipment.version}",
        )


def _notifications(account: OrderAccount, order: OrderSide) -> Iterator[Words]:
    causes = {
        event.event_id: kind for event in account.events if (kind := _kind_of(event)) is not None
    }
    rows: dict[str, list[NotificationRow]] = {}
    for row in account.notifications:
        rows.setdefault(row.cause_id, []).append(row)

    for cause_id, kind in causes.items():
        kinds = [row.kind for row in rows.pop(cause_id, [])]
        if kinds != [kind]:
            yield (
                f"event {cause_id}: one notification {kind}",
                f"notification: {_listed(kinds)}",
            )
    for cause_id, strange in rows.items():
        if all(_is_expected(account, topic, order.created_at) for topic in CAUSING_TOPICS):
            yield (
                f"topics: no event {cause_id}",
                f"notification: {_listed([row.kind for row in strange])}",
            )
    yield from _outcomes(account, order)


def _outcomes(account: OrderAccount, order: OrderSide) -> Iterator[Words]:
    """Notifications that have ended, and what `notifications` says of them."""
    by_id: dict[str, list[int]] = {}
    for event in account.events:
        if event.topic == NOTIFICATIONS.name:
            by_id.setdefault(event.subject_id, []).append(event.number)

    for row in account.notifications:
        expected = [] if row.sequence is None else [row.sequence]
        numbers = by_id.pop(row.notification_id, [])
        if numbers != expected and (
            numbers or _is_expected(account, NOTIFICATIONS.name, order.created_at)
        ):
            yield (
                f"notification: {row.kind} {row.state}, number {_listed(expected)}",
                f"notifications: {_listed(numbers)}",
            )
    for notification_id in by_id:
        yield f"notification: no row {notification_id}", "notifications: has its outcome"


def _analytics(account: OrderAccount, order: OrderSide) -> Iterator[Words]:
    followed = account.followed
    changes = tuple((change.version, change.status) for change in order.changes)
    if followed is None:
        yield f"order: {order.status}, version {order.version}", "analytics: does not know it"
        return

    if (followed.status, followed.version) != (order.status, order.version):
        yield (
            f"order: {order.status}, version {order.version}",
            f"analytics: {followed.status}, version {followed.version}",
        )
    if followed.counted != changes:
        yield (
            f"order: {_listed([f'{version} {status}' for version, status in changes])}",
            "analytics counted: "
            + _listed([f"{version} {status}" for version, status in followed.counted]),
        )


def _handled(account: OrderAccount, _order: OrderSide) -> Iterator[Words]:
    by_id = {event.event_id: event for event in account.events}
    for group, event_ids in sorted(account.unhandled.items()):
        for event_id in event_ids:
            yield (
                f"{_described(by_id[event_id])}: an effect of {group}",
                f"{group}: the event is not in its inbox",
            )


def _deadlines(_account: OrderAccount, order: OrderSide) -> Iterator[Words]:
    if order.status not in (DELIVERED, CANCELLED) and order.waiting_for is None:
        yield f"order: {order.status}, waits for somebody", "order: waits for nobody"


RULES: Mapping[Check, Rule] = {
    Check.COMMITTED: _committed,
    Check.VERSIONS: _versions,
    Check.STATUSES: _statuses,
    Check.MONEY: _money_of,
    Check.PAYMENTS: _payments,
    Check.LEDGER: _ledger,
    Check.RESERVATIONS: _reservations,
    Check.SHIPMENTS: _shipments,
    Check.NOTIFICATIONS: _notifications,
    Check.ANALYTICS: _analytics,
    Check.HANDLED: _handled,
    Check.DEADLINES: _deadlines,
}
"""The checks of an order, each by its rule: a table."""

EVENTS_OF: Mapping[str, tuple[int, int, int]] = {
    "RESERVED": (1, 0, 0),
    "REJECTED": (0, 1, 0),
    "RELEASED": (1, 0, 1),
    "SHIPPED": (1, 0, 0),
}
"""How many StockReserved, StockRejected and StockReleased a reservation has announced."""

STOCK_OF: Mapping[str, str] = {
    "RESERVED": "RESERVED",
    "REJECTED": "REJECTED",
    "RELEASED": "RELEASED",
    "SHIPPED": "RESERVED",
}
"""The order's `stock` for a reservation."""

RESERVATIONS_OF: Mapping[str, frozenset[str]] = {
    CREATED: frozenset(),
    PAID: frozenset({"RESERVED"}),
    SHIPPED: frozenset({"SHIPPED"}),
    DELIVERED: frozenset({"SHIPPED"}),
    CANCELLED: frozenset({"REJECTED", "RELEASED"}),
}
"""At rest, the reservation for an order of that status, if there is any."""

SHIPMENT_OF: Mapping[str, str] = {
    SHIPPED: "TRACKED",
    DELIVERED: "CLOSED",
    CANCELLED: "CALLED_OFF",
}

ALL_CHECKS = frozenset(Check)
EXPLAINS: Mapping[str, frozenset[Check]] = {
    "analytics-service": frozenset({Check.ANALYTICS}),
    "order-processor": frozenset({Check.SHIPMENTS}),
    "notification-service": frozenset({Check.NOTIFICATIONS}),
    "revenue-service": frozenset(),
    "payments-warehouse": frozenset(),
    "lake-exporter": frozenset(),
}
"""
What a dead letter of a group can be the reason of; those of others hold up all that follows in an
order's life.
"""

KINDS: Mapping[str, str] = {
    OrderCreated.__name__: "ORDER_CREATED",
    PaymentSucceeded.__name__: "PAYMENT_SUCCEEDED",
    PaymentFailed.__name__: "PAYMENT_FAILED",
    PaymentRefunded.__name__: "PAYMENT_REFUNDED",
    StockRejected.__name__: "STOCK_REJECTED",
}
KINDS_OF_STATUS: Mapping[str, str] = {
    SHIPPED: "ORDER_SHIPPED",
    DELIVERED: "ORDER_DELIVERED",
    CANCELLED: "ORDER_CANCELLED",
}
"""What a customer is told, by the type of the event that causes it, or by its status."""

CAUSING_TOPICS = (ORDERS.name, ORDER_EVENTS.name, PAYMENTS.name, INVENTORY.name)


def _kind_of(event: TopicEvent) -> str | None:
    if event.type == OrderEvent.__name__:
        return KINDS_OF_STATUS.get(event.status)
    return KINDS.get(event.type)


def _revenue(account: CustomerAccount, currency: str) -> Iterator[Words]:
    nothing = Sums()
    paid, changed, revenue = (
        sums.get(currency, nothing) for sums in (account.paid, account.changed, account.revenue)
    )
    if paid != changed:
        yield f"payments: {_sums(paid, currency)}", f"re-keyed: {_sums(changed, currency)}"
    if changed != revenue:
        yield f"re-keyed: {_sums(changed, currency)}", f"revenue: {_sums(revenue, currency)}"


def _sequence(account: CustomerAccount) -> Iterator[Words]:
    side = account.notified
    numbered, last = (side.numbered, side.last_sequence) if side else (0, 0)
    if numbered != last:
        yield f"notification: {numbered} have a number", f"the highest is {last}"
    if (account.announced, account.last_announced) != (numbered, last):
        yield (
            f"notification: {numbered} have a number, the highest {last}",
            f"notifications: {account.announced}, the highest {account.last_announced}",
        )


def _is_expected(account: OrderAccount, topic: str, at: datetime) -> bool:
    """Whether what was written to a topic at that time must be known to the books."""
    since = account.unknown_before.get(topic)
    return since is None or at > since


def _order_difference(account: OrderAccount, check: Check, words: Words) -> Difference:
    return Difference(
        check=check,
        subject=Subject.ORDER,
        id=account.order_id,
        expected=words[0],
        actual=words[1],
        command=f"orderflow trace {quote(account.order_id)}",
    )


def _customer_difference(account: CustomerAccount, check: Check, words: Words) -> Difference:
    customer = quote(account.customer_id)
    command = (
        f"orderflow revenue {customer}"
        if check is Check.REVENUE
        else f"orderflow tail notifications --from-beginning --no-follow --key {customer}"
    )

    return Difference(
        check=check,
        subject=Subject.CUSTOMER,
        id=account.customer_id,
        expected=words[0],
        actual=words[1],
        command=command,
    )


def _money(minor: int, currency: str) -> str:
    return f"{minor} {currency}"


def _sums(sums: Sums, currency: str) -> str:
    return (
        f"{sums.captured_minor} − {sums.refunded_minor} {currency}"
        f" in {sums.payments} + {sums.refunds}"
    )


def _entry(row: tuple[str, str, int, str]) -> str:
    what, reference, minor, currency = row
    return f"{what} {_money(minor, currency)} under {reference}"


def _place(event: TopicEvent) -> str:
    return f"{event.topic}-{event.partition}@{event.offset}"


def _places(events: Iterable[TopicEvent]) -> str:
    return ", ".join(map(_place, events))


def _described(event: TopicEvent) -> str:
    return f"{event.type} {event.event_id} at {_place(event)}"


def _listed(things: Iterable[object]) -> str:
    return ", ".join(map(str, things)) or "none"
