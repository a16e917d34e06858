"""Until the service has started, a request that would write is refused: 503."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from starlette_problem.error import Problem

from orderflow.messaging.http.problems import document
from orderflow.messaging.process.prerequisites import Prerequisites
from orderflow.services.order.http.readiness import Readiness, Ready, StartGate


def encode(topic: str, event: msgspec.Struct) -> bytes:
    raise AssertionError((topic, event))


def test_a_closed_gate_answers_503_and_says_where_to_look() -> None:
    with pytest.raises(Problem) as refused:
        StartGate().demand()
    status, body, headers = document(refused.value)
    assert (status, dict(headers)[b"retry-after"]) == (503, b"2")
    assert b"the service is starting: see /readyz" in body


def test_an_open_gate_has_what_a_request_needs() -> None:
    gate, ready = StartGate(), Ready(encode=encode)
    gate.open(ready)
    assert gate.demand() is ready


def test_before_the_first_check_the_api_is_starting() -> None:
    readiness = Readiness(
        check=cast("Any", SimpleNamespace(reasons=list)),
        prerequisites=cast("Prerequisites", None),
        gate=StartGate(),
    )
    assert readiness.reasons() == ["starting"]
