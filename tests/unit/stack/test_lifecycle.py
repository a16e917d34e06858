"""What `up` does with a stack that runs already."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.testing.eventually import eventually
from orderflow.stack import lifecycle
from orderflow.stack.caller_settings import unread
from orderflow.stack.local_stack import StackFailed
from orderflow.stack.settings import ALL, StackSettings
from orderflow.stack.supervise.component import Command, Component
from orderflow.stack.supervise.control import ControlServer
from orderflow.stack.supervise.managed import Managed

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
        self.given: dict[str, str] = {}
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
            self.given = request["settings"]
            yield {"event": "done", "settings": sorted(self.given)}
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


DEADLINE = "ORDERFLOW_ORDER__DEADLINES__PAYMENT_S"


def test_what_is_started_gets_the_settings_of_whoever_starts_it(
    settings: StackSettings, supervisor: FakeSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DEADLINE, "1")
    monkeypatch.setenv("ORDERFLOW_STACK__PORT_OFFSET", "1000")
    assert lifecycle.steer(settings, "restart", "order-api") == [DEADLINE]
    assert supervisor.given == {DEADLINE: "1"}
    assert lifecycle.steer(settings, "stop", "order-api") == []
    assert unread([DEADLINE, "ORDERFLOW_TELEMETRY__LOG_LEVEL"], "payment") == [DEADLINE]
    assert unread([DEADLINE], "order") == []


@pytest.mark.parametrize(
    "name",
    ["ORDERFLOW_ORDER__API__PORT", "ORDERFLOW_ORDER__DATABASE__DSN", "ORDERFLOW_PSP__PORT"],
)
def test_a_setting_that_the_stack_would_override_is_refused(
    settings: StackSettings, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "x")
    with pytest.raises(ConfigurationError, match=rf"sets {name} itself: .*STACK__PORTS__"):
        lifecycle.up(settings)
    assert not (settings.run / "control").exists()


def test_a_process_keeps_what_it_was_given_and_the_next_one_does_not_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_UP", "up")
    command = Command(argv=("/usr/bin/env",), env={"OF_UP": "up", DEADLINE: "9"})
    given, plain = (
        Managed(
            Component(name=name, service="order", role="step", command=lambda: command),
            tmp_path / f"{name}.log",
        )
        for name in ("given", "plain")
    )
    given.settings[DEADLINE] = "1"
    for managed in (given, plain):
        managed.start()
    eventually(lambda: not (given.is_alive or plain.is_alive), within_s=10)
    assert f"{DEADLINE}=1\n" in given.log.read_text()
    assert f"{DEADLINE}=9\n" in plain.log.read_text()


def test_advice_that_needs_servers_says_how_to_start_them_and_other_advice_does_not() -> None:
    refused = "order-relay did not start: exit 3: `orderflow relay resync` starts a new slot"
    said = lifecycle._servers_alone(refused)
    command = re.findall(r"`(.*)`", said)[0]
    assert command.endswith(" orderflow up")
    (services,) = re.findall(r"ORDERFLOW_STACK__SERVICES='(.*)'", command)
    assert set(json.loads(services)) <= set(ALL)
    full = (
        "postgres did not start: the disk is full: free some space, then run `orderflow up` again"
    )
    assert lifecycle._servers_alone(full) == ""
