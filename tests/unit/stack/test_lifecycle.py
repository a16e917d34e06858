"""What `up` does with a stack that runs already."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orderflow.stack import lifecycle
from orderflow.stack.local_stack import StackFailed
from orderflow.stack.settings import StackSettings
from orderflow.stack.supervise.control import ControlServer

PROCESSES = {
    "kafka": ("kafka", "running"),
    "order-api": ("order", "running"),
    "payment": ("payment", "backing-off"),
    "inventory": ("inventory", "stopped"),
    "psp": ("psp", "running"),
}


class FakeSupervisor:
    """Answers as the supervisor does, and writes down what it was told."""

    def __init__(self, settings: StackSettings) -> None:
        self.told: list[tuple[str, ...]] = []
        self.refuses = ""
        settings.run.mkdir(parents=True)
        (settings.run / "instance.json").write_text(settings.model_dump_json())
        self.server = ControlServer(settings.run, self.answer)

    def answer(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        verb = request["do"]
        if verb == "ping":
            yield {"event": "here"}
        elif verb == "rebuild":
            self.told.append((verb, *json.loads(request["settings"])["services"][-2:]))
            yield {"failed": self.refuses} if self.refuses else {"event": "done"}
        elif verb in ("start", "stop", "restart"):
            self.told.append((verb, request["name"]))
            yield {"event": "done"}
        elif verb == "status":
            rows = [
                {
                    **dict.fromkeys(("role", "address", "health", "reason"), ""),
                    "name": name,
                    "service": service,
                    "state": state,
                    "slot": 0,
                    "pid": None,
                    "restarts": 0,
                }
                for name, (service, state) in PROCESSES.items()
            ]
            yield {"processes": rows}


@pytest.fixture
def settings(tmp_path: Path) -> StackSettings:
    return StackSettings(home=tmp_path / "stack", cache_dir=tmp_path, services=("kafka", "order"))


@pytest.fixture
def supervisor(settings: StackSettings) -> Iterator[FakeSupervisor]:
    supervisor = FakeSupervisor(settings)
    yield supervisor
    supervisor.server.close()


def test_what_is_added_is_told_once_and_the_services_that_run_are_restarted(
    settings: StackSettings, supervisor: FakeSupervisor
) -> None:
    assert lifecycle.up(settings, extras=("zipkin",)) == "running"
    assert supervisor.told[0] == ("rebuild", "order", "zipkin")
    assert sorted(supervisor.told[1:3]) == [("restart", "order-api"), ("restart", "payment")]
    assert supervisor.told[3:] == [("start", "inventory")]


def test_what_is_there_is_not_added_again(
    settings: StackSettings, supervisor: FakeSupervisor
) -> None:
    running = settings.with_extras(("zipkin",))
    (settings.run / "instance.json").write_text(running.model_dump_json())
    lifecycle.up(settings, extras=("zipkin",))
    lifecycle.up(settings)
    assert supervisor.told == [("start", "inventory")] * 2


def test_what_can_not_be_added_is_said_and_nothing_is_restarted(
    settings: StackSettings, supervisor: FakeSupervisor
) -> None:
    supervisor.refuses = "port 9411, wanted for zipkin, is taken"
    with pytest.raises(StackFailed, match="port 9411"):
        lifecycle.up(settings, extras=("zipkin",))
    assert [verb for verb, *_ in supervisor.told] == ["rebuild"]


def test_who_publishes_an_outbox_is_not_changed_while_it_runs(
    settings: StackSettings, supervisor: FakeSupervisor
) -> None:
    with pytest.raises(StackFailed, match=r"published by relay: .*`orderflow up --relay debezium`"):
        lifecycle.up(settings, publisher="debezium")
    assert supervisor.told == []
    assert lifecycle.up(settings, publisher="relay") == "running"
