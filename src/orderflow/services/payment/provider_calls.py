"""How a task is carried out at the provider, so that no repetition of it takes money twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from orderflow.messaging.failpoints import failpoint
from orderflow.services.payment.gateway import Answer, Gateway, Verdict
from orderflow.services.payment.model import Payment
from orderflow.services.payment.rules import (
    ChargePayment,
    ProviderTask,
    RefundPayment,
    VoidPayment,
)


class ProviderCalls:
    """
    The call phase. A first charge is sent at once; every later one only after a look-up.

    `key_window`: how long the provider remembers an idempotency key. A charge that is older is
    voided before it is sent again, because the key no longer protects against a second capture.
    """

    def __init__(self, gateway: Gateway, *, key_window: timedelta) -> None:
        self._gateway = gateway
        self._key_window = key_window

    async def call(self, task: ProviderTask) -> Answer:
        """
        Carry out one task. Many may be under way, of different orders.

        Raises Unavailable when the provider as a whole is away: what was sent is looked up by the
        next call for the payment. Every other failure is the answer UNKNOWN.
        """
        match task:
            case ChargePayment(payment, sent_before=False):
                answer = await self._charge(payment, after_voids=0)
            case ChargePayment(payment):
                answer = await self._charge_again(payment)
            case VoidPayment(payment):
                # Final: a charge of a slower worker that arrives after this void is refused.
                answer = await self._gateway.void(payment, final=True)
            case RefundPayment():
                answer = await self._refund(task)

        # A death here: the provider has acted, nothing of it is recorded.
        failpoint("payment.after_provider_call")
        return answer

    async def _charge(self, payment: Payment, *, after_voids: int) -> Answer:
        answer = await self._gateway.charge(payment, after_voids=after_voids)
        if answer.verdict is not Verdict.REFUSED:
            return answer

        # A refusal is about this request. Another with the same reference may have been sent before
        # or be on its way: only a final void makes the no final.
        voided = await self._gateway.void(payment, final=True)
        if voided.verdict is not Verdict.VOIDED:
            return voided
        return Answer(Verdict.DECLINED, message=answer.message)

    async def _charge_again(self, payment: Payment) -> Answer:
        # Look up first: an answer that was lost may have been a capture.
        account = await self._gateway.find(payment)
        if account.charge is not None:
            return account.charge

        # Nothing arrived so far. Within the window the key makes a late first charge and this one
        # the same charge; beyond it the late one has to be voided before another may be sent.
        voids = account.voids
        if datetime.now(UTC) - payment.created_at >= self._key_window:
            voided = await self._gateway.void(payment, final=False)
            if voided.verdict is not Verdict.VOIDED:
                return voided
            voids = voided.voids
        return await self._charge(payment, after_voids=voids)

    async def _refund(self, task: RefundPayment) -> Answer:
        """Refund once. Safe beyond the key window: the provider never refunds more than it took."""
        if task.sent_before:
            account = await self._gateway.find(task.payment)
            if (answer := account.refunds.get(task.refund.refund_id)) is not None:
                return answer
        return await self._gateway.refund(task.payment, task.refund)
