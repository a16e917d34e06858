"""
The daemon that holds the local stack, started by `orderflow up`.

`python -m orderflow.stack.supervisor SETTINGS`.

One per instance, by a lock that the kernel releases however it dies; its children die with it. A
child that dies is restarted with back-off. If the first start fails, everything is stopped again,
and the waiting `up` gets the reason. A process that only refuses to go on stops no other.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from queue import Empty, SimpleQueue

from filelock import FileLock, Timeout

from orderflow.messaging.errors import OrderflowError
from orderflow.stack.caller_settings import changed
from orderflow.stack.local_stack import LocalStack
from orderflow.stack.settings import StackSettings
from orderflow.stack.supervise.component import make_directory
from orderflow.stack.supervise.control import ControlServer, Message
from orderflow.stack.supervise.logs import trim
from orderflow.stack.supervise.managed import State, report, trouble

IDLE_TURN_S = 0.5
TRIM_EVERY_S = 30.0
COMMAND_WITHIN_S = 130.0


class Supervisor:
    """The main thread owns the stack; control threads queue work for it, and read its state."""

    def __init__(self, settings: StackSettings) -> None:
        self._settings = settings
        self._stack = LocalStack(settings, progress=self._note)
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._events: list[Message] = []
        self._changed = threading.Condition()
        self._stopping = False
        self._trim_at = 0.0

        self._handlers: dict[str, Callable[[Message], Iterator[Message]]] = {
            "ping": self._ping,
            "up": self._up,
            "down": self._down,
            "status": self._status,
            "start": self._start,
            "stop": self._stop,
            "restart": self._restart,
            "rebuild": self._rebuild,
            "changed": self._changed_settings,
        }

    def run(self) -> int:
        """Until SIGTERM or `down`: exit code 0; 1 when the stack could not be started."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda _number, _frame: self._finish())
        signal.signal(signal.SIGCHLD, lambda _number, _frame: self._stack.wake.set())

        record = self._settings.run / "instance.json"
        self._write_down(record)
        server = ControlServer(
            self._settings.run, lambda message: self._handlers[message["do"]](message)
        )

        last: Message = {"event": "stopped"}
        try:
            self._look_after()
        except (OrderflowError, OSError) as error:
            last = {"event": "failed", "reason": trouble(error)}
            with suppress(OSError):
                # For an `up` that connects after the supervisor has gone.
                (self._settings.run / "failure").write_text(trouble(error))
        finally:
            self._stack.stop()
            record.unlink(missing_ok=True)
            self._tell(last)
            server.close()
        return 1 if last["event"] == "failed" else 0

    def _look_after(self) -> None:
        self._stack.begin()
        started = False
        while not self._stopping:
            self._do_work()
            self._stack.turn()
            if not started:
                started = self._look_at_the_start()
            self._trim_logs()
            self._stack.wait(IDLE_TURN_S if self._stack.is_up else 0.1)

    def _look_at_the_start(self) -> bool:
        """
        Whether it is over: all is up, or all but what refuses to go on, and what waits for that.

        An operator's way out needs the others, so a refusal stops none. Raises StackFailed.
        """
        self._stack.raise_failures(but_refusals=True)
        if self._stack.is_up:
            self._tell({"event": "ready"})
            return True

        refusals = self._stack.refusals()
        if refusals:
            reasons = "; ".join(f"{each.name}: {each.reason}" for each in refusals)
            self._tell({"event": "incomplete", "reason": reasons})
        return bool(refusals)

    def _finish(self) -> None:
        self._stopping = True
        self._stack.wake.set()

    def _do_work(self) -> None:
        while True:
            try:
                self._work.get_nowait()()
            except Empty:
                return

    def _trim_logs(self) -> None:
        if time.monotonic() < self._trim_at:
            return
        self._trim_at = time.monotonic() + TRIM_EVERY_S
        for log in self._settings.logs.glob("*.log"):
            trim(log)

    def _note(self, name: str, state: str, reason: str) -> None:
        with suppress(OSError):
            # A full disk must not keep us from stopping what runs.
            now = time.strftime("%FT%TZ", time.gmtime())
            print(now, name, state, reason, flush=True)  # noqa: T201 - our own log
        self._tell({"event": "progress", "name": name, "state": state, "reason": reason})

    def _tell(self, event: Message) -> None:
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    def _ping(self, _request: Message) -> Iterator[Message]:
        yield {"event": "here"}

    def _up(self, _request: Message) -> Iterator[Message]:
        """The events since the start, then the next ones, until the start is over."""
        return self._events_from(0, last=("ready", "incomplete", "failed", "stopped"))

    def _down(self, _request: Message) -> Iterator[Message]:
        with self._changed:
            already = len(self._events)
        self._finish()
        return self._events_from(already, last=("failed", "stopped"))

    def _events_from(self, number: int, *, last: tuple[str, ...]) -> Iterator[Message]:
        while True:
            with self._changed:
                while len(self._events) <= number:
                    self._changed.wait()
                event = self._events[number]
            yield event
            if event["event"] in last:
                return
            number += 1

    def _status(self, _request: Message) -> Iterator[Message]:
        managed = list(self._stack.managed.values())
        processes = [part for part in managed if not part.component.once]
        with ThreadPoolExecutor(len(processes)) as threads:
            yield {"processes": [asdict(row) for row in threads.map(report, processes)]}

    def _start(self, request: Message) -> Iterator[Message]:
        yield self._steer(request["name"], up=True, given=request.get("settings"))

    def _stop(self, request: Message) -> Iterator[Message]:
        yield self._steer(request["name"], up=False)

    def _restart(self, request: Message) -> Iterator[Message]:
        stopped = self._steer(request["name"], up=False)
        yield (
            stopped
            if "event" not in stopped
            else self._steer(request["name"], up=True, given=request.get("settings"))
        )

    def _changed_settings(self, request: Message) -> Iterator[Message]:
        """Those of the caller's settings that are not those of `up`."""
        yield {"settings": changed(request["settings"], os.environ)}

    def _rebuild(self, request: Message) -> Iterator[Message]:
        """Go on with other settings of this instance; what is new in them is started."""
        settings = StackSettings.model_validate_json(request["settings"])
        failures: list[str] = []

        def rebuild() -> None:
            try:
                self._stack.rebuild(settings)
                self._settings = settings
                self._write_down(settings.run / "instance.json")
            except (OrderflowError, OSError) as error:
                failures.append(trouble(error))

        self._on_the_main_thread(rebuild)
        yield {"failed": failures[0]} if failures else {"event": "done"}

    def _steer(self, name: str, *, up: bool, given: dict[str, str] | None = None) -> Message:
        """Let the main thread start or stop a process, then wait until it is so, or has failed."""
        try:
            managed = self._stack.find(name)
        except OrderflowError as error:
            return {"unknown": str(error)}

        fresh = changed(given or {}, {**os.environ, **managed.settings})

        def want() -> None:
            managed.settings.update({setting: (given or {})[setting] for setting in fresh})
            self._stack.want(name, up=up)

        self._on_the_main_thread(want)

        wanted = (State.RUNNING, State.FAILED, State.BACKING_OFF) if up else (State.STOPPED,)
        with self._changed:
            self._changed.wait_for(lambda: managed.state in wanted, timeout=COMMAND_WITHIN_S)
        if up and managed.state is not State.RUNNING:
            return {"failed": f"{name} did not start: {managed.reason} (log: {managed.log})"}
        return {"event": "done", "settings": fresh}

    def _on_the_main_thread(self, work: Callable[[], None]) -> None:
        """Let it be done between two turns, and wait for that."""
        done = threading.Event()

        def do() -> None:
            work()
            done.set()

        self._work.put(do)
        self._stack.wake.set()
        done.wait(COMMAND_WITHIN_S)

    def _write_down(self, record: Path) -> None:
        """Which instance this is, for commands; renamed into place, since they may read it now."""
        whole = record.with_suffix(".new")
        whole.write_text(self._settings.model_dump_json())
        whole.replace(record)


def main() -> int:
    settings = StackSettings.model_validate_json(sys.argv[1])
    make_directory(settings.run)
    try:
        with FileLock(settings.run / "supervisor.lock", timeout=0):
            code = Supervisor(settings).run()
            sys.stdout.flush()
            # With the lock still held: whoever gets it, as `down` does, finds no process any more.
            os._exit(code)
    except Timeout:
        print("another supervisor runs this instance", file=sys.stderr)  # noqa: T201 - our own log
        return 1


if __name__ == "__main__":
    sys.exit(main())
