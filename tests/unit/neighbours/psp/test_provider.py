"""The provider over its API, without a socket: credentials, pending charges, wrong answers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from orderflow.neighbours.psp.admission import Admission
from orderflow.neighbours.psp.api import build_api
from orderflow.neighbours.psp.faults import EFFECTS, Fault, FaultPlan
from orderflow.neighbours.psp.provider import Provider
from orderflow.neighbours.psp.replies import HUGE_BYTES
from orderflow.neighbours.psp.webhooks import Request, WebhookSender

CHARGE = {"reference": "p1", "amountMinor": 1000, "currency": "EUR", "token": "pm_ok"}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
Talk = Callable[[httpx2.AsyncClient], Awaitable[Any]]


def during(tmp_path: Path, talk: Talk, **settings: Any) -> Any:
    """What `talk` returns, with a client of a provider that is started and closed around it."""

    async def talking() -> Any:
        provider = Provider(
            tmp_path, key_window_s=60, plan=FaultPlan(chance=random.Random(4)), **settings
        )
        provider.start()
        transport = httpx2.ASGITransport(app=build_api(provider))
        try:
            async with httpx2.AsyncClient(transport=transport, base_url="http://psp") as client:
                return await talk(client)
        finally:
            provider.stop()
            provider.close()

    return asyncio.run(talking())


async def charge(client: httpx2.AsyncClient, **fields: Any) -> httpx2.Response:
    body = {**CHARGE, **fields}
    return await client.post(
        "/charges", json=body, headers={"Idempotency-Key": str(body["reference"])}
    )


async def find(client: httpx2.AsyncClient) -> httpx2.Response:
    return await client.get("/charges", params={"reference": "p1"})


async def statuses(client: httpx2.AsyncClient) -> list[str]:
    return [each["status"] for each in (await find(client)).json()["charges"]]


def test_every_operation_needs_the_key_and_a_refused_call_is_logged(tmp_path: Path) -> None:
    async def talk(client: httpx2.AsyncClient) -> None:
        answers = [
            await charge(client),
            await find(client),
            await client.post("/charges/p1/void", json={}),
            await client.post("/refunds", json={}),
        ]
        assert [answer.status_code for answer in answers] == [401] * 4
        client.headers["Authorization"] = "Bearer key"
        assert (await charge(client)).status_code == 201
        calls = (await client.get("/calls")).json()["items"]
        assert [call["refused"] for call in calls] == ["unauthorized"] * 4 + [""]

    during(tmp_path, talk, admission=Admission(api_key="key"))


def test_a_pending_charge_is_pending_until_it_settles_and_again_after_a_restart(
    tmp_path: Path,
) -> None:
    async def before(client: httpx2.AsyncClient) -> None:
        answer = await charge(client, token="pm_pending")
        assert (answer.status_code, answer.json()["status"]) == (201, "PENDING")
        assert await statuses(client) == ["PENDING"]

    async def after(client: httpx2.AsyncClient) -> None:
        async with asyncio.timeout(5):
            while await statuses(client) == ["PENDING"]:
                await asyncio.sleep(0)
        assert await statuses(client) == ["CAPTURED"]
        again = await charge(client, token="pm_pending")
        assert (again.status_code, again.json()["status"]) == (201, "CAPTURED")
        assert again.headers["Idempotent-Replayed"] == "true"

    during(tmp_path, before, pending_s=3600)
    during(tmp_path, after, pending_s=0)


def test_a_test_decides_a_pending_charge_when_and_as_it_wants(tmp_path: Path) -> None:
    async def talk(client: httpx2.AsyncClient) -> None:
        await charge(client, token="pm_pending")
        refused = await client.post("/charges/p1/settle", json={"status": "PENDING"})
        assert refused.status_code == 422
        await client.post("/charges/p1/settle", json={"status": "DECLINED"})
        assert await statuses(client) == ["DECLINED"]
        assert (await charge(client, token="pm_pending")).status_code == 402

    during(tmp_path, talk, pending_s=3600)


def put(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"rules": rules}


STATUSES = [fault for fault in Fault if fault.isdigit()]


@pytest.mark.parametrize("fault", STATUSES)
def test_a_status_is_answered_to_each_operation_and_nothing_is_done(
    tmp_path: Path, fault: Fault
) -> None:
    async def talk(client: httpx2.AsyncClient) -> None:
        rule = {"fault": fault, "first": 2, "retryAfterS": 7}
        await client.put("/faults", json=put(rule))
        for answer in (await charge(client), await find(client)):
            assert (answer.status_code, answer.headers["Retry-After"]) == (int(fault), "7")
        assert await statuses(client) == []
        assert [call["fault"] for call in (await client.get("/calls")).json()["items"]] == [
            fault,
            fault,
            "",
        ]
        assert (await client.get("/faults")).json()["applied"] == {fault: 2}

    during(tmp_path, talk)


def test_a_charge_is_done_although_the_answer_is_an_error_if_the_rule_says_so(
    tmp_path: Path,
) -> None:
    async def talk(client: httpx2.AsyncClient) -> None:
        rule = {"fault": "504", "operations": ["charge"], "done": True}
        await client.put("/faults", json=put(rule))
        assert (await charge(client)).status_code == 504
        assert await statuses(client) == ["CAPTURED"]

    during(tmp_path, talk)


WRONG: dict[Fault, Callable[[httpx2.Response], bool]] = {
    Fault.HUGE: lambda answer: len(answer.content) > HUGE_BYTES and answer.json() != {},
    Fault.EMPTY: lambda answer: answer.content == b"",
    Fault.HTML: lambda answer: answer.headers["content-type"].startswith("text/html"),
    Fault.TRUNCATED: lambda answer: 0 < len(answer.content) < 150,
    Fault.CONTENT_TYPE: lambda answer: answer.headers["content-type"].startswith("text/plain"),
    Fault.NONSENSE: lambda answer: answer.json() == {"error": "maintenance"},
    Fault.NOT_AN_OBJECT: lambda answer: answer.json() == [],
    Fault.WRONG_AMOUNT: lambda answer: first(answer)["amountMinor"] != 1000,
    Fault.WRONG_CURRENCY: lambda answer: first(answer)["currency"] != "EUR",
    Fault.WRONG_REFERENCE: lambda answer: first(answer)["reference"] != "p1",
    Fault.UNKNOWN_STATUS: lambda answer: first(answer)["status"] == "UNDER_REVIEW",
    Fault.MISSING_FIELDS: lambda answer: "message" not in first(answer),
}


def first(answer: httpx2.Response) -> dict[str, Any]:
    """The charge that a charge's answer, or a look-up's, tells of."""
    body: dict[str, Any] = answer.json()
    return body["charges"][0] if "charges" in body else body


@pytest.mark.parametrize("fault", WRONG)
def test_a_malformed_answer_hides_a_charge_that_was_done_and_a_look_up_of_it(
    tmp_path: Path, fault: Fault
) -> None:
    async def talk(client: httpx2.AsyncClient) -> None:
        assert WRONG[fault](await charge(client, token=f"pm_{fault}"))
        assert await statuses(client) == ["CAPTURED"]
        await client.put("/faults", json=put({"fault": fault, "operations": ["find"]}))
        assert WRONG[fault](await find(client))

    during(tmp_path, talk)


def test_every_fault_of_calls_is_tried() -> None:
    by_process = {Fault.DROPPED, Fault.REPLY_LOST, Fault.ERROR_AFTER_COMMIT, Fault.SLOW}
    of_sockets = {Fault.SILENT, Fault.TRICKLE}
    assert {Fault.NONE, *STATUSES, *WRONG} | by_process | of_sockets == set(EFFECTS)


def test_old_ledger_files_are_read(tmp_path: Path) -> None:
    entry = {
        "entry": "charge",
        "chargeId": "ch_1",
        "key": "p1",
        "request": CHARGE,
        "status": "CAPTURED",
        "message": "",
        "at": "2026-01-31T09:05:00Z",
    }
    (tmp_path / "ledger.jsonl").write_bytes(msgspec.json.encode(entry) + b"\n")

    async def talk(client: httpx2.AsyncClient) -> None:
        assert await statuses(client) == ["CAPTURED"]

    during(tmp_path, talk)


def test_a_page_of_the_ledger_is_of_now_in_the_order_of_the_charges(tmp_path: Path) -> None:
    async def talk(client: httpx2.AsyncClient) -> None:
        await charge(client, reference="p1", token="pm_pending")
        await charge(client, reference="p2")
        await client.post("/charges/p1/settle", json={"status": "DECLINED"})
        page = (await client.get("/ledger", params={"after": 0})).json()
        stands = [(entry["reference"], entry["status"]) for entry in page["entries"]]
        assert stands == [("p1", "DECLINED"), ("p2", "CAPTURED")]
        assert page["next"] == page["end"] == 2

    during(tmp_path, talk)


def test_the_ledger_is_read_by_reference_and_in_pages(tmp_path: Path) -> None:
    """As an audit of millions of charges reads it: never all at once."""

    async def talk(client: httpx2.AsyncClient) -> None:
        for number in range(5):
            await charge(client, reference=f"p{number}")
        refund = {"reference": "r1", "chargeReference": "p1", "amountMinor": 400, "currency": "EUR"}
        await client.post("/refunds", json=refund, headers={"Idempotency-Key": "r1"})
        whole = (await client.get("/ledger")).json()
        assert len(whole["charges"]) == 5

        asked = await client.get("/ledger", params={"reference": ["p1", "unknown", "r1", "p3"]})
        assert [entry["reference"] for entry in asked.json()["entries"]] == ["p1", "r1", "p3"]
        assert asked.json()["entries"][1] == whole["refunds"][0]

        pages, after = [], 0
        while True:
            page = (await client.get("/ledger", params={"after": after, "limit": 4})).json()
            if not page["entries"]:
                break
            pages.append([entry["reference"] for entry in page["entries"]])
            after = page["next"]
        assert pages == [["p0", "p1", "p2", "p3"], ["p4", "r1"]]
        assert (after, page["end"]) == (6, 6)

        for wrong in ("after=-1", "after=1e1", "after=0&limit=2001", "reference=x&" * 501):
            assert (await client.get(f"/ledger?{wrong}")).status_code == 422

    during(tmp_path, talk)


@pytest.mark.parametrize(
    ("announces", "told"), [("all", ["p1", "p2", "p3"]), ("unanswered", ["p2", "p3"])]
)
def test_webhooks_tell_what_no_answer_has_told(
    tmp_path: Path, announces: str, told: list[str]
) -> None:
    """A sound answer, a lost one, and one that says no more than "pending"."""
    taken: list[str] = []

    def post(requests: Sequence[Request]) -> list[int]:
        taken.extend(msgspec.json.decode(body)["data"]["reference"] for body, _ in requests)
        return [204] * len(requests)

    async def talk(client: httpx2.AsyncClient) -> None:
        await charge(client)
        await charge(client, reference="p2", token="pm_error_after_commit")
        await charge(client, reference="p3", token="pm_pending")
        await client.post("/charges/p3/settle", json={})
        async with asyncio.timeout(5):
            while len(taken) < len(told):
                await asyncio.sleep(0.01)

    plan = FaultPlan(chance=random.Random(4))
    sender = WebhookSender(tmp_path / "sent.jsonl", secret=SECRET, post=post, plan=plan)
    during(tmp_path, talk, webhooks=sender, announces=announces)
    assert sorted(taken) == told


def test_whatever_is_refused_has_this_api_s_own_form_and_words(tmp_path: Path) -> None:
    async def talk(client: httpx2.AsyncClient) -> None:
        missing = await client.get("/nowhere")
        assert (missing.status_code, missing.json()["error"]) == (404, "not-found")
        other = await client.delete("/refunds")
        assert (other.status_code, other.json()["error"]) == (405, "method-not-allowed")
        assert other.headers["allow"] == "OPTIONS, POST"
        for path, allow in (
            ("/charges", "GET, HEAD, OPTIONS, POST"),
            ("/charges/r/void", "OPTIONS, POST"),
            ("/faults", "GET, HEAD, OPTIONS, PUT"),
            ("/livez", "GET, HEAD, OPTIONS"),
        ):
            options = await client.options(path)
            assert (options.status_code, options.headers["allow"]) == (204, allow)
        wrong = await charge(client, currency="euro", amountMinor=0)
        assert wrong.status_code == 422
        assert wrong.json()["detail"] == (
            "amountMinor must be a whole number from 1 to 1000000000000000; "
            "currency must be three capital letters of ISO 4217"
        )
        torn = await client.put("/faults", content=b"{")
        assert torn.json() == {"error": "invalid-request", "detail": "the body is not JSON"}

    during(tmp_path, talk)
