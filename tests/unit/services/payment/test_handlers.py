"""The phases as far as they need no database, and what each answer of the provider records."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import product
from typing import NoReturn

import msgspec
import pytest
from tests.support.builders import an_order, an_order_on_request
from tests.support.flaky_provider import FlakyProvider
from tests.support.records import received
from tests.unit.services.payment.accounts import NOW, OPEN, recorded, refund_in

from orderflow.contracts.topics import ORDERS
from orderflow.messaging.listener import Prepared, Settled
from orderflow.messaging.work.calls import driven
from orderflow.services.payment.gateway import Answer, Verdict
from orderflow.services.payment.handlers import Payments, announce, payment_after, refund_after
from orderflow.services.payment.model import PaymentState, RefundState, outcome_event
from orderflow.services.payment.provider_calls import ProviderCalls
from orderflow.services.payment.rules import ChargePayment, RefundPayment, VoidPayment


class NoDatabase:
    def transaction(self) -> NoReturn:
        raise AssertionError("a transaction was opened")

    def statement(self) -> NoReturn:
        raise AssertionError("a statement was made")


def payments() -> Payments:
    provider = FlakyProvider(window=timedelta(days=1))
    return Payments(NoDatabase(), ProviderCalls(provider, key_window=timedelta(days=1)))


def test_orders_paid_on_request_alone_open_no_transaction() -> None:
    batch = [received(an_order_on_request(), topic=ORDERS.name) for _ in range(3)]
    assert payments().intent(batch) == [Settled(())] * 3


def test_a_task_is_called_at_the_provider_outside_of_any_transaction() -> None:
    answer = driven(payments().call(ChargePayment(recorded("requested"), sent_before=False)))
    assert answer.verdict is Verdict.CAPTURED


def test_each_record_announces_its_own_recorded_outcome_in_their_order() -> None:
    records = [received(an_order(), topic=ORDERS.name) for _ in range(3)]
    captured, failed = outcome_event(recorded("captured")), outcome_event(recorded("failed"))
    batch = [
        Prepared(records[0], (captured,)),
        Prepared(records[1], ()),
        Prepared(records[2], (failed, captured)),
    ]
    assert list(announce(batch)) == [
        (records[0], captured),
        (records[2], failed),
        (records[2], captured),
    ]


RECORDED: Mapping[Verdict, tuple[PaymentState, str | None, str | None, str | None]] = {
    Verdict.CAPTURED: (PaymentState.SUCCEEDED, "ch_9", None, None),
    Verdict.DECLINED: (PaymentState.FAILED, None, "DECLINED", "its words"),
    Verdict.VOIDED: (
        PaymentState.FAILED,
        None,
        "ORDER_CANCELLED",
        "the order was cancelled, and the charge with it",
    ),
    Verdict.REFUNDED: (PaymentState.UNKNOWN, None, None, None),
    Verdict.REFUSED: (PaymentState.UNKNOWN, None, None, None),
    Verdict.UNKNOWN: (PaymentState.UNKNOWN, None, None, None),
}
"""
State, reference, reason and message of a payment after an answer. A refund is no answer to it.
"""


@pytest.mark.parametrize(
    ("verdict", "condition", "voids"), [*product(RECORDED, OPEN, [False, True])]
)
def test_each_answer_about_a_payment_is_recorded_as_the_table_says(
    verdict: Verdict, condition: str, *, voids: bool
) -> None:
    payment = recorded(condition)
    task = VoidPayment(payment) if voids else ChargePayment(payment, sent_before=True)
    cause = received(an_order(payment.order_id), topic=ORDERS.name)
    call = (cause, task, Answer(verdict, "ch_9", "its words"))

    state, reference, reason, message = RECORDED[verdict]
    settled = state is not PaymentState.UNKNOWN
    assert refund_after(call, now=NOW) is None
    assert payment_after(call, now=NOW) == msgspec.structs.replace(
        payment,
        state=state,
        provider_reference=reference,
        reason=reason,
        message=message,
        settled_at=NOW if settled else None,
        settled_by=str(cause.metadata.id) if settled else None,
        unknown_since=None if settled else payment.unknown_since or NOW,
        waiting_record=None if settled else f"{ORDERS.name}-0@0",
        waiting_since=None if settled else NOW,
    )


@pytest.mark.parametrize("verdict", Verdict)
def test_only_a_refunds_own_answer_records_it(verdict: Verdict) -> None:
    payment = recorded("refund requested")
    assert payment.refund is not None
    task = RefundPayment(payment, payment.refund, sent_before=True)
    cause = received(an_order(payment.order_id), topic=ORDERS.name)
    call = (cause, task, Answer(verdict, "re_9"))

    assert payment_after(call, now=NOW) is None, "a refund changes no payment"
    refund = refund_after(call, now=NOW)
    if verdict is not Verdict.REFUNDED:
        assert refund is None
        return
    assert refund == msgspec.structs.replace(
        refund_in("refund requested", 1, payment.amount_minor, payment.refund.created_by),
        state=RefundState.SUCCEEDED,
        provider_reference="re_9",
        settled_at=NOW,
    )
