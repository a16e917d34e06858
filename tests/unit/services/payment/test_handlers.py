"""The phases as far as they need neither database nor provider."""

from __future__ import annotations

from datetime import timedelta
from typing import NoReturn

from tests.support.flaky_provider import FlakyProvider
from tests.support.handling import record
from tests.support.payment import created, created_on_request, new_order_id
from tests.unit.services.payment.accounts import recorded

from orderflow.contracts.topics import ORDERS
from orderflow.messaging.listener import Prepared, Settled
from orderflow.services.payment.gateway import Verdict
from orderflow.services.payment.handlers import Payments, announce
from orderflow.services.payment.model import outcome_event
from orderflow.services.payment.provider_calls import ProviderCalls
from orderflow.services.payment.rules import ChargePayment


def no_transaction() -> NoReturn:
    raise AssertionError("a transaction was opened")


def payments() -> Payments:
    provider = FlakyProvider(window=timedelta(days=1))
    return Payments(no_transaction, ProviderCalls(provider, key_window=timedelta(days=1)))


def test_orders_paid_on_request_alone_open_no_transaction() -> None:
    batch = [record(created_on_request(new_order_id()), topic=ORDERS.name) for _ in range(3)]
    assert payments().intent(batch) == [Settled(())] * 3


def test_a_task_is_called_at_the_provider_outside_of_any_transaction() -> None:
    answer = payments().call(ChargePayment(recorded("requested"), sent_before=False))
    assert answer.verdict is Verdict.CAPTURED


def test_each_record_announces_its_own_recorded_outcome_in_their_order() -> None:
    records = [record(created(new_order_id()), topic=ORDERS.name) for _ in range(3)]
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
