"""The client of Connect's REST interface, against answers as a worker words them."""

from __future__ import annotations

from collections.abc import Callable

import httpx2
import pytest

from orderflow.connect.rest import ConnectClient, ConnectorState, NoConnector, Task, cause_of
from orderflow.messaging.errors import ConfigurationError, Unavailable

TRACE = """org.apache.kafka.connect.errors.ConnectException: Exiting WorkerSinkTask
\tat org.apache.kafka.connect.runtime.WorkerSinkTask.deliverMessages(WorkerSinkTask.java:636)
Caused by: java.sql.BatchUpdateException: Batch entry 0 INSERT INTO payments VALUES ('c-1') failed
\tat org.postgresql.jdbc.BatchResultHandler.handleError(BatchResultHandler.java:165)
Caused by: org.postgres.PSQLException: ERROR: cannot execute INSERT in a read-only transaction
\tat org.postgresql.core.v3.QueryExecutorImpl.receiveErrorResponse(QueryExecutorImpl.java:2713)
"""


def client(answer: Callable[[httpx2.Request], httpx2.Response]) -> ConnectClient:
    return ConnectClient(
        "http://127.0.0.1:18083/", within_s=2.0, transport=httpx2.MockTransport(answer)
    )


def test_a_failed_task_is_told_with_its_innermost_cause() -> None:
    body = {
        "payments-warehouse": {
            "status": {
                "name": "payments-warehouse",
                "connector": {"state": "RUNNING", "worker_id": "w", "version": "3.6.0.Final"},
                "tasks": [{"id": 0, "state": "FAILED", "worker_id": "w", "trace": TRACE}],
                "type": "sink",
            }
        }
    }
    with client(lambda _: httpx2.Response(200, json=body)) as connect:
        [state] = connect.states()
    assert (state.is_running, state.has_failed) == (False, True)
    assert state.reason == "PSQLException: ERROR: cannot execute INSERT in a read-only transaction"


def test_the_cause_has_no_row_in_it() -> None:
    assert "c-1" not in cause_of(TRACE)
    assert cause_of("") == ""
    assert cause_of("a.b.Plain") == "Plain"


def test_a_connector_without_tasks_does_not_run_yet() -> None:
    state = ConnectorState(name="x", kind="sink", state="RUNNING")
    assert not state.is_running
    running = ConnectorState(
        name="x", kind="sink", state="RUNNING", tasks=(Task(id=0, state="RUNNING"),)
    )
    assert running.is_running


def test_a_refusal_is_connects_own_sentence() -> None:
    def refuse(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(400, json={"error_code": 400, "message": "tasks.max is\nno number"})

    with (
        client(refuse) as connect,
        pytest.raises(ConfigurationError, match="is no numb"),
    ):
        connect.put("payments-warehouse", {"tasks.max": "many"})


def test_an_unknown_connector_is_named() -> None:
    def unknown(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(404, json={"error_code": 404, "message": "Connector x not found"})

    with client(unknown) as connect:
        with pytest.raises(NoConnector, match="Connector x not found"):
            connect.state("x")
        assert connect.config("x") is None


def test_while_the_worker_rebalances_it_is_asked_again() -> None:
    answers = [
        httpx2.Response(409, json={"error_code": 409, "message": "rebalance"}),
        httpx2.Response(200, json={"connector.class": "X"}),
    ]
    with client(lambda _: answers.pop(0)) as connect:
        assert connect.config("x") == {"connector.class": "X"}
    assert answers == []


def test_a_worker_that_is_away_is_unavailable() -> None:
    def away(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused", request=request)

    with client(away) as connect, pytest.raises(Unavailable, match="did not answer GET"):
        connect.states()


def test_another_server_at_the_address_is_named() -> None:
    with (
        client(lambda _: httpx2.Response(200, text="<html>")) as connect,
        pytest.raises(ConfigurationError, match="is the address right"),
    ):
        connect.states()
