"""A service's command line, and several roles as one."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette

from orderflow.messaging import postgres
from orderflow.messaging.errors import Unavailable
from orderflow.messaging.http.health import Reasons
from orderflow.messaging.http.server import Role
from orderflow.messaging.process.follower import FollowerSettings
from orderflow.messaging.process.role import Launch, worker_role
from orderflow.messaging.process.service import Service, run, together
from orderflow.messaging.settings import ProcessSettings
from orderflow.messaging.testing.eventually import eventually
from orderflow.messaging.testing.memory_clock import MemoryClock
from orderflow.messaging.work.patience import Patience


def never_built(launch: Launch[Any]) -> Role:
    raise NotImplementedError(launch.role)


SERVICE = Service(
    name="parcels",
    program="python -m parcels",
    settings=ProcessSettings,
    roles={"api": never_built, "listener": never_built},
)


def role(name: str, *, reason: str = "", has_api: bool = False) -> Role:
    def app(_reasons: Reasons) -> Starlette:
        return Starlette()

    return Role(
        name=name,
        host="127.0.0.1",
        port=len(name),
        reasons=lambda: [reason] if reason else [],
        app=app if has_api else None,
    )


def test_the_program_and_its_roles_are_the_services(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(SERVICE, ["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "usage: python -m parcels [-h]" in shown
    assert "migrate, api, listener (default: api,listener)" in shown


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--roles", "api,sender"], "unknown sender; known are migrate, api, listener"),
        (["--slot", "-1"], "--slot: -1 is not a number from 0"),
    ],
)
def test_what_it_cannot_run_is_refused_with_2(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(SERVICE, arguments) == 2
    assert why in capsys.readouterr().err


def test_a_migration_waits_for_a_database_or_a_broker_that_is_away(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    troubles = {"deploy": 2, "migrate": 2}

    def answer(what: str) -> list[str]:
        if troubles[what]:
            troubles[what] -= 1
            raise Unavailable("timed out", resource=what)
        return [what]

    monkeypatch.setattr(postgres, "migrate", lambda _dsn, _directory: answer("migrate"))
    monkeypatch.setenv("ORDERFLOW_FOLLOWER__DATABASE__DSN", "dbname=parcels")
    service = Service(
        name="parcels",
        program="python -m parcels",
        settings=FollowerSettings,
        roles={},
        migrations=[tmp_path],
        deploy=lambda _settings: answer("deploy"),
        section_name="follower",
    )
    clock, waits = MemoryClock(), list[str]()
    patience = Patience(
        waiting=lambda error, _left_s: waits.append(error.resource), clock=clock, rest=clock.advance
    )

    assert service.migrate(service.load(), patience=patience) == ["deploy", "migrate"]
    assert waits == ["deploy", "migrate"]


def test_roles_together_are_served_by_the_api_and_ready_when_all_are() -> None:
    whole = together([role("relay", reason="no slot"), role("api", has_api=True), role("worker")])
    assert (whole.name, whole.port, whole.reasons()) == ("api", 3, ["no slot"])


def test_roles_without_an_api_are_served_by_the_first() -> None:
    whole = together([role("relay"), role("worker")])
    assert (whole.name, whole.app, whole.reasons()) == ("relay", None, [])


def test_a_role_that_ended_is_not_ready_whatever_it_says_of_itself() -> None:
    section: Any = SimpleNamespace(listener=SimpleNamespace(host="127.0.0.1", port=1))
    settings: Any = None
    launch = Launch[ProcessSettings](
        service="parcels",
        role="listener",
        settings=settings,
        section=section,
        slot=0,
        fail=lambda _error: None,
    )
    go_on = threading.Event()

    def run_until_told(_stop: threading.Event) -> None:
        go_on.wait(10)

    worker = worker_role(launch, run=run_until_told, reasons=list)
    assert worker.reasons() == []
    worker.start()
    assert worker.reasons() == []
    go_on.set()
    eventually(lambda: worker.reasons() == ["parcels-listener: ended"], within_s=10)
