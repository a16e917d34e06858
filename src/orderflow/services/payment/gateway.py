"""
The payment provider, as we see it: what we ask, and the only answers that count.

An answer is one of five; silence, a reset connection and every error of the provider's are UNKNOWN. `Unavailable` is
raised only when no connection came about: then nothing happened, for sure.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Protocol

import httpx2
import msgspec

from orderflow.contracts.ids import PaymentId
from orderflow.messaging.errors import Unavailable
from orderflow.messaging.telemetry import counter, histogram, logger
from orderflow.services.payment.config import ProviderSettings
from orderflow.services.payment.model import Payment, Refund

RESOURCE = "provider"

CALLS = counter(
    "payment_provider_calls",
    "Calls to the payment provider, by how they ended.",
    ("operation", "ended"),
)
DURATION = histogram(
    "payment_provider_call_seconds", "How long calls to the payment provider take.", ("operation",)
)

log = logger("payment.gateway")


class Verdict(Enum):
    CAPTURED = "the money was taken"
    DECLINED = "an explicit, final no"
    VOIDED = "nothing was taken, and nothing sent before will be"
    REFUNDED = "the money was given back"
    UNKNOWN = "nobody knows"


class Answer(msgspec.Struct, frozen=True):
    """`reference`: the provider's own id of what it did. `voids`: how many it has of the payment's reference."""

    verdict: Verdict
    reference: str | None = None
    message: str = ""
    voids: int = 0


class Found(msgspec.Struct, frozen=True):
    """What the provider has under a payment's reference. None: nothing of the kind, so far."""

    charge: Answer | None = None
    refunds: Mapping[str, str] = {}
    """Its id of each refund, by ours."""
    voids: int = 0


class Gateway(Protocol):
    """What the use cases need of a provider. Every operation may raise Unavailable, and has a time-out of its own."""

    def charge(self, payment: Payment, *, after_voids: int) -> Answer:
        """CAPTURED, DECLINED or UNKNOWN. Key and reference are the payment's id."""

    def find(self, payment_id: PaymentId) -> Found | None:
        """None: it did not answer."""

    def void(self, payment_id: PaymentId, *, final: bool) -> Answer:
        """VOIDED, or what it was too late for, or UNKNOWN. `final`: also what is sent after it is refused."""

    def refund(self, payment: Payment, refund: Refund) -> Answer:
        """REFUNDED or UNKNOWN. The key is the refund's id."""


class HttpGateway:
    """
    The provider over HTTP, for many threads at a time: a pool of as many connections as there are calls.

    No retry, no redirect, no proxy from the environment, and each phase of a call has its limit.
    """

    def __init__(self, settings: ProviderSettings) -> None:
        connect_s, read_s = settings.connect_timeout_s, settings.read_timeout_s
        self._client = httpx2.Client(
            base_url=settings.url,
            timeout=httpx2.Timeout(read_s, connect=connect_s, pool=read_s),
            limits=httpx2.Limits(
                max_connections=settings.calls_max, max_keepalive_connections=settings.calls_max
            ),
            follow_redirects=False,
            trust_env=False,
        )

    def charge(self, payment: Payment, *, after_voids: int) -> Answer:
        body = {
            "reference": payment.payment_id,
            "amountMinor": payment.amount_minor,
            "currency": payment.currency,
            "token": payment.payment_method,
            "afterVoids": after_voids,
        }
        status, told = self._asked("charge", "POST", "/charges", body, key=payment.payment_id)
        return _charge(told) if status in (201, 402) else Answer(Verdict.UNKNOWN)

    def find(self, payment_id: PaymentId) -> Found | None:
        status, told = self._asked("find", "GET", f"/charges?reference={payment_id}")
        return _found(told) if status == 200 else None

    def void(self, payment_id: PaymentId, *, final: bool) -> Answer:
        status, told = self._asked("void", "POST", f"/charges/{payment_id}/void", {"final": final})
        if status != 200:
            return Answer(Verdict.UNKNOWN)
        return (
            Answer(Verdict.VOIDED, voids=told["voids"]) if told["voided"] else _one(told["charges"])
        )

    def refund(self, payment: Payment, refund: Refund) -> Answer:
        body = {
            "reference": refund.refund_id,
            "chargeReference": payment.payment_id,
            "amountMinor": refund.amount_minor,
            "currency": payment.currency,
        }
        status, told = self._asked("refund", "POST", "/refunds", body, key=refund.refund_id)
        return (
            Answer(Verdict.REFUNDED, told["refundId"]) if status == 201 else Answer(Verdict.UNKNOWN)
        )

    def close(self) -> None:
        self._client.close()

    def _asked(
        self,
        operation: str,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        key: str = "",
    ) -> tuple[int, Any]:
        """Status and body of the answer; status 0 when there was none, or none that could be read."""
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        content = None if body is None else msgspec.json.encode(body)
        with DURATION.labels(operation).time():
            try:
                answer = self._client.request(method, path, content=content, headers=headers)
            except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
                CALLS.labels(operation, "unavailable").inc()
                raise Unavailable(
                    f"the payment provider can't be reached: {error}", resource=RESOURCE
                ) from error
            except httpx2.TransportError as error:
                CALLS.labels(operation, "lost").inc()
                log.info(
                    "the provider's answer is lost",
                    operation=operation,
                    path=path,
                    error=type(error).__name__,
                )
                return 0, None
        CALLS.labels(operation, str(answer.status_code)).inc()
        if answer.status_code not in (200, 201, 402):
            log.warning(
                "the provider's answer does not say",
                operation=operation,
                path=path,
                status=answer.status_code,
            )
            return answer.status_code, None
        return _readable(answer)


def _readable(answer: httpx2.Response) -> tuple[int, Any]:
    try:
        return answer.status_code, msgspec.json.decode(answer.content)
    except msgspec.DecodeError:
        return 0, None


def _charge(told: Mapping[str, Any]) -> Answer:
    captured = told["status"] == "CAPTURED"
    return Answer(
        Verdict.CAPTURED if captured else Verdict.DECLINED, told["chargeId"], told["message"]
    )


def _one(charges: list[Mapping[str, Any]]) -> Answer:
    """A capture counts more than a decline: money was taken."""
    answers = [_charge(charge) for charge in charges]
    return next((answer for answer in answers if answer.verdict is Verdict.CAPTURED), answers[0])


def _found(told: Mapping[str, Any]) -> Found:
    return Found(
        charge=_one(told["charges"]) if told["charges"] else None,
        refunds={refund["reference"]: refund["refundId"] for refund in told["refunds"]},
        voids=told["voids"],
    )
