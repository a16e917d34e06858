"""
What our client sends to the provider, judged by the provider's own call log: its key makes a
repetition harmless.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.builders import AMOUNT_MINOR, new_order_id, now
from tests.support.provider_client import ProviderClient
from tests.support.psp import Psp, psp_running

from orderflow.contracts.ids import CustomerId, payment_id
from orderflow.services.payment.config import ProviderSettings
from orderflow.services.payment.gateway import Verdict
from orderflow.services.payment.model import Payment, PaymentState


@pytest.fixture
def psp(tmp_path: Path) -> Iterator[Psp]:
    with psp_running(tmp_path) as running:
        yield running


def payment(token: str) -> Payment:
    order_id = new_order_id()
    return Payment(
        order_id=order_id,
        attempt=1,
        payment_id=payment_id(order_id, 1),
        customer_id=CustomerId("customer-123"),
        state=PaymentState.REQUESTED,
        amount_minor=AMOUNT_MINOR,
        currency="EUR",
        payment_method=token,
        lines=(),
        created_at=now(),
    )


def test_a_charge_whose_answer_was_lost_is_repeated_with_its_key_and_taken_once(
    psp: Psp,
) -> None:
    gateway = ProviderClient(ProviderSettings(url=psp.url))
    lost = payment("pm_reply_lost")
    assert gateway.charge(lost, after_voids=0).verdict is Verdict.UNKNOWN
    assert gateway.charge(lost, after_voids=0).verdict is Verdict.CAPTURED
    gateway.close()
    assert psp.captures()[lost.payment_id] == 1
    assert [call["key"] for call in psp.calls()] == [lost.payment_id] * 2
