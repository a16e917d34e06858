"""Every decision: each event, whatever is recorded of its order, and every history of an order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import product

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.builders import (
    AMOUNT_MINOR,
    an_order,
    an_order_on_request,
    cancelled,
    payment_requested,
)
from tests.unit.services.payment.accounts import (
    ANOTHER_CAUSE,
    CAUSE,
    CLOSING,
    CONDITIONS,
    NOW,
    ORDER_ID,
    recorded,
    refund_in,
)

from orderflow.contracts.events import (
    Event,
    PaymentFailed,
    PaymentFailureReason,
    PaymentRefunded,
    PaymentSucceeded,
)
from orderflow.contracts.ids import PaymentId, RefundId, payment_id
from orderflow.messaging.errors import Poison
from orderflow.services.payment import model
from orderflow.services.payment.model import (
    NEW_ORDER,
    AnotherPaymentStands,
    Closing,
    OrderAccount,
    Payment,
    PaymentState,
    Refund,
    RefundState,
    Repeated,
)
from orderflow.services.payment.rules import (
    Announce,
    ChargePayment,
    ClosedOrder,
    ConsumedEvent,
    Decision,
    RefundPayment,
    VoidPayment,
    Wait,
    account_after,
    asks_for_payment,
    decide,
)


class Expected(Enum):
    CHARGE = auto()
    CHARGE_AGAIN = auto()
    ANNOUNCE = auto()
    VOID = auto()
    REFUSE = auto()
    WAIT = auto()
    RAISE = auto()
    REFUND = auto()
    REFUND_AGAIN = auto()
    OWE = auto()


CHARGE, CHARGE_AGAIN, ANNOUNCE, VOID, REFUSE, WAIT, RAISE, REFUND, REFUND_AGAIN, OWE = Expected

IF_RECORDED: Mapping[str, tuple[Expected, Expected]] = {
    "requested": (CHARGE_AGAIN, VOID),
    "unknown": (CHARGE_AGAIN, VOID),
    "captured": (ANNOUNCE, OWE),
    "failed": (ANNOUNCE, ANNOUNCE),
    "refund requested": (ANNOUNCE, ANNOUNCE),
    "refunded": (ANNOUNCE, ANNOUNCE),
}
"""The attempt at hand is recorded in this condition, its order open or closed: what is decided."""

IF_NEW: Mapping[str | None, tuple[Expected, Expected]] = {
    None: (CHARGE, REFUSE),
    "failed": (CHARGE, REFUSE),
    "requested": (WAIT, REFUSE),
    "unknown": (WAIT, REFUSE),
    "captured": (RAISE, REFUSE),
    "refund requested": (RAISE, REFUSE),
    "refunded": (RAISE, REFUSE),
}
"""The attempt at hand is new, another one is in this condition, the order open or closed."""

IF_CANCELLED: Mapping[str | None, Expected] = {
    None: ANNOUNCE,
    "failed": ANNOUNCE,
    "requested": VOID,
    "unknown": VOID,
    "captured": REFUND,
    "refund requested": REFUND_AGAIN,
    "refunded": ANNOUNCE,
}
"""The order is cancelled, its last payment is in this condition."""


def ask(attempt: int, *, minor: int = AMOUNT_MINOR) -> ConsumedEvent:
    """The event that asks for this attempt: the first is asked for by the order's creation."""
    if attempt == 1:
        return an_order(ORDER_ID, minor=minor)
    return payment_requested(an_order(ORDER_ID, minor=minor), attempt)


def new_payment(attempt: int, *, minor: int = AMOUNT_MINOR) -> Payment:
    return msgspec.structs.replace(
        recorded("requested", attempt=attempt, minor=minor), created_at=NOW
    )


def decided(event: ConsumedEvent, account: OrderAccount) -> Decision:
    return decide(event, account, cause=CAUSE, now=NOW)


@pytest.mark.parametrize(
    ("condition", "other", "closed", "attempt"),
    [*product(IF_RECORDED, [None, *CONDITIONS], [False, True], [1, 2])],
)
def test_a_recorded_attempt_goes_on_from_its_record_whatever_else_there_is(
    condition: str, other: str | None, attempt: int, *, closed: bool
) -> None:
    payment = recorded(condition, attempt=attempt, settled_by=CAUSE)
    others = () if other is None else (recorded(other, attempt=3 - attempt, settled_by=CAUSE),)
    account = OrderAccount(CLOSING if closed else None, (*others, payment))
    decision = decided(ask(attempt), account)

    refund = msgspec.structs.replace(refund_of(payment, CLOSING.reason), created_by=CAUSE)
    expected = {
        OWE: Decision(RefundPayment(payment, refund, sent_before=False), refund=(payment, refund)),
        CHARGE_AGAIN: Decision(ChargePayment(payment, sent_before=True)),
        VOID: Decision(VoidPayment(payment)),
        ANNOUNCE: Decision(Announce(model.announcements([payment], CAUSE))),
    }
    assert decision == expected[IF_RECORDED[condition][closed]], "nothing new is written"


@pytest.mark.parametrize(
    ("other", "closed", "attempts"), [*product(IF_NEW, [False, True], [(1, 2), (2, 1), (3, 2)])]
)
def test_a_new_attempt_is_charged_only_beside_attempts_that_failed(
    other: str | None, attempts: tuple[int, int], *, closed: bool
) -> None:
    attempt, other_attempt = attempts
    others = () if other is None else (recorded(other, attempt=other_attempt),)
    account = OrderAccount(CLOSING if closed else None, others)
    payment = new_payment(attempt)
    expected = IF_NEW[other][closed]
    if expected is RAISE:
        message = f"attempt {attempt} is not charged, attempt {other_attempt} was captured"
        with pytest.raises(AnotherPaymentStands, match=message):
            decided(ask(attempt), account)
        return

    refused = msgspec.structs.replace(
        payment,
        state=PaymentState.FAILED,
        reason="ORDER_CANCELLED",
        message="the order was cancelled before it was charged",
        settled_at=NOW,
        settled_by=CAUSE,
    )
    assert (
        decided(ask(attempt), account)
        == {
            CHARGE: Decision(ChargePayment(payment, sent_before=False), payment=payment),
            WAIT: Decision(Wait()),
            REFUSE: Decision(Announce((model.outcome_event(refused),)), payment=refused),
        }[expected]
    )


@pytest.mark.parametrize("failed", range(4))
def test_the_live_attempt_is_found_behind_all_that_failed(failed: int) -> None:
    payments = [recorded("failed", attempt=attempt) for attempt in range(1, failed + 1)]
    live = recorded("unknown", attempt=failed + 1)
    account = OrderAccount(payments=(*payments, live))
    assert decided(ask(failed + 2), account) == Decision(Wait())


@pytest.mark.parametrize("other", [None, "failed"])
def test_a_total_of_zero_is_captured_without_the_provider(other: str | None) -> None:
    payments = () if other is None else (recorded(other),)
    decision = decided(ask(2, minor=0), OrderAccount(payments=payments))
    free = msgspec.structs.replace(
        new_payment(2, minor=0), state=PaymentState.SUCCEEDED, settled_at=NOW, settled_by=CAUSE
    )
    assert decision == Decision(Announce((model.outcome_event(free),)), payment=free)
    assert free.provider_reference is None


@pytest.mark.parametrize("other", [condition for condition in CONDITIONS if condition != "failed"])
def test_a_total_of_zero_obeys_the_rules_all_the_same(other: str) -> None:
    account = OrderAccount(payments=(recorded(other),))
    if IF_NEW[other][False] is RAISE:
        with pytest.raises(AnotherPaymentStands):
            decided(ask(2, minor=0), account)
    else:
        assert decided(ask(2, minor=0), account) == Decision(Wait())
    closed = decided(ask(2, minor=0), OrderAccount(CLOSING))
    assert closed.payment is not None
    assert closed.payment.state is PaymentState.FAILED


@pytest.mark.parametrize("account", [NEW_ORDER, OrderAccount(CLOSING)])
def test_a_payment_id_that_is_not_the_attempts_own_is_poison_for_every_account(
    account: OrderAccount,
) -> None:
    foreign = msgspec.structs.replace(an_order(ORDER_ID), payment_id=payment_id(ORDER_ID, 2))
    with pytest.raises(Poison):
        decided(foreign, account)


@pytest.mark.parametrize(
    ("condition", "failed_before", "closed", "settled_by", "refunded_by"),
    [
        *product(
            IF_CANCELLED,
            [0, 2],
            [False, True],
            [CAUSE, ANOTHER_CAUSE],
            [CAUSE, ANOTHER_CAUSE],
        )
    ],
)
def test_a_cancellation_closes_the_order_and_refunds_what_was_captured(
    condition: str | None,
    failed_before: int,
    settled_by: str,
    refunded_by: str,
    *,
    closed: bool,
) -> None:
    """An open payment is voided first. The order is closed once, whatever else is decided."""
    failed = [
        recorded("failed", attempt=attempt, settled_by=settled_by)
        for attempt in range(1, failed_before + 1)
    ]
    last = None
    if condition is not None:
        last = recorded(
            condition, attempt=failed_before + 1, settled_by=settled_by, refunded_by=refunded_by
        )
    payments = (*failed, last) if last else tuple(failed)
    event = cancelled(an_order(ORDER_ID), "OUT_OF_STOCK")
    closing = Closing(CAUSE, event.reason) if closed else None
    decision = decided(event, OrderAccount(closing, payments))

    assert decision.closed_order == (None if closed else ClosedOrder(event, CAUSE))
    assert decision.payment is None
    expected = IF_CANCELLED[condition]
    if expected is ANNOUNCE:
        assert isinstance(decision.then, Announce)
        own = model.announcements(payments, CAUSE)
        assert decision.then.events[: len(own)] == own
        of_others = decision.then.events[len(own) :]
        is_elsewhere = condition == "refunded" and refunded_by != CAUSE
        assert len(of_others) == is_elsewhere, "only a refund that another record announces"
        assert decision.refund is None
        return

    assert last is not None
    refund = refund_of(last, event.reason)
    assert (
        decision.then
        == {
            VOID: VoidPayment(last),
            REFUND: RefundPayment(last, refund, sent_before=False),
            REFUND_AGAIN: RefundPayment(last, last.refund or refund, sent_before=True),
        }[expected]
    )
    assert decision.refund == ((last, refund) if expected is REFUND else None)


def refund_of(payment: Payment, reason: str) -> Refund:
    """The whole payment, requested now by the event at hand."""
    requested = refund_in("refund requested", payment.attempt, payment.amount_minor, CAUSE)
    return msgspec.structs.replace(requested, reason=reason, created_at=NOW)


@pytest.mark.parametrize("settled_by", [CAUSE, ANOTHER_CAUSE])
def test_a_total_of_zero_is_refunded_without_the_provider(settled_by: str) -> None:
    payment = recorded("captured", minor=0, settled_by=settled_by)
    decision = decided(cancelled(an_order(ORDER_ID)), OrderAccount(payments=(payment,)))
    assert decision.refund is not None
    assert isinstance(decision.then, Announce)

    of, refund = decision.refund
    assert of == payment
    assert (refund.state, refund.settled_at) == (RefundState.SUCCEEDED, NOW)
    types = [type(event) for event in decision.then.events]
    assert types == ([PaymentSucceeded] if settled_by == CAUSE else []) + [PaymentRefunded]
    assert decision.closed_order is not None


@pytest.mark.parametrize(
    ("event", "asks"),
    [
        (an_order(ORDER_ID), True),
        (payment_requested(an_order(ORDER_ID), 2), True),
        (cancelled(an_order(ORDER_ID)), True),
        (an_order_on_request(ORDER_ID), False),
    ],
    ids=["created", "requested", "cancelled", "created on request"],
)
def test_only_the_creation_of_an_order_paid_on_request_asks_for_nothing(
    event: ConsumedEvent, *, asks: bool
) -> None:
    assert asks_for_payment(event) is asks


@pytest.mark.parametrize("condition", ["captured", "refund requested", "refunded"])
def test_what_a_cancellation_that_is_still_to_come_is_owed_is_left_to_its_own_record(
    condition: str,
) -> None:
    """The order was closed ahead: the cancellation's record waits right behind."""
    ahead = Closing(ANOTHER_CAUSE, "CUSTOMER", ahead=True)
    payment = recorded(condition, settled_by=CAUSE)
    decision = decided(ask(1), OrderAccount(ahead, (payment,)))
    assert decision.then == Announce((model.outcome_event(payment),))
    if condition == "captured":
        refund = msgspec.structs.replace(refund_of(payment, "CUSTOMER"), created_by=ANOTHER_CAUSE)
        assert decision.refund == (payment, refund), "it is owed from now on all the same"


def test_the_record_that_owes_a_refund_carries_on_with_it_and_announces_it() -> None:
    owed = recorded("refund requested", settled_by=CAUSE, refunded_by=CAUSE)
    assert owed.refund is not None
    assert decided(ask(1), OrderAccount(CLOSING, (owed,))) == Decision(
        RefundPayment(owed, owed.refund, sent_before=True)
    )
    done = recorded("refunded", settled_by=CAUSE, refunded_by=CAUSE)
    then = decided(ask(1), OrderAccount(CLOSING, (done,))).then
    assert isinstance(then, Announce)
    assert [type(event) for event in then.events] == [PaymentSucceeded, PaymentRefunded]


@pytest.mark.parametrize("condition", ["captured", "failed", "refunded"])
def test_who_asks_anew_is_told_what_was_announced_under_the_ids_that_it_had(
    condition: str,
) -> None:
    payment = recorded(condition, requested_by="the first event", settled_by="the first event")
    closing = CLOSING if condition == "refunded" else None
    asked = decided(ask(1), OrderAccount(closing, (payment,)))
    cancelled_again = decided(
        cancelled(an_order(ORDER_ID)), OrderAccount(CLOSING, (recorded("refunded"),))
    )
    assert asked == Decision(Announce(model.repetitions([payment])))
    assert cancelled_again == Decision(Announce(model.repetitions([recorded("refunded")])))
    assert [each.cause for each in model.repetitions([payment])] == [
        "the first event",
        *([ANOTHER_CAUSE] if condition == "refunded" else []),
    ]


def test_the_second_record_of_an_order_in_a_batch_is_decided_from_what_the_first_leaves() -> None:
    """Otherwise a charge and a cancellation that saw nothing of it would both be right."""
    created = decide(an_order(ORDER_ID), NEW_ORDER, cause="created", now=NOW)
    account = account_after(created, NEW_ORDER)
    cancellation = decide(cancelled(an_order(ORDER_ID)), account, cause="cancelled", now=NOW)
    assert isinstance(cancellation.then, VoidPayment)

    closed_first = decide(cancelled(an_order(ORDER_ID)), NEW_ORDER, cause="cancelled", now=NOW)
    account = account_after(closed_first, NEW_ORDER)
    assert account.closing == Closing("cancelled", "CUSTOMER")
    refused = decide(an_order(ORDER_ID), account, cause="created", now=NOW)
    assert refused.payment is not None
    assert refused.payment.state is PaymentState.FAILED


@dataclass
class Desk:
    """What the database and the provider hold, each held to what its constraints say."""

    account: OrderAccount = NEW_ORDER
    charges: dict[PaymentId, str] = field(default_factory=dict)
    refunds: set[RefundId] = field(default_factory=set)
    announced: list[tuple[str, Event]] = field(default_factory=list)

    def consume(self, event: ConsumedEvent, cause: str, fate: str) -> bool:
        """One record, as far as it comes with a provider of this fate. Is it finished?"""
        for _ in range(5):
            decision = decide(event, self.account, cause=cause, now=NOW)
            self.write(decision)
            match decision.then:
                case Announce(events):
                    self.announced += [
                        (event.cause, event.event)
                        if isinstance(event, Repeated)
                        else (cause, event)
                        for event in events
                    ]
                    return True
                case Wait():
                    return False
                case RefundPayment(payment, refund):
                    if not self.refund(payment, refund, fate):
                        return False
                case ChargePayment(payment) | VoidPayment(payment):
                    outcome = self.ask(decision.then, fate, cause)
                    self.replace(outcome)
                    if not outcome.settled:
                        return False
        raise AssertionError("the record never comes to an end")

    def write(self, decision: Decision) -> None:
        if (payment := decision.payment) is not None:
            assert self.account.payment(payment.attempt) is None, "the primary key"
        if decision.closed_order is not None:
            assert not self.account.closed, "the primary key"
        if decision.refund is not None:
            assert decision.refund[0].refund is None, "the sum of refunds"
        self.account = account_after(decision, self.account)
        live = [each for each in self.account.payments if each.state is not PaymentState.FAILED]
        assert len(live) <= 1, "the unique index"

    def replace(self, payment: Payment) -> None:
        payments = tuple(
            payment if each.attempt == payment.attempt else each for each in self.account.payments
        )
        self.account = OrderAccount(self.account.closing, payments)

    def ask(self, task: ChargePayment | VoidPayment, fate: str, cause: str) -> Payment:
        """`dropped`: the provider never sees it. `lost`: it acts, and its answer is lost."""
        payment = task.payment
        if fate == "dropped":
            return model.unknown(payment, record="orders-0@1", now=NOW)
        if isinstance(task, VoidPayment):
            self.charges.setdefault(payment.payment_id, "VOIDED")
        else:
            assert not self.account.closed, "a closed order is never charged"
            declined = fate == "declined"
            self.charges.setdefault(payment.payment_id, "DECLINED" if declined else "CAPTURED")
        if fate == "lost":
            return model.unknown(payment, record="orders-0@1", now=NOW)

        charge = self.charges[payment.payment_id]
        if charge == "CAPTURED":
            return model.captured(payment, "ch_1", cause=cause, now=NOW)
        reason = PaymentFailureReason(charge if charge == "DECLINED" else "ORDER_CANCELLED")
        return model.failed(payment, reason, "no", cause=cause, now=NOW)

    def refund(self, payment: Payment, refund: Refund, fate: str) -> bool:
        assert self.charges[payment.payment_id] == "CAPTURED"
        if fate == "dropped":
            return False
        self.refunds.add(refund.refund_id)
        if fate == "lost":
            return False
        succeeded = model.refunded(refund, "re_1", now=NOW)
        self.replace(msgspec.structs.replace(payment, refund=succeeded))
        return True


EVENTS: Mapping[str, ConsumedEvent] = {
    "created": an_order(ORDER_ID),
    "attempt 2": payment_requested(an_order(ORDER_ID), 2),
    "attempt 3, free": payment_requested(an_order(ORDER_ID, minor=0), 3),
    "cancelled": cancelled(an_order(ORDER_ID)),
}
FATES = ("answered", "declined", "lost", "dropped")
histories = st.lists(
    st.tuples(st.sampled_from([*EVENTS]), st.sampled_from(FATES)), min_size=1, max_size=14
)


@given(history=histories)
def test_in_every_history_an_order_is_charged_once_and_refunded_once(
    history: list[tuple[str, str]],
) -> None:
    """Any events, in any order and repeated, while the provider declines, or answers get lost."""
    desk, seen = Desk(), dict.fromkeys(name for name, _ in history)
    for name, fate in history:
        consume(desk, name, fate)
    for _ in range(3):
        for name in seen:
            consume(desk, name, "answered")

    assert Counter(desk.charges.values())["CAPTURED"] <= 1
    captured = {payment for payment, charge in desk.charges.items() if charge == "CAPTURED"}
    succeeded = [each for each in desk.account.payments if each.state is PaymentState.SUCCEEDED]
    assert {each.payment_id for each in succeeded if each.amount_minor} == captured
    assert all(each.settled for each in desk.account.payments)
    assert desk.account.closed == ("cancelled" in seen)
    if desk.account.closed:
        assert len(desk.refunds) == len(captured), "a closed order keeps no money"
        assert all(each.refund is not None for each in succeeded)
    else:
        assert not desk.refunds
    assert_each_outcome_is_announced_by_one_record(desk)


def consume(desk: Desk, name: str, fate: str) -> None:
    try:
        desk.consume(EVENTS[name], name, fate)
    except AnotherPaymentStands:
        live = desk.account.live
        assert live is not None
        assert live.settled


def assert_each_outcome_is_announced_by_one_record(desk: Desk) -> None:
    """Under one cause each, the same bytes every time, and every outcome at least once."""
    causes: dict[tuple[type[Event], int], set[str]] = defaultdict(set)
    bodies: dict[tuple[type[Event], int], set[bytes]] = defaultdict(set)
    for cause, event in desk.announced:
        assert isinstance(event, PaymentSucceeded | PaymentFailed | PaymentRefunded)
        causes[type(event), event.attempt].add(cause)
        bodies[type(event), event.attempt].add(msgspec.json.encode(event))
    assert all(len(group) == 1 for group in causes.values())
    assert all(len(group) == 1 for group in bodies.values())

    outcomes = {(type(model.outcome_event(each)), each.attempt) for each in desk.account.payments}
    refunds = {(PaymentRefunded, each.attempt) for each in desk.account.payments if each.refund}
    assert causes.keys() == outcomes | refunds
