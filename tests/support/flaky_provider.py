"""
A payment provider in memory, on the simulated one's own books, behind a network that loses and
delays.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import uuid4

from orderflow.messaging.errors import Unavailable
from orderflow.neighbours.psp.admission import Refusal
from orderflow.neighbours.psp.ledger import (
    Charge,
    ChargeRequest,
    Ledger,
    RefundRequest,
    VoidRequest,
)
from orderflow.neighbours.psp.ledger import Refund as BookedRefund
from orderflow.neighbours.psp.tokens import ChargeStatus
from orderflow.services.payment.gateway import RESOURCE, Answer, ProviderAccount, Verdict
from orderflow.services.payment.model import Payment, Refund

UNKNOWN = Answer(Verdict.UNKNOWN)


class FlakyProvider:
    """
    A gateway. Of 10 calls, `trouble` × 10 go wrong: refused to connect, dropped, answer lost, or
    done later.

    What is late is done when somebody calls next, or by `arrive`. `window`: how long keys are
    known.
    """

    def __init__(self, *, window: timedelta, trouble: float = 0.0, seed: int = 0) -> None:
        self.books = Ledger(key_window=window)
        self.keys: dict[str, set[str]] = {}
        self._trouble = trouble
        self._chance = Random(seed)
        self._lock = threading.RLock()
        self._late: list[Callable[[], Answer]] = []

    async def charge(self, payment: Payment, *, after_voids: int) -> Answer:
        request = ChargeRequest(
            reference=payment.payment_id,
            amount_minor=payment.amount_minor,
            currency=payment.currency,
            token=payment.payment_method,
            after_voids=after_voids,
        )
        self.keys.setdefault(request.reference, set()).add(payment.payment_id)
        return self._sent(lambda: self._charge(payment.payment_id, request))

    async def find(self, payment: Payment) -> ProviderAccount:
        def look() -> Answer:
            return Answer(Verdict.VOIDED)

        with self._lock:
            if self._sent(look, sure=True) is UNKNOWN:
                raise Unavailable("no answer", resource=RESOURCE)
            account = self.books.account(payment.payment_id)
            return ProviderAccount(
                charge=_best(account.charges) if account.charges else None,
                refunds={
                    refund.request.reference: Answer(Verdict.REFUNDED, refund.refund_id)
                    for refund in account.refunds
                },
                voids=account.voids,
            )

    async def void(self, payment: Payment, *, final: bool) -> Answer:
        return self._sent(lambda: self._void(payment.payment_id, VoidRequest(final=final)))

    async def refund(self, payment: Payment, refund: Refund) -> Answer:
        request = RefundRequest(
            reference=refund.refund_id,
            charge_reference=payment.payment_id,
            amount_minor=refund.amount_minor,
            currency=payment.currency,
        )
        return self._sent(lambda: self._refund(refund.refund_id, request))

    def arrive(self) -> None:
        """What is still on its way comes in now."""
        with self._lock:
            late, self._late = self._late, []
            for work in late:
                _tried(work)

    def _sent(self, work: Callable[[], Answer], *, sure: bool = False) -> Answer:
        with self._lock:
            if self._late and self._chance.random() < 0.5:
                self.arrive()
            fate = self._chance.random() / self._trouble if self._trouble else 1.0
            if fate >= 1.0:
                return _tried(work)
            if fate < 0.2:
                raise Unavailable("no connection", resource=RESOURCE)
            if fate < 0.4 or sure:
                return UNKNOWN
            if fate < 0.7:
                self._late.append(work)
                return UNKNOWN
            _tried(work)
            return UNKNOWN

    def _charge(self, key: str, request: ChargeRequest) -> Answer:
        now = datetime.now(UTC)
        earlier = self.books.remembered(key, request, now)
        charge = earlier or self.books.charge(key, request, charge_id=f"ch_{uuid4().hex}", now=now)
        assert isinstance(charge, Charge)
        if earlier is None:
            self.books.enter(charge)
        return _answer(charge)

    def _void(self, reference: str, request: VoidRequest) -> Answer:
        void = self.books.void(reference, request, now=datetime.now(UTC))
        if void is None:
            return _best(self.books.account(reference).charges)
        self.books.enter(void)
        return Answer(Verdict.VOIDED, voids=void.number)

    def _refund(self, key: str, request: RefundRequest) -> Answer:
        now = datetime.now(UTC)
        earlier = self.books.remembered(key, request, now)
        refund = earlier or self.books.refund(key, request, refund_id=f"re_{uuid4().hex}", now=now)
        assert isinstance(refund, BookedRefund)
        if earlier is None:
            self.books.enter(refund)
        return Answer(Verdict.REFUNDED, refund.refund_id)


def _tried(work: Callable[[], Answer]) -> Answer:
    try:
        return work()
    except Refusal:
        return UNKNOWN


def _best(charges: list[Charge]) -> Answer:
    answers = [_answer(charge) for charge in charges]
    return next((answer for answer in answers if answer.verdict is Verdict.CAPTURED), answers[0])


def _answer(charge: Charge) -> Answer:
    captured = charge.status is ChargeStatus.CAPTURED
    return Answer(
        Verdict.CAPTURED if captured else Verdict.DECLINED, charge.charge_id, charge.message
    )
