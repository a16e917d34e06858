"""
The payment service's books in memory, held to the constraints of its tables, so that the use cases
run in the real container without a database.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import cast

import msgspec

from orderflow.contracts.ids import OrderId, PaymentId
from orderflow.messaging.postgres import Cursor
from orderflow.services.payment.model import (
    NEW_ORDER,
    OrderAccount,
    Payment,
    PaymentState,
    Refund,
    with_refund,
)
from orderflow.services.payment.rules import ClosedOrder, Decision, account_after


class PaymentBooks:
    """See `handlers.Books`. `accounts`: what is recorded, by order."""

    def __init__(self) -> None:
        self.accounts: dict[OrderId, OrderAccount] = {}

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        yield cast("Cursor", None)

    def statement(self) -> AbstractContextManager[Cursor]:
        return self.transaction()

    def advance(
        self, cursor: Cursor, outcomes: Sequence[Payment], intents: Sequence[Payment]
    ) -> tuple[set[OrderId], set[OrderId]]:
        settled = [
            payment
            for payment in outcomes
            if not self.accounts[payment.order_id].closed and not self._is_settled(payment)
        ]
        begun = [payment for payment in intents if payment.order_id not in self.accounts]
        self.settle(cursor, settled)
        for payment in begun:
            self._keep(payment.order_id, OrderAccount(None, (payment,)))
        return (
            {payment.order_id for payment in settled},
            {payment.order_id for payment in begun},
        )

    def lock(self, _cursor: Cursor, order_ids: Sequence[OrderId]) -> dict[OrderId, OrderAccount]:
        for order_id in order_ids:
            self.accounts.setdefault(order_id, NEW_ORDER)
        return {order_id: self.accounts[order_id] for order_id in order_ids}

    def lock_again(self, _cursor: Cursor, order_ids: Sequence[OrderId]) -> None:
        assert self.accounts.keys() >= set(order_ids), "locked before it was told of"

    def find(self, cursor: Cursor, order_ids: Sequence[OrderId]) -> dict[OrderId, OrderAccount]:
        return self.lock(cursor, order_ids)

    def write(self, _cursor: Cursor, decisions: Sequence[Decision], *, now: datetime) -> None:
        del now
        for decision in decisions:
            order_id = _order_of(decision)
            if order_id is not None:
                self._write(order_id, decision)

    def close_ahead(self, _cursor: Cursor, orders: Sequence[ClosedOrder], *, now: datetime) -> None:
        del now
        for order in orders:
            assert order.ahead
            if not self.accounts[order.cancelled.order_id].closed:
                decision = Decision(None, closed_order=order)  # type: ignore[arg-type]
                self._write(order.cancelled.order_id, decision)

    def settle(self, _cursor: Cursor, payments: Sequence[Payment]) -> None:
        for payment in payments:
            if not self._is_settled(payment):
                recorded = self.accounts[payment.order_id].payment(payment.attempt)
                assert recorded is not None
                self._replace(msgspec.structs.replace(payment, refund=recorded.refund))

    def settle_refunds(self, _cursor: Cursor, refunds: Sequence[Refund]) -> None:
        by_id = {refund.refund_id: refund for refund in refunds}
        for account in list(self.accounts.values()):
            for payment in account.payments:
                recorded = payment.refund
                if recorded and recorded.refund_id in by_id and recorded.settled_at is None:
                    self._replace(with_refund(payment, by_id[recorded.refund_id]))

    @property
    def payments(self) -> Mapping[PaymentId, Payment]:
        return {
            payment.payment_id: payment
            for account in self.accounts.values()
            for payment in account.payments
        }

    @property
    def kept_from_closed(self) -> list[PaymentId]:
        """The audit: captured, closed, and not even owed."""
        return [
            payment.payment_id
            for account in self.accounts.values()
            for payment in account.payments
            if account.closed and payment.state is PaymentState.SUCCEEDED and not payment.refund
        ]

    def _is_settled(self, payment: Payment) -> bool:
        recorded = self.accounts[payment.order_id].payment(payment.attempt)
        assert recorded is not None
        return recorded.settled

    def _write(self, order_id: OrderId, decision: Decision) -> None:
        account = self.accounts[order_id]
        if decision.payment is not None:
            assert account.payment(decision.payment.attempt) is None, "the primary key"
        if decision.closed_order is not None:
            closing = account.closing
            assert closing is None or closing.ahead, "closed twice"
        if decision.refund is not None:
            payment = account.payment(decision.refund[0].attempt)
            assert payment is None or payment.refund is None, "the sum of refunds"
        self._keep(order_id, account_after(decision, account))

    def _replace(self, payment: Payment) -> None:
        account = self.accounts[payment.order_id]
        payments = tuple(
            payment if each.attempt == payment.attempt else each for each in account.payments
        )
        self._keep(payment.order_id, OrderAccount(account.closing, payments))

    def _keep(self, order_id: OrderId, account: OrderAccount) -> None:
        live = [each for each in account.payments if each.state is not PaymentState.FAILED]
        assert len(live) <= 1, "the unique index"
        self.accounts[order_id] = account


def _order_of(decision: Decision) -> OrderId | None:
    if decision.payment is not None:
        return decision.payment.order_id
    if decision.closed_order is not None:
        return decision.closed_order.cancelled.order_id
    return decision.refund[0].order_id if decision.refund is not None else None
