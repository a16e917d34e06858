"""
The local stack inside one process: starts components in order of need, keeps them, stops them.

A component starts when what it needs is ready; stopping is in reverse. Everything happens in
`turn`, on the thread that made the stack; the kernel ends the children when that thread dies. Tests
use it as it is; the supervisor wraps it in a daemon.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from orderflow.contracts.known_names import there_are
from orderflow.messaging.errors import ConfigurationError, OrderflowError
from orderflow.stack.blueprint import everything
from orderflow.stack.interrupts import undisturbed
from orderflow.stack.ports import refuse_taken
from orderflow.stack.settings import StackSettings
from orderflow.stack.supervise.component import Component, make_directory
from orderflow.stack.supervise.managed import Managed, State
from orderflow.stack.supervise.wake import Wake

TURN_S = 0.1
STOP_WITHIN_S = 90.0

Progress = Callable[[str, str, str], None]
"""Called with (component, state, reason) whenever a component's state changes."""


class StackFailed(OrderflowError):
    """A component can't be started. The message says which, why, and where its log is."""


class NoSuchProcess(ConfigurationError):
    """The instance has no process of that name. The message says which there are."""


class LocalStack:
    """Child processes with readiness gates. `start` and `stop` block; `turn` is one step."""

    def __init__(
        self,
        settings: StackSettings,
        components: Iterable[Component] | None = None,
        *,
        progress: Progress = lambda _name, _state, _reason: None,
    ) -> None:
        self.settings = settings
        self._progress = progress
        self._reported: dict[str, State] = {}
        self._has_been_up = False
        self.wake = Wake()

        chosen = everything(settings) if components is None else components
        self.managed = {
            part.name: Managed(part, settings.logs / f"{part.name}.log") for part in chosen
        }

    def start(self) -> None:
        """
        Start everything and wait until it is ready.

        On failure what had started is stopped, then StackFailed is raised.
        """
        try:
            self.begin()
            while not self.is_up:
                self.turn()
                self.raise_failures()
                self.wait()
            # What nobody waits for begins now.
            self.turn()
        except BaseException:
            self.stop()
            raise

    def begin(self) -> None:
        """
        Want every component; the next turns start them.

        Raises PortTaken before anything has started.
        """
        make_directory(self.settings.home)
        make_directory(self.settings.run)
        sweep(self.settings.run / "children.json")
        for managed in self.managed.values():
            for port in managed.component.ports:
                refuse_taken(port, purpose=managed.name)
        for managed in self.managed.values():
            managed.wanted = True

    @property
    def is_up(self) -> bool:
        """Whether all that is wanted, and awaited, is ready."""
        return all(managed.is_up for managed in self._awaited() if managed.wanted)

    def raise_failures(self, *, but_refusals: bool = False) -> None:
        """
        Raise StackFailed, naming the first component that could not be started. `but_refusals`: but
        not for a process that refuses to go on.
        """
        self._raise_failures(
            managed
            for managed in self._awaited()
            if not (but_refusals and managed.wanted and managed.has_refused)
        )

    def refusals(self) -> list[Managed]:
        """The processes that refuse to go on, once all others are up or wait for one of them."""
        refused = [managed for managed in self._awaited() if managed.wanted and managed.has_refused]
        names = {managed.name for managed in refused}
        held = names | self._dependents(names)
        others = (each for each in self._awaited() if each.wanted and each.name not in held)
        return refused if all(each.is_up for each in others) else []

    def stop(self) -> None:
        """Stop everything, what depends on others first. Returns when nothing runs any more."""
        with undisturbed():
            self._stop()

    def _stop(self) -> None:
        for managed in self.managed.values():
            managed.wanted = False

        deadline = time.monotonic() + STOP_WITHIN_S
        while any(managed.is_alive for managed in self.managed.values()):
            if time.monotonic() > deadline:
                self._kill_children()
            self.turn(in_order=True)
            self.wait()

        self.turn()
        (self.settings.run / "children.json").unlink(missing_ok=True)

    def rebuild(self, settings: StackSettings) -> None:
        """
        Go on with other settings of the same instance: what is new is wanted.

        What runs keeps its environment until it is started again. Raises PortTaken; then nothing
        has changed.
        """
        components = everything(settings)
        new = [part for part in components if part.name not in self.managed]
        for component in new:
            for port in component.ports:
                refuse_taken(port, purpose=component.name)

        self.settings = settings
        for component in components:
            if component not in new:
                self.managed[component.name].component = component
        for component in new:
            self.add(component)
            self.managed[component.name].wanted = True

    def add(self, component: Component) -> None:
        """Add a component. It starts when it is wanted."""
        self.managed[component.name] = Managed(
            component, self.settings.logs / f"{component.name}.log"
        )

    def start_process(self, name: str) -> None:
        """Start one component and wait until it is ready. Raises StackFailed."""
        managed = self.find(name)
        self.want(name, up=True)
        while not managed.is_up:
            self.turn()
            self._raise_failures([managed])
            self.wait()

    def stop_process(self, name: str) -> None:
        """Stop one component, whatever depends on it, and wait until it is gone."""
        managed = self.find(name)
        self.want(name, up=False)
        while managed.state is not State.STOPPED:
            self.turn()
            self.wait()

    def find(self, name: str) -> Managed:
        """The component of that name. Raises NoSuchProcess, naming those that there are."""
        if name not in self.managed or self.managed[name].component.once:
            processes = (part for part in self.managed.values() if not part.component.once)
            known = [process.name for process in processes]
            raise NoSuchProcess(f"no process is called {name!r}; {there_are(name, known)}")
        return self.managed[name]

    def want(self, name: str, *, up: bool) -> None:
        """
        Set whether a component is to run; the next turns start or stop it.

        A failed component that is wanted again is started again.
        """
        managed = self.find(name)
        managed.wanted = up
        if up and not managed.is_alive:
            managed.state, managed.start_at = State.STOPPED, 0.0

    def turn(self, *, in_order: bool = False) -> None:
        """
        One step for every component.

        `in_order`: a component stops only when nothing that needs it runs.
        """
        self._has_been_up = self._has_been_up or self.is_up
        before = [managed.child for managed in self.managed.values()]
        for managed in self.managed.values():
            self._advance(managed, in_order=in_order)
            if self._reported.get(managed.name) != managed.state:
                self._reported[managed.name] = managed.state
                self._progress(managed.name, managed.state.value, managed.reason)

        if before != [managed.child for managed in self.managed.values()]:
            self._record_children()

    def wait(self, timeout_s: float = TURN_S) -> None:
        """Until the next turn is due, or `wake` is set."""
        self.wake.wait(timeout_s)

    def _advance(self, managed: Managed, *, in_order: bool) -> None:
        """The next step of one component, by what is wanted and by its state."""
        if not managed.wanted:
            is_held = in_order and managed.is_alive and self._is_needed(managed)
            if managed.state is not State.DONE and not is_held:
                managed.check_stop()
            return

        match managed.state:
            case State.STOPPED | State.WAITING:
                self._start_when_ready(managed)
            case State.BACKING_OFF if time.monotonic() >= managed.start_at:
                managed.restarts += 1
                managed.start()
            case State.STARTING:
                managed.check_start()
            case State.RUNNING:
                managed.check_running()

    def _start_when_ready(self, managed: Managed) -> None:
        component = managed.component
        needs = [self.managed[need] for need in component.needs if need in self.managed]
        if component.once and component.is_done():
            managed.state = State.DONE
        elif all(need.is_up for need in needs) and (component.awaited or self._has_been_up):
            managed.start()
        else:
            managed.state = State.WAITING

    def _is_needed(self, managed: Managed) -> bool:
        """Whether a component that runs needs this one, directly or through others."""
        dependents = self._dependents({managed.name})
        return any(self.managed[name].child is not None for name in dependents)

    def _dependents(self, names: set[str]) -> set[str]:
        """The components that need one of these, directly or through others."""
        reached, frontier = set[str](), names
        while frontier:
            dependents = {
                other.name
                for other in self.managed.values()
                if frontier & set(other.component.needs)
            }
            frontier = dependents - reached
            reached |= frontier
        return reached

    def _awaited(self) -> list[Managed]:
        return [managed for managed in self.managed.values() if managed.component.awaited]

    def _kill_children(self) -> None:
        for managed in self.managed.values():
            if managed.child is not None:
                managed.child.kill()

    def _raise_failures(self, among: Iterable[Managed]) -> None:
        for managed in among:
            if managed.state in (State.FAILED, State.BACKING_OFF):
                raise StackFailed(
                    f"{managed.name} did not start: {managed.reason} (log: {managed.log})"
                )

    def _record_children(self) -> None:
        """Write down pid and start time of each child, for the next stack's `sweep`."""
        pids = [part.child.pid for part in self.managed.values() if part.child is not None]
        records = [
            [pid, psutil.Process(pid).create_time()] for pid in pids if psutil.pid_exists(pid)
        ]
        with suppress(OSError):
            # The record is a second net under the kernel's: a full disk must not keep us from
            # stopping what runs.
            (self.settings.run / "children.json").write_text(json.dumps(records))


def sweep(record: Path, *, patience_s: float = 3.0) -> None:
    """
    End the children that a killed predecessor left behind.

    A process that only has the same pid is never touched: its start time differs.
    """
    if not record.is_file():
        return

    left = []
    for pid, created in _read(record):
        try:
            process = psutil.Process(pid)
            if process.create_time() == created:
                left.append(process)
        except psutil.NoSuchProcess:
            continue

    # The kernel has sent them their signal already: they get time to end by themselves.
    _, alive = psutil.wait_procs(left, timeout=patience_s)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=10)
    record.unlink(missing_ok=True)


def _read(record: Path) -> list[tuple[int, float]]:
    try:
        return [(int(pid), float(created)) for pid, created in json.loads(record.read_text())]
    except (ValueError, TypeError):
        # Half written by a process that was killed: the kernel has ended its children all the same.
        return []
