"""
The provider's ledger, without HTTP or files: entries (charges, voids, refunds), remembered keys,
and which entry a request may make.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

Text = Annotated[str, Meta(min_length=1, max_length=255)]
Minor = Annotated[int, Meta(ge=1, le=10**15)]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z")]


class Token(StrEnum):
    """Test tokens; any other is declined. Misbehaviour is at a reference's first charge only."""

    OK = "pm_ok"
    DECLINED = "pm_declined"
    SLOW = "pm_slow"
    REPLY_LOST = "pm_reply_lost"
    DROPPED = "pm_dropped"
    ERROR_AFTER_COMMIT = "pm_error_after_commit"


class ChargeStatus(StrEnum):
    CAPTURED = "CAPTURED"
    DECLINED = "DECLINED"


class ChargeRequest(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """
    `after_voids`: how many voids of the reference the client has had answers to.

    With fewer than there are, the charge was sent before a void, and is refused.
    """

    reference: Text
    amount_minor: Minor
    currency: Currency
    token: Text
    after_voids: Annotated[int, Meta(ge=0)] = 0


class RefundRequest(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    reference: Text
    charge_reference: Text
    amount_minor: Minor
    currency: Currency


class Charge(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="entry", tag="charge"
):
    charge_id: str
    key: str
    request: ChargeRequest
    status: ChargeStatus
    message: str
    at: datetime


class VoidRequest(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """`final`: nothing is ever charged under this reference again, whatever `after_voids`."""

    final: bool = False


class Void(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="entry", tag="void"
):
    reference: str
    number: int
    final: bool = False
    at: datetime


class Refund(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="entry", tag="refund"
):
    refund_id: str
    key: str
    request: RefundRequest
    at: datetime


Entry = Charge | Void | Refund


class Total(msgspec.Struct, kw_only=True, rename="camel"):
    """Of one currency, in minor units."""

    captured_minor: int = 0
    refunded_minor: int = 0
    captures: int = 0
    refunds: int = 0
    declined: int = 0


class Account(msgspec.Struct, kw_only=True):
    """All entries under a charge reference."""

    charges: list[Charge] = []
    refunds: list[Refund] = []
    voids: int = 0
    closed: bool = False

    @property
    def refundable_minor(self) -> int:
        captured = sum(
            charge.request.amount_minor
            for charge in self.charges
            if charge.status is ChargeStatus.CAPTURED
        )
        return captured - sum(refund.request.amount_minor for refund in self.refunds)


class Refusal(Exception):
    """The request is wrong, or may not be done; a decline is an entry and no refusal."""

    def __init__(self, status: int, slug: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.slug, self.detail = status, slug, detail


class Ledger:
    """
    The ledger's content.

    A request returns a new entry, which the caller must write and then `enter`, or an old one.
    """

    def __init__(self, *, key_window: timedelta) -> None:
        self._key_window = key_window
        self._accounts: dict[str, Account] = {}
        self._by_key: dict[str, Charge | Refund] = {}
        self.entries: list[Entry] = []
        self.totals: dict[str, Total] = {}

    @property
    def remembers(self) -> bool:
        """Whether an Idempotency-Key has any effect."""
        return self._key_window > timedelta(0)

    def enter(self, entry: Entry) -> None:
        self.entries.append(entry)

        match entry:
            case Void():
                account = self._account(entry.reference)
                account.voids, account.closed = entry.number, account.closed or entry.final
            case Charge():
                self._account(entry.request.reference).charges.append(entry)
                self._count_charge(entry)
                self._by_key[entry.key] = entry
            case Refund():
                self._account(entry.request.charge_reference).refunds.append(entry)
                total = self.totals.setdefault(entry.request.currency, Total())
                total.refunds += 1
                total.refunded_minor += entry.request.amount_minor
                self._by_key[entry.key] = entry

    def remembered(
        self, key: str, request: ChargeRequest | RefundRequest, now: datetime
    ) -> Charge | Refund | None:
        """
        The entry that this key made, within the key window.

        Raises Refusal if it was made by another request.
        """
        earlier = self._by_key.get(key)
        if earlier is None or now - earlier.at >= self._key_window:
            return None
        if _but_for_voids(earlier.request) != _but_for_voids(request):
            raise Refusal(422, "key-reused", "this Idempotency-Key belongs to another request")
        return earlier

    def charge(self, key: str, request: ChargeRequest, *, charge_id: str, now: datetime) -> Charge:
        """
        A new charge. Raises Refusal if the reference is voided.

        A second charge under a reference is made like the first: only a remembered key prevents it.
        """
        account = self.account(request.reference)
        if account.closed or request.after_voids < account.voids:
            raise Refusal(
                409,
                "reference-voided",
                f"void {account.voids} of this reference came between, or is final",
            )

        declined = _declined(request.token)
        return Charge(
            charge_id=charge_id,
            key=key,
            request=request,
            status=ChargeStatus.DECLINED if declined else ChargeStatus.CAPTURED,
            message=declined or "",
            at=now,
        )

    def void(self, reference: str, request: VoidRequest, *, now: datetime) -> Void | None:
        """A new void; None when there is a charge already: the charge stands."""
        account = self.account(reference)
        if account.charges:
            return None
        return Void(reference=reference, number=account.voids + 1, final=request.final, at=now)

    def refund(self, key: str, request: RefundRequest, *, refund_id: str, now: datetime) -> Refund:
        refundable = self.account(request.charge_reference).refundable_minor
        if request.amount_minor > refundable:
            raise Refusal(
                409,
                "refund-exceeds-capture",
                f"{refundable} minor units of this charge can be refunded",
            )
        return Refund(refund_id=refund_id, key=key, request=request, at=now)

    def account(self, reference: str) -> Account:
        return self._accounts.get(reference) or Account()

    def view(self, reference: str) -> dict[str, Any]:
        """The answer to a look-up."""
        account = self.account(reference)
        return {
            "reference": reference,
            "voids": account.voids,
            "charges": [charge_view(charge) for charge in account.charges],
            "refunds": [refund_view(refund) for refund in account.refunds],
        }

    def _account(self, reference: str) -> Account:
        return self._accounts.setdefault(reference, Account())

    def _count_charge(self, charge: Charge) -> None:
        total = self.totals.setdefault(charge.request.currency, Total())
        if charge.status is ChargeStatus.DECLINED:
            total.declined += 1
        else:
            total.captures += 1
            total.captured_minor += charge.request.amount_minor


def charge_view(charge: Charge) -> Mapping[str, Any]:
    request = charge.request
    return {
        "chargeId": charge.charge_id,
        "reference": request.reference,
        "status": charge.status,
        "message": charge.message,
        "amountMinor": request.amount_minor,
        "currency": request.currency,
        "at": charge.at,
    }


def refund_view(refund: Refund) -> Mapping[str, Any]:
    request = refund.request
    return {
        "refundId": refund.refund_id,
        "reference": request.reference,
        "chargeReference": request.charge_reference,
        "amountMinor": request.amount_minor,
        "currency": request.currency,
        "at": refund.at,
    }


def ledger_view(ledger: Ledger) -> Mapping[str, Any]:
    kinds: dict[type[Entry], Sequence[Any]] = {
        kind: [entry for entry in ledger.entries if isinstance(entry, kind)]
        for kind in (Charge, Void, Refund)
    }

    return {
        "charges": [charge_view(charge) for charge in kinds[Charge]],
        "voids": [
            {"reference": void.reference, "number": void.number, "at": void.at}
            for void in kinds[Void]
        ],
        "refunds": [refund_view(refund) for refund in kinds[Refund]],
        "totals": ledger.totals,
    }


def _but_for_voids(request: ChargeRequest | RefundRequest) -> ChargeRequest | RefundRequest:
    return (
        msgspec.structs.replace(request, after_voids=0)
        if isinstance(request, ChargeRequest)
        else request
    )


def _declined(token: str) -> str | None:
    """Why the provider declines this token, if it does."""
    if token == Token.DECLINED:
        return "the card was declined"
    return None if token in _GOOD else "there is no such payment method"


_GOOD = frozenset(Token) - {Token.DECLINED}
