"""Who may tell us of a payment: a signature over id, time and body, by a secret valid now."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr, ValidationError
from standardwebhooks import Webhook as Signer
from tests.unit.services.payment.accounts import EARLIER, recorded

from orderflow.neighbours.psp.ledger import Charge, ChargeRequest, Refund, RefundRequest
from orderflow.neighbours.psp.tokens import ChargeStatus
from orderflow.neighbours.psp.webhooks import of_charge, of_refund
from orderflow.services.payment.config import ProviderSettings
from orderflow.services.payment.gateway import Verdict, charge_answer, refund_answer
from orderflow.services.payment.webhooks import Forged, Signatures, contents

OLD, NEW, FOREIGN = (
    f"whsec_{base64.b64encode(bytes([number]) * 24).decode()}" for number in range(3)
)
BODY = b'{"type": "charge.captured", "data": {}}'


def signed(
    secret: str = NEW, body: bytes = BODY, *, age: timedelta = timedelta(0), webhook_id: str = "m1"
) -> dict[str, str]:
    at = datetime.now(UTC) - age
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Signer(secret).sign(webhook_id, at, body.decode()),
    }


SIGNATURES = Signatures([OLD, NEW])


@pytest.mark.parametrize("secret", [OLD, NEW])
@pytest.mark.parametrize("age", [timedelta(0), timedelta(minutes=4), -timedelta(minutes=4)])
def test_while_a_secret_is_replaced_both_are_believed(secret: str, age: timedelta) -> None:
    assert SIGNATURES.verify(signed(secret, age=age), BODY) == "m1"


def test_any_valid_signature_among_several_is_enough() -> None:
    headers = signed()
    headers["webhook-signature"] = f"v1a,xyz v1,{'A' * 44} {headers['webhook-signature']}"
    assert SIGNATURES.verify(headers, BODY) == "m1"


FORGED: dict[str, Callable[[], dict[str, str]]] = {
    "nothing": dict,
    "another secret": lambda: signed(FOREIGN),
    "too old": lambda: signed(age=timedelta(minutes=6)),
    "from the future": lambda: signed(age=-timedelta(minutes=6)),
    "another id": lambda: signed() | {"webhook-id": "m2"},
    "another time": lambda: (
        signed() | {"webhook-timestamp": str(int(datetime.now(UTC).timestamp()) + 9)}
    ),
    "no time": lambda: signed() | {"webhook-timestamp": ""},
    "a time that is none": lambda: signed() | {"webhook-timestamp": "nan"},
    "an endless time": lambda: signed() | {"webhook-timestamp": "9" * 400},
    "no signature": lambda: signed() | {"webhook-signature": ""},
    "nonsense": lambda: signed() | {"webhook-signature": "nonsense"},
    "too many commas": lambda: signed() | {"webhook-signature": "v1,a,b"},
    "no base64": lambda: signed() | {"webhook-signature": "v1,\u00e9"},
    "another version": lambda: signed() | {"webhook-signature": "v2," + "A" * 44},
    "an endless id": lambda: signed(webhook_id="m" * 256),
}


@pytest.mark.parametrize("kind", FORGED)
def test_what_the_provider_has_not_signed_lately_is_forged(kind: str) -> None:
    # Signed here, not when this module is imported: a signature grows old.
    headers = FORGED[kind]()
    with pytest.raises(Forged):
        SIGNATURES.verify(headers, BODY)


@pytest.mark.parametrize("body", [BODY + b" ", b"", b"\xff\xfe"])
def test_another_body_under_a_good_signature_is_forged(body: bytes) -> None:
    with pytest.raises(Forged):
        SIGNATURES.verify(signed(), body)


def test_what_the_simulated_provider_tells_is_what_was_agreed() -> None:
    payment, owed = recorded("unknown"), recorded("refund requested")
    assert owed.refund is not None
    request = ChargeRequest(
        reference=payment.payment_id,
        amount_minor=payment.amount_minor,
        currency=payment.currency,
        token="pm_ok",
    )
    charged = Charge(
        charge_id="ch_1",
        key="k",
        request=request,
        status=ChargeStatus.CAPTURED,
        message="",
        at=EARLIER,
    )
    charge, _ = contents(of_charge(charged, EARLIER).body)
    assert charge is not None
    assert charge_answer("webhook", charge, payment).verdict is Verdict.CAPTURED

    refunded = Refund(
        refund_id="re_1",
        key="k",
        request=RefundRequest(
            reference=owed.refund.refund_id,
            charge_reference=owed.payment_id,
            amount_minor=owed.amount_minor,
            currency=owed.currency,
        ),
        at=EARLIER,
    )
    _, refund = contents(of_refund(refunded, "ch_1").body)
    assert refund is not None
    assert refund_answer("webhook", refund, owed).verdict is Verdict.REFUNDED


def test_secrets_are_checked_at_the_start_and_not_shown() -> None:
    secrets = ProviderSettings(webhook_secrets=SecretStr(f"{OLD} {NEW}"))
    assert OLD not in repr(secrets)
    for wrong in ("whsec_", "whsec_n\u00f6", "whsec_dG9vIHNob3J0", OLD.removeprefix("whsec_")):
        with pytest.raises(ValidationError, match="whsec_"):
            ProviderSettings(webhook_secrets=SecretStr(wrong))
