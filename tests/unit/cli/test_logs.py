"""`orderflow logs`: all processes' lines merged by time, or those about an order."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from orderflow.cli import logs as module
from orderflow.messaging.errors import ConfigurationError, OrderflowError

ORDER = "019a7c1e-0000-7000-8000-000000000001"
OTHER = "019a7c1e-0000-7000-8000-000000000002"


@pytest.fixture(autouse=True)
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "instance", lambda _brokers: SimpleNamespace(logs=tmp_path))
    for second, name, level in ((2, "payment", "error"), (1, "order-api", "info")):
        line = {
            "timestamp": f"2026-11-28T09:05:0{second}.250000Z",
            "level": level,
            "message": f"{name} said something",
            "order_id": ORDER,
        }
        (tmp_path / f"{name}.log").write_text(f"{json.dumps(line)}\n")


def test_the_lines_of_an_order_come_in_time_order_as_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    module.logs(order=ORDER.upper())
    assert capsys.readouterr().out.splitlines() == [
        "09:05:01.250  order-api              order-api said something",
        "09:05:02.250  payment                ERROR payment said something",
    ]


def test_the_lines_of_an_order_come_as_json_of_one_process_if_one_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    module.logs("payment", order=ORDER, as_json=True)
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (line["name"], line["order_id"], line["level"]) == ("payment", ORDER, "error")


def test_what_is_no_id_is_refused_and_nothing_found_says_what_to_do() -> None:
    with pytest.raises(OrderflowError, match="'; rm -rf' is no order id"):
        module.logs(order="; rm -rf")
    instead = f"orderflow order {OTHER}"
    with pytest.raises(OrderflowError, match=instead):
        module.logs(order=OTHER)


KAFKA = """[2026-11-28 09:05:01,500] INFO started (kafka.server.KafkaServer)
[2026-11-28 09:05:03,000] ERROR it broke (kafka.log.LogManager)
java.io.IOException: no space
\tat kafka.log.LogManager.run(LogManager.scala:1)

"""
POSTGRES = "2026-11-28 09:05:01.750 UTC [7] FATAL:  the database system is starting up\n"


@pytest.fixture
def foreign(tmp_path: Path) -> None:
    (tmp_path / "kafka.log").write_text(KAFKA)
    (tmp_path / "postgres.log").write_text(POSTGRES)


def shown(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


@pytest.mark.usefixtures("foreign")
def test_all_processes_lines_are_merged_by_time_and_a_stack_trace_stays_whole(
    capsys: pytest.CaptureFixture[str],
) -> None:
    module.logs()
    assert [line.split()[:3] for line in shown(capsys)] == [
        ["09:05:01.250", "order-api", "order-api"],
        ["09:05:01.500", "kafka", "INFO"],
        ["09:05:01.750", "postgres", "CRITICAL"],
        ["09:05:02.250", "payment", "ERROR"],
        ["09:05:03.000", "kafka", "ERROR"],
        ["09:05:03.000", "kafka", "ERROR"],
        ["09:05:03.000", "kafka", "ERROR"],
    ]


@pytest.mark.usefixtures("foreign")
def test_only_lines_of_a_level_and_above_and_only_newer_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    module.logs(level="error")
    assert [line.split()[1] for line in shown(capsys)] == ["postgres", "payment"] + ["kafka"] * 3
    module.logs(since="2026-11-28T09:05:02")
    assert [line.split()[1] for line in shown(capsys)] == ["payment"] + ["kafka"] * 3
    module.logs(level="error", lines=1)
    assert [line.split()[1] for line in shown(capsys)] == ["postgres", "payment", "kafka"]
    with pytest.raises(ConfigurationError, match="no level 'loud'; there are: debug, info"):
        module.logs(level="loud")


@pytest.mark.usefixtures("foreign")
def test_programs_get_an_object_per_line_with_its_time_level_and_words(
    capsys: pytest.CaptureFixture[str],
) -> None:
    module.logs("postgres", as_json=True)
    assert [json.loads(line) for line in shown(capsys)] == [
        {
            "name": "postgres",
            "timestamp": "2026-11-28T09:05:01.750000+00:00",
            "level": "critical",
            "message": "[7] FATAL:  the database system is starting up",
        }
    ]


def test_what_was_cut_off_the_file_is_looked_at_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kafka.log.1").write_text("[2026-11-28 09:04:00,000] WARN early\n")
    (tmp_path / "kafka.log").write_text("[2026-11-28 09:05:00,000] INFO late\n")
    module.logs("kafka", level="warning")
    assert [line.split()[0] for line in shown(capsys)] == ["09:04:00.000"]
