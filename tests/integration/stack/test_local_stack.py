"""
The local stack in one process: order of starting and stopping, failures, and real components by
name.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from threading import Thread

import psutil
import pytest
from tests.support.stack import OwnStack, private_stack, settings_for_tests, temporary_home

from orderflow.messaging.testing.eventually import eventually
from orderflow.stack import local_stack, supervisor
from orderflow.stack.local_stack import LocalStack, StackFailed, sweep
from orderflow.stack.parts import kafka
from orderflow.stack.ports import is_open
from orderflow.stack.settings import StackSettings
from orderflow.stack.supervise.component import Command, Component, plain_environment
from orderflow.stack.supervise.managed import State
from orderflow.stack.supervisor import Supervisor


@pytest.fixture
def settings() -> Iterator[StackSettings]:
    with temporary_home() as home:
        yield settings_for_tests(home)


def program(text: str) -> Callable[[], Command]:
    return lambda: Command(argv=(sys.executable, "-c", text), env=plain_environment())


def server(name: str, text: str = "import time; time.sleep(600)", **more: object) -> Component:
    return Component(name=name, service="order", role="api", command=program(text), **more)  # type: ignore[arg-type]


def step(name: str, text: str, **more: object) -> Component:
    return Component(
        name=name,
        service="deploy",
        role="step",
        once=True,
        command=program(text),
        **more,  # type: ignore[arg-type]
    )


def test_a_component_starts_after_what_it_needs_and_stops_before_it(
    settings: StackSettings,
) -> None:
    seen: list[tuple[str, str]] = []
    parts = [
        server("app", needs=("deploy",)),
        step("deploy", "pass", needs=("database",)),
        server("database"),
    ]
    stack = LocalStack(
        settings, parts, progress=lambda name, state, _reason: seen.append((name, state))
    )
    stack.start()
    stack.stop()
    order = [entry for entry in seen if entry[1] in ("running", "done")]
    assert order == [("database", "running"), ("deploy", "done"), ("app", "running")]
    assert seen.index(("app", "stopped")) < seen.index(("database", "stopping"))


def test_a_failing_step_is_named_with_its_last_line_and_everything_is_stopped(
    settings: StackSettings,
) -> None:
    parts = [
        server("database"),
        step("deploy", "raise SystemExit('no such topic')", needs=("database",)),
    ]
    before = set(psutil.Process().children())
    stack = LocalStack(settings, parts)
    with pytest.raises(
        StackFailed, match=r"deploy did not start: exit 1: no such topic \(log: .*deploy.log\)"
    ):
        stack.start()
    assert not any(managed.is_alive for managed in stack.managed.values())
    assert set(psutil.Process().children()) <= before


def test_what_is_not_awaited_starts_last_and_may_fail_without_harm(
    settings: StackSettings,
) -> None:
    seen: list[tuple[str, str]] = []
    parts = [server("extra", "raise SystemExit('no')", awaited=False), server("app")]
    stack = LocalStack(
        settings, parts, progress=lambda name, state, _reason: seen.append((name, state))
    )
    stack.start()
    assert seen.index(("app", "running")) < seen.index(("extra", "starting"))

    def extra_fails() -> bool:
        stack.turn()
        stack.raise_failures()
        return ("extra", "backing-off") in seen

    eventually(extra_fails, within_s=20)
    assert stack.is_up
    stack.stop()


def test_new_settings_add_what_is_new_and_reach_the_rest_at_their_next_start(
    settings: StackSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parts(settings: StackSettings) -> list[Component]:
        says = f"print({settings.services[-1]!r}, flush=True); import time; time.sleep(600)"
        extra = [server("extra")] if "zipkin" in settings.services else []
        return [server("app", says, ready_line="\n"), *extra]

    monkeypatch.setattr(local_stack, "everything", parts)
    stack = LocalStack(settings)
    stack.start()
    app = stack.find("app").child
    stack.rebuild(settings.with_extras(("zipkin",)))
    stack.start_process("extra")
    assert stack.find("app").child is app
    assert "zipkin" not in stack.find("app").log.read_text()
    stack.stop_process("app")
    stack.start_process("app")
    assert "zipkin" in stack.find("app").log.read_text()
    stack.stop()


def test_a_full_disk_is_called_by_its_name(settings: StackSettings) -> None:
    stack = LocalStack(
        settings, [step("init", "raise SystemExit('write failed: No space left on device')")]
    )
    with pytest.raises(StackFailed, match="the disk is full: free some space"):
        stack.start()


def test_a_service_that_refuses_its_settings_is_not_restarted(settings: StackSettings) -> None:
    marker = settings.home / "second-start"
    text = (
        f"import os, sys, time; sys.exit(2) if os.path.exists({str(marker)!r}) else time.sleep(600)"
    )
    stack = LocalStack(settings, [server("app", text)])
    stack.start()
    marker.touch()
    app = stack.managed["app"]
    assert app.child is not None
    app.child.kill()

    def given_up() -> bool:
        stack.turn()
        return app.state is State.FAILED

    eventually(given_up, within_s=10)
    assert app.restarts == 1
    assert "a wrong setting" in app.reason
    stack.stop()


def test_a_process_that_refuses_to_go_on_leaves_the_others_up(
    settings: StackSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = iter(range(5))
    parts = [
        server("relay", "import sys; print('no slot'); sys.exit(3)", probe=lambda: "not yet"),
        server("behind", needs=("relay",)),
        server("slow", probe=lambda: "" if next(asked, None) is None else "not yet"),
        server("app"),
    ]
    monkeypatch.setattr(supervisor, "LocalStack", partial(LocalStack, components=parts))
    supervising = Supervisor(settings)
    ended = Thread(target=look_after, args=(supervising,))
    ended.start()

    *_, last = supervising._up({})
    assert last == {
        "event": "incomplete",
        "reason": "relay: exit 3 (it refuses to go on): no slot",
    }
    states = {name: managed.state for name, managed in supervising._stack.managed.items()}
    assert states == {
        "relay": State.FAILED,
        "behind": State.WAITING,
        "slow": State.RUNNING,
        "app": State.RUNNING,
    }

    # What fails from now on is restarted, as after any start.
    app = supervising._stack.managed["app"]
    assert app.child is not None
    app.child.kill()
    eventually(lambda: app.restarts == 1 and app.state is State.RUNNING, within_s=20)
    supervising._finish()
    ended.join(30)
    assert not ended.is_alive()


def test_a_wrong_setting_stops_the_others_again(settings: StackSettings) -> None:
    parts = [server("app"), server("relay", "import sys; sys.exit(2)", probe=lambda: "not yet")]
    stack = LocalStack(settings, parts)
    with pytest.raises(StackFailed, match=r"relay did not start: exit 2 \(a wrong setting\)"):
        stack.start()
    assert stack.refusals() == []
    assert not any(managed.is_alive for managed in stack.managed.values())


def look_after(supervising: Supervisor) -> None:
    """As `run`, without its signals. The stack belongs to the thread that made its children."""
    try:
        supervising._look_after()
    finally:
        supervising._stack.stop()


def test_a_process_is_ended_by_force_once_patience_is_over(settings: StackSettings) -> None:
    text = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); "
        "print('deaf', flush=True); time.sleep(600)"
    )
    before = set(psutil.Process().children())
    stack = LocalStack(
        settings, [server("app", text, ready_line="deaf", stop_signals=((15, 0.2),))]
    )
    stack.start()
    stack.stop()
    assert set(psutil.Process().children()) <= before


def test_processes_left_by_a_killed_supervisor_are_ended_and_no_others(
    tmp_path: Path,
) -> None:
    """A new process with the number of an old one is left alone."""
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(sleeper) as left, subprocess.Popen(sleeper) as stranger:
        record = tmp_path / "children.json"
        created = {
            process.pid: psutil.Process(process.pid).create_time() for process in (left, stranger)
        }
        record.write_text(
            json.dumps([[left.pid, created[left.pid]], [stranger.pid, created[stranger.pid] - 9]])
        )
        sweep(record, patience_s=0.1)
        assert not psutil.pid_exists(left.pid)
        assert stranger.poll() is None
        stranger.kill()


def test_a_real_component_can_be_stopped_and_started_by_name(own_stack: OwnStack) -> None:
    port = int(own_stack.bootstrap_servers.rpartition(":")[2])
    own_stack.stop("kafka")
    assert not is_open(port)
    own_stack.start("kafka")
    assert is_open(port)


def test_three_brokers_are_an_instance_of_their_own() -> None:
    with private_stack(brokers=3, only=("kafka",)) as cluster:
        assert [name for name in cluster.local.managed if not name.endswith("-format")] == list(
            kafka.names(cluster.local.settings)
        )
        assert cluster.bootstrap_servers.count(",") == 2
        assert all(cluster.local.find(name).is_up for name in kafka.names(cluster.local.settings))
