"""
Which answers of a provider count, over real HTTP: whatever else comes back says nothing about the
money, and never ends a payment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from threading import Event
from typing import Any

import msgspec
import pytest
from pydantic import SecretStr
from tests.support.provider_client import ProviderClient
from tests.support.scripted_provider import Reply, ScriptedProvider, http, scripted_provider
from tests.unit.services.payment.accounts import recorded

from orderflow.messaging.errors import Unavailable
from orderflow.services.payment.config import ProviderSettings
from orderflow.services.payment.gateway import (
    BODY_BYTES_MAX,
    UNANSWERED_MAX,
    Answer,
    Verdict,
)
from orderflow.services.payment.model import Payment

PAYMENT = recorded("requested")
OWED = recorded("refund requested")
CHARGE = {
    "chargeId": "ch_1",
    "reference": PAYMENT.payment_id,
    "status": "CAPTURED",
    "message": "",
    "amountMinor": PAYMENT.amount_minor,
    "currency": "EUR",
    "at": "2026-01-31T09:05:00Z",
}
ACCOUNT = {"reference": PAYMENT.payment_id, "voids": 0, "charges": [CHARGE], "refunds": []}
assert OWED.refund is not None
REFUND = {
    "refundId": "re_1",
    "reference": OWED.refund.refund_id,
    "chargeReference": OWED.payment_id,
    "amountMinor": OWED.amount_minor,
    "currency": "EUR",
}
SECRET = "sk_live_never_shown"


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with scripted_provider() as running:
        yield running


def gateway(provider: ScriptedProvider, **settings: Any) -> ProviderClient:
    return ProviderClient(
        ProviderSettings(url=provider.url, read_timeout_s=0.8, call_timeout_s=1.2, **settings)
    )


@pytest.fixture
def calls(provider: ScriptedProvider) -> Iterator[ProviderClient]:
    opened = gateway(provider)
    yield opened
    opened.close()


def charge(**changes: Any) -> dict[str, Any]:
    return CHARGE | changes


def trickled(write: Callable[[bytes], None]) -> None:
    """A byte every 0.1 s, in the headers already: no single read ever waits for long."""
    write(b"HTTP/1.1 201 Slow\r\nContent-Type: application/json\r\nX-Slow: ")
    for _ in range(200):
        Event().wait(0.05)
        write(b"z")


def trickled_body(write: Callable[[bytes], None]) -> None:
    write(b"HTTP/1.1 201 Slow\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n")
    for _ in range(200):
        Event().wait(0.05)
        write(b" ")


def endless(write: Callable[[bytes], None]) -> None:
    write(b"HTTP/1.1 201 Big\r\nContent-Type: application/json\r\n\r\n")
    while True:
        write(b" " * 65_536)


def truncated(write: Callable[[bytes], None]) -> None:
    write(http(201, CHARGE)[:-20])


def silent(_write: Callable[[bytes], None]) -> None:
    Event().wait(3)


SAYS_NOTHING: dict[str, Reply] = {
    "pending": http(201, charge(status="PENDING")),
    "an unknown status": http(201, charge(status="SUCCEEDED")),
    "a status in another case": http(201, charge(status="captured")),
    "another reference": http(201, charge(reference="another")),
    "another amount": http(201, charge(amountMinor=1)),
    "the amount as a text": http(201, charge(amountMinor=str(PAYMENT.amount_minor))),
    "the amount as a float": http(201, charge(amountMinor=float(PAYMENT.amount_minor) + 0.5)),
    "another currency": http(201, charge(currency="USD")),
    "no charge id": http(201, {name: CHARGE[name] for name in CHARGE if name != "chargeId"}),
    "a charge id that no database takes": http(201, charge(chargeId="ch\u0000")),
    "a list": http(201, []),
    "null": http(201, None),
    "an error with 201": http(201, {"error": "maintenance"}),
    "nothing": http(201, b""),
    "a page": http(201, b"<html>Please log in</html>", kind="text/html"),
    "json that is called a page": http(201, CHARGE, kind="text/html"),
    "json without a type": http(201, CHARGE, kind=""),
    "half an answer": truncated,
    "not utf-8": http(201, b'{"chargeId": "\xff"}'),
    "a compressed body": http(201, b"\x1f\x8b", Content_Encoding="gzip"),
    "a deep body": http(201, b"[" * 50_000),
    "a deep field": http(201, b'{"x":' + b"[" * 50_000),
    "an endless body": endless,
    "a body too large": http(201, charge(message="x" * BODY_BYTES_MAX)),
    "402 that is no decline": http(402, CHARGE),
    "402 without a body": http(402, b""),
    "500": http(500, {"error": "internal"}),
    "504": http(504, b"<html>", kind="text/html"),
    "409": http(409, {"error": "in-progress"}),
    "418": http(418, {"error": "teapot"}),
    "202": http(202, CHARGE),
    "204": http(204, b""),
    "no http": b"\x00\x01\x02 nonsense\r\n\r\n",
    "headers that trickle": trickled,
    "a body that trickles": trickled_body,
    "silence": silent,
}


@pytest.mark.parametrize("reply", SAYS_NOTHING.values(), ids=SAYS_NOTHING)
def test_an_answer_that_says_nothing_about_the_money_ends_no_payment(
    provider: ScriptedProvider, calls: ProviderClient, reply: Reply
) -> None:
    provider.answer("POST /charges", reply)
    began = time.monotonic()
    assert calls.charge(PAYMENT, after_voids=0) == Answer(Verdict.UNKNOWN)
    assert time.monotonic() - began < 2.0, "a call has an end"


@pytest.mark.parametrize("reply", SAYS_NOTHING.values(), ids=SAYS_NOTHING)
def test_a_look_up_without_an_answer_closes_the_gate_and_says_nothing_of_the_payment(
    provider: ScriptedProvider, calls: ProviderClient, reply: Reply
) -> None:
    provider.answer("GET /charges", reply)
    with pytest.raises(Unavailable) as raised:
        calls.find(PAYMENT)
    assert raised.value.resource == "provider"


MISMATCHED = [
    charge(status="PENDING"),
    charge(amountMinor=1),
    charge(currency="USD"),
    charge(reference="another"),
]


@pytest.mark.parametrize("found", MISMATCHED)
def test_a_charge_that_is_found_but_does_not_match_is_neither_paid_nor_sent_again(
    provider: ScriptedProvider, calls: ProviderClient, found: dict[str, Any]
) -> None:
    """Beside a decline it still is: what is pending may be captured yet."""
    declined = charge(status="DECLINED", chargeId="ch_0")
    provider.answer("GET /charges", http(200, ACCOUNT | {"charges": [declined, found]}))
    assert calls.find(PAYMENT).charge == Answer(Verdict.UNKNOWN)
    void = ACCOUNT | {"charges": [declined, found], "voided": False}
    provider.answer("POST /charges/", http(200, void))
    assert calls.void(PAYMENT, final=True) == Answer(Verdict.UNKNOWN)


def test_a_capture_counts_more_than_all_else_that_is_found(
    provider: ScriptedProvider, calls: ProviderClient
) -> None:
    charges = [charge(status="DECLINED"), charge(status="PENDING"), charge(chargeId="ch_2")]
    provider.answer("GET /charges", http(200, ACCOUNT | {"charges": charges}))
    assert calls.find(PAYMENT).charge == Answer(Verdict.CAPTURED, "ch_2")


AWAY: dict[str, tuple[bytes, str]] = {
    "401": (http(401, {"error": "who are you"}), "ORDERFLOW_PAYMENT__PSP__API_KEY"),
    "403": (http(403, b"no", kind="text/plain"), "ORDERFLOW_PAYMENT__PSP__API_KEY"),
    "429": (http(429, {}), "less often"),
    "503": (http(503, b"<html>", kind="text/html"), "away"),
    "302": (http(302, b"", Location="https://login.example"), "ORDERFLOW_PAYMENT__PSP__URL"),
    "307": (http(307, b"", Location="http://127.0.0.1:1/"), "ORDERFLOW_PAYMENT__PSP__URL"),
}
OPERATIONS: dict[str, Callable[[ProviderClient], object]] = {
    "charge": lambda calls: calls.charge(PAYMENT, after_voids=0),
    "find": lambda calls: calls.find(PAYMENT),
    "void": lambda calls: calls.void(PAYMENT, final=True),
    "refund": lambda calls: _refund(calls, OWED),
}


def _refund(calls: ProviderClient, payment: Payment = OWED) -> Answer:
    assert payment.refund is not None
    return calls.refund(payment, payment.refund)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("status", AWAY)
def test_a_provider_that_refuses_us_or_asks_us_to_wait_is_away_as_a_whole(
    provider: ScriptedProvider, operation: str, status: str
) -> None:
    reply, says = AWAY[status]
    provider.answer("GET /charges", reply)
    provider.answer("POST /", reply)
    calls = gateway(provider, api_key=SECRET)
    with pytest.raises(Unavailable, match=says) as raised:
        OPERATIONS[operation](calls)
    assert SECRET not in str(raised.value)
    assert len(provider.calls) == 1, "no redirect is followed"
    assert provider.calls[0].headers["authorization"] == f"Bearer {SECRET}"
    calls.close()


def test_without_a_key_nothing_is_sent_as_one(
    provider: ScriptedProvider, calls: ProviderClient
) -> None:
    provider.answer("POST /charges", http(201, CHARGE))
    assert calls.charge(PAYMENT, after_voids=0) == Answer(Verdict.CAPTURED, "ch_1")
    assert "authorization" not in provider.calls[0].headers


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("7", 7.0),
        ("86400", 60.0),
        ("-1", 0.0),
        ("soon", 0.0),
        ("1e9", 0.0),
        ("²", 0.0),
        (format_datetime(datetime(2001, 1, 1, tzinfo=UTC), usegmt=True), 0.0),
        (format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True), 60.0),
    ],
    # The tests have the same names in every process that collects them.
    ids=["seconds", "a day", "negative", "words", "float", "superscript", "past", "tomorrow"],
)
def test_a_provider_is_not_asked_again_before_it_wants_to_be_but_within_a_minute(
    provider: ScriptedProvider, calls: ProviderClient, header: str, expected: float
) -> None:
    answer = http(429, {}).replace(
        b"\r\n\r\n", f"\r\nRetry-After: {header}\r\n\r\n".encode("latin-1"), 1
    )
    provider.answer("POST /charges", answer)
    with pytest.raises(Unavailable) as raised:
        calls.charge(PAYMENT, after_voids=0)
    assert raised.value.retry_after_s == expected


@pytest.mark.parametrize("status", [400, 404, 405, 422])
def test_a_charge_that_is_refused_outright_is_told_in_our_words_with_the_providers_code(
    provider: ScriptedProvider, calls: ProviderClient, status: int
) -> None:
    provider.answer("POST /charges", http(status, {"error": "bad-token\r\n\u202e" + "x" * 500}))
    answer = calls.charge(PAYMENT, after_voids=0)
    assert answer.verdict is Verdict.REFUSED
    assert answer.message.startswith(
        f"the payment provider refused the payment ({status} bad-token"
    )
    assert answer.message.isprintable()
    assert len(answer.message) <= 200


def test_a_reference_that_is_voided_already_is_refused_for_good(
    provider: ScriptedProvider, calls: ProviderClient
) -> None:
    """The void's answer was lost: another void settles it, and no look-up ever would."""
    provider.answer("POST /charges", http(409, {"error": "reference-voided"}))
    assert calls.charge(PAYMENT, after_voids=1).verdict is Verdict.REFUSED


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"x":' + b"[" * 50_000, b'{"error": 7}'])
def test_a_refusal_without_a_code_is_a_refusal(
    provider: ScriptedProvider, calls: ProviderClient, body: bytes
) -> None:
    provider.answer("POST /charges", http(400, body))
    answer = calls.charge(PAYMENT, after_voids=0)
    assert answer.message == "the payment provider refused the payment (400)"


@pytest.mark.parametrize(
    "message", ["x" * 900_000, "a\r\nBcc: all@example.com", "\u0000", "", None]
)
def test_the_providers_words_are_cut_to_one_line_that_can_be_shown(
    provider: ScriptedProvider, calls: ProviderClient, message: str | None
) -> None:
    declined = charge(status="DECLINED", message=message and message[:60_000])
    provider.answer("POST /charges", http(402, declined))
    answer = calls.charge(PAYMENT, after_voids=0)
    assert answer.verdict is Verdict.DECLINED
    assert answer.message.isprintable()
    assert 1 <= len(answer.message) <= 200


def test_silence_in_a_row_is_the_providers_trouble_and_not_that_of_each_payment(
    provider: ScriptedProvider, calls: ProviderClient
) -> None:
    for _ in range(UNANSWERED_MAX):
        assert calls.charge(PAYMENT, after_voids=0).verdict is Verdict.UNKNOWN
    with pytest.raises(Unavailable, match="answers nobody"):
        calls.charge(PAYMENT, after_voids=0)
    provider.answer("POST /charges", http(201, CHARGE))
    assert calls.charge(PAYMENT, after_voids=0).verdict is Verdict.CAPTURED
    del provider.answers["POST /charges"]
    assert calls.charge(PAYMENT, after_voids=0).verdict is Verdict.UNKNOWN, "counted anew"


REFUNDS: dict[str, tuple[Reply, Verdict]] = {
    "given back": (http(201, REFUND), Verdict.REFUNDED),
    "pending": (http(201, REFUND | {"status": "PENDING"}), Verdict.UNKNOWN),
    "another refund": (http(201, REFUND | {"reference": "another"}), Verdict.UNKNOWN),
    "another charge": (http(201, REFUND | {"chargeReference": "another"}), Verdict.UNKNOWN),
    "another amount": (http(201, REFUND | {"amountMinor": 1}), Verdict.UNKNOWN),
    "another currency": (http(201, REFUND | {"currency": "USD"}), Verdict.UNKNOWN),
    "an error with 201": (http(201, {"error": "maintenance"}), Verdict.UNKNOWN),
    "500": (http(500, {}), Verdict.UNKNOWN),
    "409": (http(409, {"error": "refund-exceeds-capture"}), Verdict.REFUSED),
    "its first request at work": (http(409, {"error": "in-progress"}), Verdict.UNKNOWN),
    "422": (http(422, {"error": "invalid"}), Verdict.REFUSED),
    "404": (http(404, {"error": "unknown"}), Verdict.REFUSED),
}


@pytest.mark.parametrize(("reply", "verdict"), REFUNDS.values(), ids=REFUNDS)
def test_a_refund_is_done_only_when_the_answer_says_so(
    provider: ScriptedProvider, calls: ProviderClient, reply: Reply, verdict: Verdict
) -> None:
    provider.answer("POST /refunds", reply)
    assert _refund(calls).verdict is verdict
    if isinstance(reply, bytes) and verdict is not Verdict.REFUSED and b"201" in reply:
        found = msgspec.json.decode(reply.partition(b"\r\n\r\n")[2])
        provider.answer("GET /charges", http(200, ACCOUNT | {"refunds": [found]}))
        if "refundId" in found and found["reference"] == REFUND["reference"]:
            assert calls.find(OWED).refunds[found["reference"]].verdict is verdict


def test_a_void_counts_only_if_nothing_is_charged(
    provider: ScriptedProvider, calls: ProviderClient
) -> None:
    provider.answer(
        "POST /charges/",
        http(200, ACCOUNT | {"charges": [], "voids": 1, "voided": True}),
        http(200, ACCOUNT | {"voided": False}),
        http(200, ACCOUNT | {"voided": True}),
        http(200, ACCOUNT | {"charges": [], "voided": False}),
        http(404, {"error": "unknown"}),
        http(200, ACCOUNT | {"charges": [charge(status="DECLINED")], "voided": True}),
    )
    answers = [calls.void(PAYMENT, final=True) for _ in range(6)]
    assert answers.pop().verdict is Verdict.VOIDED, "a pending charge that the void has ended"
    assert [answer.verdict for answer in answers] == [
        Verdict.VOIDED,
        Verdict.CAPTURED,
        *[Verdict.UNKNOWN] * 3,
    ]


@pytest.mark.parametrize("key", ["a b", "schlüssel", "a\r\nHost: another"])
def test_a_key_that_no_header_can_have_is_a_wrong_setting(key: str) -> None:
    with pytest.raises(ValueError, match="visible ASCII"):
        ProviderSettings(api_key=SecretStr(key))
