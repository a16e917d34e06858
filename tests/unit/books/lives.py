"""Accounts of whole lives of an order, on which all sides agree."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count

from msgspec.structs import replace

from orderflow.books.accounts import (
    FollowedSide,
    LedgerEntry,
    NotificationRow,
    OrderAccount,
    OrderSide,
    PaymentRow,
    PaymentSide,
    RefundRow,
    ReservationSide,
    ShipmentSide,
    StatusChange,
    TopicEvent,
)

AT = datetime(2026, 11, 29, 12, tzinfo=UTC)
TOTAL = 1_990
SHIPMENTS = {"PAID": "PREPARED", "SHIPPED": "TRACKED", "DELIVERED": "CLOSED"}
KINDS = {
    "OrderCreated": "ORDER_CREATED",
    "PaymentSucceeded": "PAYMENT_SUCCEEDED",
    "PaymentFailed": "PAYMENT_FAILED",
    "PaymentRefunded": "PAYMENT_REFUNDED",
    "StockRejected": "STOCK_REJECTED",
    "SHIPPED": "ORDER_SHIPPED",
    "DELIVERED": "ORDER_DELIVERED",
    "CANCELLED": "ORDER_CANCELLED",
}


class Life:
    """An order that was placed, and to which things happen; `account()` is at rest after each."""

    def __init__(self, *, mode: str = "AUTOMATIC", total: int = TOTAL) -> None:
        self._ids = count(1)
        self.mode, self.total = mode, total
        self.status, self.stock, self.state = "", "NONE", "NONE"
        self.attempt = 0
        self.changes: list[StatusChange] = []
        self.events: list[TopicEvent] = []
        self.payments: list[PaymentRow] = []
        self.refunds: list[RefundRow] = []
        self.ledger: list[LedgerEntry] = []
        self.reservation: ReservationSide | None = None
        self.shipment: ShipmentSide | None = None

        if mode == "AUTOMATIC":
            self._request()
            self._event("orders", "OrderCreated", 1, subject_id="payment-1", amount=total)
        else:
            self._event("orders", "OrderCreated", 1, amount=total)
        self._become("CREATED")

    def fails(self) -> None:
        self.payments[-1] = replace(self.payments[-1], state="FAILED")
        self.state = "FAILED"
        self._payment_event("PaymentFailed")

    def pay(self) -> None:
        self._request()
        self._event(
            "orders",
            "PaymentRequested",
            self.attempt,
            subject_id=self.payments[-1].payment_id,
            amount=self.total,
        )

    def succeeds(self, *, in_stock: bool = True) -> None:
        payment = self.payments[-1]
        self.payments[-1] = replace(payment, state="SUCCEEDED", captured_minor=self.total)
        self.state = "SUCCEEDED"
        if self.total:
            self.ledger.append(self._entry(payment.payment_id, payment.payment_id, "CAPTURED"))
        self._payment_event("PaymentSucceeded")
        self._become("PAID")
        self.shipment = ShipmentSide(customer_id="c", status="PREPARED", version=len(self.changes))

        status = "RESERVED" if in_stock else "REJECTED"
        self.reservation = ReservationSide(
            customer_id="c", payment_id=payment.payment_id, status=status, lines={"A": 1}
        )
        self.stock = status
        self._event("inventory", f"Stock{status.title()}", subject_id=payment.payment_id)
        if not in_stock:
            self.cancel(reason="OUT_OF_STOCK")

    def ship(self) -> None:
        assert self.reservation is not None
        self._become("SHIPPED")
        self._event("orders", "OrderShipped", len(self.changes))
        self.reservation = replace(self.reservation, status="SHIPPED")

    def deliver(self) -> None:
        self._become("DELIVERED")

    def cancel(self, reason: str = "CUSTOMER") -> None:
        was_paid = self.status == "PAID"
        self._become("CANCELLED", reason=reason)
        self._event("orders", "OrderCancelled", len(self.changes), reason=reason)
        if was_paid:
            self._refund()
        elif self.state == "REQUESTED":
            self.fails()

    def account(self) -> OrderAccount:
        causes = [
            (event, KINDS.get(event.type) or KINDS.get(event.status)) for event in self.events
        ]
        rows = tuple(
            NotificationRow(
                notification_id=f"n-{event.event_id}",
                customer_id="c",
                kind=kind,
                cause_id=event.event_id,
                cause_type=event.type,
                state="SENT",
                sequence=number,
            )
            for number, (event, kind) in enumerate(
                ((event, kind) for event, kind in causes if kind), start=1
            )
        )
        outcomes = [
            self._made("notifications", "NotificationSent", row.sequence or 0, row.notification_id)
            for row in rows
        ]
        version = len(self.changes)
        return OrderAccount(
            order_id="1",
            order=OrderSide(
                customer_id="c",
                status=self.status,
                version=version,
                revision=version,
                amount_minor=self.total,
                currency="EUR",
                payment_mode=self.mode,
                payment_attempt=self.attempt,
                payment_state=self.state,
                payment_id=f"payment-{self.attempt}" if self.attempt else None,
                stock=self.stock,
                waiting_for=None if self.status in ("DELIVERED", "CANCELLED") else "PAY",
                created_at=AT,
                changes=tuple(self.changes),
            ),
            payment=PaymentSide(
                is_closed=self.status == "CANCELLED",
                payments=tuple(self.payments),
                refunds=tuple(self.refunds),
            ),
            ledger=tuple(self.ledger),
            reservation=self.reservation,
            shipment=self.shipment,
            notifications=rows,
            followed=FollowedSide(
                status=self.status,
                version=version,
                counted=tuple((change.version, change.status) for change in self.changes),
            ),
            events=tuple(
                sorted((*self.events, *outcomes), key=lambda each: (each.topic, each.offset))
            ),
        )

    def _request(self) -> None:
        self.attempt += 1
        self.state = "REQUESTED"
        self.payments.append(
            PaymentRow(
                payment_id=f"payment-{self.attempt}",
                attempt=self.attempt,
                customer_id="c",
                state="REQUESTED",
                amount_minor=self.total,
                currency="EUR",
                captured_minor=0,
                refunded_minor=0,
            )
        )

    def _refund(self) -> None:
        payment = self.payments[-1]
        self.payments[-1] = replace(payment, refunded_minor=self.total)
        self.state = "REFUNDED"
        self.refunds.append(
            RefundRow(
                refund_id="refund-1",
                payment_id=payment.payment_id,
                state="SUCCEEDED",
                amount_minor=self.total,
                currency="EUR",
            )
        )
        if self.total:
            self.ledger.append(self._entry("refund-1", payment.payment_id, "REFUNDED"))
        self._event(
            "payments", "PaymentRefunded", self.attempt, subject_id="refund-1", amount=self.total
        )
        assert self.reservation is not None
        if self.reservation.status == "RESERVED":
            self.reservation = replace(self.reservation, status="RELEASED")
            self.stock = "RELEASED"
            self._event("inventory", "StockReleased", subject_id=payment.payment_id)

    def _payment_event(self, kind: str) -> None:
        payment_id = self.payments[-1].payment_id
        self._event("payments", kind, self.attempt, subject_id=payment_id, amount=self.total)

    def _become(self, status: str, reason: str = "") -> None:
        version = len(self.changes) + 1
        event = self._event("order-events", "OrderEvent", version, reason=reason)
        self.events[-1] = replace(event, status=status, previous_status=self.status)
        self.status = status
        self.changes.append(
            StatusChange(
                version=version,
                status=status,
                event_id=event.event_id,
                occurred_at=AT + timedelta(seconds=version),
            )
        )
        if self.shipment is not None:
            self.shipment = replace(
                self.shipment, status=SHIPMENTS.get(status, "CALLED_OFF"), version=version
            )

    def _event(
        self,
        topic: str,
        kind: str,
        number: int = 0,
        *,
        subject_id: str = "",
        amount: int = 0,
        reason: str = "",
    ) -> TopicEvent:
        made = self._made(topic, kind, number, subject_id)
        event = replace(made, amount_minor=amount, currency="EUR", reason=reason)
        self.events.append(event)
        return event

    def _made(self, topic: str, kind: str, number: int, subject_id: str) -> TopicEvent:
        offset = next(self._ids)
        return TopicEvent(
            topic=topic,
            partition=0,
            offset=offset,
            event_id=f"e-{offset}",
            type=kind,
            written_s=AT.timestamp() + offset,
            customer_id="c",
            number=number,
            subject_id=subject_id,
        )

    def _entry(self, reference: str, charge: str, status: str) -> LedgerEntry:
        return LedgerEntry(
            entry_id=f"l-{len(self.ledger)}",
            reference=reference,
            charge_reference=charge,
            status=status,
            amount_minor=self.total,
            currency="EUR",
        )
