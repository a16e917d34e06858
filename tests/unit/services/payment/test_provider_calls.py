"""
What is sent to a provider the second time: after a look-up, and after a void if the key is old.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from tests.support.flaky_provider import FlakyProvider
from tests.unit.services.payment.accounts import recorded, refund_in

from orderflow.messaging.errors import Unavailable
from orderflow.messaging.work.calls import driven
from orderflow.neighbours.psp.tokens import ChargeStatus
from orderflow.services.payment.gateway import Answer, ProviderAccount, Verdict
from orderflow.services.payment.model import Payment, Refund
from orderflow.services.payment.provider_calls import ProviderCalls
from orderflow.services.payment.rules import ChargePayment, RefundPayment, VoidPayment

DAY = timedelta(days=1)
NEVER = timedelta(0)


class RecordingProvider(FlakyProvider):
    """The provider in memory, with a list of what it was asked. `silent`: it answers nothing."""

    def __init__(self, *, window: timedelta) -> None:
        super().__init__(window=window)
        self.calls: list[str] = []
        self.silent = False
        self.refuses = False

    async def charge(self, payment: Payment, *, after_voids: int) -> Answer:
        self.calls.append(f"charge after {after_voids} voids")
        if self.refuses:
            return Answer(Verdict.REFUSED, message="refused")
        return await super().charge(payment, after_voids=after_voids)

    async def find(self, payment: Payment) -> ProviderAccount:
        self.calls.append("find")
        if self.silent:
            raise Unavailable("no answer", resource="provider")
        return await super().find(payment)

    async def void(self, payment: Payment, *, final: bool) -> Answer:
        self.calls.append("final void" if final else "void")
        return await super().void(payment, final=final)

    async def refund(self, payment: Payment, refund: Refund) -> Answer:
        self.calls.append("refund")
        return await super().refund(payment, refund)

    def captures(self, payment: Payment) -> int:
        charges = self.books.account(payment.payment_id).charges
        return sum(charge.status is ChargeStatus.CAPTURED for charge in charges)


@pytest.fixture
def provider() -> RecordingProvider:
    return RecordingProvider(window=DAY)


def payment(*, age: timedelta = NEVER, token: str = "pm_ok") -> Payment:
    return msgspec.structs.replace(
        recorded("requested"), created_at=datetime.now(UTC) - age, payment_method=token
    )


def refund_task(charged: Payment, *, sent_before: bool) -> RefundPayment:
    refund = refund_in("refund requested", charged.attempt, charged.amount_minor, "")
    return RefundPayment(charged, refund, sent_before)


def test_a_first_charge_is_sent_at_once(provider: RecordingProvider) -> None:
    answer = driven(
        ProviderCalls(provider, key_window=DAY).call(ChargePayment(payment(), sent_before=False))
    )
    assert answer.verdict is Verdict.CAPTURED
    assert provider.calls == ["charge after 0 voids"]


@pytest.mark.parametrize("token", ["pm_ok", "pm_declined"])
@pytest.mark.parametrize("window", [DAY, NEVER])
def test_a_charge_that_arrived_is_found_and_not_sent_again(token: str, window: timedelta) -> None:
    provider = RecordingProvider(window=window)
    calls = ProviderCalls(provider, key_window=window)
    charged = payment(token=token)
    first = driven(calls.call(ChargePayment(charged, sent_before=False)))
    assert driven(calls.call(ChargePayment(charged, sent_before=True))) == first
    assert provider.calls == ["charge after 0 voids", "find"]


def test_a_charge_that_never_arrived_is_sent_again_under_its_key(
    provider: RecordingProvider,
) -> None:
    calls = ProviderCalls(provider, key_window=DAY)
    lost = payment(age=DAY - timedelta(minutes=1))
    answer = driven(calls.call(ChargePayment(lost, sent_before=True)))
    assert answer.verdict is Verdict.CAPTURED
    assert provider.calls == ["find", "charge after 0 voids"]


def test_a_charge_older_than_the_keys_window_is_voided_before_it_is_sent_again() -> None:
    provider = RecordingProvider(window=DAY)
    calls = ProviderCalls(provider, key_window=DAY)
    old = payment(age=DAY)
    assert driven(calls.call(ChargePayment(old, sent_before=True))).verdict is Verdict.CAPTURED
    assert provider.calls == ["find", "void", "charge after 1 voids"]
    late = driven(provider.charge(old, after_voids=0))
    assert late.verdict is Verdict.CAPTURED, "the key is known: the same charge"
    assert provider.captures(old) == 1


def test_a_look_up_without_an_answer_says_nothing_of_the_charge_and_sends_nothing(
    provider: RecordingProvider,
) -> None:
    provider.silent = True
    with pytest.raises(Unavailable):
        driven(
            ProviderCalls(provider, key_window=NEVER).call(
                ChargePayment(payment(), sent_before=True)
            )
        )
    assert provider.calls == ["find"]


@pytest.mark.parametrize("charged", [True, False])
def test_a_void_is_final_and_yields_to_a_capture(
    provider: RecordingProvider, *, charged: bool
) -> None:
    calls = ProviderCalls(provider, key_window=DAY)
    open_payment = payment()
    if charged:
        driven(calls.call(ChargePayment(open_payment, sent_before=False)))
    answer = driven(calls.call(VoidPayment(open_payment)))
    assert answer.verdict is (Verdict.CAPTURED if charged else Verdict.VOIDED)
    assert provider.calls[-1] == "final void"
    later = driven(calls.call(ChargePayment(open_payment, sent_before=True)))
    assert later.verdict is (Verdict.CAPTURED if charged else Verdict.UNKNOWN)
    assert provider.captures(open_payment) == charged


@pytest.mark.parametrize(
    ("arrived", "sent_before", "expected"),
    [
        (False, False, ["refund"]),
        (False, True, ["find", "refund"]),
        (True, True, ["find"]),
    ],
)
def test_a_refund_is_sent_again_only_if_it_has_not_arrived(
    provider: RecordingProvider, expected: list[str], *, arrived: bool, sent_before: bool
) -> None:
    calls = ProviderCalls(provider, key_window=DAY)
    charged = payment()
    driven(calls.call(ChargePayment(charged, sent_before=False)))
    if arrived:
        driven(calls.call(refund_task(charged, sent_before=False)))
    provider.calls.clear()
    answer = driven(calls.call(refund_task(charged, sent_before=sent_before)))
    assert answer.verdict is Verdict.REFUNDED
    assert answer.reference in {
        refund.refund_id for refund in provider.books.account(charged.payment_id).refunds
    }
    assert provider.calls == expected


def test_a_refund_whose_look_up_is_not_answered_is_not_sent(provider: RecordingProvider) -> None:
    calls = ProviderCalls(provider, key_window=DAY)
    charged = payment()
    driven(calls.call(ChargePayment(charged, sent_before=False)))
    provider.silent = True
    with pytest.raises(Unavailable):
        driven(calls.call(refund_task(charged, sent_before=True)))
    assert "refund" not in provider.calls


@pytest.mark.parametrize("sent_before", [False, True])
def test_a_charge_that_the_provider_does_not_carry_out_is_voided_for_good_before_it_is_a_no(
    provider: RecordingProvider, *, sent_before: bool
) -> None:
    """A refusal is about one request; another with the reference may still be on its way."""
    provider.refuses = True
    calls = ProviderCalls(provider, key_window=DAY)
    charged = payment()
    answer = driven(calls.call(ChargePayment(charged, sent_before=sent_before)))
    assert (answer.verdict, answer.message) == (Verdict.DECLINED, "refused")
    looked_up = ["find"] if sent_before else []
    assert provider.calls == [*looked_up, "charge after 0 voids", "final void"]
    provider.refuses = False
    assert driven(calls.call(ChargePayment(charged, sent_before=True))).verdict is Verdict.UNKNOWN
    assert provider.captures(charged) == 0


def test_a_refused_charge_that_was_captured_before_is_a_capture(
    provider: RecordingProvider,
) -> None:
    charged = payment()
    driven(provider.charge(charged, after_voids=0))
    provider.refuses = True
    answer = driven(
        ProviderCalls(provider, key_window=DAY).call(ChargePayment(charged, sent_before=False))
    )
    assert answer.verdict is Verdict.CAPTURED
