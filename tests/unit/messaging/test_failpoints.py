"""How failpoints are armed, and that they really kill and stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from orderflow.messaging.errors import ConfigurationError
from orderflow.messaging.failpoints import VARIABLE, parse

PROGRAM = """
from orderflow.messaging.failpoints import failpoint
for number in range(5):
    failpoint("line", before=lambda: print("before", flush=True))
    print(number, flush=True)
"""


def run(armed: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, VARIABLE: armed}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_names_actions_and_counts_are_read() -> None:
    assert parse("a=kill@3, b=stop@1,") == {"a": ("kill", 3), "b": ("stop", 1)}
    assert parse("") == {}


@pytest.mark.parametrize("text", ["a", "a=kill", "a=kill@0", "a=kill@x", "a=hang@1", "=kill@1"])
def test_anything_else_is_refused_by_its_text(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is not of the form"):
        parse(text)


def test_the_armed_pass_dies_without_a_goodbye_after_what_must_come_before_it() -> None:
    done = run("line=kill@3")
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split() == ["0", "1", "before"]


def test_a_line_that_is_not_armed_costs_nothing_and_does_nothing() -> None:
    done = run("another=kill@1")
    assert (done.returncode, done.stdout.split()) == (0, ["0", "1", "2", "3", "4"])


BESIDE_OTHERS = """
import os, sys, threading, time
from orderflow.messaging.failpoints import failpoint
for _ in range(4):
    threading.Thread(target=lambda: [time.sleep(1e-5) for _ in iter(int, 1)], daemon=True).start()
time.sleep(0.02)
def work():
    failpoint("line")
    os.write(1, b"beyond")
threading.Thread(target=work).start()
"""


def test_a_process_of_many_threads_stops_at_the_line_and_not_some_microseconds_later() -> None:
    """A signal to the process may be another thread's: then this one goes on, half of the times."""
    for _ in range(10):
        environment = {**os.environ, VARIABLE: "line=stop@1"}
        with subprocess.Popen(
            [sys.executable, "-c", BESIDE_OTHERS], env=environment, stdout=subprocess.PIPE
        ) as process:
            assert os.waitpid(process.pid, os.WUNTRACED)[1] == signal.SIGSTOP << 8 | 0x7F
            process.kill()
            assert process.stdout is not None
            assert process.stdout.read() == b""
