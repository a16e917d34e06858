"""Clients that insist: what was refused for now, or not answered, is repeated under its key."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping

import msgspec
import pytest

from orderflow.trials import steady_load
from orderflow.trials.steady_load import SteadyLoad

Answer = Callable[[str, int], int]
"""Status of the n-th request (from 1) with this key or path."""


class Api:
    """Answers as a test says, and remembers what was sent."""

    def __init__(self, answer: Answer) -> None:
        self._answer, self._lock = answer, threading.Lock()
        self.tries: Counter[str] = Counter()
        self.bodies: defaultdict[str, set[bytes]] = defaultdict(set)

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        with self._lock:
            what = headers.get("Idempotency-Key", path)
            self.tries[what] += 1
            self.bodies[what].add(body)
            return self._answer(what, self.tries[what]), msgspec.json.encode({"orderId": what})

    def close(self) -> None: ...


def load_on(
    monkeypatch: pytest.MonkeyPatch, answer: Answer, *, orders: int
) -> tuple[Api, SteadyLoad]:
    """All orders, placed as fast as possible."""
    api = Api(answer)
    monkeypatch.setattr(steady_load, "_Client", lambda _host, _port: api)
    monkeypatch.setattr(steady_load, "TRY_AGAIN_S", 0.0)
    load = SteadyLoad(
        "http://127.0.0.1:1", skus=["A"], customers=3, rate_per_s=1e6, orders_max=orders
    )
    load.start()
    for thread in load._threads:
        thread.join(10)
    return api, load


@pytest.mark.parametrize("trouble", [0, 409, 503])
def test_a_request_is_repeated_with_its_key_and_body_until_it_is_answered(
    monkeypatch: pytest.MonkeyPatch, trouble: int
) -> None:
    api, load = load_on(
        monkeypatch, lambda what, nth: trouble if nth < 3 and "/" not in what else 201, orders=40
    )
    assert len(load.placed) == len(set(load.placed)) == 40
    assert {api.tries[key] for key in load.placed} == {3}
    assert {len(api.bodies[key]) for key in load.placed} == {1}
    assert load.failure is None
    assert load.refused == (80 if trouble == 503 else 0)
    assert load.unanswered == (80 if trouble == 0 else 0)


def test_an_answer_that_no_outage_explains_is_the_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    _, load = load_on(monkeypatch, lambda _what, _nth: 500, orders=40)
    assert "answered 500" in str(load.failure)
    assert load.placed == []


def test_a_command_that_the_order_refuses_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    api, load = load_on(
        monkeypatch, lambda what, _nth: 409 if what.startswith("/") else 201, orders=600
    )
    commands = {path: count for path, count in api.tries.items() if path.startswith("/")}
    assert load.failure is None
    assert commands
    assert set(commands.values()) == {1}
    assert not any(path.endswith("/deliver") for path in commands), "what is not shipped"
