"""The ledger as the provider tells it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orderflow.neighbours.psp.ledger import Charge, Ledger, Refund


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


def account_view(ledger: Ledger, reference: str) -> Mapping[str, Any]:
    """The answer to a look-up."""
    account = ledger.account(reference)
    return {
        "reference": reference,
        "voids": account.voids,
        "charges": [charge_view(charge) for charge in account.charges],
        "refunds": [refund_view(refund) for refund in account.refunds],
    }


def ledger_view(ledger: Ledger) -> Mapping[str, Any]:
    return {
        "charges": [charge_view(charge) for charge in ledger.charges.values()],
        "voids": [
            {"reference": void.reference, "number": void.number, "at": void.at}
            for void in ledger.voids
        ],
        "refunds": [refund_view(refund) for refund in ledger.refunds],
        "totals": ledger.totals,
    }


def references_view(ledger: Ledger, references: Sequence[str]) -> Mapping[str, Any]:
    """The charges and refunds that were made with these references."""
    entries = [entry for reference in references for entry in ledger.under(reference)]
    return {"entries": [entry_view(entry) for entry in entries]}


def page_view(ledger: Ledger, *, after: int, limit: int) -> Mapping[str, Any]:
    """
    Charges and refunds from the `after`-th on, in the order in which they were made, as they are
    now. `next`: what `after` is for the following page. `end`: how many there are.
    """
    entries = ledger.booked(after=after, limit=limit)
    return {
        "entries": [entry_view(entry) for entry in entries],
        "next": after + len(entries),
        "end": ledger.bookings,
    }


def entry_view(entry: Charge | Refund) -> Mapping[str, Any]:
    return charge_view(entry) if isinstance(entry, Charge) else refund_view(entry)
