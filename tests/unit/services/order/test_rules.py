"""Facts in any order lead to the same end: every interleaving of all of them, repeats included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import permutations, product

import msgspec
import pytest
from tests.support import builders
from tests.support.builders import an_order, paid, payment_failed

from orderflow.contracts.events import (
    CancelReason,
    Event,
    OrderCancelled,
    OrderCreated,
    OrderEvent,
    OrderStatus,
    PaymentMode,
    PaymentRefunded,
    PaymentSucceeded,
)
from orderflow.contracts.ids import CustomerId, OrderId, PaymentId, payment_id
from orderflow.messaging.errors import Poison
from orderflow.services.order.change_events import events
from orderflow.services.order.model import Order, Payment, PaymentState, StockState, place
from orderflow.services.order.rules import Change, Fact, NotAllowed, cancel, on_fact, settles

ORDER = OrderId("0198a0b2-1111-7222-8333-444455556666")
CUSTOMER = CustomerId("customer-123")
NOW = datetime(2026, 1, 31, 9, 5, 0, 123_000, tzinfo=UTC)

End = tuple[OrderStatus, PaymentState, StockState]


def placed() -> Order:
    return place(
        order_id=ORDER,
        customer_id=CUSTOMER,
        lines=(),
        currency="EUR",
        mode=PaymentMode.AUTOMATIC,
        payment_method="pm_ok",
        now=NOW,
    )


succeeded = partial(paid, placed())
failed = partial(payment_failed, placed())
refunded = partial(builders.refunded, placed())
reserved = partial(builders.reserved, placed())
rejected = partial(builders.rejected, placed())
released = partial(builders.released, placed())


def cancelled(order: Order) -> Change:
    return cancel(order, reason=CancelReason.CUSTOMER, now=NOW)


def end_of(order: Order) -> End:
    return order.status, order.payment.state, order.stock


def after_facts(order: Order, facts: Iterable[Fact]) -> tuple[Order, list[Event]]:
    """
    The order after all facts, and the events that it published.

    Each step is one revision, and one version for each OrderEvent.
    """
    published: list[Event] = []
    for fact in facts:
        for change in on_fact(order, fact, now=NOW):
            assert change.before == order
            order = checked(change)
            published += events(change)
    return order, published


def checked(change: Change) -> Order:
    before, after = change.before, change.after
    assert after.revision == before.revision + 1
    assert after.version == before.version + (after.status is not before.status)
    changes = [event for event in events(change) if isinstance(event, OrderEvent)]
    assert [(event.version, event.previous_status, event.status) for event in changes] == (
        [(after.version, before.status, after.status)] if after.version > before.version else []
    )
    cancels = [event for event in events(change) if isinstance(event, OrderCancelled)]
    assert len(cancels) == (
        after.status is OrderStatus.CANCELLED and before.status is not OrderStatus.CANCELLED
    )
    return after


def every_order(facts: Sequence[Fact]) -> Iterator[tuple[Fact, ...]]:
    """Every permutation of the facts with each of them twice."""
    yield from set(permutations([*facts, *facts]))


CREATED, PAID, CANCELLED = OrderStatus.CREATED, OrderStatus.PAID, OrderStatus.CANCELLED
SUCCEEDED, FAILED, REFUNDED = PaymentState.SUCCEEDED, PaymentState.FAILED, PaymentState.REFUNDED
NONE, RESERVED, REJECTED, RELEASED = StockState


@pytest.mark.parametrize(
    ("facts", "end"),
    [
        ([succeeded()], (PAID, SUCCEEDED, NONE)),
        ([succeeded(), reserved()], (PAID, SUCCEEDED, RESERVED)),
        ([succeeded(), rejected()], (CANCELLED, SUCCEEDED, REJECTED)),
        ([failed()], (CREATED, FAILED, NONE)),
        ([failed(), succeeded(2)], (PAID, SUCCEEDED, NONE)),
        ([failed(), failed(2), succeeded(3)], (PAID, SUCCEEDED, NONE)),
        ([failed(), succeeded(2), reserved(2)], (PAID, SUCCEEDED, RESERVED)),
        ([failed(), succeeded(2), rejected(2)], (CANCELLED, SUCCEEDED, REJECTED)),
    ],
    ids=lambda value: (
        "+".join(type(fact).__name__ for fact in value) if isinstance(value, list) else ""
    ),
)
def test_facts_in_every_order_and_twice_lead_to_the_same_end(facts: list[Fact], end: End) -> None:
    for sequence in every_order(facts):
        order, published = after_facts(placed(), sequence)
        assert end_of(order) == end, sequence
        assert sum(isinstance(event, OrderCancelled) for event in published) == (
            end[0] is CANCELLED
        )
        assert order.payment.attempt == max(getattr(fact, "attempt", 1) for fact in facts)


@pytest.mark.parametrize(
    ("facts", "payment", "stock"),
    [
        ([failed()], FAILED, NONE),
        ([succeeded(), refunded()], REFUNDED, NONE),
        ([succeeded(), refunded(), rejected()], REFUNDED, REJECTED),
        ([succeeded(), refunded(), reserved(), released()], REFUNDED, RELEASED),
    ],
)
def test_facts_of_a_cancelled_order_are_recorded_in_every_order_and_nothing_follows(
    facts: list[Fact], payment: PaymentState, stock: StockState
) -> None:
    for sequence in every_order(facts):
        order, published = after_facts(checked(cancelled(placed())), sequence)
        assert end_of(order) == (CANCELLED, payment, stock), sequence
        assert (published, order.version) == ([], 2)


def test_a_paid_order_without_stock_is_cancelled_at_once() -> None:
    """Whichever of the two facts comes second."""
    facts: list[Fact] = [succeeded(), rejected()]
    for first, second in permutations(facts):
        order, _ = after_facts(placed(), [first])
        assert order.status is not CANCELLED
        order, published = after_facts(order, [second])
        assert isinstance(published[-2], OrderCancelled)
        assert (published[-2].reason, published[-2].version) == ("OUT_OF_STOCK", 3)
        assert isinstance(published[-1], OrderEvent)
        assert (published[-1].reason, published[-1].version) == ("OUT_OF_STOCK", 3)


def test_no_fact_ever_moves_its_column_down_or_touches_the_other_one() -> None:
    facts = [
        *(make(attempt) for make in (succeeded, failed, refunded) for attempt in (1, 2)),
        reserved(),
        rejected(),
    ]
    ranks = {"NONE": 0, "REQUESTED": 1, "FAILED": 2, "SUCCEEDED": 2, "REFUNDED": 3}
    stocks = {
        NONE: {*StockState},
        RESERVED: {RESERVED, RELEASED},
        REJECTED: {REJECTED},
        RELEASED: {RELEASED},
    }

    for status, state, attempt, stock in product(OrderStatus, PaymentState, (1, 2), StockState):
        paid = Payment(attempt=attempt, state=state, payment_id=payment_id(ORDER, attempt))
        order = msgspec.structs.replace(placed(), status=status, payment=paid, stock=stock)
        for fact in [*facts, released()]:
            changes = on_fact(order, fact, now=NOW)
            if not changes:
                continue
            after = changes[0].after
            assert not changes[0].is_of_status, "a fact is recorded before it is judged"
            assert after.stock in stocks[stock]
            moved = (after.payment.attempt, ranks[after.payment.state]) > (attempt, ranks[state])
            assert moved != (after.stock is not stock), "one column moves"


def test_a_fact_about_another_payment_is_poison() -> None:
    strange = msgspec.structs.replace(
        succeeded(), payment_id=PaymentId("0198a0b2-0000-7222-8333-444455556666")
    )
    with pytest.raises(Poison, match=r"attempt 1.*not 0198a0b2-0000"):
        on_fact(placed(), strange, now=NOW)


@pytest.mark.parametrize("status", list(OrderStatus))
def test_what_has_left_the_house_or_is_cancelled_can_not_be_cancelled(status: OrderStatus) -> None:
    order = msgspec.structs.replace(placed(), status=status)
    if status in (CREATED, PAID):
        assert checked(cancelled(order)).status is CANCELLED
    else:
        with pytest.raises(NotAllowed, match=str(status)):
            cancelled(order)


class World(msgspec.Struct, frozen=True, kw_only=True):
    """
    The order, and its neighbours as the design describes them.

    Payment reads `orders` in order, inventory `payments`. Facts reach the order in any order, and
    `repeats` of them twice.
    """

    order: Order
    declines: bool
    short: bool
    cancel_left: bool
    repeats: int
    to_payment: tuple[Event, ...] = ()
    to_inventory: tuple[Event, ...] = ()
    to_order: tuple[Fact, ...] = ()
    closed: bool = False
    charged: str = "NONE"
    reservation: str = "NONE"

    def next_worlds(self) -> Iterator[World]:
        if self.cancel_left:
            yield self._cancels()
        if self.to_payment:
            yield self._pays(self.to_payment[0], self.to_payment[1:])
        if self.to_inventory:
            yield self._reserves(self.to_inventory[0], self.to_inventory[1:])
        for index, fact in enumerate(self.to_order):
            rest = self.to_order[:index] + self.to_order[index + 1 :]
            yield self._hears(fact, to_order=rest)
            if self.repeats:
                yield self._hears(fact, to_order=self.to_order, repeats=self.repeats - 1)

    def _with(self, **changed: object) -> World:
        return msgspec.structs.replace(self, **changed)

    def _cancels(self) -> World:
        try:
            change = cancelled(self.order)
        except NotAllowed:
            return self._with(cancel_left=False)
        return self._with(
            cancel_left=False,
            order=checked(change),
            to_payment=self.to_payment + events(change)[:1],
        )

    def _pays(self, event: Event, rest: tuple[Event, ...]) -> World:
        if isinstance(event, OrderCreated):
            if self.declines or self.closed:
                return self._tells_of_payment(failed(), to_payment=rest, charged="FAILED")
            return self._tells_of_payment(succeeded(), to_payment=rest, charged="CAPTURED")
        assert isinstance(event, OrderCancelled)
        if self.charged == "CAPTURED":
            return self._tells_of_payment(
                refunded(), to_payment=rest, charged="REFUNDED", closed=True
            )
        return self._with(to_payment=rest, closed=True)

    def _tells_of_payment(self, fact: Fact, **changed: object) -> World:
        return self._with(
            **changed, to_order=(*self.to_order, fact), to_inventory=(*self.to_inventory, fact)
        )

    def _reserves(self, event: Event, rest: tuple[Event, ...]) -> World:
        published: tuple[Fact, ...] = ()
        reservation = self.reservation
        if isinstance(event, PaymentSucceeded) and reservation == "NONE":
            reservation, published = (
                ("REJECTED", (rejected(),)) if self.short else ("RESERVED", (reserved(),))
            )
        elif isinstance(event, PaymentRefunded) and reservation in ("NONE", "RESERVED"):
            published = (released(),) if reservation == "RESERVED" else ()
            reservation = "RELEASED"
        return self._with(
            to_inventory=rest, reservation=reservation, to_order=self.to_order + published
        )

    def _hears(self, fact: Fact, **changed: object) -> World:
        order, published = after_facts(self.order, [fact])
        cancels = tuple(event for event in published if isinstance(event, OrderCancelled))
        return self._with(**changed, order=order, to_payment=self.to_payment + cancels)

    def assert_right_at_the_end(self) -> None:
        order = self.order
        assert (self.charged == "REFUNDED") == (order.payment.state is REFUNDED)
        assert (self.charged == "CAPTURED") == (order.payment.state is SUCCEEDED)
        assert (self.charged == "CAPTURED") == (order.status is PAID), (
            "money is kept for a paid order, and only for it"
        )
        assert (self.reservation == "RESERVED") == (order.status is PAID)
        assert order.stock == self.reservation or (
            order.stock is NONE and self.reservation == "RELEASED"
        )
        assert order.status is not CREATED or order.payment.state is FAILED


@pytest.mark.parametrize("declines", [False, True])
@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("cancel_left", [False, True])
def test_only_paid_orders_keep_money_and_stock(
    declines: bool, short: bool, cancel_left: bool
) -> None:
    """In every interleaving of all services."""
    order = placed()
    first = World(
        order=order,
        declines=declines,
        short=short,
        cancel_left=cancel_left,
        repeats=2,
        to_payment=(an_order(ORDER, minor=0, at=NOW),),
    )
    seen, open_worlds, ends = {first}, [first], set()

    while open_worlds:
        world = open_worlds.pop()
        if not (world.to_payment or world.to_inventory or world.to_order):
            world.assert_right_at_the_end()
            ends.add(end_of(world.order))
        new = [following for following in world.next_worlds() if following not in seen]
        seen.update(new)
        open_worlds += new

    expected = {(CREATED, FAILED, NONE)} if declines else set()
    if not declines:
        expected = {(CANCELLED, REFUNDED, REJECTED)} if short else {(PAID, SUCCEEDED, RESERVED)}
    assert ends >= expected
    assert cancel_left or ends == expected


@pytest.mark.parametrize(
    ("facts", "times"),
    [
        ([succeeded(), reserved()], 1),
        ([succeeded(), rejected()], 1),
        ([failed()], 1),
        ([succeeded()], 0),
        ([failed(2)], 0),
    ],
)
def test_an_order_settles_once_whatever_the_order_of_its_facts(
    facts: list[Fact], times: int
) -> None:
    for sequence in every_order(facts):
        order, settled = placed(), 0
        for fact in sequence:
            for change in on_fact(order, fact, now=NOW):
                settled += settles(change)
                order = change.after
        assert settled == times, sequence


def test_an_order_that_is_cancelled_while_it_is_awaited_has_settled() -> None:
    change = cancelled(placed())
    assert settles(change)
    reserved_order, _ = after_facts(placed(), [succeeded(), reserved()])
    assert not settles(cancelled(reserved_order)), "it had settled before"


def test_an_order_that_waited_for_people_is_not_counted_as_settled() -> None:
    on_request = msgspec.structs.replace(placed(), payment_mode=PaymentMode.ON_REQUEST)
    order, _ = after_facts(on_request, [succeeded()])
    assert not any(settles(change) for change in on_fact(order, reserved(), now=NOW))
