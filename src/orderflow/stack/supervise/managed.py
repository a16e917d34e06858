"""A component's life: whether it is to run, what state it is in, and what an exit means."""

from __future__ import annotations

import errno
import random
import shutil
import signal
import time
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from orderflow.messaging.errors import OrderflowError
from orderflow.messaging.work.reasons import Degraded
from orderflow.stack.ports import refuse_taken
from orderflow.stack.supervise.child import Child
from orderflow.stack.supervise.component import Component, make_directory
from orderflow.stack.supervise.logs import last_lines, since

BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0
HEALTHY_AFTER_S = 60.0
DISK_FULL_BELOW_BYTES = 5_000_000


class State(StrEnum):
    """`failed` is final until somebody starts it again; `backing-off` starts again by itself."""

    STOPPED = "stopped"
    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    BACKING_OFF = "backing-off"
    FAILED = "failed"
    DONE = "done"


REFUSES = 3
FINAL_EXITS = {2: "a wrong setting", REFUSES: "it refuses to go on"}
"""Exit codes of our services after which a restart would fail in the same way."""

KNOWN_TROUBLE = {
    "No space left on device": "the disk is full: free some space, then run `orderflow up` again",
    "OutOfMemoryError": "the machine has too little free memory",
    "Cannot allocate memory": "the machine has too little free memory",
}


@dataclass(slots=True)
class Managed:
    """A component and its child, changed by the stack's own thread only."""

    component: Component
    log: Path
    state: State = State.STOPPED
    wanted: bool = False
    restarts: int = 0
    reason: str = ""
    child: Child | None = None
    deadline: float = 0.0
    start_at: float = 0.0
    settings: dict[str, str] = field(default_factory=dict)
    """Of whoever started it since `up`, beside what the stack sets."""
    has_refused: bool = False
    """It runs, and so its settings are right, but only an operator can let it go on."""
    _failures: int = 0

    @property
    def name(self) -> str:
        return self.component.name

    @property
    def is_alive(self) -> bool:
        return self.child is not None and self.child.is_alive

    @property
    def is_up(self) -> bool:
        return self.state in (State.RUNNING, State.DONE)

    def start(self) -> None:
        """Spawn the child. What the operating system refuses is a failure of this start alone."""
        self.start_at, self.has_refused = 0.0, False
        try:
            for port in self.component.ports:
                refuse_taken(port, purpose=self.name)
            make_directory(self.log.parent)
            self.component.prepare()
            command = self.component.command()
            command = replace(command, env={**command.env, **self.settings})
            self.child = Child(self.component, command, self.log)
        except (OrderflowError, OSError) as error:
            self.child = None
            self._failed(trouble(error), final=False)
            return

        self.deadline = time.monotonic() + self.component.start_within_s
        self.state, self.reason = State.STARTING, ""

    def check_start(self) -> None:
        """While starting: ready, dead, too late, or not yet."""
        assert self.child is not None
        if not self.child.is_alive:
            self._exited(self.child)
            return

        if time.monotonic() > self.deadline:
            self.child.kill()
            self._failed(
                f"not ready within {self.component.start_within_s:.0f} s: {self.reason}",
                final=False,
            )
            return

        if self.component.once:
            return
        self.reason = self._not_ready()
        if not self.reason or isinstance(self.reason, Degraded):
            self.state, self.reason = State.RUNNING, ""

    def check_running(self) -> None:
        """While running: notice an exit; after a minute of health, forgive what went before."""
        assert self.child is not None
        if not self.child.is_alive:
            self._exited(self.child)
        elif self._failures and time.monotonic() - self.child.started_at > HEALTHY_AFTER_S:
            self._failures = 0

    def check_stop(self) -> None:
        """While stopping: press on until it is gone."""
        if self.is_alive:
            assert self.child is not None
            self.state = State.STOPPING
            self.child.press()
            return
        self.child, self.state, self.reason = None, State.STOPPED, ""

    def _not_ready(self) -> str:
        assert self.child is not None
        line = self.component.ready_line
        if line and line not in since(self.log, self.child.log_offset):
            return "not ready yet"
        return self.component.probe()

    def _exited(self, child: Child) -> None:
        self.child = None
        code = child.exit_code
        if self.component.once and code == 0:
            try:
                self.component.finish()
            except OSError as error:
                self._failed(trouble(error), final=False)
                return
            self.state, self.reason = State.DONE, ""
            return

        ours = self.component.service not in ("kafka", "postgres", "registry", "zipkin", "connect")
        final = ours and code in FINAL_EXITS
        self.has_refused = ours and code == REFUSES and not self.component.once
        # A killed process cannot log why: its last line is about something else.
        last_word = "" if code is not None and code < 0 else _last_word(self.log, child.log_offset)
        self._failed(f"{_describe(code, final=final)}{last_word}", final=final)

    def _failed(self, reason: str, *, final: bool) -> None:
        self.reason = reason
        if final:
            self.state = State.FAILED
            return
        jitter = random.uniform(0.9, 1.1)  # noqa: S311 - no secret
        delay_s = min(BACKOFF_FIRST_S * 2**self._failures, BACKOFF_MAX_S) * jitter
        self._failures += 1
        self.start_at = time.monotonic() + delay_s
        self.state = State.BACKING_OFF


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRow:
    """
    A row of `orderflow status --json`; the fields, their names and their order are public.

    `state` is one of State's values. `health`: `ok`, `failing` or `degraded` (with `reason`:
    `degraded` serves whoever calls it, and waits for what the reason names), or `unknown` while it
    does not run. `restarts` counts since `up`. `slot` counts processes of one role from 0.
    """

    name: str
    service: str
    role: str
    slot: int
    pid: int | None
    address: str
    state: str
    health: str
    restarts: int
    reason: str


def report(managed: Managed) -> ProcessRow:
    """The row of a component, its health asked now: takes at most PROBE_TIMEOUT_S."""
    child, component = managed.child, managed.component
    reason, health = managed.reason, "unknown"
    if managed.state is State.RUNNING and child is not None:
        reason = component.probe()
        up_to_a_point = isinstance(reason, Degraded)
        health = "ok" if not reason else "degraded" if up_to_a_point else "failing"

    return ProcessRow(
        name=component.name,
        service=component.service,
        role=component.role,
        slot=component.slot,
        pid=child.pid if child is not None else None,
        address=component.address,
        state=managed.state.value,
        health=health,
        restarts=managed.restarts,
        reason=str(reason),
    )


def _describe(code: int | None, *, final: bool) -> str:
    if code is not None and code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return f"exit {code} ({FINAL_EXITS[code]})" if final and code else f"exit {code}"


def _last_word(log: Path, offset: int) -> str:
    """A known trouble in the log, or its last line. A full disk may have kept the log silent."""
    written = since(log, offset)
    if shutil.disk_usage(log.parent).free < DISK_FULL_BELOW_BYTES:
        written += "No space left on device"
    for sign, meaning in KNOWN_TROUBLE.items():
        if sign in written:
            return f": {meaning}"
    lines = [line for line in written.splitlines() if line.strip()] and last_lines(log, 1)
    return f": {lines[0].strip()[:300]}" if lines else ""


def trouble(error: OrderflowError | OSError) -> str:
    """What an error means, and what to do."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return KNOWN_TROUBLE["No space left on device"]
    return str(error)
