"""How the provider is asked: at once the first time, and never again before it was asked what it has done already."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from orderflow.messaging.failpoints import failpoint
from orderflow.services.payment.gateway import Answer, Gateway, Verdict
from orderflow.services.payment.model import Charge, GiveBack, Payment, Resolve, Task

UNKNOWN = Answer(Verdict.UNKNOWN)


class Calling:
    """`key_window`: how long the provider remembers a key. Beyond it a key protects nobody, and a void has to."""

    def __init__(self, gateway: Gateway, *, key_window: timedelta) -> None:
        self._gateway = gateway
        self._key_window = key_window

    def __call__(self, task: Task) -> Answer:
        """Raises Unavailable when nothing happened. Of any thread."""
        match task:
            case Charge(payment, sent_before):
                answer = (
                    self._again(payment)
                    if sent_before
                    else self._gateway.charge(payment, after_voids=0)
                )
            case Resolve(payment):
                answer = self._gateway.void(payment.payment_id, final=True)
            case GiveBack():
                answer = self._give_back(task)
        failpoint("payment.after_provider_call")
        return answer

    def _again(self, payment: Payment) -> Answer:
        found = self._gateway.find(payment.payment_id)
        if found is None or found.charge is not None:
            return UNKNOWN if found is None else found.charge or UNKNOWN
        voids = found.voids
        if datetime.now(UTC) - payment.created_at >= self._key_window:
            voided = self._gateway.void(payment.payment_id, final=False)
            if voided.verdict is not Verdict.VOIDED:
                return voided
            voids = voided.voids
        return self._gateway.charge(payment, after_voids=voids)

    def _give_back(self, task: GiveBack) -> Answer:
        """Sent twice it is done once, window or not: the provider refunds no more than it captured."""
        if task.sent_before:
            found = self._gateway.find(task.payment.payment_id)
            if found is None:
                return UNKNOWN
            if (reference := found.refunds.get(task.refund.refund_id)) is not None:
                return Answer(Verdict.REFUNDED, reference)
        return self._gateway.refund(task.payment, task.refund)
