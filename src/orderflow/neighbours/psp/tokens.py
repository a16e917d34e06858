"""
Test tokens: what becomes of a charge, by the name of its payment method.

`pm_<fault>` is captured, and the fault befalls the first charge of a reference; with `_always`
after it, every one.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from orderflow.neighbours.psp.faults import CALLS, Fault, Rule

PREFIX, ALWAYS = "pm_", "_always"


class ChargeStatus(StrEnum):
    """PENDING: taken on, and not yet decided."""

    PENDING = "PENDING"
    CAPTURED = "CAPTURED"
    DECLINED = "DECLINED"


class Fate(msgspec.Struct, frozen=True, kw_only=True):
    """`settles_as`, `message`: of a pending charge. `voidable`: whether a void ends it."""

    status: ChargeStatus = ChargeStatus.CAPTURED
    message: str = ""
    settles_as: ChargeStatus | None = None
    voidable: bool = True


THE_CARD = "the card was declined"

FATES = {
    "pm_ok": Fate(),
    "pm_declined": Fate(status=ChargeStatus.DECLINED, message=THE_CARD),
    "pm_pending": Fate(status=ChargeStatus.PENDING, settles_as=ChargeStatus.CAPTURED),
    "pm_pending_declined": Fate(
        status=ChargeStatus.PENDING, settles_as=ChargeStatus.DECLINED, message=THE_CARD
    ),
    "pm_pending_firm": Fate(
        status=ChargeStatus.PENDING, settles_as=ChargeStatus.CAPTURED, voidable=False
    ),
}


def fate_of(token: str) -> Fate:
    if token in FATES:
        return FATES[token]
    if fault_of(token, first=True):
        return Fate()
    return Fate(status=ChargeStatus.DECLINED, message="there is no such payment method")


def fault_of(token: str, *, first: bool) -> Fault:
    """The fault that befalls a charge with this token. `first`: of its reference."""
    name = token.removeprefix(PREFIX).removesuffix(ALWAYS)
    if not token.startswith(PREFIX) or name not in _BY_NAME:
        return Fault.NONE
    return _BY_NAME[name] if first or token.endswith(ALWAYS) else Fault.NONE


_BY_NAME = {str(fault): fault for fault in Fault if fault and Rule(fault=fault).possible == CALLS}
