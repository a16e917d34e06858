"""
The simulated provider's promises to those who test with it: what it did is known, and it
misbehaves as told.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.psp import Psp, psp_running
from tests.support.webhook_receiver import webhook_receiver

from orderflow.messaging.testing.eventually import eventually


@pytest.fixture
def psp(tmp_path: Path) -> Iterator[Psp]:
    with psp_running(tmp_path) as running:
        yield running


def test_what_was_answered_is_in_the_ledger_after_kill_9(psp: Psp) -> None:
    assert psp.charge("p1").status_code == 201
    assert psp.charge("p2", token="pm_declined").status_code == 402
    assert psp.refund("r1", of="p1", amountMinor=400).status_code == 201
    assert psp.void("p3").json()["voided"] is True
    before = psp.ledger()
    psp.kill()
    psp.start()
    assert psp.ledger() == before
    assert before["totals"]["EUR"] == {
        "capturedMinor": 1000,
        "refundedMinor": 400,
        "captures": 1,
        "refunds": 1,
        "declined": 1,
        "pending": 0,
    }
    again = psp.charge("p1")
    assert (again.status_code, again.headers["idempotent-replayed"]) == (201, "true")
    assert psp.charge("p3").status_code == 409
    assert psp.charge("p3", key="p3/after", afterVoids=1).status_code == 201
    assert [call["operation"] for call in psp.calls()] == [
        "charge",
        "charge",
        "refund",
        "void",
        *["charge"] * 3,
    ]


@pytest.mark.parametrize(
    ("token", "charged_at_once"),
    [("pm_reply_lost", 1), ("pm_dropped", 0), ("pm_error_after_commit", 1)],
)
def test_a_misbehaving_token_hides_its_first_answer_and_the_same_key_finds_it(
    psp: Psp, token: str, charged_at_once: int
) -> None:
    if token == "pm_error_after_commit":
        assert psp.charge("p1", token=token).status_code == 500
    else:
        with pytest.raises(httpx2.TransportError):
            psp.charge("p1", token=token)
    assert psp.captures()["p1"] == charged_at_once
    assert (
        len(psp.client.get("/charges", params={"reference": "p1"}).json()["charges"])
        == charged_at_once
    )
    assert psp.charge("p1", token=token).status_code == 201
    assert psp.captures()["p1"] == 1


def test_a_slow_charge_is_done_after_its_client_gave_up(psp: Psp) -> None:
    psp.faults(slow=1, slowS=1)
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.post(
            f"{psp.url}/charges",
            json=BODY,
            headers={"Idempotency-Key": "p1"},
            timeout=0.3,
            trust_env=False,
        )
    assert psp.captures() == {}
    assert psp.charge("p1").status_code == 409, "the key is being worked on"
    eventually(lambda: psp.captures() == {"p1": 1}, within_s=5)


BODY = {"reference": "p1", "amountMinor": 1000, "currency": "EUR", "token": "pm_ok"}


@pytest.mark.parametrize(("token", "bytes_in_time"), [("pm_silent", 0), ("pm_trickle", 3)])
def test_a_call_that_is_not_answered_to_its_end_keeps_its_client_waiting(
    psp: Psp, token: str, bytes_in_time: int
) -> None:
    """A byte at a time is too much for a time-out of each read, and never the whole answer."""
    body, key = BODY | {"token": token}, {"Idempotency-Key": "p1"}
    with httpx2.Client(base_url=psp.url, timeout=0.5, trust_env=False) as client:
        if bytes_in_time:
            with client.stream("POST", "/charges", json=body, headers=key) as answer:
                pieces = [*islice(answer.iter_raw(), bytes_in_time)]
            assert [len(piece) for piece in pieces] == [1] * bytes_in_time
        else:
            with pytest.raises(httpx2.ReadTimeout):
                client.post("/charges", json=body, headers=key)
    assert psp.captures()["p1"] == (1 if bytes_in_time else 0)


def test_a_pending_charge_and_an_undelivered_webhook_survive_kill_9(tmp_path: Path) -> None:
    with (
        webhook_receiver() as receiver,
        psp_running(
            tmp_path,
            ORDERFLOW_PSP__PENDING_S="3600",
            ORDERFLOW_PSP__ANNOUNCES="all",
            **receiver.environment,
        ) as psp,
    ):
        receiver.status = 503
        assert psp.charge("p1").status_code == 201
        assert psp.charge("p2", token="pm_pending_declined").json()["status"] == "PENDING"
        eventually(lambda: receiver.refused, within_s=5)

        psp.kill()
        receiver.status = 204
        psp.environment["ORDERFLOW_PSP__PENDING_S"] = "0"
        psp.start()
        eventually(lambda: len(receiver.taken) == 2, within_s=5)
        assert psp.refund("r1", of="p1").status_code == 201
        eventually(lambda: len(receiver.taken) == 3, within_s=5)

    told = [(body["type"], body["data"]["reference"]) for body in receiver.taken]
    assert sorted(told) == [
        ("charge.captured", "p1"),
        ("charge.declined", "p2"),
        ("refund.succeeded", "r1"),
    ]


def test_without_a_key_window_the_same_key_charges_twice_until_a_void(
    tmp_path: Path,
) -> None:
    """The void stops requests that are still on their way."""
    with psp_running(tmp_path, ORDERFLOW_PSP__KEY_WINDOW_S="0") as psp:
        assert [psp.charge("p1").status_code, psp.charge("p1").status_code] == [201, 201]
        assert psp.captures()["p1"] == 2, (
            "or the window is not off, and tests with it prove nothing"
        )
        psp.faults(slow=1, slowS=1)
        with ThreadPoolExecutor(1) as pool:
            late = pool.submit(psp.charge, "p2")
            eventually(lambda: any(call["reference"] == "p2" for call in psp.calls()), within_s=5)
            psp.faults()
            assert psp.void("p2").json()["voided"] is True
            assert late.result().status_code == 409
        assert psp.captures()["p2"] == 0


def test_nothing_is_charged_after_a_final_void(psp: Psp) -> None:
    assert psp.void("p1", final=True).json()["voided"] is True
    assert psp.charge("p1", afterVoids=9).status_code == 409
    assert psp.captures()["p1"] == 0


@pytest.mark.parametrize(
    "fields", [{"amountMinor": 0}, {"amountMinor": 1.5}, {"currency": "euro"}, {"more": 1}]
)
def test_a_request_that_is_not_valid_is_422(psp: Psp, fields: dict[str, Any]) -> None:
    assert psp.charge("p1", **fields).status_code == 422


def test_a_post_without_a_key_is_refused(psp: Psp) -> None:
    assert psp.client.post("/charges", json=BODY).status_code == 400
