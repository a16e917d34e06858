"""A child process: started through `launch`, output appended to its log, ended by signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from orderflow.stack.supervise.component import Command, Component

LAUNCHER = Path(__file__).with_name("launch.py")


class Child:
    """
    A running process.

    It dies with the thread that made it: make it on one that lives as long as the stack.
    """

    def __init__(self, component: Component, command: Command, log: Path) -> None:
        self.component = component
        self.log = log
        self.log_offset = log.stat().st_size if log.exists() else 0
        self.started_at = time.monotonic()

        launcher = [
            sys.executable,
            "-I",
            "-S",
            str(LAUNCHER),
            str(os.getpid()),
            str(int(component.orphan_signal)),
        ]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [*launcher, command.user or "-", "--", *command.argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(command.env),
                cwd=command.cwd,
                process_group=0,
            )

        self._signals = list(component.stop_signals)
        self._next_signal_at: float | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    @property
    def is_alive(self) -> bool:
        return self.exit_code is None

    def press(self) -> None:
        """Ask it to end; called again and again, asks harder whenever patience has run out."""
        now = time.monotonic()
        if not self.is_alive or (self._next_signal_at is not None and now < self._next_signal_at):
            return
        number, patience_s = self._signals.pop(0) if self._signals else (signal.SIGKILL, 5.0)
        self._process.send_signal(number)
        self._next_signal_at = now + patience_s

    def kill(self) -> None:
        """End it now and wait until it is gone."""
        self._process.kill()
        self._process.wait()
