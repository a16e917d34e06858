"""What Ctrl-C does to a command with a stack of its own: a word, nothing left, and only once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orderflow.stack.interrupts import AS_CTRL_C, all_as_ctrl_c, undisturbed
from orderflow.stack.local_stack import LocalStack
from orderflow.stack.temporary_stack import temporary_stack

INTERRUPTED = """
import os, pathlib, signal, sys
from orderflow.messaging.testing.eventually import eventually
from orderflow.trials.processes import generating, running
waits = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(60)"
worker, generator = map(pathlib.Path, sys.argv[1:])
try:
    with (
        running((sys.executable, "-c", waits, str(worker))) as pid,
        generating((sys.executable, "-c", waits, str(generator)), dict),
    ):
        eventually(lambda: worker.exists() and generator.exists(), within_s=20)
        os.killpg(0, signal.SIGINT)
        signal.pause()
except KeyboardInterrupt:
    print(pid)
"""


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *AS_CTRL_C)}
    # The tests themselves may run under nohup.
    for number in AS_CTRL_C:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def press(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", AS_CTRL_C)
def test_to_be_ended_and_to_lose_the_terminal_are_as_ctrl_c_but_not_what_nohup_ignores(
    number: int,
) -> None:
    all_as_ctrl_c()
    with pytest.raises(KeyboardInterrupt):
        press(number)

    signal.signal(number, signal.SIG_IGN)
    all_as_ctrl_c()
    press(number)


def test_whoever_takes_down_is_not_disturbed_and_afterwards_all_is_as_before() -> None:
    with undisturbed():
        press()
        press(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        press()


def test_an_interrupted_stack_leaves_nothing_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    seen: list[Path] = []
    with pytest.raises(KeyboardInterrupt, match="its stack is stopped"):
        interrupt(seen, tmp_path)
    assert len(seen) == 1
    assert not list(tmp_path.iterdir())


def test_a_second_ctrl_c_does_not_stop_the_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalStack, "_stop", lambda _: press())
    with temporary_stack(()):
        pass


def interrupt(seen: list[Path], directory: Path) -> None:
    with temporary_stack(()):
        seen += directory.iterdir()
        press()


def test_what_runs_beside_a_stack_does_not_complain_of_a_terminals_ctrl_c(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path / "worker"), str(tmp_path / "generator")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        start_new_session=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not Path(f"/proc/{int(done.stdout)}").exists()
