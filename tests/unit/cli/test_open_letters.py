"""What `orderflow status` says of dead letters: how many are open, by group, and what to type."""

from __future__ import annotations

import io
from typing import Any

import pytest

from orderflow.cli.open_letters import OpenLetters, counted, open_letters
from orderflow.cli.stack import _dead_letters, _lag_table
from orderflow.cli.terminal import Terminal
from orderflow.messaging.http.client import BoundedClient
from orderflow.messaging.telemetry import read_samples
from orderflow.stack.supervise.managed import ProcessRow

METRICS = """\
# TYPE orderflow_dead_letters_open gauge
orderflow_dead_letters_open{consumergroup="payment-service",topic="orders.payment-service.dlt"} 3
orderflow_dead_letters_open{consumergroup="order-service",topic="payments.order-service.dlt"} 1
orderflow_dead_letters_open{consumergroup="order-service",topic="inventory.order-service.dlt"} 0
orderflow_dead_letters_open{consumergroup="order-processor",topic="x.order-processor.dlt"} 0
# TYPE orderflow_dead_letters_open_oldest_seconds gauge
orderflow_dead_letters_open_oldest_seconds{consumergroup="payment-service",topic="orders.payment-service.dlt"} 7500.0
orderflow_dead_letters_open_oldest_seconds{consumergroup="order-service",topic="payments.order-service.dlt"} 2.0
orderflow_dead_letters_open_oldest_seconds{consumergroup="order-service",topic="inventory.order-service.dlt"} 0.0
"""  # noqa: E501 - a line of Prometheus' format


def process(name: str, service: str, state: str = "running") -> ProcessRow:
    return ProcessRow(
        name=name,
        service=service,
        role="observer",
        slot=0,
        pid=1,
        address="http://127.0.0.1:8290",
        state=state,
        health="ok",
        restarts=0,
        reason="",
    )


def of_metrics(text: str = METRICS) -> OpenLetters:
    return counted(read_samples(text), "operations")


def test_each_group_with_open_letters_has_a_line_with_what_to_type() -> None:
    order, payment = of_metrics().sentences
    assert order == (
        "order-service: 1 dead letter is open, the oldest for 2.0 s: "
        "`orderflow dlt list --group order-service`"
    )
    assert payment == (
        "payment-service: 3 dead letters are open, the oldest for 2 h 5 min: "
        "`orderflow dlt list --group payment-service`"
    )
    assert of_metrics().are_there


def test_with_none_open_nothing_is_said() -> None:
    none = of_metrics(METRICS.replace("} 3\n", "} 0\n").replace('order-service.dlt"} 1', '"} 0'))
    assert (none.sentences, none.are_there) == ([], False)
    assert none.of("payment-service") is not None


def test_what_is_not_known_is_not_none() -> None:
    unknown = of_metrics("# nothing\n")
    assert unknown.sentences == [
        "dead letters: operations, which counts them, has not read all of them yet"
    ]
    assert unknown.of("payment-service") is None
    assert not unknown.are_there
    assert _dead_letters(None)["dead_letters"] is None


@pytest.mark.parametrize(
    ("processes", "sentences"),
    [
        ([process("kafka", "kafka")], []),
        (
            [process("operations", "operations", "stopped")],
            ["dead letters: operations, which counts them, does not run"],
        ),
        (
            [process("operations", "operations")],
            ["dead letters: operations, which counts them, does not answer"],
        ),
    ],
)
def test_who_can_not_be_asked_is_named(
    processes: list[ProcessRow], sentences: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise ValueError("nobody")

    monkeypatch.setattr(BoundedClient, "get", refuse)
    assert open_letters(processes).sentences == sentences


def test_the_table_of_groups_has_them_within_80_columns() -> None:
    letters = of_metrics()
    groups: list[dict[str, Any]] = [
        {
            "group": group,
            "lag": 1_234_567,
            "waiting": 1_234,
            "topics": {"order-events": 1_234_567, "payments": 0},
            "beyond": {},
            **_dead_letters(letters.of(group)),
        }
        for group in ("notification-service", "payment-service")
    ]
    file = io.StringIO()
    Terminal(file=file, width=80).print(_lag_table(groups))
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "dead letters" in lines[0]
    [payment] = [line for line in lines if line.startswith("payment-service")]
    assert payment.split()[3] == "3"
    assert groups[1]["dead_letters_by_topic"] == {"orders.payment-service.dlt": 3}
