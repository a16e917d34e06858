"""
The payment provider as this service sees it: the operations, and the only answers that count.

An answer counts if it is one of those that are defined, about the payment, the amount and the
currency that were sent. Whatever else comes back from a charge, a void or a refund is UNKNOWN: the
provider may have acted. A look-up that has no such answer says nothing about the payment, but much
about the provider: it is `Unavailable`, as it is when it can't be reached, refuses our credentials,
asks us to wait, sends us elsewhere, or answers nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Annotated, Protocol, TypeVar

import msgspec
from msgspec import Meta

from orderflow.messaging.error_text import error_words
from orderflow.messaging.errors import Unavailable
from orderflow.messaging.http.loop_client import LoopClient, NoReply, NotSent, Reply, TooLong
from orderflow.messaging.telemetry import counter, histogram, logger
from orderflow.messaging.work.clock import CLOCK
from orderflow.services.payment.config import ProviderSettings
from orderflow.services.payment.model import Payment, Refund

RESOURCE = "provider"

BODY_BYTES_MAX = 65_536
MESSAGE_LENGTH_MAX = 200
RETRY_AFTER_S_MAX = 60.0
UNANSWERED_MAX = 8
"""So many calls in a row without an answer are the provider's trouble, not those payments'."""

AWAY = (401, 403, 407, 429, 503)
REFUSED = (400, 404, 405, 410, 413, 414, 415, 422)
"""
The provider understood that it will not do this. 409 is not among them: the next answer may differ.
"""

CALLS = counter(
    "payment_provider_calls",
    "Calls to the payment provider, by how they ended.",
    ("operation", "ended"),
)
UNUSABLE = counter(
    "payment_provider_unusable_answers",
    "Answers of the payment provider that say nothing, by what is wrong with them.",
    ("operation", "kind"),
)
DURATION = histogram(
    "payment_provider_call_seconds", "How long calls to the payment provider take.", ("operation",)
)

log = logger("payment.gateway")

UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

T = TypeVar("T")


class Verdict(Enum):
    """How a call ended. UNKNOWN is no outcome: the call is repeated until it has one."""

    CAPTURED = "the money was taken"
    DECLINED = "an explicit, final no"
    VOIDED = "nothing was taken, and nothing sent before will be"
    REFUNDED = "the money was given back"
    REFUSED = "the request is one that the provider does not carry out"
    UNKNOWN = "the provider may have acted, or not"


class Answer(msgspec.Struct, frozen=True):
    """
    What the provider did.

    `reference`: its own id of the charge or refund. `message`: printable, at most 200 characters.
    `voids`: how often it has voided the payment.
    """

    verdict: Verdict
    reference: str | None = None
    message: str = ""
    voids: int = 0

    @property
    def says(self) -> bool:
        """Whether it says what became of the money."""
        return self.verdict not in (Verdict.UNKNOWN, Verdict.REFUSED)


class ProviderAccount(msgspec.Struct, frozen=True):
    """
    What the provider has under one payment's reference.

    `charge` is None when no charge has arrived. `refunds`: its answer to each refund, by our id.
    """

    charge: Answer | None = None
    refunds: Mapping[str, Answer] = {}
    voids: int = 0


class Gateway(Protocol):
    """
    What the use cases need of a provider.

    Every operation ends within its own time-out, and raises Unavailable when the provider as a
    whole is away: then the task is decided again from what is recorded, never just repeated.
    """

    async def charge(self, payment: Payment, *, after_voids: int) -> Answer:
        """
        Take the money: CAPTURED, DECLINED, REFUSED or UNKNOWN. Key and reference are the payment's
        id.

        The provider refuses the charge if it has voided the payment more than `after_voids` times:
        so a charge that was sent before a void has no effect when it arrives after it.
        """

    async def find(self, payment: Payment) -> ProviderAccount:
        """Look the payment up. Raises Unavailable unless the provider answers."""

    async def void(self, payment: Payment, *, final: bool) -> Answer:
        """
        Refuse charges that were sent before: VOIDED, UNKNOWN, or the charge that came first.

        `final`: refuse those that are sent later, too.
        """

    async def refund(self, payment: Payment, refund: Refund) -> Answer:
        """Give the money back: REFUNDED, REFUSED or UNKNOWN. The key is the refund's id."""


ProviderId = Annotated[str, Meta(pattern=r"^[!-~]{1,255}\Z")]


class ChargeStatus(Enum):
    CAPTURED = "CAPTURED"
    DECLINED = "DECLINED"
    PENDING = "PENDING"


class RefundStatus(Enum):
    SUCCEEDED = "SUCCEEDED"
    PENDING = "PENDING"


class ChargeBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the provider says of a charge. Fields that are not named here are its own business."""

    charge_id: ProviderId
    reference: str
    status: ChargeStatus
    amount_minor: int
    currency: str
    message: str | None = None


class RefundBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    refund_id: ProviderId
    reference: str
    charge_reference: str
    amount_minor: int
    currency: str
    status: RefundStatus = RefundStatus.SUCCEEDED


class AccountBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    reference: str
    voids: Annotated[int, Meta(ge=0)]
    charges: list[ChargeBody]
    refunds: list[RefundBody]


class VoidBody(AccountBody, frozen=True, kw_only=True, rename="camel"):
    voided: bool


class ErrorBody(msgspec.Struct, frozen=True):
    error: str = ""


class Unusable(Exception):
    """The answer says nothing. `kind` is for the metric."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind


class HttpGateway:
    """
    The provider over HTTP, for many calls at a time on one event loop.

    No retry, no redirect and no proxy from the environment; each phase of a call has its time-out,
    and the whole of it, its last byte included, ends after `call_timeout_s`.
    """

    def __init__(self, settings: ProviderSettings) -> None:
        key = settings.api_key.get_secret_value()
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            **({"Authorization": f"Bearer {key}"} if key else {}),
        }

        self._client = LoopClient(
            settings.url,
            headers=headers,
            connect_s=settings.connect_timeout_s,
            silence_s=settings.read_timeout_s,
            within_s=settings.call_timeout_s,
            body_bytes_max=BODY_BYTES_MAX,
            peer="psp",
        )
        self._unanswered = 0

    async def charge(self, payment: Payment, *, after_voids: int) -> Answer:
        body = {
            "reference": payment.payment_id,
            "amountMinor": payment.amount_minor,
            "currency": payment.currency,
            "token": payment.payment_method,
            "afterVoids": after_voids,
        }

        try:
            reply = await self._request("charge", "POST", "/charges", body, key=payment.payment_id)
            if reply.status in REFUSED or _is_voided(reply):
                return Answer(Verdict.REFUSED, message=_refusal(reply))
            charge = _decoded(reply, ChargeBody, expected=(200, 201, 402))
            declined = charge.status is ChargeStatus.DECLINED
            _require(declined or reply.status != 402, "402, but not declined")
        except Unusable as error:
            return _says_nothing("charge", payment, error)
        return charge_answer("charge", charge, payment)

    async def find(self, payment: Payment) -> ProviderAccount:
        try:
            reply = await self._request("find", "GET", f"/charges?reference={payment.payment_id}")
            account = _decoded(reply, AccountBody, expected=(200,))
            _require(account.reference == payment.payment_id, "another payment's account")
        except Unusable as error:
            _says_nothing("find", payment, error)
            why = f"the payment provider answers no look-up: {error}"
            raise Unavailable(why, resource=RESOURCE, reason="answers no look-up") from error

        return ProviderAccount(
            charge=_best_answer("find", account.charges, payment) if account.charges else None,
            refunds={
                refund.reference: refund_answer("find", refund, payment)
                for refund in account.refunds
            },
            voids=account.voids,
        )

    async def void(self, payment: Payment, *, final: bool) -> Answer:
        path = f"/charges/{payment.payment_id}/void"
        try:
            reply = await self._request("void", "POST", path, {"final": final})
            account = _decoded(reply, VoidBody, expected=(200,))
            _require(account.reference == payment.payment_id, "another payment's account")
            _require(account.voided or bool(account.charges), "neither voided nor charged")
            declined = all(each.status is ChargeStatus.DECLINED for each in account.charges)
            _require(not account.voided or declined, "voided, and charged all the same")
        except Unusable as error:
            return _says_nothing("void", payment, error)

        if account.voided:
            return Answer(Verdict.VOIDED, voids=account.voids)
        return _best_answer("void", account.charges, payment)

    async def refund(self, payment: Payment, refund: Refund) -> Answer:
        body = {
            "reference": refund.refund_id,
            "chargeReference": payment.payment_id,
            "amountMinor": refund.amount_minor,
            "currency": payment.currency,
        }

        try:
            reply = await self._request("refund", "POST", "/refunds", body, key=refund.refund_id)
            if reply.status in (*REFUSED, 409) and not _is_in_progress(reply):
                log.error(
                    "the provider refuses a refund; it stays owed",
                    refund=refund.refund_id,
                    payment=payment.payment_id,
                    why=_refusal(reply),
                )
                return Answer(Verdict.REFUSED, message=_refusal(reply))
            booked = _decoded(reply, RefundBody, expected=(200, 201))
            _require(booked.reference == refund.refund_id, "another refund")
        except Unusable as error:
            return _says_nothing("refund", payment, error)
        return refund_answer("refund", booked, payment)

    def close(self) -> None:
        self._client.close()

    async def _request(
        self,
        operation: str,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        key: str = "",
    ) -> Reply:
        """
        The provider's answer, whatever it says. Raises Unusable when none was read to its end,
        Unavailable when it is the provider that is away.
        """
        headers = {"Idempotency-Key": key} if key else {}
        content = b"" if body is None else msgspec.json.encode(body)

        with DURATION.labels(operation).time():
            try:
                reply = await self._client.request(method, path, body=content, headers=headers)
            except NotSent as error:
                # Not one byte was sent: the only failure that is surely a no.
                CALLS.labels(operation, "unavailable").inc()
                raise Unavailable(
                    f"the payment provider can't be reached: {error}",
                    resource=RESOURCE,
                    reason="can't be reached",
                ) from error
            except NoReply as error:
                if error.begun is not None:
                    _refuse_if_away(error.begun)
                raise self._lost(operation, error) from error

        CALLS.labels(operation, str(reply.status)).inc()
        _refuse_if_away(reply)
        if reply.headers.get("content-encoding", "identity").lower() != "identity":
            raise Unusable("malformed", "a compressed body")
        if reply.status >= 500:
            self._count_unanswered(f"status {reply.status}")
            raise Unusable("status", f"status {reply.status}")
        self._unanswered = 0
        return reply

    def _lost(self, operation: str, error: NoReply) -> Unusable:
        """What an answer that ended early is. Raises Unavailable if too many did."""
        CALLS.labels(operation, "lost").inc()
        if isinstance(error, TooLong):
            return Unusable("too-large", str(error))
        self._count_unanswered(str(error))
        return Unusable("silence", str(error))

    def _count_unanswered(self, why: str) -> None:
        """Raise Unavailable once nobody is answered: then it is not about these payments."""
        self._unanswered += 1
        if self._unanswered > UNANSWERED_MAX:
            raise Unavailable(
                f"the payment provider answers nobody: {self._unanswered} calls in a row,"
                f" the last: {why}",
                resource=RESOURCE,
                reason=f"answers nobody: {self._unanswered} calls in a row",
            )


def _refuse_if_away(reply: Reply) -> None:
    """Raise Unavailable for an answer that is about us or the provider, and about no payment."""
    status = reply.status
    if status not in AWAY and not 300 <= status < 400:
        return

    why = {
        401: "refuses our credentials: check ORDERFLOW_PAYMENT__PSP__API_KEY",
        403: "forbids this to our credentials: check ORDERFLOW_PAYMENT__PSP__API_KEY",
        429: "asks us to call less often",
        503: "says that it is away",
    }.get(status, "sends us elsewhere: check ORDERFLOW_PAYMENT__PSP__URL")
    raise Unavailable(
        f"the payment provider {why} (status {status})",
        resource=RESOURCE,
        reason=f"{why} (status {status})",
        retry_after_s=_retry_after_s(reply.headers.get("retry-after", "")),
    )


def _retry_after_s(header: str) -> float:
    """Seconds, at most `RETRY_AFTER_S_MAX`; 0 if the header says nothing."""
    try:
        seconds = (
            float(header)
            if header.isascii() and header.isdigit()
            else (parsedate_to_datetime(header) - CLOCK.now()).total_seconds()
        )
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return min(RETRY_AFTER_S_MAX, max(0.0, seconds))


def _is_json(reply: Reply) -> bool:
    """Whether its content type says so."""
    media_type = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type == "application/json" or media_type.endswith("+json")


def _decoded(reply: Reply, kind: type[T], *, expected: tuple[int, ...]) -> T:
    """Raises Unusable unless the answer is one of these."""
    if reply.status not in expected:
        raise Unusable("status", f"status {reply.status}")
    if not _is_json(reply):
        raise Unusable("content-type", "no JSON")
    try:
        return msgspec.json.decode(reply.body, type=kind)
    except UNDECODABLE as error:
        raise Unusable("malformed", error_words(error)) from error


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise Unusable("mismatch", otherwise)


def _says_nothing(operation: str, payment: Payment, error: Unusable) -> Answer:
    UNUSABLE.labels(operation, error.kind).inc()
    log.warning(
        "the provider's answer does not say",
        operation=operation,
        payment=payment.payment_id,
        kind=error.kind,
        why=str(error),
    )
    return Answer(Verdict.UNKNOWN)


def charge_answer(operation: str, charge: ChargeBody, payment: Payment) -> Answer:
    """What the provider says of a charge; UNKNOWN unless it is the one that we have asked for."""
    sent = (payment.payment_id, payment.amount_minor, payment.currency)
    if (charge.reference, charge.amount_minor, charge.currency) != sent:
        return _says_nothing(operation, payment, Unusable("mismatch", "another charge"))
    match charge.status:
        case ChargeStatus.CAPTURED:
            return Answer(Verdict.CAPTURED, charge.charge_id, printable(charge.message or ""))
        case ChargeStatus.DECLINED:
            words = printable(charge.message or "") or "the payment was declined"
            return Answer(Verdict.DECLINED, charge.charge_id, words)
        case ChargeStatus.PENDING:
            return _says_nothing(operation, payment, Unusable("pending", "not settled yet"))


def _best_answer(operation: str, charges: list[ChargeBody], payment: Payment) -> Answer:
    """A capture counts most, because money was taken; a decline only if nothing else is there."""
    answers = {
        answer.verdict: answer
        for answer in (charge_answer(operation, charge, payment) for charge in charges)
    }
    by_weight = (Verdict.CAPTURED, Verdict.UNKNOWN, Verdict.DECLINED)
    return next(answers[verdict] for verdict in by_weight if verdict in answers)


def refund_answer(operation: str, refund: RefundBody, payment: Payment) -> Answer:
    """As `charge_answer`, of a refund."""
    sent = (payment.payment_id, payment.amount_minor, payment.currency)
    if (refund.charge_reference, refund.amount_minor, refund.currency) != sent:
        return _says_nothing(operation, payment, Unusable("mismatch", "another refund"))
    if refund.status is RefundStatus.PENDING:
        return _says_nothing(operation, payment, Unusable("pending", "not given back yet"))
    return Answer(Verdict.REFUNDED, refund.refund_id)


def _is_voided(reply: Reply) -> bool:
    """
    The reference was voided for good, by a call whose answer was lost: it is settled by a void.
    """
    return reply.status == 409 and _error_code(reply) == "reference-voided"


def _is_in_progress(reply: Reply) -> bool:
    """The same request, sent before and not answered in time, is still at work: it decides."""
    return reply.status == 409 and _error_code(reply) == "in-progress"


def _refusal(reply: Reply) -> str:
    """Our words, and the provider's code if it has one."""
    said = printable(f"{reply.status} {_error_code(reply)[:64]}")
    return f"the payment provider refused the payment ({said})"


def _error_code(reply: Reply) -> str:
    """The provider's code of a refusal; empty if it has none that can be read."""
    try:
        return msgspec.json.decode(reply.body, type=ErrorBody).error if _is_json(reply) else ""
    except UNDECODABLE:
        return ""


def printable(text: str) -> str:
    """One line of at most 200 characters that can be shown anywhere."""
    shown = "".join(each if each.isprintable() else " " for each in text[: 4 * MESSAGE_LENGTH_MAX])
    return " ".join(shown.split())[:MESSAGE_LENGTH_MAX]
