"""
What neighbours answer, and what a connection is made with, is in no log line, metric or span.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any, cast

import msgspec
import pytest
from msgspec import structs
from tests.support.log_lines import LogLines
from tests.support.memory_listener import ASKED, MemoryListener
from tests.support.probe_language import asked
from tests.support.provider_client import ProviderClient
from tests.support.scripted_provider import http, scripted_provider
from tests.support.scripted_smtp import CHUNKING, GOOD, PIPELINING, scripted_smtp
from tests.support.spans import recorded as spans_recorded
from tests.unit.services.notification.test_mailer import letter
from tests.unit.services.order.http.test_post_order import Client, SlowCommitter
from tests.unit.services.payment.accounts import recorded

from orderflow.messaging.error_text import error_text, traceback_text
from orderflow.messaging.errors import OrderflowError, Unavailable
from orderflow.messaging.event import CE_ID, CE_SUBJECT
from orderflow.messaging.postgres import connect
from orderflow.messaging.settings import DatabaseSettings
from orderflow.messaging.telemetry import logger, render_metrics
from orderflow.services.notification.config import SmtpSettings
from orderflow.services.notification.mailer import Mailer, SendTask
from orderflow.services.order.config import OrderSettings
from orderflow.services.order.http.post_order import PostOrder
from orderflow.services.order.http.readiness import Ready, StartGate
from orderflow.services.order.place_batch import Written
from orderflow.services.payment.config import ProviderSettings

CANARY = "canary@example.com"
SECRET = "-".join(["secret", "canary"])
SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ORDER = "019a7c1e-0000-7000-8000-000000000001"


@pytest.fixture(autouse=True)
def nothing_leaks(log_lines: LogLines) -> Iterator[None]:
    with spans_recorded() as spans:
        yield
    for canary in (CANARY, SECRET):
        assert canary not in repr(spans.all)
    assert log_lines.text, "something was said"
    for canary in (CANARY, SECRET):
        assert canary not in log_lines.text
        assert canary not in render_metrics()[0].decode()


ANSWERS: list[Any] = [
    (400, {"error": "invalid", "message": CANARY}),
    (402, {"error": "card_declined", "message": CANARY}),
    (200, {"chargeId": CANARY, "status": CANARY}),
    (200, {"reference": CANARY, "unknown": CANARY}),
    (500, {"error": CANARY}),
    (200, CANARY.encode()),
]


@pytest.mark.parametrize(("status", "body"), ANSWERS)
def test_a_providers_answer(status: int, body: Any) -> None:
    with scripted_provider() as provider:
        provider.answer("POST", http(status, body))
        settings = ProviderSettings.model_validate({"url": provider.url, "api_key": SECRET})
        gateway = ProviderClient(settings)
        try:
            payment = structs.replace(recorded("requested"), payment_method=f"pm_{CANARY}")
            answer = gateway.charge(payment, after_voids=0)
            logger("probe").info("answered", message_of_it=answer.message, why=answer.verdict)
        except Unavailable as error:
            logger("probe").exception("away", why=error)
        gateway.close()


@pytest.mark.parametrize("command", ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "mail", "BDAT"])
@pytest.mark.parametrize("code", [421, 451, 550])
@pytest.mark.parametrize("hello", [PIPELINING, CHUNKING])
def test_a_mail_servers_reply_that_echoes_the_address(code: int, command: str, hello: str) -> None:
    with scripted_smtp() as server:
        server.answers = {**GOOD, "EHLO": hello, command: f"{code} <{CANARY}> {SECRET}"}
        settings = SmtpSettings(port=server.port)
        mailer = Mailer(settings, give_up_s=3600, stopping=lambda: False)
        letters = [(letter("one").customer_id, (letter("one"),))]
        sent = mailer.call(SendTask(letters=letters, until=time.monotonic() + 5))
        mailer.close()
    if sent.error is not None:
        logger("probe").error("away", why=str(sent.error))
        try:
            raise sent.error
        except OrderflowError:
            logger("probe").exception("away")
    else:
        logger("probe").info("replied", outcomes=len(sent.results[0].outcomes))


def test_the_password_of_a_dsn_and_the_user_whom_a_database_refuses() -> None:
    dsn = f"postgresql://{CANARY.replace('@', '%40')}:{SECRET}@127.0.0.1:1/shop"
    settings = DatabaseSettings.model_validate({"dsn": dsn})
    with pytest.raises(Unavailable) as raised:
        connect(settings, application_name="probe")
    logger("probe").error("away", why=raised.value, settings=settings, exc_info=raised.value)
    assert "Connection refused" in error_text(raised.value)
    assert CANARY not in traceback_text(raised.value)


def test_a_poison_record(log_lines: LogLines) -> None:
    listener = MemoryListener()
    event = listener.bus.publish(ASKED.name, asked("k", 1), traceparent=SAMPLED)
    message = listener.bus.records(ASKED.name)[0]
    headers = [
        (name, value) for name, value in message.headers() if name not in (CE_ID, CE_SUBJECT)
    ]
    frame = (message.value() or b"")[:5]
    poisons = [
        (ASKED.name, b"k", CANARY.encode(), [*message.headers(), ("x-mail", CANARY.encode())]),
        (ASKED.name, b"k", frame + SECRET.encode(), list(message.headers())),
        (ASKED.name, b"k", message.value(), [*headers, (CE_ID, CANARY.encode())]),
        (
            ASKED.name,
            b"k",
            message.value(),
            [*headers, (CE_ID, str(event.id).encode()), ("ce_time", CANARY.encode())],
        ),
    ]
    listener.bus.append(cast("Any", poisons))
    listener.turn(10)

    assert len(listener.dead) == len(poisons)
    for dead in listener.dead:
        evidence = [
            (name, value) for name, value in dead.headers() if name.startswith(("kafka_", "retry"))
        ]
        assert evidence
        assert CANARY not in repr(evidence)
        assert SECRET not in repr(evidence)
    assert len(log_lines.of("dead letter")) == len(listener.dead)


def test_the_line_of_a_command_has_ids_and_a_status_and_nothing_that_was_sent(
    log_lines: LogLines,
) -> None:
    settings = OrderSettings.model_validate({"database": {"dsn": "postgresql://nowhere/order"}})
    body = {
        "customerId": "customer-123",
        "lines": [{"sku": "LAMP", "quantity": 1}],
        "paymentMethod": SECRET,
    }
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = [
        (b"content-type", b"application/json"),
        (b"idempotency-key", SECRET.encode()),
        (b"traceparent", f"00-{trace}-b7ad6b7169203331-01".encode()),
        (b"orderflow-actor", CANARY.encode()),
    ]

    async def run(content: bytes) -> None:
        gate, committer, client = StartGate(), SlowCommitter(), Client()
        gate.open(Ready(encode=cast("Any", None)))
        post = PostOrder(settings, gate=gate, committer=cast("Any", committer))

        async def receive() -> Any:
            return {"type": "http.request", "body": content, "more_body": False}

        scope = {"type": "http", "method": "POST", "path": "/orders", "headers": headers}
        call = asyncio.create_task(post(scope, receive, client.send))
        while not committer.tokens and not call.done():
            await asyncio.sleep(0)
        for token in committer.tokens:
            written = Written(order_id=cast("Any", ORDER), answer=b"{}", repeated=False)
            cast("asyncio.Future[Any]", token).set_result(written)
        await call
        await asyncio.sleep(0)

    asyncio.run(run(msgspec.json.encode(body)))
    asyncio.run(run(msgspec.json.encode({**body, "unknown": CANARY, CANARY: SECRET})))
    placed, refused = log_lines.of("command answered")
    assert (placed["command"], placed["status"], placed["order_id"], placed["customer_id"]) == (
        "place",
        201,
        ORDER,
        "customer-123",
    )
    assert placed["trace_id"] == trace
    assert (refused["command"], refused["status"]) == ("place", 422)
    assert "order_id" not in refused
