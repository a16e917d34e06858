"""
The provider's ledger, without HTTP or files: entries (charges, settlements, voids, refunds),
remembered keys, and which entry a request may make.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

import msgspec
from msgspec import Meta

from orderflow.neighbours.psp.admission import Refusal
from orderflow.neighbours.psp.tokens import ChargeStatus, fate_of

Text = Annotated[str, Meta(min_length=1, max_length=255)]
Minor = Annotated[int, Meta(ge=1, le=10**15)]
Currency = Annotated[
    str, Meta(pattern=r"^[A-Z]{3}\Z", description="three capital letters of ISO 4217")
]


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
    """
    `status` is that of now, also when it was PENDING first. `voided`: it was, until a void.
    `announced`: by a webhook.
    """

    charge_id: str
    key: str
    request: ChargeRequest
    status: ChargeStatus
    message: str
    at: datetime
    voided: bool = False
    announced: bool = False


class Settlement(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="entry", tag="settlement"
):
    """What became of a pending charge. `announced`: by a webhook."""

    charge_id: str
    status: ChargeStatus
    message: str
    at: datetime
    announced: bool = False


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
    announced: bool = False


VOIDED = "voided before it was captured"

Entry = Charge | Settlement | Void | Refund


class Total(msgspec.Struct, kw_only=True, rename="camel"):
    """Of one currency, in minor units."""

    captured_minor: int = 0
    refunded_minor: int = 0
    captures: int = 0
    refunds: int = 0
    declined: int = 0
    pending: int = 0


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


class Ledger:
    """
    The ledger's content.

    A request returns a new entry, which the caller must write and then `enter`, or an old one.
    """

    def __init__(self, *, key_window: timedelta) -> None:
        self._key_window = key_window
        self._accounts: dict[str, Account] = {}
        self._by_key: dict[str, Charge | Refund] = {}
        self._booked: list[str] = []
        self._refunds: dict[str, Refund] = {}
        self._refunded: dict[str, list[str]] = {}
        self.entries: list[Entry] = []
        self.charges: dict[str, Charge] = {}
        self.voids: list[Void] = []
        self.refunds: list[Refund] = []
        self.totals: dict[str, Total] = {}

    @property
    def remembers(self) -> bool:
        """Whether an Idempotency-Key has any effect."""
        return self._key_window > timedelta(0)

    def enter(self, entry: Entry) -> None:
        self.entries.append(entry)

        match entry:
            case Charge():
                self._enter_charge(entry)
            case Settlement():
                charge = self.charges[entry.charge_id]
                self._replace(
                    charge,
                    msgspec.structs.replace(charge, status=entry.status, message=entry.message),
                )
            case Void():
                self._enter_void(entry)
            case Refund():
                self._enter_refund(entry)

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

        fate = fate_of(request.token)
        is_pending = fate.status is ChargeStatus.PENDING
        return Charge(
            charge_id=charge_id,
            key=key,
            request=request,
            status=fate.status,
            message="" if is_pending else fate.message,
            at=now,
        )

    def settlement(
        self, charge_id: str, *, now: datetime, status: ChargeStatus | None = None
    ) -> Settlement | None:
        """What its token makes of a pending charge, or `status`; None if it is settled."""
        charge = self.charges[charge_id]
        if charge.status is not ChargeStatus.PENDING:
            return None

        fate = fate_of(charge.request.token)
        settles_as = status or fate.settles_as or ChargeStatus.CAPTURED
        is_declined = settles_as is ChargeStatus.DECLINED
        return Settlement(
            charge_id=charge_id,
            status=settles_as,
            message=(fate.message or "it was declined in the end") if is_declined else "",
            at=now,
        )

    def void(self, reference: str, request: VoidRequest, *, now: datetime) -> Void | None:
        """
        A new void; None when there is a charge already that stands, or may be captured yet.

        It declines a charge that is pending and can be voided: that is never captured.
        """
        account = self.account(reference)
        if not all(charge.voided or _ends_by_void(charge) for charge in account.charges):
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

    def booked(self, *, after: int, limit: int) -> list[Charge | Refund]:
        """
        At most `limit` charges and refunds, as they are now, from the `after`-th on, in the order
        in which they were made: it never changes.
        """
        return [self._booking(entry_id) for entry_id in self._booked[after : after + limit]]

    @property
    def bookings(self) -> int:
        """How many charges and refunds there are."""
        return len(self._booked)

    def under(self, reference: str) -> list[Charge | Refund]:
        """The charges and the refunds that were made with this reference."""
        refunds = [self._refunds[entry_id] for entry_id in self._refunded.get(reference, ())]
        return [*self.account(reference).charges, *refunds]

    def _booking(self, entry_id: str) -> Charge | Refund:
        return self.charges.get(entry_id) or self._refunds[entry_id]

    def pending(self) -> list[Charge]:
        return [charge for charge in self.charges.values() if charge.status is ChargeStatus.PENDING]

    def _account(self, reference: str) -> Account:
        return self._accounts.setdefault(reference, Account())

    def _enter_charge(self, charge: Charge) -> None:
        self._booked.append(charge.charge_id)
        self.charges[charge.charge_id] = charge
        self._account(charge.request.reference).charges.append(charge)
        self._count_charge(charge, 1)
        self._by_key[charge.key] = charge

    def _replace(self, charge: Charge, settled: Charge) -> None:
        self._count_charge(charge, -1)
        self._count_charge(settled, 1)

        self.charges[charge.charge_id] = settled
        charges = self._account(charge.request.reference).charges
        charges[charges.index(charge)] = settled
        # The key may belong to a later charge by now, beyond its window.
        if self._by_key[charge.key] == charge:
            self._by_key[charge.key] = settled

    def _enter_void(self, void: Void) -> None:
        self.voids.append(void)
        account = self._account(void.reference)
        account.voids, account.closed = void.number, account.closed or void.final
        for charge in [charge for charge in account.charges if not charge.voided]:
            self._replace(
                charge,
                msgspec.structs.replace(
                    charge, status=ChargeStatus.DECLINED, message=VOIDED, voided=True
                ),
            )

    def _enter_refund(self, refund: Refund) -> None:
        self._booked.append(refund.refund_id)
        self._refunds[refund.refund_id] = refund
        self._refunded.setdefault(refund.request.reference, []).append(refund.refund_id)
        self.refunds.append(refund)
        self._account(refund.request.charge_reference).refunds.append(refund)
        total = self.totals.setdefault(refund.request.currency, Total())
        total.refunds += 1
        total.refunded_minor += refund.request.amount_minor
        self._by_key[refund.key] = refund

    def _count_charge(self, charge: Charge, count: int) -> None:
        total = self.totals.setdefault(charge.request.currency, Total())
        match charge.status:
            case ChargeStatus.PENDING:
                total.pending += count
            case ChargeStatus.DECLINED:
                total.declined += count
            case ChargeStatus.CAPTURED:
                total.captures += count
                total.captured_minor += count * charge.request.amount_minor


def _ends_by_void(charge: Charge) -> bool:
    return charge.status is ChargeStatus.PENDING and fate_of(charge.request.token).voidable


def _but_for_voids(request: ChargeRequest | RefundRequest) -> ChargeRequest | RefundRequest:
    return (
        msgspec.structs.replace(request, after_voids=0)
        if isinstance(request, ChargeRequest)
        else request
    )
