"""Waiting for a connector: what is said of one that does not run."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from orderflow.connect.deploy import ConnectorFailed, describe, wait_until_running
from orderflow.connect.rest import ConnectClient, ConnectorState, Task
from orderflow.messaging.errors import Unavailable

NAME = "payments-warehouse"


def worker(answers: list[httpx2.Response]) -> ConnectClient:
    """One that gives these answers in turn, the last one for ever."""

    def answer(_: httpx2.Request) -> httpx2.Response:
        return answers.pop(0) if len(answers) > 1 else answers[0]

    return ConnectClient("http://127.0.0.1:1", transport=httpx2.MockTransport(answer))


def state(task: str, trace: str = "") -> httpx2.Response:
    body: dict[str, Any] = {
        "name": NAME,
        "connector": {"state": "RUNNING", "worker_id": "w"},
        "tasks": [{"id": 0, "state": task, "worker_id": "w", "trace": trace}],
        "type": "sink",
    }
    return httpx2.Response(200, json=body)


def missing() -> httpx2.Response:
    return httpx2.Response(404, json={"error_code": 404, "message": "No status found"})


def without_pause(_seconds: float) -> None:
    """Nothing is waited for."""


def test_one_that_was_just_made_has_no_state_for_a_moment() -> None:
    with worker([missing(), state("UNASSIGNED"), state("RUNNING")]) as client:
        assert wait_until_running(client, NAME, sleep=without_pause).is_running


def test_a_worker_that_starts_may_not_answer_yet() -> None:
    refusals = 2

    def answer(_: httpx2.Request) -> httpx2.Response:
        nonlocal refusals
        refusals -= 1
        if refusals >= 0:
            raise httpx2.ConnectError("refused")
        return state("RUNNING")

    with ConnectClient("http://127.0.0.1:1", transport=httpx2.MockTransport(answer)) as client:
        with pytest.raises(Unavailable):
            wait_until_running(client, NAME, sleep=without_pause)
        assert wait_until_running(client, NAME, is_starting=True, sleep=without_pause).is_running


def test_one_that_was_never_made_is_told_as_such() -> None:
    with (
        worker([missing()]) as client,
        pytest.raises(ConnectorFailed, match="has no connector payments-warehouse: `orderflow con"),
    ):
        wait_until_running(client, NAME, within_s=0.05, sleep=without_pause)


@pytest.mark.parametrize("task", ["FAILED", "UNASSIGNED"])
def test_one_that_does_not_run_says_why(task: str) -> None:
    with (
        worker([state(task, "a.b.SQLException: no room")]) as client,
        pytest.raises(ConnectorFailed, match=f"is {task}: SQLException: no room; mend that"),
    ):
        wait_until_running(client, NAME, within_s=0.05, sleep=without_pause)


@pytest.mark.parametrize(
    ("tasks", "said"),
    [((), "without a task"), (("RUNNING", "FAILED"), "FAILED"), (("RUNNING",), "RUNNING")],
)
def test_the_worst_task_stands_for_its_connector(tasks: tuple[str, ...], said: str) -> None:
    numbered = tuple(Task(id=number, state=each) for number, each in enumerate(tasks))
    assert describe(ConnectorState(name=NAME, kind="sink", state="RUNNING", tasks=numbered)) == said
    paused = ConnectorState(name=NAME, kind="sink", state="PAUSED", tasks=numbered)
    assert describe(paused) == "PAUSED"
