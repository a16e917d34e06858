"""
What the provider tells by itself: who may tell it, and what is believed.

A webhook is a hint that saves a look-up. The signature says who sent it, and for the rest it is
held to what a look-up is held to: our reference, amount and currency, by compare-and-set. It only
settles what is open; the payment's own record finds that recorded at its next step, and announces
it. If that record has become a dead letter, whoever asks for the payment again has it announced
(`orderflow stuck retry`). A webhook that is lost, late, repeated or out of order changes nothing
but the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from standardwebhooks import Webhook as Signature
from standardwebhooks import WebhookVerificationError

from orderflow.contracts.events import PaymentFailureReason
from orderflow.messaging.error_text import error_words
from orderflow.messaging.http.repeated_members import repeated_members
from orderflow.messaging.postgres import Cursor
from orderflow.messaging.telemetry import counter
from orderflow.services.payment import model, repository
from orderflow.services.payment.gateway import (
    UNDECODABLE,
    ChargeBody,
    RefundBody,
    Verdict,
    charge_answer,
    refund_answer,
)
from orderflow.services.payment.model import Payment

KNOWN_FOR = timedelta(days=1)
"""How long an id is remembered. Each is believed for five minutes; a sender may sign it again."""

ID_LENGTH_MAX = 255

WEBHOOKS = counter("payment_webhooks", "Webhooks of the provider, by what they did.", ("effect",))


class Forged(Exception):
    """Not signed by the provider, or not lately."""


class Unreadable(Exception):
    """Signed, but not what was agreed."""


class Signatures:
    """
    The secrets that the provider may sign with. Several are valid while a secret is replaced.

    The signature covers id, time and body, is compared in constant time, and is believed within
    five minutes of its time.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        self._signatures = [Signature(secret) for secret in secrets]

    def __bool__(self) -> bool:
        return bool(self._signatures)

    def verify(self, headers: Mapping[str, str], body: bytes) -> str:
        """The webhook's id. Raises Forged."""
        webhook_id = headers.get("webhook-id", "")
        if not (0 < len(webhook_id) <= ID_LENGTH_MAX and webhook_id.isprintable()):
            raise Forged("no id")
        for signature in self._signatures:
            try:
                signature.verify(body, dict(headers), json_parse=False)
            except (WebhookVerificationError, ValueError):
                # ValueError: a header that is not even in the form of a signature.
                continue
            return webhook_id
        raise Forged("no valid signature")


class Envelope(msgspec.Struct, frozen=True):
    type: str
    data: msgspec.Raw


def believe(cursor: Cursor, webhook_id: str, body: bytes, *, now: datetime) -> str:
    """
    Record what a signed webhook says, in this transaction; what it did, in a word.

    Most webhooks say what an answer has said before: they are read, and nothing is written. Raises
    Unreadable for a body that is not what was agreed; then nothing of it is recorded.
    """
    charge, refund = contents(body)
    payment = _open_payment(cursor, charge, refund)
    if payment is None:
        return "ignored"
    if not repository.note_webhook(cursor, webhook_id, now=now):
        return "repeated"
    if charge is not None:
        return _settle_charge(cursor, charge, payment, now=now)
    assert refund is not None
    return _settle_refund(cursor, refund, payment, now=now)


def contents(body: bytes) -> tuple[ChargeBody | None, RefundBody | None]:
    """What a webhook is about; neither, if it is about nothing that concerns us."""
    try:
        envelope = msgspec.json.decode(body, type=Envelope)
        if repeated_members(body):
            raise Unreadable("a member is there more than once")
        match envelope.type:
            case "charge.captured" | "charge.declined":
                return msgspec.json.decode(envelope.data, type=ChargeBody), None
            case "refund.succeeded":
                return None, msgspec.json.decode(envelope.data, type=RefundBody)
            case _:
                return None, None
    except UNDECODABLE as error:
        raise Unreadable(error_words(error)) from error


def _open_payment(
    cursor: Cursor, charge: ChargeBody | None, refund: RefundBody | None
) -> Payment | None:
    """
    What the webhook could settle, its order locked: a payment that is unknown, or one whose refund
    is owed.

    While a payment's call runs, the call's answer comes. A payment of a closed order is left to the
    void that its record waits for.
    """
    if charge is not None:
        payment = repository.lock_unknown(cursor, charge.reference)
        return payment if payment is not None and payment.requested_by is not None else None
    if refund is not None:
        payment = repository.lock_owed(cursor, refund.reference)
        return payment if payment is not None and payment.refund is not None else None
    return None


def _settle_charge(cursor: Cursor, charge: ChargeBody, payment: Payment, *, now: datetime) -> str:
    assert payment.requested_by is not None
    answer = charge_answer("webhook", charge, payment)

    match answer.verdict:
        case Verdict.CAPTURED:
            settled = model.captured(payment, answer.reference, cause=payment.requested_by, now=now)
        case Verdict.DECLINED:
            settled = model.failed(
                payment,
                PaymentFailureReason.DECLINED,
                answer.message,
                cause=payment.requested_by,
                now=now,
            )
        case _:
            return "mismatch"
    repository.settle(cursor, [settled])
    return "settled"


def _settle_refund(cursor: Cursor, body: RefundBody, payment: Payment, *, now: datetime) -> str:
    assert payment.refund is not None
    answer = refund_answer("webhook", body, payment)
    if answer.verdict is not Verdict.REFUNDED:
        return "mismatch"
    repository.settle_refunds(cursor, [model.refunded(payment.refund, answer.reference, now=now)])
    return "settled"
