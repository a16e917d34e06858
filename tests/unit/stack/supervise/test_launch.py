"""The last step before a child process."""

from __future__ import annotations

import os
import subprocess
import sys

from orderflow.stack.supervise.child import LAUNCHER


def test_a_child_and_its_children_take_their_turns_as_batch_work() -> None:
    says = "import os; print(os.sched_getscheduler(0))"
    asks = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {says!r}], check=True)"
    command = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), "15", "-", "--"]
    ran = subprocess.run(
        [*command, sys.executable, "-c", asks],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split()[-1] == str(os.SCHED_BATCH)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
