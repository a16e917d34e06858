"""
The payment provider as this service sees it: the operations, and the only answers that count.

An answer has one of five verdicts. Silence, a reset connection and every error of the provider are
UNKNOWN: it may have acted. `Unavailable` is raised only when no connection came about, so nothing
was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Protocol

import httpx2
import msgspec

from orderflow.contracts.ids import PaymentId
from orderflow.messaging.errors import Unavailable
from orderflow.messaging.http.client import BoundedClient
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
    """How a call ended. UNKNOWN is no outcome: the call is repeated until it has one."""

    CAPTURED = "the money was taken"
    DECLINED = "an explicit, final no"
    VOIDED = "nothing was taken, and nothing sent before will be"
    REFUNDED = "the money was given back"
    UNKNOWN = "the provider may have acted, or not"


class Answer(msgspec.Struct, frozen=True):
    """
    What the provider did.

    `reference`: its own id of the charge or refund. `voids`: how often it has voided the payment.
    """

    verdict: Verdict
    reference: str | None = None
    message: str = ""
    voids: int = 0


class ProviderAccount(msgspec.Struct, frozen=True):
    """
    What the provider has under one payment's reference.

    `charge` is None when no charge has arrived. `refunds`: its id of each refund, by ours.
    """

    charge: Answer | None = None
    refunds: Mapping[str, str] = {}
    voids: int = 0


class Gateway(Protocol):
    """
    What the use cases need of a provider.

    Every operation ends within its own time-out, and raises Unavailable when nothing was sent.
    """

    def charge(self, payment: Payment, *, after_voids: int) -> Answer:
        """
        Take the money: CAPTURED, DECLINED or UNKNOWN. Key and reference are the payment's id.

        The provider refuses the charge if it has voided the payment more than `after_voids` times:
        so a charge that was sent before a void has no effect when it arrives after it.
        """

    def find(self, payment_id: PaymentId) -> ProviderAccount | None:
        """Look the payment up. None: the provider did not answer."""

    def void(self, payment_id: PaymentId, *, final: bool) -> Answer:
        """
        Refuse charges that were sent before: VOIDED, UNKNOWN, or the charge that came first.

        `final`: refuse those that are sent later, too.
        """

    def refund(self, payment: Payment, refund: Refund) -> Answer:
        """Give the money back: REFUNDED or UNKNOWN. The key is the refund's id."""


class HttpGateway:
    """
    The provider over HTTP, for many threads at a time: one pooled connection per running call.

    No retry, no redirect and no proxy from the environment. A call ends within its connect and read
    time-outs together, however slowly its answer trickles in.
    """

    def __init__(self, settings: ProviderSettings) -> None:
        connect_s, read_s = settings.connect_timeout_s, settings.read_timeout_s
        self._client = BoundedClient(
            within_s=connect_s + read_s,
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
        status, charge = self._request("charge", "POST", "/charges", body, key=payment.payment_id)
        return _charge_answer(charge) if status in (201, 402) else Answer(Verdict.UNKNOWN)

    def find(self, payment_id: PaymentId) -> ProviderAccount | None:
        status, account = self._request("find", "GET", f"/charges?reference={payment_id}")
        return _account(account) if status == 200 else None

    def void(self, payment_id: PaymentId, *, final: bool) -> Answer:
        path = f"/charges/{payment_id}/void"
        status, account = self._request("void", "POST", path, {"final": final})
        if status != 200:
            return Answer(Verdict.UNKNOWN)
        if account["voided"]:
            return Answer(Verdict.VOIDED, voids=account["voids"])
        return _best_answer(account["charges"])

    def refund(self, payment: Payment, refund: Refund) -> Answer:
        body = {
            "reference": refund.refund_id,
            "chargeReference": payment.payment_id,
            "amountMinor": refund.amount_minor,
            "currency": payment.currency,
        }
        status, booked = self._request("refund", "POST", "/refunds", body, key=refund.refund_id)
        if status != 201:
            return Answer(Verdict.UNKNOWN)
        return Answer(Verdict.REFUNDED, booked["refundId"])

    def close(self) -> None:
        self._client.close()

    def _request(
        self,
        operation: str,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        key: str = "",
    ) -> tuple[int, Any]:
        """Status and decoded body; status 0 when no answer came, or none that can be decoded."""
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        content = None if body is None else msgspec.json.encode(body)

        with DURATION.labels(operation).time():
            try:
                response = self._client.request(method, path, content=content, headers=headers)
            except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
                # No connection, so not one byte was sent: the only failure that is surely a no.
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

        CALLS.labels(operation, str(response.status_code)).inc()
        if response.status_code not in (200, 201, 402):
            log.warning(
                "the provider's answer does not say",
                operation=operation,
                path=path,
                status=response.status_code,
            )
            return response.status_code, None
        return _decoded(response)


def _decoded(response: httpx2.Response) -> tuple[int, Any]:
    try:
        return response.status_code, msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        return 0, None


def _charge_answer(charge: Mapping[str, Any]) -> Answer:
    captured = charge["status"] == "CAPTURED"
    verdict = Verdict.CAPTURED if captured else Verdict.DECLINED
    return Answer(verdict, charge["chargeId"], charge["message"])


def _best_answer(charges: list[Mapping[str, Any]]) -> Answer:
    """The capture, if there is one: it counts more than any decline, because money was taken."""
    answers = [_charge_answer(charge) for charge in charges]
    return next((answer for answer in answers if answer.verdict is Verdict.CAPTURED), answers[0])


def _account(account: Mapping[str, Any]) -> ProviderAccount:
    return ProviderAccount(
        charge=_best_answer(account["charges"]) if account["charges"] else None,
        refunds={refund["reference"]: refund["refundId"] for refund in account["refunds"]},
        voids=account["voids"],
    )
