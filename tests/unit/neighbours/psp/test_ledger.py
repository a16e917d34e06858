"""What the provider decides: keys, voids, refunds within the capture."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orderflow.neighbours.psp.admission import Refusal
from orderflow.neighbours.psp.ledger import (
    Charge,
    ChargeRequest,
    Ledger,
    RefundRequest,
    VoidRequest,
)
from orderflow.neighbours.psp.tokens import ChargeStatus

NOW = datetime(2026, 1, 31, 9, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)


def books(window: timedelta = HOUR) -> Ledger:
    return Ledger(key_window=window)


def request(
    reference: str = "p1", *, token: str = "pm_ok", after_voids: int = 0, minor: int = 1000
) -> ChargeRequest:
    return ChargeRequest(
        reference=reference,
        amount_minor=minor,
        currency="EUR",
        token=token,
        after_voids=after_voids,
    )


def charged(found: Ledger, asked: ChargeRequest | None = None, at: datetime = NOW) -> Charge:
    charge = found.charge("key", asked or request(), charge_id="ch_1", now=at)
    found.enter(charge)
    return charge


def refund_of(reference: str, minor: int) -> RefundRequest:
    return RefundRequest(
        reference="r1", charge_reference=reference, amount_minor=minor, currency="EUR"
    )


def test_within_the_window_a_key_gives_the_first_charge_again() -> None:
    found = books()
    first = charged(found)
    assert found.remembered("key", request(), NOW + HOUR - timedelta(seconds=1)) is first
    assert found.remembered("key", request(after_voids=1), NOW) is first
    assert found.remembered("other", request(), NOW) is None


@pytest.mark.parametrize(("window", "later"), [(HOUR, HOUR), (timedelta(0), timedelta(0))])
def test_beyond_the_window_a_key_charges_again(window: timedelta, later: timedelta) -> None:
    found = books(window)
    charged(found)
    assert found.remembered("key", request(), NOW + later) is None
    charged(found, at=NOW + later)
    assert found.totals["EUR"].captured_minor == 2000


def test_a_key_of_another_request_is_refused() -> None:
    found = books()
    charged(found)
    with pytest.raises(Refusal, match="another request"):
        found.remembered("key", request(minor=999), NOW)


@pytest.mark.parametrize("token", ["pm_declined", "pm_unheard_of"])
def test_a_decline_is_entered_and_takes_nothing(token: str) -> None:
    found = books()
    assert charged(found, request(token=token)).status is ChargeStatus.DECLINED
    assert (found.totals["EUR"].captured_minor, found.totals["EUR"].declined) == (0, 1)


def test_a_void_refuses_what_was_sent_before_it_and_lets_through_what_knows_of_it() -> None:
    found = books()
    void = found.void("p1", VoidRequest(), now=NOW)
    assert void is not None
    found.enter(void)
    with pytest.raises(Refusal, match="void 1"):
        charged(found)
    assert charged(found, request(after_voids=1)).status is ChargeStatus.CAPTURED


def test_a_void_leaves_a_charge_that_is_there_as_it_is() -> None:
    found = books()
    charged(found)
    assert found.void("p1", VoidRequest(), now=NOW) is None
    assert found.account("p1").refundable_minor == 1000


def test_refunds_never_exceed_what_was_captured() -> None:
    found = books()
    charged(found)
    found.enter(found.refund("r1", refund_of("p1", 600), refund_id="re_1", now=NOW))
    with pytest.raises(Refusal, match="400 minor"):
        found.refund("r2", refund_of("p1", 401), refund_id="re_2", now=NOW)
    with pytest.raises(Refusal):
        found.refund("r3", refund_of("unknown", 1), refund_id="re_3", now=NOW)
    assert found.totals["EUR"].refunded_minor == 600


def pending(found: Ledger, token: str = "pm_pending") -> Charge:
    charge = charged(found, request(token=token))
    assert charge.status is ChargeStatus.PENDING
    return charge


@pytest.mark.parametrize(
    ("token", "settled", "captured_minor"),
    [
        ("pm_pending", ChargeStatus.CAPTURED, 1000),
        ("pm_pending_declined", ChargeStatus.DECLINED, 0),
    ],
)
def test_a_pending_charge_settles_once_and_its_key_finds_what_became_of_it(
    token: str, settled: ChargeStatus, captured_minor: int
) -> None:
    found = books()
    charge = pending(found, token)
    assert (found.totals["EUR"].pending, found.totals["EUR"].captured_minor) == (1, 0)
    with pytest.raises(Refusal, match="0 minor"):
        found.refund("r1", refund_of("p1", 1), refund_id="re_1", now=NOW)
    settlement = found.settlement(charge.charge_id, now=NOW)
    assert settlement is not None
    found.enter(settlement)
    again = found.remembered("key", request(token=token), NOW)
    assert isinstance(again, Charge)
    assert again.status is settled
    assert (found.totals["EUR"].pending, found.totals["EUR"].captured_minor) == (0, captured_minor)
    assert found.settlement(charge.charge_id, now=NOW) is None
    assert found.pending() == []


def test_a_void_ends_a_pending_charge_for_good_or_says_that_it_may_be_captured_yet() -> None:
    found = books()
    charge = pending(found)
    void = found.void("p1", VoidRequest(), now=NOW)
    assert void is not None
    found.enter(void)
    assert found.settlement(charge.charge_id, now=NOW) is None
    assert [each.status for each in found.account("p1").charges] == [ChargeStatus.DECLINED]
    assert found.void("p1", VoidRequest(), now=NOW) is not None, "a repeat is answered alike"
    firm = books()
    pending(firm, "pm_pending_firm")
    assert firm.void("p1", VoidRequest(), now=NOW) is None
