"""Webhooks: signed as Standard Webhooks has it, sent until they are taken, and wrong on demand."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from orderflow.messaging.testing.eventually import eventually
from orderflow.neighbours.journal import Journal
from orderflow.neighbours.psp.faults import Fault, FaultPlan, Faults, Rule
from orderflow.neighbours.psp.webhooks import (
    AT_A_TIME,
    Attempt,
    Poster,
    Request,
    Webhook,
    WebhookSender,
)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def webhook(name: str) -> Webhook:
    return Webhook(
        webhook_id=f"msg_{name}",
        type="charge.captured",
        timestamp=datetime(2026, 1, 31, tzinfo=UTC),
        data={"reference": name, "amountMinor": 1000},
    )


class Receiver:
    """Takes webhooks whose signature is right and counts them; answers 500 to the first ones."""

    def __init__(self, *, failures: int = 0) -> None:
        self.failures = failures
        self.taken: list[str] = []
        self.refused: list[str] = []

    def __call__(self, requests: Sequence[Request]) -> list[int]:
        return [self.take(content, headers) for content, headers in requests]

    def take(self, content: bytes, headers: Mapping[str, str]) -> int:
        if self.failures:
            self.failures -= 1
            return 500
        try:
            body = Verifier(SECRET).verify(content, dict(headers))
        except WebhookVerificationError as error:
            self.refused.append(str(error))
            return 401
        self.taken.append(body["data"]["reference"])
        return 204


def sent(
    tmp_path: Path, receiver: Receiver, *names: str, rules: tuple[Rule, ...] = ()
) -> list[tuple[str, int]]:
    """The attempts, once each of those webhooks is taken."""
    plan = FaultPlan(chance=random.Random(4))
    plan.set(Faults(slow_s=0.2, rules=rules))
    sender = WebhookSender(tmp_path / "webhooks.jsonl", secret=SECRET, post=receiver, plan=plan)
    sender.start([webhook(name) for name in names])
    try:
        eventually(lambda: {*receiver.taken} >= {*names}, within_s=5)
    finally:
        sender.close()
    journal = Journal(tmp_path / "webhooks.jsonl", Attempt)
    attempts = [(attempt.reference, attempt.status) for attempt in journal.read()]
    journal.close()
    return attempts


def test_a_webhook_is_signed_as_the_standard_has_it_and_sent_once(tmp_path: Path) -> None:
    receiver = Receiver()
    assert sent(tmp_path, receiver, "p1", "p2") == [("p1", 204), ("p2", 204)]
    assert (receiver.taken, receiver.refused) == (["p1", "p2"], [])


def test_a_webhook_that_is_not_taken_comes_again_and_the_next_does_not_wait(
    tmp_path: Path,
) -> None:
    receiver = Receiver(failures=1)
    assert sent(tmp_path, receiver, "p1", "p2") == [("p1", 500), ("p2", 204), ("p1", 204)]


def test_another_start_sends_what_was_not_delivered_and_nothing_else(tmp_path: Path) -> None:
    sent(tmp_path, Receiver(), "p1")
    receiver = Receiver()
    sent(tmp_path, receiver, "p2")
    again = Receiver()
    assert len(sent(tmp_path, again, "p3")) == 3
    assert (receiver.taken, again.taken) == (["p2"], ["p3"])


@pytest.mark.parametrize(
    ("fault", "why"),
    [(Fault.FORGED, "No matching signature found"), (Fault.OLD, "Message timestamp too old")],
)
def test_a_forged_and_an_old_webhook_are_refused_and_the_right_one_follows(
    tmp_path: Path, fault: Fault, why: str
) -> None:
    receiver = Receiver()
    attempts = sent(tmp_path, receiver, "p1", rules=(Rule(fault=fault, first=1),))
    assert attempts == [("p1", 401), ("p1", 204)]
    assert receiver.refused == [why]


def test_a_webhook_is_repeated_and_comes_out_of_order_on_demand(tmp_path: Path) -> None:
    receiver = Receiver()
    sent(tmp_path / "a", receiver, "p1", rules=(Rule(fault=Fault.REPEATED),))
    eventually(lambda: receiver.taken == ["p1", "p1"], within_s=5)
    mixed = Receiver()
    sent(tmp_path / "b", mixed, "p1", "p2", rules=(Rule(fault=Fault.OUT_OF_ORDER, first=1),))
    assert mixed.taken == ["p2", "p1"]


@contextmanager
def answering(*closes: bool) -> Iterator[tuple[str, list[int]]]:
    """
    Answers 204 to one request after the other, and closes the connection where `closes` says so,
    as servers do with idle ones. Yields its URL and the connections' numbers, by request.
    """
    requests: list[int] = []

    def talk(server: socket.socket) -> None:
        left = list(closes)
        for number in count():
            if not left:
                return
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as reader:
                while left and (line := reader.readline()):
                    assert line == b"POST /webhooks HTTP/1.1\r\n"
                    while reader.readline() != b"\r\n":
                        pass
                    assert reader.read(2) == b"{}"
                    requests.append(number)
                    connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
                    if left.pop(0):
                        break

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as thread:
        talking = thread.submit(talk, server)
        yield f"http://127.0.0.1:{server.getsockname()[1]}/webhooks", requests
        talking.result(5)


CLOSES = (False, True, False)


def test_webhooks_go_over_one_connection_and_over_another_when_that_was_closed() -> None:
    with answering(*CLOSES) as (url, requests):
        poster = Poster(url)
        for _ in range(3):
            assert poster([(b"{}", {"content-type": "application/json"})]) == [204]
        poster.close()
    assert requests == [0, 0, 1]


def test_webhooks_that_are_due_together_are_sent_together(tmp_path: Path) -> None:
    sizes: list[int] = []
    receiver = Receiver()

    def post(requests: Sequence[Request]) -> list[int]:
        sizes.append(len(requests))
        return receiver(requests)

    names = [f"p{number}" for number in range(AT_A_TIME + 4)]
    plan = FaultPlan(chance=random.Random(4))
    sender = WebhookSender(tmp_path / "webhooks.jsonl", secret=SECRET, post=post, plan=plan)
    sender.start([webhook(name) for name in names])
    try:
        eventually(lambda: len(receiver.taken) == len(names), within_s=5)
    finally:
        sender.close()
    assert receiver.taken == names
    assert AT_A_TIME in sizes


def test_an_address_where_nobody_is_gives_no_status() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/webhooks"
    assert Poster(url)([(b"{}", {})]) == [0]
