"""The hot path without a server: what its client is answered, and when nobody waits any more."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import pytest
from starlette.types import Message, Scope

from orderflow.contracts.ids import OrderId
from orderflow.messaging.postgres.group_commit import Expired
from orderflow.services.order.config import OrderSettings
from orderflow.services.order.http import post_order
from orderflow.services.order.http.post_order import Committer, PostOrder, is_awaited, resolve
from orderflow.services.order.http.readiness import Ready, StartGate
from orderflow.services.order.place_batch import Written

SETTINGS = OrderSettings.model_validate({"database": {"dsn": "postgresql://nowhere/order"}})
BODY = b'{"customerId": "customer-123", "lines": [{"sku": "LAMP", "quantity": 1}]}'
SCOPE: Scope = {
    "type": "http",
    "method": "POST",
    "path": "/orders",
    "headers": [(b"content-type", b"application/json")],
}


@dataclass
class Client:
    """A client that sends one request; `gone` is set once it hangs up."""

    gone: asyncio.Event = field(default_factory=asyncio.Event)
    sent: bool = False
    answers: list[Message] = field(default_factory=list)

    async def receive(self) -> Message:
        if not self.sent:
            self.sent = True
            return {"type": "http.request", "body": BODY, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.answers.append(message)


@dataclass
class SlowCommitter:
    """Keeps what is submitted; the test delivers."""

    tokens: list[object] = field(default_factory=list)
    deadlines: list[float] = field(default_factory=list)

    def submit(self, _work: object, token: object, *, deadline: float) -> None:
        self.tokens.append(token)
        self.deadlines.append(deadline)


def edge(committer: SlowCommitter) -> PostOrder:
    gate = StartGate()
    gate.open(Ready(encode=lambda _topic, _event: b""))
    return PostOrder(SETTINGS, gate=gate, committer=cast("Committer", committer))


async def submitted(committer: SlowCommitter) -> object:
    async with asyncio.timeout(10):
        while not committer.tokens:
            await asyncio.sleep(0)
    return committer.tokens[0]


@pytest.fixture(autouse=True)
def watching_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post_order, "WATCH_AFTER_S", 0.0)


def test_an_order_whose_client_went_away_is_not_awaited_any_more() -> None:
    async def scene() -> None:
        client, committer = Client(), SlowCommitter()
        request = asyncio.create_task(edge(committer)(SCOPE, client.receive, client.send))
        token = await submitted(committer)
        assert is_awaited(token)
        client.gone.set()
        async with asyncio.timeout(10):
            await request
        assert not is_awaited(token)
        resolve([(token, Expired("late"))])

    asyncio.run(scene())


def test_a_client_that_waits_is_answered_and_the_watch_ends() -> None:
    async def scene() -> None:
        client, committer = Client(), SlowCommitter()
        request = asyncio.create_task(edge(committer)(SCOPE, client.receive, client.send))
        token = await submitted(committer)
        for _ in range(3):
            await asyncio.sleep(0)
        resolve([(token, Written(order_id=OrderId("o"), answer=b"{}"))])
        async with asyncio.timeout(10):
            await request
        assert client.answers[0]["status"] == 201
        assert asyncio.all_tasks() == {asyncio.current_task()} or await ended()

    async def ended() -> bool:
        await asyncio.sleep(0)
        return asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scene())


def test_an_order_that_waited_too_long_is_503_and_may_be_repeated() -> None:
    async def scene() -> list[Message]:
        client, committer = Client(), SlowCommitter()
        before = time.monotonic()
        request = asyncio.create_task(edge(committer)(SCOPE, client.receive, client.send))
        token = await submitted(committer)
        assert before + SETTINGS.api.queue_s <= committer.deadlines[0]
        assert committer.deadlines[0] <= time.monotonic() + SETTINGS.api.queue_s
        resolve([(token, Expired("late"))])
        async with asyncio.timeout(10):
            await request
        return client.answers

    start, body = asyncio.run(scene())
    assert (start["status"], dict(start["headers"])[b"retry-after"]) == (503, b"2")
    problem: Any = msgspec.json.decode(body["body"])
    assert problem["detail"] == "the request waited too long, and nothing of it was done: repeat it"
