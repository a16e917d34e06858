"""
The local stack inside one process: starts components as what they need gets ready, keeps them, stops them in reverse.

Everything happens in `turn`, on the thread that made the stack; the kernel ends the children when that thread dies.
Tests use it as it is; the supervisor wraps it in a daemon.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from orderflow.messaging.errors import OrderflowError
from orderflow.stack.blueprint import everything
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


class LocalStack:
    """Child processes with readiness gates. `start` and `stop` block; `turn` is one step of looking after them."""

    def __init__(
        self,
        settings: StackSettings,
        components: Iterable[Component] | None = None,
        *,
        progress: Progress = lambda _name, _state, _reason: None,
    ) -> None:
        self.settings = settings
        self._progress = progress
        self._told: dict[str, State] = {}
        self.wake = Wake()
        chosen = everything(settings) if components is None else components
        self.managed = {
            part.name: Managed(part, settings.logs / f"{part.name}.log") for part in chosen
        }

    def start(self) -> None:
        """Start everything and wait until it is ready; on failure stop what had started, then raise StackFailed."""
        try:
            self.begin()
            while not self.is_up:
                self.turn()
                self.raise_failures()
                self.wait()
        except BaseException:
            self.stop()
            raise

    def begin(self) -> None:
        """Make ready to start: the next turns do it. Raises PortTaken before anything has happened."""
        make_directory(self.settings.home)
        make_directory(self.settings.run)
        sweep(self.settings.run / "children.json")
        for one in self.managed.values():
            for port in one.component.ports:
                refuse_taken(port, purpose=one.name)
        for one in self.managed.values():
            one.wanted = True

    @property
    def is_up(self) -> bool:
        """Whether all that is wanted is ready."""
        return all(one.is_up for one in self.managed.values() if one.wanted)

    def raise_failures(self) -> None:
        """Raise StackFailed, naming the first component that could not be started."""
        self._raise_failures(self.managed.values())

    def stop(self) -> None:
        """Stop everything, what depends on others first. Returns when nothing runs any more."""
        for one in self.managed.values():
            one.wanted = False
        deadline = time.monotonic() + STOP_WITHIN_S
        while any(one.is_alive for one in self.managed.values()):
            if time.monotonic() > deadline:
                for one in self.managed.values():
                    if one.child is not None:
                        one.child.kill()
            self.turn(in_order=True)
            self.wait()
        self.turn()
        (self.settings.run / "children.json").unlink(missing_ok=True)

    def add(self, component: Component) -> None:
        """One more component. It starts when it is wanted."""
        self.managed[component.name] = Managed(
            component, self.settings.logs / f"{component.name}.log"
        )

    def start_process(self, name: str) -> None:
        """Start one component and wait until it is ready. Raises StackFailed."""
        one = self.find(name)
        self.want(name, up=True)
        while not one.is_up:
            self.turn()
            self._raise_failures([one])
            self.wait()

    def stop_process(self, name: str) -> None:
        """Stop one component, whatever depends on it, and wait until it is gone."""
        one = self.find(name)
        self.want(name, up=False)
        while one.state is not State.STOPPED:
            self.turn()
            self.wait()

    def find(self, name: str) -> Managed:
        """The component of that name. Raises StackFailed, naming those that there are."""
        if name not in self.managed or self.managed[name].component.once:
            known = ", ".join(one.name for one in self.managed.values() if not one.component.once)
            raise StackFailed(f"no process is called {name!r}; there are: {known}")
        return self.managed[name]

    def want(self, name: str, *, up: bool) -> None:
        """Say what is wanted of a component; the next turns make it so. Wanting a failed one again tries again."""
        one = self.find(name)
        one.wanted = up
        if up and not one.is_alive:
            one.state, one.start_at = State.STOPPED, 0.0

    def turn(self, *, in_order: bool = False) -> None:
        """One step for every component. `in_order`: a component stops only when nothing that needs it runs."""
        before = [one.child for one in self.managed.values()]
        for one in self.managed.values():
            self._advance(one, in_order=in_order)
            if self._told.get(one.name) != one.state:
                self._told[one.name] = one.state
                self._progress(one.name, one.state.value, one.reason)
        if before != [one.child for one in self.managed.values()]:
            self._record_children()

    def wait(self, timeout_s: float = TURN_S) -> None:
        """Until the next turn is due, or `wake` is set."""
        self.wake.wait(timeout_s)

    def _advance(self, one: Managed, *, in_order: bool) -> None:
        if not one.wanted:
            if one.state is State.DONE or (in_order and one.is_alive and self._is_needed(one)):
                return
            one.check_stop()
        elif one.state in (State.STOPPED, State.WAITING):
            if one.component.once and one.component.is_done():
                one.state = State.DONE
            elif all(
                self.managed[need].is_up for need in one.component.needs if need in self.managed
            ):
                one.start()
            else:
                one.state = State.WAITING
        elif one.state is State.BACKING_OFF and time.monotonic() >= one.start_at:
            one.restarts += 1
            one.start()
        elif one.state is State.STARTING:
            one.check_start()
        elif one.state is State.RUNNING:
            one.check_running()

    def _is_needed(self, one: Managed) -> bool:
        """Whether something that is not told to be gone yet needs it, directly or through steps."""
        reached, frontier = set[str](), {one.name}
        while frontier:
            found = {
                m.name for m in self.managed.values() if frontier & set(m.component.needs)
            } - reached
            reached |= found
            frontier = found
        return any(self.managed[name].child is not None for name in reached)

    def _raise_failures(self, among: Iterable[Managed]) -> None:
        for one in among:
            if one.state in (State.FAILED, State.BACKING_OFF):
                raise StackFailed(f"{one.name} did not start: {one.reason} (log: {one.log})")

    def _record_children(self) -> None:
        alive = {one.name: one.child.pid for one in self.managed.values() if one.child is not None}
        records = [
            [pid, psutil.Process(pid).create_time()]
            for pid in alive.values()
            if psutil.pid_exists(pid)
        ]
        with suppress(OSError):
            # The record is a second net under the kernel's: a full disk must not keep us from stopping what runs.
            (self.settings.run / "children.json").write_text(json.dumps(records))


def sweep(record: Path, *, patience_s: float = 3.0) -> None:
    """End what a killed predecessor left behind. A process that only has the same number is never touched."""
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
