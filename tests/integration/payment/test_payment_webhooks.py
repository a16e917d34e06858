"""
Webhooks of the provider on a real database: what is believed of them, and that they settle what is
open, once, whatever order they come in. At the end the provider itself sends one, to a real worker.
"""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from standardwebhooks import Webhook as Signer
from tests.support.builders import an_order, cancelled, new_order_id, received
from tests.support.databases import database_settings, empty_database
from tests.support.flaky_provider import FlakyProvider
from tests.support.payment_service import SUCCEEDED, PaymentService, payment_deployed
from tests.support.stack import Stack

import orderflow.services.payment
from orderflow.contracts.events import PaymentFailed, PaymentSucceeded
from orderflow.contracts.ids import payment_id
from orderflow.messaging import postgres
from orderflow.messaging.listener import Ask, Received, Settled, Unknown
from orderflow.messaging.testing.eventually import eventually
from orderflow.services.payment import repository
from orderflow.services.payment.api import build_api
from orderflow.services.payment.gateway import Answer, Verdict
from orderflow.services.payment.handlers import Payments
from orderflow.services.payment.model import Payment
from orderflow.services.payment.provider_calls import ProviderCalls
from orderflow.services.payment.upkeep import purge
from orderflow.services.payment.webhooks import KNOWN_FOR

MIGRATIONS = Path(orderflow.services.payment.__file__).parent / "migrations"
SECRET, FOREIGN = (f"whsec_{base64.b64encode(bytes([n]) * 24).decode()}" for n in range(2))
LOST = Answer(Verdict.UNKNOWN)


@dataclass
class Desk:
    """The API with its database, and the use cases on the same one."""

    app: Any
    session: postgres.Session
    payments: Payments
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def unknown(self) -> tuple[Received, Payment]:
        """An order whose charge was sent, and not answered."""
        creation = received(an_order(new_order_id()))
        (phase,) = self.payments.intent([creation])
        assert isinstance(phase, Ask)
        (step,) = self.payments.outcome([(creation, phase.task, LOST)])
        assert isinstance(step, Unknown)
        return creation, self.payment(creation)

    def payment(self, creation: Received) -> Payment:
        order_id = creation.event.order_id
        with self.session.transaction() as cursor:
            return repository.find(cursor, [order_id])[order_id].payments[0]

    def post(
        self,
        body: Any,
        *,
        webhook_id: str = "",
        secret: str = SECRET,
        age: timedelta = timedelta(0),
        kind: str = "application/json",
    ) -> httpx2.Response:
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        at = datetime.now(UTC) - age
        webhook_id = webhook_id or f"msg_{next(self.numbers)}"
        headers = {
            "content-type": kind,
            "webhook-id": webhook_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Signer(secret).sign(webhook_id, at, content.decode()),
        }

        async def sent() -> httpx2.Response:
            transport = httpx2.ASGITransport(self.app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://payment") as client:
                return await client.post("/webhooks/provider", content=content, headers=headers)

        return asyncio.run(sent())


@pytest.fixture(scope="module")
def desk(stack: Stack) -> Iterator[Desk]:
    with empty_database(stack, "payment_webhooks") as url:
        postgres.migrate(url, MIGRATIONS)
        settings = database_settings(url)
        pool = postgres.open_pool(settings, application_name="test")
        session = postgres.Session(settings, application_name="test", session=postgres.BY_KEY)
        calls = ProviderCalls(FlakyProvider(window=timedelta(days=1)), key_window=timedelta(days=1))
        app = build_api(pool, list, webhook_secrets=[FOREIGN.replace("A", "B"), SECRET])
        yield Desk(app, session, Payments(session, calls))
        session.close()
        pool.close()


def told(payment: Payment, status: str = "CAPTURED", **changes: Any) -> dict[str, Any]:
    data = {
        "reference": payment.payment_id,
        "status": status,
        "amountMinor": payment.amount_minor,
        "currency": payment.currency,
        "chargeId": "ch_7",
        "message": "no",
    }
    return {
        "type": f"charge.{status.lower()}",
        "timestamp": "2026-01-31T09:05:00Z",
        "data": data | changes,
    }


@pytest.mark.parametrize(
    ("status", "event"), [("CAPTURED", PaymentSucceeded), ("DECLINED", PaymentFailed)]
)
def test_a_webhook_settles_what_is_unknown_and_the_payments_own_record_announces_it(
    desk: Desk, status: str, event: type
) -> None:
    creation, payment = desk.unknown()
    answer = desk.post(told(payment, status))
    assert (answer.status_code, answer.json()) == (200, {"effect": "settled"})
    (step,) = desk.payments.intent([creation])
    assert isinstance(step, Settled), "without another call"
    assert [type(each) for each in step.outcome] == [event]


def test_forgeries_are_refused_and_change_nothing(desk: Desk) -> None:
    _, payment = desk.unknown()
    body = told(payment)
    answers = [
        desk.post(body, secret=FOREIGN),
        desk.post(body, age=timedelta(minutes=6)),
        desk.post(body, age=-timedelta(minutes=6)),
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert {answer.json()["type"] for answer in answers} == {"/problems/webhook-not-authentic"}
    assert desk.post(body, kind="text/plain").status_code == 415
    assert desk.post(b" " * 65_537).status_code == 413
    assert desk.post(b"{").status_code == 422
    assert desk.post({"type": "charge.captured", "data": {}}).status_code == 422
    with desk.session.transaction() as cursor:
        order = repository.find(cursor, [payment.order_id])[payment.order_id]
    assert order.payments == (payment,)


def test_what_does_not_match_or_is_of_no_concern_is_answered_and_has_no_effect(desk: Desk) -> None:
    creation, payment = desk.unknown()
    for changes in ({"amountMinor": 1}, {"currency": "USD"}):
        assert desk.post(told(payment, **changes)).json() == {"effect": "mismatch"}
    for reference in ("another", str(new_order_id())):
        assert desk.post(told(payment, reference=reference)).json() == {"effect": "ignored"}
    unheard_of = {"type": "charge.disputed", "timestamp": "", "data": {"x": 1}}
    assert desk.post(unheard_of).json() == {"effect": "ignored"}
    assert desk.payment(creation) == payment


def test_repeated_and_shuffled_webhooks_never_undo_what_is_settled(desk: Desk) -> None:
    creation, payment = desk.unknown()
    webhooks = [
        ("captured", told(payment)),
        ("declined", told(payment, "DECLINED")),
        ("captured again", told(payment, chargeId="ch_8")),
    ]
    assert desk.post(webhooks[0][1], webhook_id=f"first {payment.payment_id}").status_code == 200
    settled = desk.payment(creation)
    random.Random(1).shuffle(webhooks)
    for _ in range(3):
        for name, body in webhooks:
            answer = desk.post(body, webhook_id=f"{name} {payment.payment_id}")
            assert answer.status_code == 200
    again = desk.post(webhooks[0][1], webhook_id=f"first {payment.payment_id}")
    assert again.json() == {"effect": "repeated"}
    assert desk.payment(creation) == settled


def test_a_webhook_of_a_closed_order_leaves_it_to_the_void(desk: Desk) -> None:
    creation, payment = desk.unknown()
    desk.payments.look_ahead([received(cancelled(an_order(creation.event.order_id)))])
    assert desk.post(told(payment)).json() == {"effect": "ignored"}
    assert desk.payment(creation) == payment


def test_a_refund_that_the_provider_tells_of_is_settled(desk: Desk) -> None:
    creation, payment = desk.unknown()
    desk.post(told(payment))
    cancellation = received(cancelled(an_order(creation.event.order_id)))
    desk.payments.intent([cancellation])
    owed = desk.payment(creation).refund
    assert owed is not None
    data = told(payment)["data"] | {
        "reference": owed.refund_id,
        "status": "SUCCEEDED",
        "refundId": "re_1",
        "chargeReference": payment.payment_id,
    }
    wrong = {"type": "refund.succeeded", "timestamp": "", "data": data | {"amountMinor": 1}}
    assert desk.post(wrong).json() == {"effect": "mismatch"}
    right = wrong | {"data": data}
    assert [desk.post(right).json()["effect"] for _ in range(2)] == ["settled", "ignored"]
    (step,) = desk.payments.intent([cancellation])
    assert isinstance(step, Settled)


def test_old_webhooks_are_forgotten_and_new_ones_are_not(desk: Desk) -> None:
    old = datetime.now(UTC) - KNOWN_FOR - timedelta(minutes=1)
    with desk.session.transaction() as cursor:
        assert repository.note_webhook(cursor, "old", now=old)
        assert repository.note_webhook(cursor, "new", now=datetime.now(UTC))
    purge(desk.session)
    with desk.session.transaction() as cursor:
        assert repository.note_webhook(cursor, "old", now=old)
        assert not repository.note_webhook(cursor, "new", now=old)


def test_without_a_secret_no_webhook_is_believed(desk: Desk) -> None:
    pool: Any = None
    without = Desk(build_api(pool, list), desk.session, desk.payments)
    answer = without.post({})
    assert answer.status_code == 404
    assert "WEBHOOK_SECRETS" in answer.json()["detail"]


def _statuses(payment: PaymentService) -> list[int]:
    webhooks = payment.psp.client.get("/webhooks").json()["items"]
    return [webhook["status"] for webhook in webhooks]


def test_an_order_whose_look_ups_fail_is_settled_and_announced_by_the_webhook_alone(
    stack: Stack, tmp_path: Path
) -> None:
    with payment_deployed(stack, tmp_path, ORDERFLOW_PSP__PENDING_S="600") as payment:
        payment.environment = {"ORDERFLOW_PAYMENT__PSP__WEBHOOK_SECRETS": SECRET}
        worker = payment.start("api,listener")
        payment.psp.kill()
        payment.psp.environment |= {
            "ORDERFLOW_PSP__WEBHOOK_URL": f"{worker.client.base_url}/webhooks/provider",
            "ORDERFLOW_PSP__WEBHOOK_SECRET": SECRET,
        }
        payment.psp.start()
        payment.psp.faults(
            {"fault": "503", "operations": ["find"]},
            {"fault": "forged", "operations": ["webhook"], "first": 1},
        )

        [order_id] = payment.place(1, tokens=("pm_pending",))
        reference = payment_id(order_id, 1)
        eventually(
            lambda: "find" in {call["operation"] for call in payment.psp.calls()},
            within_s=30,
            why="the outcome is unknown, and looked up",
        )
        assert payment.published_types() == {}
        payment.psp.client.post(f"/charges/{reference}/settle", json={}).raise_for_status()

        eventually(
            lambda: _statuses(payment) == [401, 200],
            within_s=10,
            why="the forged webhook is refused, the right one is believed",
        )
        assert payment.eventually_published(within_s=40) == {order_id: [SUCCEEDED]}
        looked_up = [call for call in payment.psp.calls() if call["operation"] == "find"]
        assert {call["fault"] for call in looked_up} == {"503"}
        assert payment.psp.captures()[reference] == 1
        payment.assert_ledgers_agree()
        assert worker.terminate() == 0, worker.log.read_text()
